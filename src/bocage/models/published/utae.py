"""U-TAE (Garnot & Landrieu 2021, arXiv 2107.07933) as the published networks use it.

Without spatial down-sampling: all maps keep the size of the series' images.

Shapes: B samples, T dates, N frames that there are, P = h x w pixels, C channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.models.published.layers import bordered
from bocage.models.published.ltae import HEADS, TemporalAttention

NORM_GROUPS = 4


class Frames(NamedTuple):
    """A batch of series, packed: only the frames that there are."""

    values_NCHW: Tensor
    """Prepared frames, float32, sample after sample, oldest first."""
    days_BT: Tensor
    """Day offsets."""
    present_BT: Tensor | None
    """Which dates there are, None for all."""
    slots_N: Tensor | None
    """Place of each frame in the flattened (B, T), None where N = B T."""

    def grid(self, x_NCHW: Tensor) -> Tensor:
        """Maps of the frames at their places: (B, T, P, C), zero where there is no frame."""
        x_NPC = x_NCHW.flatten(2).transpose(1, 2)
        batch, dates = self.days_BT.shape
        if self.slots_N is not None:
            empty = x_NPC.new_zeros(batch * dates, *x_NPC.shape[1:])
            x_NPC = empty.index_copy(0, self.slots_N, x_NPC)
        return x_NPC.reshape(batch, dates, *x_NPC.shape[1:])


class ReflectedConv(nn.Conv2d):
    """3x3 convolution with reflected borders."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1, padding_mode="reflect")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, outputs, h, w)."""
        return F.conv2d(bordered(x_NCHW, "reflect"), self.weight, self.bias)


class ConvLayer(nn.Module):
    """3x3 convolutions with reflected borders, each with a normalisation and a ReLU."""

    def __init__(self, widths: Sequence[int], group_norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            norm = nn.GroupNorm(NORM_GROUPS, outputs) if group_norm else nn.BatchNorm2d(outputs)
            layers += [ReflectedConv(inputs, outputs), norm, nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, widths[0], h, w) to (N, widths[-1], h, w)."""
        out: Tensor = self.conv(x_NCHW)
        return out


class ConvBlock(nn.Module):
    """A `ConvLayer` under the name that checkpoints know."""

    def __init__(self, widths: Sequence[int], group_norm: bool):
        super().__init__()
        self.conv = ConvLayer(widths, group_norm)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, widths[0], h, w) to (N, widths[-1], h, w)."""
        out: Tensor = self.conv(x_NCHW)
        return out


class DownBlock(nn.Module):
    """The next level of the shared encoder; a residual around its last convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.down = ConvLayer([inputs, inputs], group_norm=True)
        self.conv1 = ConvLayer([inputs, outputs], group_norm=True)
        self.conv2 = ConvLayer([outputs, outputs], group_norm=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, outputs, h, w)."""
        x_NCHW = self.conv1(self.down(x_NCHW))
        out: Tensor = x_NCHW + self.conv2(x_NCHW)
        return out


class UpBlock(nn.Module):
    """One level back up, joined by the encoder's map of that level averaged over the dates."""

    def __init__(self, inputs: int, outputs: int, skip: int):
        super().__init__()
        self.skip_conv = nn.Sequential(nn.Conv2d(skip, skip, 1), nn.BatchNorm2d(skip), nn.ReLU())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.conv1 = ConvLayer([outputs + skip, outputs], group_norm=False)
        self.conv2 = ConvLayer([outputs, outputs], group_norm=False)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """(B, inputs, h, w) and (B, skip, h, w) to (B, outputs, h, w)."""
        joined = torch.cat([self.up(x_BCHW), self.skip_conv(skip_BCHW)], dim=1)
        x_BCHW = self.conv1(joined)
        out: Tensor = x_BCHW + self.conv2(x_BCHW)
        return out


class UTAE(nn.Module):
    """A series to one map per level and, where asked for, to logits.

    `encoder_widths` and `decoder_widths` count channels per level, finest first; `head_widths` the
    channels of the convolutions that follow for logits.
    """

    def __init__(
        self,
        bands: int,
        encoder_widths: Sequence[int],
        decoder_widths: Sequence[int],
        head_widths: Sequence[int],
    ):
        super().__init__()
        pairs = itertools.pairwise(encoder_widths)
        levels = range(len(encoder_widths) - 1, 0, -1)
        self.in_conv = ConvBlock([bands, encoder_widths[0], encoder_widths[0]], group_norm=True)
        self.down_blocks = nn.ModuleList(DownBlock(inputs, outputs) for inputs, outputs in pairs)
        self.up_blocks = nn.ModuleList(
            UpBlock(decoder_widths[i], decoder_widths[i - 1], encoder_widths[i - 1]) for i in levels
        )
        self.temporal_encoder = TemporalAttention(encoder_widths[-1])
        self.out_conv = ConvBlock([decoder_widths[0], *head_widths], group_norm=False)
        self.widths = tuple(reversed(decoder_widths))

    def forward(self, frames: Frames) -> list[Tensor]:
        """Maps (B, widths[i], h, w), deepest first: attention's summary, then every level up."""
        levels = [self.in_conv(frames.values_NCHW)]
        for down in self.down_blocks:
            levels.append(down(levels[-1]))
        height, width = levels[-1].shape[-2:]
        summary_BPC, weight_BTPH = self.temporal_encoder(
            frames.grid(levels.pop()), frames.days_BT, frames.present_BT
        )
        maps = [as_map(summary_BPC, height, width)]
        for up in self.up_blocks:
            skip_BPC = averaged(frames.grid(levels.pop()), weight_BTPH)
            maps.append(up(maps[-1], as_map(skip_BPC, height, width)))
        return maps

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, h, w) of all tasks side by side from `forward`'s maps; never negative."""
        out: Tensor = self.out_conv(maps[-1])
        return out


def averaged(x_BTPC: Tensor, weight_BTPH: Tensor) -> Tensor:
    """Mean over the dates (B, P, C), each head's weights for its own share of the channels."""
    x_BPTC = x_BTPC.transpose(1, 2).contiguous()
    # Every head over all channels, of which its own are taken: one matrix product per pixel costs
    # less than passing over the frames with weights that are not next to each other.
    pooled_BPHC = weight_BTPH.permute(0, 2, 3, 1) @ x_BPTC
    by_share = pooled_BPHC.reshape(*pooled_BPHC.shape[:3], HEADS, -1)
    return torch.diagonal(by_share, dim1=2, dim2=3).transpose(2, 3).flatten(2)


def as_map(x_BPC: Tensor, height: int, width: int) -> Tensor:
    """Pixels (B, P, C) as a map (B, C, h, w) in channels-last memory."""
    return x_BPC.reshape(x_BPC.shape[0], height, width, -1).permute(0, 3, 1, 2)
