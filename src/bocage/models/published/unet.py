"""U-Net's decoder as in segmentation-models-pytorch 0.4.0.

Shapes: B samples, C channels, H x W pixels of the image, levels 1/2, 1/4, 1/8, 1/16, 1/32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.models.published.layers import ConvNormReLU

WIDTHS = (256, 128, 64, 32, 16)
"""Channels after each step up, coarsest first."""


class UpStep(nn.Module):
    """Twice the size, joined by the encoder's level of that size where there is one."""

    def __init__(self, inputs: int, skip: int, outputs: int):
        super().__init__()
        self.conv1 = ConvNormReLU(inputs + skip, outputs, 3)
        self.conv2 = ConvNormReLU(outputs, outputs, 3)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor | None) -> Tensor:
        """(B, inputs, h, w) and (B, skip, 2h, 2w) to (B, outputs, 2h, 2w)."""
        x_BCHW = F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")
        if skip_BCHW is not None:
            x_BCHW = torch.cat([x_BCHW, skip_BCHW], dim=1)
        out: Tensor = self.conv2(self.conv1(x_BCHW))
        return out


class UNet(nn.Module):
    """Levels of an image to a map of 16 channels at its full size.

    `widths` are the channels of the levels from 1/2 to 1/32; 0 where there is no level 1/2.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        inputs = (widths[-1], *WIDTHS[:-1])
        skips = (*reversed(widths[:-1]), 0)
        self.blocks = nn.ModuleList(
            UpStep(*each) for each in zip(inputs, skips, WIDTHS, strict=True)
        )

    def forward(self, levels: Sequence[Tensor | None], image_hw: tuple[int, int]) -> Tensor:
        """(B, 16, H, W) from the levels, finest first, None where there is no level 1/2."""
        x_BCHW = levels[-1]
        skips = (*reversed(levels[:-1]), None)
        for block, skip in zip(self.blocks, skips, strict=True):
            x_BCHW = block(x_BCHW, skip)
        assert x_BCHW is not None
        return x_BCHW


class PixelHead(nn.Sequential):
    """3x3 convolution to classes."""

    def __init__(self, num_classes: int):
        super().__init__(nn.Conv2d(WIDTHS[-1], num_classes, 3, padding=1))
