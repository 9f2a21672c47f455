"""U-TAE with spatial down-sampling, as U-T&T runs it over FLAIR #2's super-patches.

Blocks and attention are those of the published networks' U-TAE, which keeps its size.

Shapes: B samples, T dates, N frames that there are, P = h x w pixels, C channels, H heads.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from bocage.errors import DataError
from bocage.models.published.ltae import TemporalAttention
from bocage.models.published.utae import (
    NORM_GROUPS,
    ConvBlock,
    DownBlock,
    Frames,
    UpBlock,
    as_map,
    averaged,
)

WIDTHS = (64, 64, 128, 128)
"""Channels per level, finest first; down and up alike."""
SCALE = 2 ** (len(WIDTHS) - 1)
"""Pixels per cell of the coarsest level, along a side."""
# Four by four cells, two apart: every level has exactly half the size of the one above.
_KERNEL, _STRIDE, _PADDING = 4, 2, 1


class HalvingBlock(DownBlock):
    """The next level at half the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        conv = nn.Conv2d(inputs, inputs, _KERNEL, _STRIDE, _PADDING, padding_mode="reflect")
        self.down.conv = nn.Sequential(
            conv, nn.GroupNorm(NORM_GROUPS, inputs), nn.ReLU(inplace=True)
        )


class DoublingBlock(UpBlock):
    """One level back up, at twice the size."""

    def __init__(self, inputs: int, outputs: int, skip: int):
        super().__init__(inputs, outputs, skip)
        self.up[0] = nn.ConvTranspose2d(inputs, outputs, _KERNEL, _STRIDE, _PADDING)


class SuperpatchUTAE(nn.Module):
    """A series to one map of `WIDTHS[0]` channels at the size of its images."""

    def __init__(self, bands: int):
        super().__init__()
        self.in_conv = ConvBlock([bands, WIDTHS[0], WIDTHS[0]], group_norm=True)
        self.down_blocks = nn.ModuleList(HalvingBlock(*pair) for pair in itertools.pairwise(WIDTHS))
        self.up_blocks = nn.ModuleList(
            DoublingBlock(coarse, fine, fine)
            for coarse, fine in itertools.pairwise(reversed(WIDTHS))
        )
        self.temporal_encoder = TemporalAttention(WIDTHS[-1])

    def forward(self, frames: Frames) -> Tensor:
        """(B, C, h, w) from frames whose sides are multiples of `SCALE`, at least two of them."""
        levels = [self.in_conv(frames.values_NCHW)]
        for down in self.down_blocks:
            levels.append(down(levels[-1]))
        coarsest_hw = (levels[-1].shape[-2], levels[-1].shape[-1])
        summary_BPC, weight_BTPH = self.temporal_encoder(
            frames.grid(levels.pop()), frames.days_BT, frames.present_BT
        )
        x_BCHW = as_map(summary_BPC, *coarsest_hw)
        for up in self.up_blocks:
            skip_NCHW = levels.pop()
            size = (skip_NCHW.shape[-2], skip_NCHW.shape[-1])
            weight = _enlarged(weight_BTPH, coarsest_hw, size)
            x_BCHW = up(x_BCHW, as_map(averaged(frames.grid(skip_NCHW), weight), *size))
        return x_BCHW


def check_size(name: str, height: int, width: int) -> None:
    """Refuse a series that the levels do not halve evenly."""
    if height % SCALE or width % SCALE or min(height, width) < 2 * SCALE:
        raise DataError(
            f"input {name}: {height} x {width} px; this network takes multiples of {SCALE} px, at "
            f"least {2 * SCALE}."
        )


def _enlarged(weight_BTPH: Tensor, size: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """The dates' weights of a grid of `size` on one of `target` cells, bilinear."""
    batch, dates, _, heads = weight_BTPH.shape
    maps = weight_BTPH.transpose(2, 3).reshape(batch, dates * heads, *size)
    maps = F.interpolate(maps, size=target, mode="bilinear", align_corners=False)
    return maps.reshape(batch, dates, heads, -1).transpose(2, 3)
