"""Weighted mean of overlapping windows' logits, and its reduction to bytes, on the device.

Legend: K scored classes, H x W pixels of a block, S side of a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bocage.errors import DataError
from bocage.mapping.plan import Block, Lattice

WEIGHT_FLOOR = 1e-3
"""Smallest weight: above zero, so that every window counts wherever it reaches."""
CONFIDENCE_STEPS = 254
"""Confidence 1.0 is stored as this; 255 is nodata."""
NODATA = 255
_STRIP_ROWS = 256


def window_weight(lattice: Lattice) -> NDArray[np.float32]:
    """Weight of a window's pixels along one axis, (S,) float32, `WEIGHT_FLOOR` to 1.

    1 in the middle, a raised cosine over the overlap (at most half the window on either side):
    where two windows meet, one fades as the other rises.
    """
    side = lattice.window_px
    ramp = min(lattice.overlap_px, side // 2)
    weight = np.ones(side)
    if ramp:
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
        weight[:ramp] = rise
        weight[side - ramp :] = rise[::-1]
    return (WEIGHT_FLOOR + (1 - WEIGHT_FLOOR) * weight).astype(np.float32)


@dataclass(frozen=True)
class TaskOutput:
    """Which logits of a task count, and the class id that each stands for."""

    name: str
    slug: str
    num_classes: int
    scored: tuple[int, ...]
    class_ids: tuple[int, ...]
    """Ids of the scored classes, in the order of `scored`."""


@dataclass(frozen=True)
class BlockResult:
    """Class ids and, if wanted, confidence of one block: (H, W) uint8 each, 255 = nodata."""

    classes: dict[str, NDArray[np.uint8]]
    confidence: dict[str, NDArray[np.uint8]]


class Accumulator:
    """Sums of weighted logits of one block. Memory: 4 bytes x (sum of K + 1) x H x W."""

    def __init__(
        self, block: Block, lattice: Lattice, tasks: Sequence[TaskOutput], device: torch.device
    ) -> None:
        self.block = block
        self.tasks = tasks
        self._side = lattice.window_px
        axis = torch.from_numpy(window_weight(lattice)).to(device)
        self._window = axis[:, None] * axis[None, :]
        self._weight = torch.zeros(block.shape, device=device)
        self._sums = {
            task.name: torch.zeros((len(task.scored), *block.shape), device=device)
            for task in tasks
        }
        self._columns = {task.name: _columns(task.scored, device) for task in tasks}

    def add(self, row: int, col: int, logits_KHW: Mapping[str, Tensor]) -> None:
        """Add the window that starts at (row, col) of the raster; logits (K_all, S, S) per task."""
        block, side = self.block, self._side
        top, bottom = max(row, block.row0), min(row + side, block.row1)
        left, right = max(col, block.col0), min(col + side, block.col1)
        here = (
            slice(top - block.row0, bottom - block.row0),
            slice(left - block.col0, right - block.col0),
        )
        there = (slice(top - row, bottom - row), slice(left - col, right - col))
        weight = self._window[there]
        self._weight[here] += weight
        for task in self.tasks:
            scored = logits_KHW[task.name][self._columns[task.name]]
            self._sums[task.name][(slice(None), *here)].addcmul_(scored[(slice(None), *there)], weight)

    def reduce(self, valid_HW: NDArray[np.bool_] | None, confidence: bool) -> BlockResult:
        """Class with the largest mean logit, and its softmax probability among the scored ones.

        Pixels outside `valid_HW` (None: none) or without any window become 255. Raises `DataError`
        when the network gave numbers that are not finite.
        """
        shape = self.block.shape
        classes: dict[str, NDArray[np.uint8]] = {}
        probability: dict[str, NDArray[np.uint8]] = {}
        for task in self.tasks:
            ids = torch.tensor(task.class_ids, dtype=torch.uint8, device=self._weight.device)
            class_map = np.empty(shape, dtype=np.uint8)
            confidence_map = np.empty(shape if confidence else (0, 0), dtype=np.uint8)
            for start in range(0, shape[0], _STRIP_ROWS):
                rows = slice(start, min(start + _STRIP_ROWS, shape[0]))
                keep = self._weight[rows] > 0
                if valid_HW is not None:
                    keep &= torch.from_numpy(valid_HW[rows]).to(keep.device)
                sums = self._sums[task.name][:, rows]
                top, winner = sums.max(dim=0)
                if not bool(torch.isfinite(top[keep]).all()):
                    raise DataError(
                        f"the network gave numbers that are not finite for {task.name}. Check "
                        "the inputs for extreme values, and try precision=float32."
                    )
                class_map[rows] = ids[winner].masked_fill_(~keep, NODATA).cpu().numpy()
                if confidence:
                    share = 1 / ((sums - top) / self._weight[rows]).exp_().sum(dim=0)
                    steps = (share * CONFIDENCE_STEPS).round_().nan_to_num_(0).to(torch.uint8)
                    confidence_map[rows] = steps.masked_fill_(~keep, NODATA).cpu().numpy()
            classes[task.name] = class_map
            if confidence:
                probability[task.name] = confidence_map
        return BlockResult(classes, probability)


def _columns(scored: tuple[int, ...], device: torch.device) -> slice | Tensor:
    """Index of the scored logits: a slice, which copies nothing, where they are contiguous."""
    if scored == tuple(range(scored[0], scored[0] + len(scored))):
        return slice(scored[0], scored[0] + len(scored))
    return torch.tensor(scored, device=device)
