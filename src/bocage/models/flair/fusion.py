"""What a series of the patch and its surroundings adds to the U-Net's levels.

Two paths per level: the map above the patch, brought to the level's cells ("cropped"), and the mean
over all of the ground as a context for every cell ("collapsed").

Shapes: B samples, C channels, H x W cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

DROPOUT = 0.3


class Grid(NamedTuple):
    """Cells of a level that starts at the upper left corner of a patch."""

    size: tuple[int, int]
    """Rows and columns."""
    cell_m: float
    """Ground size of a cell."""
    patch_m: tuple[float, float]
    """Ground size of the patch; cells may reach beyond."""


def above_patch(x_BCHW: Tensor, pixel_m: float, grid: Grid) -> Tensor:
    """The map at the centres of the grid's cells, bilinear; patch and map have one centre.

    The original takes the middle 10 x 10 pixels of 10 m for a patch of 102.4 m; here every cell
    gets what lies above it. Beyond the outermost pixel centres the nearest counts.
    """
    rows, columns = (
        _weights(cells, grid.cell_m, patch_m, pixels, pixel_m, x_BCHW)
        for cells, patch_m, pixels in zip(grid.size, grid.patch_m, x_BCHW.shape[-2:], strict=True)
    )
    return rows @ x_BCHW @ columns.T


def _weights(
    cells: int, cell_m: float, patch_m: float, pixels: int, pixel_m: float, like: Tensor
) -> Tensor:
    """Share of every pixel in every cell along one side, (cells, pixels)."""
    centre_m = (torch.arange(cells, device=like.device) + 0.5) * cell_m - patch_m / 2
    position = (centre_m / pixel_m + (pixels - 1) / 2).clamp(0, pixels - 1)
    distance = position.unsqueeze(1) - torch.arange(pixels, device=like.device)
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)


class Cropped(nn.Module):
    """The map above the patch on every level."""

    def __init__(self, inputs: int, widths: Sequence[int]):
        super().__init__()
        self.conv_list = nn.ModuleList(nn.Conv2d(inputs, width, 1) for width in widths)

    def forward(self, x_BCHW: Tensor, pixel_m: float, grids: Sequence[Grid]) -> list[Tensor]:
        """(B, widths[i], *grids[i].size) from (B, inputs, h, w)."""
        # A convolution of single pixels and an interpolation may change places; this does less.
        return [
            above_patch(conv(x_BCHW), pixel_m, grid)
            for conv, grid in zip(self.conv_list, grids, strict=True)
        ]


class Collapsed(nn.Module):
    """The mean over the ground for every level; a sample's own, where the original takes the first
    sample's for the whole batch."""

    def __init__(self, inputs: int, widths: Sequence[int]):
        super().__init__()
        self.mlps = nn.ModuleList(_perceptron(inputs, width) for width in widths)

    def forward(self, x_BCHW: Tensor, seen_BHW: Tensor) -> list[Tensor]:
        """(B, widths[i], 1, 1) from (B, inputs, h, w); `seen_BHW` bool: pixels that count."""
        share_BHW = seen_BHW.to(x_BCHW.dtype)
        share_BHW = share_BHW / share_BHW.sum((1, 2), keepdim=True).clamp(min=1)
        mean_BC = (x_BCHW * share_BHW.unsqueeze(1)).sum((2, 3))
        return [mlp(mean_BC)[..., None, None] for mlp in self.mlps]


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Three layers whose widths go evenly from `inputs` to `outputs`; over twice as many if equal.

    Widths of the original.
    """
    step = (outputs - inputs) // 3 if outputs > inputs else -((inputs - outputs) // 3)
    first, second = (inputs + step, inputs + 2 * step) if step else (2 * inputs, 2 * inputs)
    return nn.Sequential(
        nn.Linear(inputs, first), nn.Dropout(DROPOUT), nn.ReLU(inplace=True),
        nn.Linear(first, second), nn.Dropout(DROPOUT), nn.ReLU(inplace=True),
        nn.Linear(second, outputs),
    )  # fmt: skip
