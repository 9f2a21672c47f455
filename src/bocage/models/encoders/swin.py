"""Swin's shifted windows on maps that they do not divide, without a wrap from edge to edge.

timm shifts a map, then pads it to whole windows. What the shift moved from the top to the bottom
then lies beside the bottom's own cells, in windows that the mask takes for one place: the first
rows of an image look at its last ones. Padded first, as the masks are made for, each edge stays
with itself, and a map that windows divide comes out the same as before.

Shapes: B samples, C channels, H x W cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.swin_transformer_v2_cr import SwinTransformerV2CrBlock
from torch import Tensor, nn


def _to_windows(x_BHWC: Tensor, window: tuple[int, int]) -> Tensor:
    below, right = -x_BHWC.shape[1] % window[0], -x_BHWC.shape[2] % window[1]
    # A program that is exported for any size has no `if` on it.
    if torch.compiler.is_exporting() or below or right:
        return F.pad(x_BHWC, (0, 0, 0, right, 0, below))
    return x_BHWC


class _Block(SwinTransformerBlock):
    def _attn(self, x: Tensor) -> Tensor:
        attended: Tensor = super()._attn(  # type: ignore[no-untyped-call]  # timm's
            _to_windows(x, self.window_size)
        )
        return attended[:, : x.shape[1], : x.shape[2]]


class _BlockV2(SwinTransformerV2Block):
    def _attn(self, x: Tensor) -> Tensor:
        attended: Tensor = super()._attn(_to_windows(x, self.window_size))
        return attended[:, : x.shape[1], : x.shape[2]]


class _BlockV2Cr(SwinTransformerV2CrBlock):
    def _shifted_window_attn(self, x: Tensor) -> Tensor:
        attended: Tensor = super()._shifted_window_attn(  # type: ignore[no-untyped-call]  # timm's
            _to_windows(x, self.window_size)
        )
        return attended[:, : x.shape[1], : x.shape[2]]


_KINDS = {
    SwinTransformerBlock: _Block,
    SwinTransformerV2Block: _BlockV2,
    SwinTransformerV2CrBlock: _BlockV2Cr,
}


def pad_before_shifting(model: nn.Module) -> None:
    """Let all blocks of a Swin Transformer pad first; parameters and their names stay."""
    for module in model.modules():
        if type(module) in _KINDS:
            # The same object with one method replaced: copies and saved states keep working.
            module.__class__ = _KINDS[type(module)]
