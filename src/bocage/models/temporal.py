"""The temporal encoder: a series of images to one feature map.

Every usable frame passes the same convolutions, in the light of its date; then each pixel is summed
up over its dates by a lightweight attention whose queries are parameters. Two identities make it
cheap: a learnt query times a linear key is one linear map (no keys exist), and a linear value may
be applied after the weighted sum (once per pixel, not once per pixel and date).

A result never depends on padding or on batch neighbours: padded dates are not computed at all,
normalisation is per pixel, and a date's weight is zero where it has no data.

Shapes: B samples, T dates, N = usable frames of the whole batch, C channels, K heads, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from bocage.models.layers import ConvNorm, Norm, Residual


class TemporalConfig(BaseModel):
    """The network that looks at one time series."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=64, ge=4)
    """Channels of a frame; even."""
    frame_blocks: int = Field(default=1, ge=0)
    """Residual blocks that each frame passes before the dates are joined."""
    heads: int = Field(default=8, ge=1)
    """Learnt queries: how many views of the year a pixel takes."""
    output_width: int = Field(default=128, ge=4)
    """Channels of the resulting map."""
    period_days: float = Field(default=1000.0, gt=1)
    """Longest scale of the positional encoding; above the longest distance between two dates."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of attention weights left out in training."""

    @field_validator("width")
    @classmethod
    def _even(cls, width: int) -> int:
        if width % 2:
            raise ValueError(f"must be even (sines and cosines of the date), got {width}")
        return width


def positional_encoding(days: Tensor, denominator: Tensor) -> Tensor:
    """Sines and cosines of day offsets, (...) to (..., 2 len(denominator)), float32."""
    angle = days.to(torch.float32).unsqueeze(-1) / denominator
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class TemporalEncoder(nn.Module):
    """Series to one map at the series' own resolution (`strides` is (1,)), and where it is known.

    `denominator` (width / 2,) float32 is a buffer: the scales of the positional encoding in days,
    from 1 to `period_days`.
    """

    denominator: Tensor

    def __init__(self, config: TemporalConfig, in_channels: int):
        super().__init__()
        self.channels = (config.output_width,)
        self.strides = (1,)
        self.heads = config.heads
        width = config.width
        self.stem = ConvNorm(in_channels, width, activate=False)
        self.date = nn.Linear(width, 2 * width)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(config.frame_blocks)))
        self.norm = nn.LayerNorm(width)
        scales = torch.arange(width // 2, dtype=torch.float32) / max(width // 2 - 1, 1)
        self.register_buffer("denominator", torch.tensor(config.period_days) ** scales)
        # No bias: one constant for all dates leaves a softmax as it is.
        self.score = nn.Linear(width, config.heads, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(config.heads * width, config.output_width)
        self.refine = nn.Sequential(
            Norm(config.output_width), nn.ReLU(), Residual(config.output_width)
        )

    def forward(
        self,
        frames_NCHW: Tensor,
        known_NHW: Tensor,
        days_BT: Tensor,
        slots: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Map (B, output_width, H, W) and its known pixels (B, 1, H, W) bool.

        `frames_NCHW` are prepared frames and `known_NHW` bool their pixels with data; `slots` (N,)
        int64 says at which b * T + t each frame belongs, None that they are all B * T in order.
        A pixel without any known date is not known; its value means nothing.
        """
        batch, dates = days_BT.shape
        position_BTC = positional_encoding(days_BT, self.denominator)
        position_NC = position_BTC.flatten(0, 1)
        if slots is not None:
            position_NC = position_NC[slots]
        value_NHWC = self.norm(self._frames(frames_NCHW, position_NC).permute(0, 2, 3, 1))
        value_NHWC = value_NHWC + position_NC[:, None, None]
        score_NHWK = self.score(value_NHWC)

        grid = (batch, dates, *frames_NCHW.shape[-2:])
        value_BHWTC = _to_dates_last(value_NHWC, slots, grid)
        score_BHWTK = _to_dates_last(score_NHWK, slots, grid)
        known_BHWT = _to_dates_last(known_NHW[..., None], slots, grid).squeeze(-1)

        usable_BHW1T = known_BHWT.unsqueeze(-2)
        score_BHWKT = score_BHWTK.transpose(-1, -2).float()
        # The lowest finite number, not -inf: a pixel without any date must not become 0/0.
        score_BHWKT = score_BHWKT.masked_fill(~usable_BHW1T, torch.finfo(torch.float32).min)
        weight_BHWKT = self.dropout(score_BHWKT.softmax(-1) * usable_BHW1T)
        pooled_BHWKC = weight_BHWKT.to(value_BHWTC.dtype) @ value_BHWTC
        map_BCHW = self.project(pooled_BHWKC.flatten(-2)).permute(0, 3, 1, 2)
        known_B1HW = known_BHWT.any(-1).unsqueeze(1)
        return self.refine(torch.where(known_B1HW, map_BCHW, 0.0)), known_B1HW

    def _frames(self, frames_NCHW: Tensor, position_NC: Tensor) -> Tensor:
        """Features of each frame by itself, read in the light of its date.

        The date scales and shifts them before the first ReLU: what a green field means depends on
        the month, and a weighted mean over dates alone learns that only slowly.
        """
        scale, shift = self.date(position_NC)[..., None, None].chunk(2, dim=1)
        features: Tensor = self.blocks(F.relu(self.stem(frames_NCHW) * (1 + scale) + shift))
        return features


def _to_dates_last(
    x_NHWC: Tensor,
    slots: Tensor | None,
    grid: tuple[int, int, int, int],
) -> Tensor:
    """Frames (N, H, W, C) at their places in (B, H, W, T, C), zero where there is none."""
    batch, dates, height, width = grid
    if slots is not None:
        empty = x_NHWC.new_zeros(batch * dates, height, width, x_NHWC.shape[-1])
        x_NHWC = empty.index_copy(0, slots, x_NHWC)
    return x_NHWC.reshape(*grid, x_NHWC.shape[-1]).permute(0, 2, 3, 1, 4)
