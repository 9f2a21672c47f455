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


class Blender:
    """Sums of weighted logits, one block after the other, in buffers that are made once.

    Windows come row by row, so only a band as high as a window is held; what lies above the
    current windows is final and reduced to bytes at once. Memory on the device:
    4 bytes x (sum of K + 1) x S x block width.
    """

    def __init__(
        self,
        lattice: Lattice,
        tasks: Sequence[TaskOutput],
        device: torch.device,
        width_px: int,
        confidence: bool,
    ) -> None:
        self._tasks = tasks
        self._side = lattice.window_px
        self._confidence = confidence
        axis = torch.from_numpy(window_weight(lattice)).to(device)
        self._window = axis[:, None] * axis[None, :]
        self._weight = torch.zeros((self._side, width_px), device=device)
        self._sums = {
            task.name: torch.zeros((len(task.scored), self._side, width_px), device=device)
            for task in tasks
        }
        self._columns = {task.name: _columns(task.scored, device) for task in tasks}

    def begin(self, block: Block, valid_HW: NDArray[np.bool_] | None) -> None:
        """Start a block; pixels outside `valid_HW` (None: none) will be nodata."""
        self._block, self._valid = block, valid_HW
        self._top = block.row0
        shape = block.shape
        sure_shape = shape if self._confidence else (0, 0)
        self._classes = {t.name: np.empty(shape, np.uint8) for t in self._tasks}
        self._sure = {t.name: np.empty(sure_shape, np.uint8) for t in self._tasks}
        for buffer in (self._weight, *self._sums.values()):
            buffer.zero_()

    def add(self, row: int, col: int, logits_KSS: Mapping[str, Tensor]) -> None:
        """Add the window that starts at (row, col) of the raster, logits of all K per task.

        Rows must not decrease from call to call.
        """
        self._advance(row)
        block, side = self._block, self._side
        top, bottom = max(row, self._top), min(row + side, block.row1)
        left, right = max(col, block.col0), min(col + side, block.col1)
        here = (
            slice(top - self._top, bottom - self._top),
            slice(left - block.col0, right - block.col0),
        )
        there = (slice(top - row, bottom - row), slice(left - col, right - col))
        weight = self._window[there]
        self._weight[here] += weight
        for task in self._tasks:
            scored = logits_KSS[task.name][self._columns[task.name]]
            self._sums[task.name][:, *here].addcmul_(scored[:, *there], weight)

    def finish(self) -> BlockResult:
        """The block: class with the largest mean logit, and its softmax among the scored ones.

        Pixels without data or without any window are 255. Raises `DataError` when the network
        gave numbers that are not finite.
        """
        while self._top < self._block.row1:
            self._advance(min(self._top + self._side, self._block.row1))
        return BlockResult(self._classes, self._sure if self._confidence else {})

    def _advance(self, row: int) -> None:
        """Reduce the rows above `row` and move the band down to it."""
        done = min(row, self._block.row1) - self._top
        if done <= 0:
            return
        ready = min(done, self._side)
        for start in range(0, ready, _STRIP_ROWS):
            self._reduce(slice(start, min(start + _STRIP_ROWS, ready)))
        if done > ready:
            self._blank(slice(self._top - self._block.row0 + ready, row - self._block.row0))
        for buffer in (self._weight, *self._sums.values()):
            rest = buffer[..., ready:, :].clone()
            buffer[..., : self._side - ready, :] = rest
            buffer[..., self._side - ready :, :] = 0
        self._top += done

    def _blank(self, rows: slice) -> None:
        """Rows that no window reached, because nothing is there."""
        for arrays in (self._classes, self._sure):
            for array in arrays.values():
                array[rows] = NODATA

    def _reduce(self, rows: slice) -> None:
        """Bytes of some rows of the band, whose sums are used up."""
        width = self._block.shape[1]
        offset = self._top - self._block.row0
        place = slice(rows.start + offset, rows.stop + offset)
        weight = self._weight[rows, :width]
        empty = weight == 0
        if self._valid is not None:
            empty |= torch.from_numpy(~self._valid[place]).to(empty.device)
        for task in self._tasks:
            sums = self._sums[task.name][:, rows, :width]
            top, winner = sums.max(dim=0)
            if not bool((torch.isfinite(top) | empty).all()):
                raise DataError(
                    f"the network gave numbers that are not finite for {task.name}. Check the "
                    "inputs for extreme values, and try precision=float32."
                )
            ids = winner.to(torch.uint8)
            if task.class_ids != tuple(range(len(task.class_ids))):
                table = torch.tensor(task.class_ids, dtype=torch.uint8, device=ids.device)
                ids = table[winner]
            self._classes[task.name][place] = ids.masked_fill_(empty, NODATA).cpu().numpy()
            if self._confidence:
                share = sums.sub_(top).div_(weight).exp_().sum(dim=0).reciprocal_()
                steps = share.mul_(CONFIDENCE_STEPS).round_().masked_fill_(empty, NODATA)
                self._sure[task.name][place] = steps.to(torch.uint8).cpu().numpy()


def _columns(scored: tuple[int, ...], device: torch.device) -> slice | Tensor:
    """Index of the scored logits: a slice, which copies nothing, where they are contiguous."""
    if scored == tuple(range(scored[0], scored[0] + len(scored))):
        return slice(scored[0], scored[0] + len(scored))
    return torch.tensor(scored, device=device)
