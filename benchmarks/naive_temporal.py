"""The published networks' temporal encoder written plainly: the baseline of `temporal` and `step`.

It is U-TAE with its lightweight attention as one writes them down from the papers. Frames are
NCHW; what is recognised as padding is left out of the convolutions, and the shape that they give
is learnt from a pass over zeros; every pixel is a sequence of its own; keys and values exist for
every pixel, date and head, and heads are stacked in front of the batch for matrix products.

Names and shapes of parameters are the published ones, so that the weights of ours can be loaded.

Shapes: B samples, T dates, C channels, H x W pixels, P = B H W pixels of the batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS, MODEL_WIDTH, KEY_WIDTH, PERIOD = 16, 256, 4, 1000.0
GROUPS = 4


class _Convs(nn.Module):
    def __init__(self, widths: Sequence[int], norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
            layers += [conv, norm(outputs), nn.ReLU()]
        self.conv = nn.Sequential(*layers)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(x_NCHW)
        return out


def _group_norm(width: int) -> nn.Module:
    return nn.GroupNorm(GROUPS, width)


class _PerFrame(nn.Module):
    """Something that is applied to every frame that is not padding."""

    def frame(self, x_NCHW: Tensor) -> Tensor:
        """Features of frames."""
        raise AssertionError("each kind of block has its own")

    def forward(self, x_BTCHW: Tensor) -> Tensor:
        """Features of all frames of a batch, zero where a frame is padding."""
        batch, dates = x_BTCHW.shape[:2]
        frames = x_BTCHW.reshape(batch * dates, *x_BTCHW.shape[2:])
        with torch.no_grad():
            shape = self.frame(torch.zeros_like(frames)).shape  # to learn the shape
        padding = (frames == 0).flatten(1).all(dim=1)
        if padding.any():
            features = frames.new_zeros(shape)
            features[~padding] = self.frame(frames[~padding]).to(features.dtype)
        else:
            features = self.frame(frames)
        return features.reshape(batch, dates, *shape[1:])


class _In(_PerFrame):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.conv = _Convs(widths, _group_norm)

    def frame(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(x_NCHW)
        return out


class _Down(_PerFrame):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = _Convs([inputs, inputs], _group_norm)
        self.conv1 = _Convs([inputs, outputs], _group_norm)
        self.conv2 = _Convs([outputs, outputs], _group_norm)

    def frame(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.conv1(self.down(x_NCHW))
        out: Tensor = x_NCHW + self.conv2(x_NCHW)
        return out


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, skip: int) -> None:
        super().__init__()
        self.skip_conv = nn.Sequential(nn.Conv2d(skip, skip, 1), nn.BatchNorm2d(skip), nn.ReLU())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.conv1 = _Convs([outputs + skip, outputs], nn.BatchNorm2d)
        self.conv2 = _Convs([outputs, outputs], nn.BatchNorm2d)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        joined = torch.cat([self.up(x_BCHW), self.skip_conv(skip_BCHW)], dim=1)
        x_BCHW = self.conv1(joined)
        out: Tensor = x_BCHW + self.conv2(x_BCHW)
        return out


class _Heads(nn.Module):
    """Scores and weighted sums of all heads, stacked in front of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.Q = nn.Parameter(torch.empty(HEADS, KEY_WIDTH).normal_(0, math.sqrt(2 / KEY_WIDTH)))
        self.fc1_k = nn.Linear(MODEL_WIDTH, HEADS * KEY_WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, value_PTC: Tensor) -> tuple[Tensor, Tensor]:
        """(heads, P, 1, C / heads) and the weights (heads, P, 1, T)."""
        pixels, dates, _ = value_PTC.shape
        query = torch.stack([self.Q] * pixels, dim=1).reshape(-1, 1, KEY_WIDTH)
        keys = self.fc1_k(value_PTC).view(pixels, dates, HEADS, KEY_WIDTH)
        keys = keys.permute(2, 0, 1, 3).reshape(-1, dates, KEY_WIDTH)
        score = torch.matmul(query, keys.transpose(1, 2)) / math.sqrt(KEY_WIDTH)
        weight = self.dropout(score.softmax(dim=-1))
        values = torch.stack(value_PTC.split(MODEL_WIDTH // HEADS, dim=-1))
        values = values.reshape(HEADS * pixels, dates, -1)
        summed = torch.matmul(weight, values)
        return summed.view(HEADS, pixels, -1), weight.view(HEADS, pixels, dates)


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inconv = nn.Conv1d(width, MODEL_WIDTH, 1)
        self.attention_heads = _Heads()
        self.in_norm = nn.GroupNorm(HEADS, width)
        self.out_norm = nn.GroupNorm(HEADS, width)
        self.mlp = nn.Sequential(nn.Linear(MODEL_WIDTH, width), nn.BatchNorm1d(width), nn.ReLU())
        self.dropout = nn.Dropout(0.2)

    def forward(self, x_BTCHW: Tensor, days_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The summary (B, C, H, W) and the weights (heads, B, T, H, W)."""
        batch, dates, channels, height, width = x_BTCHW.shape
        x = x_BTCHW.permute(0, 3, 4, 2, 1).reshape(-1, channels, dates)
        value_PTC = self.inconv(self.in_norm(x)).permute(0, 2, 1)
        days_PT = days_BT[:, None, :].repeat(1, height * width, 1).reshape(-1, dates)
        value_PTC = value_PTC + _date_encoding(days_PT)
        summed, weight = self.attention_heads(value_PTC)
        joined = summed.permute(1, 0, 2).reshape(batch * height * width, -1)
        out = self.out_norm(self.dropout(self.mlp(joined)))
        summary = out.view(batch, height, width, -1).permute(0, 3, 1, 2)
        weight = weight.view(HEADS, batch, height, width, dates).permute(0, 1, 4, 2, 3)
        return summary, weight


def _date_encoding(days_PT: Tensor) -> Tensor:
    """(P, T, MODEL_WIDTH): the encoding of every head's channels, repeated for all heads."""
    width = MODEL_WIDTH // HEADS
    step = torch.arange(width)
    angle = days_PT[:, :, None].float() / PERIOD ** (2 * (step // 2).float() / width)
    encoding = angle.clone()
    encoding[..., 0::2] = angle[..., 0::2].sin()
    encoding[..., 1::2] = angle[..., 1::2].cos()
    return torch.cat([encoding] * HEADS, dim=-1)


def _averaged(x_BTCHW: Tensor, weight: Tensor) -> Tensor:
    """Mean over dates by group of channels, (B, C, H, W); weights brought to the maps' size."""
    heads, batch, dates, height, width = weight.shape
    flat = weight.reshape(heads * batch, dates, height, width)
    flat = F.interpolate(flat, size=x_BTCHW.shape[-2:], mode="bilinear", align_corners=False)
    weight = flat.view(heads, batch, dates, *x_BTCHW.shape[-2:])
    groups = torch.stack(x_BTCHW.chunk(heads, dim=2))
    summed = (weight[:, :, :, None] * groups).sum(dim=2)
    return torch.cat(list(summed), dim=1)


class NaiveUTAE(nn.Module):
    """A series to one map per level, deepest first."""

    def __init__(
        self,
        bands: int,
        encoder_widths: Sequence[int],
        decoder_widths: Sequence[int],
        head_widths: Sequence[int],
    ) -> None:
        super().__init__()
        levels = range(len(encoder_widths) - 1, 0, -1)
        self.in_conv = _In([bands, encoder_widths[0], encoder_widths[0]])
        self.down_blocks = nn.ModuleList(
            _Down(inputs, outputs) for inputs, outputs in itertools.pairwise(encoder_widths)
        )
        self.up_blocks = nn.ModuleList(
            _Up(decoder_widths[i], decoder_widths[i - 1], encoder_widths[i - 1]) for i in levels
        )
        self.temporal_encoder = _Attention(encoder_widths[-1])
        head = [decoder_widths[0], *head_widths]
        self.out_conv = nn.ModuleDict({"conv": _Convs(head, nn.BatchNorm2d)})

    def forward(self, x_BTCHW: Tensor, days_BT: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W)."""
        levels = [self.in_conv(x_BTCHW)]
        for down in self.down_blocks:
            levels.append(down(levels[-1]))
        summary, weight = self.temporal_encoder(levels[-1], days_BT)
        maps = [summary]
        for up, level in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            maps.append(up(maps[-1], _averaged(level, weight)))
        return maps
