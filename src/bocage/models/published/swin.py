"""Swin Transformer (Liu et al. 2021, arXiv 2103.14030), backbone of the published networks.

Function, parameters and their names are those of timm's `features_only` models. Two things are done
otherwise: layers see only cells that exist, where timm pads a map to whole windows first (512 px
give 16 cells in windows of 12 at the end: 2.25 times as many); and no weight is drawn that a
checkpoint brings.

Shapes: B samples, H x W cells of a stage, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.models.published.layers import linear
from bocage.models.published.windows import Windows

PATCH = 4
DROP_PATH = 0.1
"""Chance that training leaves out the last block; evenly rising from 0 at the first."""
INIT_STD = 0.02
MLP_RATIO = 4


@dataclass(frozen=True)
class SwinSize:
    """One member of the family."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int


SWIN_SIZES = {
    "swin_tiny_patch4_window7_224": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swin_small_patch4_window7_224": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24), 7),
    "swin_base_patch4_window12_384": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "swin_large_patch4_window12_384": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
}
"""By timm's name."""


class WindowAttention(nn.Module):
    """Attention of the cells of a window to each other."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=INIT_STD)

    def forward(self, x_BHWC: Tensor, windows: Windows) -> Tensor:
        """(B, H, W, C) to the same."""
        qkv_BLC = _apply(self.qkv, x_BHWC).flatten(1, 2)
        parts = windows.split(qkv_BLC, self.qkv.bias)
        found_BLC = windows.join(windows.attend(*parts, self.relative_position_bias_table))
        return _apply(self.proj, found_BLC.view(x_BHWC.shape))


class Mlp(nn.Module):
    """Two layers, cell by cell."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        return _apply(self.fc2, F.gelu(_apply(self.fc1, x_BHWC)))


class Block(nn.Module):
    """Attention and layers, each beside an identity that training now and then leaves alone."""

    def __init__(self, width: int, heads: int, window: int, drop: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.drop = drop

    def forward(self, x_BHWC: Tensor, windows: Windows) -> Tensor:
        """(B, H, W, C) to the same."""
        x_BHWC = self._add(x_BHWC, self.attn(self.norm1(x_BHWC), windows))
        return self._add(x_BHWC, self.mlp(self.norm2(x_BHWC)))

    def _add(self, x_BHWC: Tensor, branch_BHWC: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return x_BHWC + branch_BHWC
        keep = 1 - self.drop
        kept = x_BHWC.new_empty(x_BHWC.shape[0], 1, 1, 1).bernoulli_(keep).div_(keep)
        return torch.addcmul(x_BHWC, branch_BHWC, kept)


class Merging(nn.Module):
    """Two by two cells to one of twice the width."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H / 2, W / 2, 2 C); columns before rows, as the weights want it."""
        batch, height, width, channels = x_BHWC.shape
        cells = x_BHWC.reshape(batch, height // 2, 2, width // 2, 2, channels)
        cells = cells.permute(0, 1, 3, 4, 2, 5).flatten(3)
        return _apply(self.reduction, self.norm(cells))


class Stage(nn.Module):
    """The blocks of one resolution, every second one over shifted windows."""

    def __init__(
        self, inputs: int, width: int, heads: int, side: int, window: int, drops: list[float]
    ):
        super().__init__()
        self.downsample = Merging(inputs) if inputs < width else nn.Identity()
        window, shift = (window, window // 2) if side > window else (side, 0)
        self.blocks = nn.ModuleList(Block(width, heads, window, drop) for drop in drops)
        self.straight = Windows(side, window, 0, heads)
        self.shifted = Windows(side, window, shift, heads) if shift else self.straight

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, C) to the same, or to half the size and twice the width."""
        x_BHWC = self.downsample(x_BHWC)
        for number, block in enumerate(self.blocks):
            x_BHWC = block(x_BHWC, self.shifted if number % 2 else self.straight)
        return x_BHWC


class PatchEmbedding(nn.Module):
    """Squares of pixels to cells."""

    def __init__(self, bands: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(bands, width, PATCH, PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, bands, 4 H, 4 W) to (B, H, W, width)."""
        cells: Tensor = self.norm(self.proj(image_BCHW).permute(0, 2, 3, 1))
        return cells


class Swin(nn.Module):
    """An image of `size_px` on a side to four maps of cells, at 1/4, 1/8, 1/16 and 1/32 of it."""

    def __init__(self, size: SwinSize, bands: int, size_px: int):
        super().__init__()
        self.widths = tuple(size.width * 2**i for i in range(len(size.depths)))
        self.patch_embed = PatchEmbedding(bands, size.width)
        drops = np.linspace(0, DROP_PATH, sum(size.depths)).tolist()
        for i, (width, heads) in enumerate(zip(self.widths, size.heads, strict=True)):
            side, inputs = size_px // PATCH // 2**i, self.widths[max(i - 1, 0)]
            own, drops = drops[: size.depths[i]], drops[size.depths[i] :]
            stage = Stage(inputs, width, heads, side, size.window, own)
            self.add_module(f"layers_{i}", stage)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W) in channels-last memory, finest first."""
        x_BHWC = self.patch_embed(image_BCHW)
        maps = []
        for name, stage in self.named_children():
            if name.startswith("layers_"):
                x_BHWC = stage(x_BHWC)
                maps.append(x_BHWC.permute(0, 3, 1, 2))
        return maps


def _apply(layer: nn.Linear, x_BHWC: Tensor) -> Tensor:
    return linear(x_BHWC, layer.weight, layer.bias)
