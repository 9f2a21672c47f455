"""The few layers that every part of the network is made of.

All are local: a pixel's value depends on its surroundings only, never on the batch, on padding or
on the extent of the window. That is why the normalisation is per pixel and not GroupNorm (which
sees the whole window, hence seams in a map) or BatchNorm (which sees the neighbours in a batch).

Shapes: B samples, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, (B, C, H, W) to the same."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise; in channels-last memory the two permutations cost nothing."""
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Sequential):
    """Convolution, per-pixel normalisation, and ReLU unless `activate` is False."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, activate: bool = True
    ):
        # The bias is needed: without it a normalised pixel keeps the direction of its input but
        # loses the size, and a bright even surface looks like a dim one.
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        last = [nn.ReLU(inplace=True)] if activate else []
        super().__init__(conv, ChannelNorm(outputs), *last)


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity; keeps size and width."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(ConvNorm(width, width), ConvNorm(width, width, activate=False))
        # Close to the identity at first: bears twice the learning rate.
        for norm in (m for m in self.body[1].modules() if isinstance(m, ChannelNorm)):
            nn.init.constant_(norm.weight, 0.1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.relu(x_BCHW + self.body(x_BCHW))


def to_channels_last(module: nn.Module) -> None:
    """Lay convolution weights out channels last: up to twice as fast on a CPU, also with a GPU.

    Weights of a single pixel or channel look the same in both layouts and are left alone: the
    strides that they would get make distributed training copy their gradients.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4 and parameter.shape[1] > 1 and parameter[0, 0].numel() > 1:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def resize(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) on a grid of `size` over the same ground: averages down, bilinear up."""
    height, width = x_BCHW.shape[-2:]
    if (height, width) == size:
        return x_BCHW
    if height >= size[0] and width >= size[1]:
        return F.adaptive_avg_pool2d(x_BCHW, size)
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=False)
