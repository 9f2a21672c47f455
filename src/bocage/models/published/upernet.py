"""UPerNet (Xiao et al. 2018) in the form that segmentation-models-pytorch 0.4.0 gave it.

Later releases changed it beyond recognition (their pull request #1124); published checkpoints need
this form. What it adds to the paper's: a level at half the image's size, which for backbones that
start at a quarter is empty and passes the quarter's map through.

Shapes: B samples, C channels, H x W pixels of the image, levels 1/2, 1/4, 1/8, 1/16, 1/32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.models.published.layers import ConvNormReLU, bordered, resize

POOL_GRIDS = (1, 2, 3, 6)
WIDTH = 256
OUTPUT_WIDTH = 64
OUTPUT_STRIDE = 4


class PyramidPooling(nn.Module):
    """The coarsest level with its averages over coarse grids."""

    def __init__(self, inputs: int):
        super().__init__()
        share = inputs // len(POOL_GRIDS)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(grid), ConvNormReLU(inputs, share, 1))
            for grid in POOL_GRIDS
        )
        self.out_conv = ConvNormReLU(inputs + share * len(POOL_GRIDS), WIDTH, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 256, h, w)."""
        size = x_BCHW.shape[-2:]
        pooled = [resize(block(x_BCHW), size) for block in self.blocks]
        out: Tensor = self.out_conv(torch.cat([x_BCHW, *pooled], dim=1))
        return out


class Lateral(nn.Module):
    """One level's map, added to what comes from the coarser one."""

    def __init__(self, inputs: int):
        super().__init__()
        self.skip_conv = ConvNormReLU(inputs, WIDTH, 1)

    def forward(self, coarser_BCHW: Tensor, level_BCHW: Tensor) -> Tensor:
        """(B, 256, ., .) and (B, inputs, h, w) to (B, 256, h, w)."""
        own: Tensor = self.skip_conv(level_BCHW)
        return own + resize(coarser_BCHW, own.shape[-2:])


class UPerNet(nn.Module):
    """Levels of an image to a map of 64 channels at a quarter of its size.

    `widths` are the channels of the levels from 1/2 to 1/32; 0 where there is no level 1/2.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.psp = PyramidPooling(widths[-1])
        # Last in the list stands a stage for the image itself, of one channel. It is never used,
        # but it is in every checkpoint.
        stages = (*reversed(widths[:-1]), 1)
        self.fpn_stages = nn.ModuleList(Lateral(w) if w else nn.Identity() for w in stages)
        self.fpn_bottleneck = ConvNormReLU(WIDTH * len(widths), OUTPUT_WIDTH, 3)

    def forward(self, levels: Sequence[Tensor | None], image_hw: tuple[int, int]) -> Tensor:
        """(B, 64, H/4, W/4) from the levels, finest first, None where there is no level 1/2."""
        target = (image_hw[0] // OUTPUT_STRIDE, image_hw[1] // OUTPUT_STRIDE)
        coarsest = levels[-1]
        assert coarsest is not None
        maps = [self.psp(coarsest)]
        for stage, level in zip(self.fpn_stages, reversed(levels[:-1]), strict=False):
            maps.append(_up_and_down(maps[-1]) if level is None else stage(maps[-1], level))
        conv, norm, activate = self.fpn_bottleneck
        assert isinstance(conv, nn.Conv2d)
        # A convolution of maps side by side is the sum of convolutions: none has to be copied.
        shares = torch.split(conv.weight, WIDTH, dim=1)
        total = sum(
            F.conv2d(resize(x, target), share, padding=1)
            for x, share in zip(maps, shares, strict=True)
        )
        out: Tensor = activate(norm(total))
        return out


class ClassHead(nn.Sequential):
    """1x1 convolution to classes and a fourfold enlargement with the corners kept in place."""

    def __init__(self, num_classes: int):
        # Other resizing here does not keep the corners; the weights were trained with this.
        enlarge = nn.Upsample(scale_factor=OUTPUT_STRIDE, mode="bilinear", align_corners=True)
        super().__init__(nn.Conv2d(OUTPUT_WIDTH, num_classes, 1), enlarge)


def _up_and_down(x_BCHW: Tensor) -> Tensor:
    """A map enlarged to twice its size and reduced again, without the detour.

    Both steps are bilinear; together they weigh each cell 3/4 and its neighbours 1/8, along rows
    and along columns, with the border repeated.
    """
    weight = x_BCHW.new_tensor([0.125, 0.75, 0.125])
    kernel = torch.outer(weight, weight).expand(x_BCHW.shape[1], 1, 3, 3)
    return F.conv2d(bordered(x_BCHW, "replicate"), kernel, groups=x_BCHW.shape[1])
