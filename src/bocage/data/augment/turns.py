"""Flips and quarter turns of a whole batch, sensors and labels together, on its device.

The eight symmetries of the square are numbered 0 to 7 by three bits: 4 transposes, then 2 flips
rows, then 1 flips columns. They act alike on grids of any resolution, so that sensors of 0.2 m
and 10 m stay on top of each other. A patch that is not square keeps its size only under the four
without transposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bocage.data.augment.chance import uniform
from bocage.sample import Batch

ALL_TURNS = 8
SIZE_PRESERVING_TURNS = 4
_TRANSPOSE, _FLIP_ROWS, _FLIP_COLUMNS = 4, 2, 1


def turn(tensor: Tensor, code: int) -> Tensor:
    """`tensor` (…, H, W) under symmetry `code`; a code from 4 on makes it (…, W, H)."""
    if code & _TRANSPOSE:
        tensor = tensor.transpose(-2, -1)
    axes = [axis for axis, bit in ((-2, _FLIP_ROWS), (-1, _FLIP_COLUMNS)) if code & bit]
    return tensor.flip(axes) if axes else tensor


def inverse(code: int) -> int:
    """The symmetry that undoes `code`: turning back swaps the two flips of a transposition."""
    if not code & _TRANSPOSE:
        return code
    rows, columns = bool(code & _FLIP_ROWS), bool(code & _FLIP_COLUMNS)
    return _TRANSPOSE | columns * _FLIP_ROWS | rows * _FLIP_COLUMNS


def draw_turns(batch: Batch, sources: Sequence[torch.Generator]) -> list[int]:
    """A symmetry for every patch, each drawn from its own source of random numbers (CPU)."""
    grids = (*batch.images.values(), *batch.series.values(), *batch.labels.values())
    square = all(grid.shape[-1] == grid.shape[-2] for grid in grids)
    choices = ALL_TURNS if square else SIZE_PRESERVING_TURNS
    return [int(number * choices) for number in uniform(sources, "turns", 1)]


def turn_batch(batch: Batch, codes: list[int]) -> Batch:
    """A new batch with patch i under symmetry `codes[i]`: sensors, masks and labels."""
    return replace(
        batch,
        images=_turn_all(batch.images, codes),
        valid=_turn_all(batch.valid, codes),
        series=_turn_all(batch.series, codes),
        series_valid=_turn_all(batch.series_valid, codes),
        labels=_turn_all(batch.labels, codes),
    )


def _turn_all(tensors: dict[str, Tensor], codes: list[int]) -> dict[str, Tensor]:
    return {name: _turn_each(tensor, codes) for name, tensor in tensors.items()}


def _turn_each(tensor: Tensor, codes: list[int]) -> Tensor:
    # torch moves 16-bit numbers about only when they are signed; no bit changes.
    unsigned = tensor.dtype == torch.uint16
    source = tensor.view(torch.int16) if unsigned else tensor
    out = torch.empty_like(source)
    for i, code in enumerate(codes):
        out[i] = turn(source[i], code)
    return out.view(torch.uint16) if unsigned else out
