"""The few layers that every part of the network is made of.

Normalisation is BatchNorm: from scratch it learns several times faster than a per-pixel LayerNorm
(`docs/architecture.md`), and a trained network applies it as a fixed scale and shift per channel,
so that a prediction depends neither on the batch nor on the extent of the window. GroupNorm would
see the window at work too, hence seams in a map. Encoders get only the samples, and the temporal
encoder only the dates, that exist: statistics never see padding or absence.

Shapes: B samples, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.BatchNorm2d):
    """Batch normalisation, (B, C, H, W) to the same, for any batch.

    A single value per channel (one sample pooled to one cell) has no variance to learn from: it is
    normalised with the running statistics, in training too.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise; statistics are updated in training."""
        if self.training and x_BCHW.numel() == x_BCHW.shape[1]:
            return F.batch_norm(
                x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x_BCHW)


class ConvNorm(nn.Sequential):
    """Convolution, normalisation, and ReLU unless `activate` is False."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, activate: bool = True
    ):
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        last = [nn.ReLU(inplace=True)] if activate else []
        super().__init__(conv, Norm(outputs), *last)


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity; keeps size and width."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(ConvNorm(width, width), ConvNorm(width, width, activate=False))
        # Close to the identity at first: bears twice the learning rate.
        for norm in (m for m in self.body[1].modules() if isinstance(m, Norm)):
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


def cells(pixels: int, stride: float) -> int:
    """Cells of `stride` pixels that cover `pixels`; a rounding error of the stride adds none.

    In whole numbers throughout: an exported network computes it for sizes still unknown.

    >>> cells(512, 51.2), cells(511, 4.000000001), cells(513, 4)
    (10, 128, 129)
    """
    ratio = Fraction(stride).limit_denominator(10_000)
    return -(-pixels * ratio.denominator // ratio.numerator)


def restore_buffers(network: nn.Module) -> bool:
    """Compute tables that no file holds (window indices, statistics) after building on "meta".

    Parameters must be filled already. Returns whether nothing is left on the meta device.
    """
    for module in network.modules():
        empty = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        compute = getattr(module, "init_non_persistent_buffers", None)
        if not empty or compute is None:
            continue
        for name in empty:
            setattr(module, name, torch.empty_like(getattr(module, name), device="cpu"))
        compute()
    return not any(tensor.is_meta for tensor in (*network.buffers(), *network.parameters()))


def resize(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) on a grid of `size` over the same ground: averages down, bilinear up."""
    height, width = x_BCHW.shape[-2:]
    if (height, width) == size:
        return x_BCHW
    if height >= size[0] and width >= size[1]:
        return F.adaptive_avg_pool2d(x_BCHW, size)
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=False)


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]`; 16-bit unsigned integers pass as signed, for which every device can index."""
    if values.dtype == torch.uint16:
        return values.view(torch.int16)[rows].view(torch.uint16)
    return values[rows]


def resize_positions(table: Tensor, shape: Sequence[int]) -> Tensor:
    """A table of relative positions for windows of another side, bicubic, of the wanted shape.

    Tables are (side², heads), or (heads, side, side) as MaxViT's have it, with side 2w - 1 for
    windows of w x w.
    """
    if table.ndim == 3:
        return F.interpolate(table[None], size=tuple(shape[1:]), mode="bicubic").squeeze(0)
    old, new = math.isqrt(table.shape[0]), math.isqrt(shape[0])
    grid = table.T.reshape(1, -1, old, old)
    resized = F.interpolate(grid, size=(new, new), mode="bicubic")
    return resized.flatten(2).squeeze(0).T.contiguous()
