"""Weighted mean of overlapping windows' logits, and its reduction to bytes, on the device.

The lattice cuts the plane into cells of one stride. A cell is complete as soon as the window that
starts at its corner is there: it is then averaged and reduced at once, piece by piece, so that
every logit is fetched from memory once and no sums are kept.

Legend: K scored classes, P classes whose probability is wanted, H x W pixels of a block, S side of
a window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bocage.errors import DataError
from bocage.mapping.outputs import TaskOutput
from bocage.mapping.plan import Block, Lattice
from bocage.mapping.reduce import Layers, Piece, Reducer, TensorReducer, Window
from bocage.mapping.reduce_compiled import MOST_WINDOWS, CompiledReducer

WEIGHT_FLOOR = 1e-3
"""Smallest weight: above zero, so that every window counts wherever it reaches."""


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
class TaskResult:
    """One task's bytes of a block, (H, W) uint8, `probabilities` (P, H, W); 255 = nodata."""

    classes: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    entropy: NDArray[np.uint8] | None
    probabilities: NDArray[np.uint8] | None

    @classmethod
    def of(cls, layers: Layers) -> TaskResult:
        """What lies on the device, in the processor's memory."""

        def fetch(layer: Tensor | None) -> NDArray[np.uint8] | None:
            return None if layer is None else layer.cpu().numpy()

        return cls(
            layers.classes.cpu().numpy(),
            fetch(layers.confidence),
            fetch(layers.entropy),
            fetch(layers.probabilities),
        )


@dataclass(frozen=True)
class _Segment:
    """Pixels [start, stop) of a cell along one axis, which `weights` windows reach.

    `weights[a]`, (stop - start,), is that of the window which starts `a` cells before the cell;
    together they are one.
    """

    start: int
    stop: int
    weights: tuple[NDArray[np.float32], ...]


