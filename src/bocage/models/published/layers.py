"""What encoders, decoders and fusion share.

Shapes: B samples, C channels, H x W cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLVED_CELLS = 256
"""Of fewer cells oneDNN spends its time on reordering the weights."""


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resize(x_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) on another grid over the same ground: bilinear, up and down alike."""
    if x_BCHW.shape[-2:] == tuple(size):
        return x_BCHW
    return F.interpolate(x_BCHW, size=tuple(size), mode="bilinear", align_corners=False)


def bordered(x_BCHW: Tensor, mode: Literal["reflect", "replicate"]) -> Tensor:
    """(B, C, H + 2, W + 2): one cell more on every side."""
    device = x_BCHW.device.type
    if not torch.is_autocast_enabled(device):
        return F.pad(x_BCHW, (1, 1, 1, 1), mode=mode)
    # Autocast on a CPU pads in float32 and copies every map there and back; it only moves numbers.
    with torch.autocast(device, enabled=False):
        return F.pad(x_BCHW, (1, 1, 1, 1), mode=mode)


def linear(x_BHWC: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, H, W, inputs) to (B, H, W, outputs) by `weight` (outputs, inputs).

    On a CPU in float32 it is a convolution over rows of cells: PyTorch leaves matrix products to
    MKL, which takes twice as long as oneDNN on AMD's processors, and convolutions to oneDNN.
    """
    batch, height, width, _ = x_BHWC.shape
    if (
        x_BHWC.device.type != "cpu"
        or x_BHWC.dtype != torch.float32
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or batch * height * width < CONVOLVED_CELLS
    ):
        return F.linear(x_BHWC, weight, bias)
    rows = x_BHWC.reshape(batch * height, 1, width, -1).permute(0, 3, 1, 2)
    rows = F.conv2d(rows, weight[..., None, None], bias)
    return rows.permute(0, 2, 3, 1).reshape(batch, height, width, -1)
