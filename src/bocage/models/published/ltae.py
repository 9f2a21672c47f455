"""Lightweight temporal attention (L-TAE, Garnot & Landrieu 2020, arXiv 2007.00586), per pixel.

The parameters are those of the published networks; the algebra is rearranged. The query of a head
is a parameter, so query and key projection fold into one direction per head; and as the values are
linear, dates are averaged before they are projected, once per pixel instead of once per date.

Shapes: B samples, T dates, P pixels, C channels, H heads, D channels of the model, K = D / H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEADS = 16
MODEL_WIDTH = 256
KEY_WIDTH = 4
PERIOD = 1000.0
"""Base of the wavelengths of the date's encoding."""
ATTENTION_DROPOUT = 0.1
OUTPUT_DROPOUT = 0.2


class DateEncoding(nn.Module):
    """Sines and cosines of a date, `width` channels; the wavelengths are no checkpoint's matter."""

    wavelength: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.register_buffer("wavelength", torch.empty(width // 2), persistent=False)
        self.init_non_persistent_buffers()

    def init_non_persistent_buffers(self) -> None:
        """Fill in the wavelengths; called again where the module was built without memory."""
        even = torch.arange(0, self.width, 2, device=self.wavelength.device)
        self.wavelength.copy_(PERIOD ** (even.float() / self.width))

    def forward(self, days_BT: Tensor) -> Tensor:
        """(B, T, width) float32 from day offsets, sine and cosine of a wavelength side by side."""
        angle = days_BT.float().unsqueeze(-1) / self.wavelength
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


class AttentionHeads(nn.Module):
    """One query per head, which is a parameter, and the projection to keys."""

    def __init__(self) -> None:
        super().__init__()
        self.Q = nn.Parameter(torch.empty(HEADS, KEY_WIDTH))
        self.fc1_k = nn.Linear(MODEL_WIDTH, HEADS * KEY_WIDTH)
        spread = math.sqrt(2.0 / KEY_WIDTH)
        nn.init.normal_(self.Q, std=spread)
        nn.init.normal_(self.fc1_k.weight, std=spread)

    def directions(self) -> tuple[Tensor, Tensor]:
        """What each head looks for: (H, D), and its constant (H,), both scaled for the softmax."""
        key_HKD = self.fc1_k.weight.view(HEADS, KEY_WIDTH, MODEL_WIDTH)
        scaled_HK = self.Q / math.sqrt(KEY_WIDTH)
        direction_HD = torch.einsum("hk,hkd->hd", scaled_HK, key_HKD)
        constant_H = (scaled_HK * self.fc1_k.bias.view(HEADS, KEY_WIDTH)).sum(1)
        return direction_HD, constant_H


class TemporalAttention(nn.Module):
    """All dates of a pixel to one vector, and the weights that the dates had."""

    def __init__(self, width: int):
        super().__init__()
        self.inconv = nn.Conv1d(width, MODEL_WIDTH, 1)
        self.attention_heads = AttentionHeads()
        self.in_norm = nn.GroupNorm(HEADS, width)
        self.out_norm = nn.GroupNorm(HEADS, width)
        self.mlp = nn.Sequential(nn.Linear(MODEL_WIDTH, width), nn.BatchNorm1d(width), nn.ReLU())
        self.date = DateEncoding(MODEL_WIDTH // HEADS)
        self.attention_dropout = nn.Dropout(ATTENTION_DROPOUT)
        self.dropout = nn.Dropout(OUTPUT_DROPOUT)

    def forward(
        self, x_BTPC: Tensor, days_BT: Tensor, present_BT: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The summary (B, P, C) and the weights of the dates (B, T, P, H).

        `present_BT` bool says which dates there are, None for all. Absent ones neither count in
        the normalisation nor get a weight: a sample's result does not depend on its padding.
        """
        if present_BT is not None:
            x_BTPC = x_BTPC.where(present_BT[..., None, None], 0.0)
        # A pixel's dates next to each other: matrices, for what follows.
        x_BPTC = x_BTPC.transpose(1, 2).contiguous()
        factor_BPC, offset_BPC = self._normalisation(x_BPTC, present_BT)
        date_BTK = self.date(days_BT)
        direction_HD, constant_H = self.attention_heads.directions()
        project_DC, bias_D = self.inconv.weight.squeeze(-1), self.inconv.bias
        assert bias_D is not None
        project_HKC = project_DC.view(HEADS, -1, project_DC.shape[-1])

        # The normalisation's offset is the same for all dates: a softmax over them ignores it.
        query_BPHC = factor_BPC.unsqueeze(2) * (direction_HD @ project_DC)
        score_BPHT = query_BPHC @ x_BPTC.transpose(2, 3)
        # The date's encoding is the same in every head's share of the model's channels.
        date_HK = direction_HD.view(HEADS, HEADS, -1).sum(1)
        score_BTH = date_BTK @ date_HK.T + direction_HD @ bias_D + constant_H
        score_BPHT = score_BPHT.float() + score_BTH.transpose(1, 2).unsqueeze(1)
        if present_BT is not None:
            absent = ~present_BT[:, None, None]
            score_BPHT = score_BPHT.masked_fill(absent, torch.finfo(torch.float32).min)
        weight_BPHT = score_BPHT.softmax(dim=-1)
        if present_BT is not None:
            weight_BPHT = weight_BPHT.masked_fill(absent, 0.0)
        weight_BPHT = self.attention_dropout(weight_BPHT)

        # Where dropout has changed the weights' sum, all that is constant changes with it.
        total_BPH1 = weight_BPHT.sum(-1, keepdim=True)
        pooled_BPHC = weight_BPHT @ x_BPTC
        pooled_BPHC = pooled_BPHC * factor_BPC.unsqueeze(2) + total_BPH1 * offset_BPC.unsqueeze(2)
        value_BPHK = torch.einsum("bphc,hkc->bphk", pooled_BPHC, project_HKC)
        date_BPHK = (weight_BPHT.flatten(1, 2) @ date_BTK).view(value_BPHK.shape)
        value_BPHK = value_BPHK + date_BPHK + total_BPH1 * bias_D.view(HEADS, -1)

        batch, pixels = value_BPHK.shape[:2]
        summary: Tensor = self.out_norm(
            self.dropout(self.mlp(value_BPHK.reshape(batch * pixels, -1)))
        )
        return summary.view(batch, pixels, -1), weight_BPHT.permute(0, 3, 1, 2)

    def _normalisation(self, x_BPTC: Tensor, present_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """Group normalisation over a group's channels and all dates, as factor and offset.

        Both (B, P, C) float32. What is normalised is never made: a pixel's vectors enter linear
        maps only, which take the factor, and the offset once. Absent dates must be 0.
        """
        exact = x_BPTC.float()
        batch, pixels, dates, channels = exact.shape
        width = channels // HEADS
        count: Tensor | int = dates * width
        if present_BT is not None:
            count = (present_BT.sum(1).clamp(min=1) * width).view(batch, 1, 1)
        groups = (batch, pixels, HEADS, width)
        mean_BPH = exact.sum(2).view(groups).sum(-1) / count
        square_BPH = exact.square().sum(2).view(groups).sum(-1) / count
        scale_BPH = torch.rsqrt((square_BPH - mean_BPH.square()).clamp(min=0) + self.in_norm.eps)
        weight_HK, bias_HK = (p.view(HEADS, width) for p in self.in_norm.parameters())
        factor = scale_BPH.unsqueeze(-1) * weight_HK
        offset = bias_HK - mean_BPH.unsqueeze(-1) * factor
        return factor.flatten(2), offset.flatten(2)