class Blender:
    """Blends the windows of one block after another.

    Holds the windows of one row of the lattice: memory grows with a block's width, not its area.
    A pixel is the weighted mean of the windows that were added, in an order that the lattice
    decides: bit for bit the same, whatever the block. On a CPU as many threads as torch has share
    a cell.
    """

    def __init__(self, lattice: Lattice, tasks: Sequence[TaskOutput], device: torch.device) -> None:
        self._lattice, self._tasks, self._device = lattice, tuple(tasks), device
        self._reach = math.ceil(lattice.window_px / lattice.stride_px)
        self._segments = _segments(lattice)
        self._threads = torch.get_num_threads() if device.type == "cpu" else 1
        compiled = device.type == "cpu" and self._reach**2 <= MOST_WINDOWS
        self._reduce: Reducer = CompiledReducer(tasks) if compiled else TensorReducer(tasks, device)

    def begin(self, block: Block, valid_HW: NDArray[np.bool_] | None) -> None:
        """Start a block; pixels outside `valid_HW` (None: none) will be nodata."""
        self._block = block
        self._hidden = None if valid_HW is None else torch.from_numpy(~valid_HW).to(self._device)
        self._layers = {
            task.name: Layers.empty(task, block.shape, self._device) for task in self._tasks
        }
        self._broken: dict[str, list[Tensor | bool]] = {task.name: [] for task in self._tasks}
        self._rows: list[dict[int, Window]] = [{} for _ in range(self._reach)]
        before = self._reach - 1
        self._first_col = self._cell(block.col0) - before
        self._last_row, self._last_col = self._cell(block.row1 - 1), self._cell(block.col1 - 1)
        self._next = (self._cell(block.row0) - before, self._first_col)

    def drop(self) -> None:
        """Give up the block that was started, and what is held of it."""
        self._hidden = None
        self._layers, self._broken, self._rows = {}, {}, []

    def add(self, row: int, col: int, logits_KSS: Window) -> None:
        """Add the window that starts at (row, col) of the raster, logits of all classes per task.

        Windows come in reading order. Their tensors are kept as they lie, with channels first or
        last; a view of anything else is copied.
        """
        place = (self._cell(row), self._cell(col))
        while self._next < place:
            self._advance(None)
        assert self._next == place, "windows must come in reading order"
        self._advance({name: _dense(logits) for name, logits in logits_KSS.items()})

    def complete(self) -> None:
        """Blend what is left of the block.

        Raises `DataError` when the network gave numbers that are not finite.
        """
        while self._next[0] <= self._last_row:
            self._advance(None)
        self._rows.clear()
        for name, broken in self._broken.items():
            if any(map(bool, broken)):
                raise DataError(
                    f"the network gave numbers that are not finite for {name}. Check the "
                    "inputs for extreme values, and try precision=float32."
                )

    def fetch(self) -> dict[str, TaskResult]:
        """The complete block: per task the class with the largest mean logit, and what was asked
        for. Pixels without data or without any window are 255."""
        return {name: TaskResult.of(layers) for name, layers in self._layers.items()}

    def finish(self) -> dict[str, TaskResult]:
        """`complete` and `fetch` at once."""
        self.complete()
        return self.fetch()

    def _cell(self, position: int) -> int:
        return (position + self._lattice.lead_px) // self._lattice.stride_px

    def _advance(self, window: Window | None) -> None:
        """Take the window of the next cell, None if it has none, and complete the cell."""
        row, col = self._next
        if window is not None:
            self._rows[0][col] = window
        self._complete(row, col)
        # No later cell looks as far back as here.
        self._rows[-1].pop(col - self._reach + 1, None)
        self._next = (row, col + 1)
        if col == self._last_col:
            self._next = (row + 1, self._first_col)
            self._rows = [{}, *self._rows[:-1]]

    def _complete(self, row: int, col: int) -> None:
        """Blend and reduce the part of a cell that lies in the block."""
        pieces = list(self._pieces(row, col))
        if self._threads == 1:
            self._blend(pieces)
        elif pieces:
            # Every thread takes its rows of every piece: they cost the same.
            parts = [[p.part(i, self._threads) for p in pieces] for i in range(self._threads)]
            running = [self._pool.submit(self._blend, part) for part in parts]
            # All of them, also after an error: none may write into the next block.
            wait(running)
            for one in running:
                one.result()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="blend")

    def _blend(self, pieces: Sequence[Piece]) -> None:
        """Mean logits of the pieces, by task, to bytes of the block."""
        for piece in pieces:
            for task in self._tasks:
                odd = self._reduce(task, piece, self._hidden, self._layers[task.name])
                self._broken[task.name].append(odd)

    def _pieces(self, row: int, col: int) -> Iterator[Piece]:
        """Every pixel of a cell that lies in the block and that a window reaches, once."""
        block, stride, lead = self._block, self._lattice.stride_px, self._lattice.lead_px
        top, left = row * stride - lead, col * stride - lead
        for rows, cols in itertools.product(self._segments, self._segments):
            y0, y1 = max(top + rows.start, block.row0), min(top + rows.stop, block.row1)
            x0, x1 = max(left + cols.start, block.col0), min(left + cols.stop, block.col1)
            if y0 >= y1 or x0 >= x1:
                continue
            down = [w[y0 - top - rows.start : y1 - top - rows.start] for w in rows.weights]
            across = [w[x0 - left - cols.start : x1 - left - cols.start] for w in cols.weights]
            reached = [
                (window, (y0 - top + a * stride, x0 - left + b * stride), (down[a], across[b]))
                for a in range(len(down))
                for b in range(len(across))
                if (window := self._rows[a].get(col - b)) is not None
            ]
            if reached:
                windows, corners, weights = zip(*reached, strict=True)
                yield Piece(
                    slice(y0 - block.row0, y1 - block.row0),
                    slice(x0 - block.col0, x1 - block.col0),
                    windows, corners, weights,
                    whole=len(reached) == len(down) * len(across),
                )  # fmt: skip


def _dense(logits_KSS: Tensor) -> Tensor:
    """Once a window here, or the reduction would copy it for every piece."""
    if logits_KSS.is_contiguous() or logits_KSS.permute(1, 2, 0).is_contiguous():
        return logits_KSS
    return logits_KSS.contiguous()


def _segments(lattice: Lattice) -> tuple[_Segment, ...]:
    """The one or two parts of a cell along an axis that equally many windows reach."""
    side, stride = lattice.window_px, lattice.stride_px
    weight = window_weight(lattice).astype(np.float64)
    reach = math.ceil(side / stride)
    last = side - (reach - 1) * stride
    segments = []
    for start, stop, count in ((0, last, reach), (last, stride, reach - 1)):
        if start < stop:
            parts = np.stack([weight[a * stride + start : a * stride + stop] for a in range(count)])
            parts = (parts / parts.sum(axis=0)).astype(np.float32)
            segments.append(_Segment(start, stop, tuple(parts)))
    return tuple(segments)
