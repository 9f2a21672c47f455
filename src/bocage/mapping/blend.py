"""Weighted mean of overlapping windows' logits, and its reduction to bytes, on the device.

The lattice cuts the plane into cells of one stride. A cell is complete as soon as the window that
starts at its corner is there: it is then averaged and reduced at once, piece by piece while it lies
in the processor's cache, so that every logit is fetched from memory once and no sums are kept.

Legend: K scored classes, P classes whose probability is wanted, H x W pixels of a block, S side of
a window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Barrier

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bocage.errors import DataError
from bocage.mapping.plan import Block, Lattice

WEIGHT_FLOOR = 1e-3
"""Smallest weight: above zero, so that every window counts wherever it reaches."""
CONFIDENCE_STEPS = 254
"""A probability of 1.0 is stored as this; 255 is nodata."""
NODATA = 255
_CACHED_FLOATS = 2**18
"""Logits reduced at once on a CPU: a usual second-level cache."""

Window = Mapping[str, Tensor]
"""Logits (K, S, S) of one window by task."""

_Cut = tuple[slice, slice]
_Strip = tuple[tuple[int, int], _Cut, list[tuple[int, int, Window]], bool, _Cut]
"""Segment by axis, part of the cell, windows with their distance in cells, whether these are all
that reach here, and place in the block."""


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
    """Which logits of a task count, the class id that each stands for, and what is written."""

    name: str
    slug: str
    num_classes: int
    scored: tuple[int, ...]
    class_ids: tuple[int, ...]
    """Ids of the scored classes, in the order of `scored`."""
    confidence: bool = True
    """Probability of the mapped class."""
    entropy: bool = False
    """How undecided the network is, as a share of what is possible."""
    probabilities: tuple[int, ...] = ()
    """Places in `scored` of the classes whose probability is wanted."""


@dataclass(frozen=True)
class TaskResult:
    """One task's bytes of a block, (H, W) uint8, `probabilities` (P, H, W); 255 = nodata."""

    classes: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    entropy: NDArray[np.uint8] | None
    probabilities: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Segment:
    """Pixels [start, stop) of a cell along one axis, which `weights` windows reach.

    `weights[a]`, (stop - start,), is that of the window which starts `a` cells before the cell;
    together they are one.
    """

    start: int
    stop: int
    weights: tuple[Tensor, ...]


@dataclass
class _Layers:
    """A task's bytes of the block, as they come about on the device."""

    classes: Tensor
    confidence: Tensor | None
    entropy: Tensor | None
    probabilities: Tensor | None

    def to_host(self) -> TaskResult:
        further = (self.confidence, self.entropy, self.probabilities)
        return TaskResult(
            self.classes.cpu().numpy(),
            *(None if layer is None else layer.cpu().numpy() for layer in further),
        )


class Blender:
    """Blends the windows of one block after another.

    Holds the windows of one row of the lattice: memory grows with a block's width, not its area.
    A pixel is the weighted mean of the windows that were added, in an order that the lattice
    decides: bit for bit the same, whatever the block.
    """

    def __init__(self, lattice: Lattice, tasks: Sequence[TaskOutput], device: torch.device) -> None:
        self._lattice, self._tasks, self._device = lattice, tuple(tasks), device
        self._reach = math.ceil(lattice.window_px / lattice.stride_px)
        self._segments = _segments(lattice, device)
        self._planes: dict[tuple[int, int, int, int], Tensor] = {}
        self._columns = {task.name: _columns(task.scored, device) for task in tasks}
        on_cpu = device.type == "cpu"
        self._pool = _single_threads(torch.get_num_threads()) if on_cpu else None

    def begin(self, block: Block, valid_HW: NDArray[np.bool_] | None) -> None:
        """Start a block; pixels outside `valid_HW` (None: none) will be nodata."""
        self._block = block
        self._valid = None if valid_HW is None else torch.from_numpy(valid_HW).to(self._device)
        self._layers = {task.name: self._empty(task, block.shape) for task in self._tasks}
        self._broken: dict[str, list[Tensor]] = {task.name: [] for task in self._tasks}
        self._rows: list[dict[int, Window]] = [{} for _ in range(self._reach)]
        before = self._reach - 1
        self._first_col = self._cell(block.col0) - before
        self._last_row, self._last_col = self._cell(block.row1 - 1), self._cell(block.col1 - 1)
        self._next = (self._cell(block.row0) - before, self._first_col)

    def add(self, row: int, col: int, logits_KSS: Window) -> None:
        """Add the window that starts at (row, col) of the raster, logits of all classes per task.

        Windows come in reading order; their tensors are kept, not copied.
        """
        place = (self._cell(row), self._cell(col))
        while self._next < place:
            self._advance(None)
        assert self._next == place, "windows must come in reading order"
        self._advance(logits_KSS)

    def finish(self) -> dict[str, TaskResult]:
        """The block: per task the class with the largest mean logit, and what was asked for.

        Pixels without data or without any window are 255. Raises `DataError` when the network
        gave numbers that are not finite.
        """
        while self._next[0] <= self._last_row:
            self._advance(None)
        self._rows.clear()
        for name, broken in self._broken.items():
            if broken and bool(torch.stack(broken).any()):
                raise DataError(
                    f"the network gave numbers that are not finite for {name}. Check the "
                    "inputs for extreme values, and try precision=float32."
                )
        return {name: layers.to_host() for name, layers in self._layers.items()}

    def _cell(self, position: int) -> int:
        return (position + self._lattice.lead_px) // self._lattice.stride_px

    def _empty(self, task: TaskOutput, shape: tuple[int, int]) -> _Layers:
        def layer(wanted: bool | int, *size: int) -> Tensor | None:
            if not wanted:
                return None
            return torch.full(size, NODATA, dtype=torch.uint8, device=self._device)

        wanted = len(task.probabilities)
        classes = layer(True, *shape)
        assert classes is not None
        return _Layers(
            classes,
            layer(task.confidence, *shape),
            layer(task.entropy, *shape),
            layer(wanted, wanted, *shape),
        )

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
        if self._pool is None:
            for piece in self._pieces(row, col):
                self._blend(*piece)
            return
        running = [self._pool.submit(self._blend, *piece) for piece in self._pieces(row, col)]
        # All of them, also after an error: none may write into the next block.
        wait(running)
        for one in running:
            one.result()

    def _pieces(self, row: int, col: int) -> Iterator[_Strip]:
        """What `_blend` is to do for a cell: every pixel of it that lies in the block, once."""
        block, stride, lead = self._block, self._lattice.stride_px, self._lattice.lead_px
        top, left = row * stride - lead, col * stride - lead
        for v, rows in enumerate(self._segments):
            first, last = max(top + rows.start, block.row0), min(top + rows.stop, block.row1)
            for h, cols in enumerate(self._segments):
                west, east = max(left + cols.start, block.col0), min(left + cols.stop, block.col1)
                if first >= last or west >= east:
                    continue
                parts = [
                    (a, b, window)
                    for a in range(len(rows.weights))
                    for b in range(len(cols.weights))
                    if (window := self._rows[a].get(col - b)) is not None
                ]
                if not parts:
                    continue
                whole = len(parts) == len(rows.weights) * len(cols.weights)
                x = slice(west - left, east - left)
                for start, stop in self._strips(first, last, east - west):
                    y = slice(start - top, stop - top)
                    place = (
                        slice(start - block.row0, stop - block.row0),
                        slice(west - block.col0, east - block.col0),
                    )
                    yield (v, h), (y, x), parts, whole, place

    def _strips(self, first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
        """Rows that are reduced at once: all on a GPU, as many as fit the cache on a CPU."""
        step = last - first
        if self._device.type == "cpu":
            deepest = max(len(task.scored) for task in self._tasks)
            step = max(1, min(step, _CACHED_FLOATS // (deepest * width)))
        for start in range(first, last, step):
            yield start, min(start + step, last)

    def _blend(
        self,
        segment: tuple[int, int],
        cell: _Cut,
        parts: Sequence[tuple[int, int, Window]],
        whole: bool,
        place: _Cut,
    ) -> None:
        """Mean logits of one strip, by task, to bytes at `place` of the block."""
        stride = self._lattice.stride_px
        hidden = None if self._valid is None else ~self._valid[place]
        weights = [self._plane(segment, a, b, cell) for a, b, _ in parts]
        for task in self._tasks:
            columns = self._columns[task.name]
            total: Tensor | None = None
            for (a, b, window), weight in zip(parts, weights, strict=True):
                y, x = (slice(s.start + k * stride, s.stop + k * stride)
                        for s, k in zip(cell, (a, b), strict=True))  # fmt: skip
                logits = window[task.name][columns, y, x]
                if len(parts) == 1:
                    total = logits
                elif total is None:
                    total = logits * weight
                else:
                    total.addcmul_(logits, weight)
            assert total is not None
            if len(parts) > 1 and not whole:
                total /= torch.stack(weights).sum(dim=0)
            self._reduce(task, total, hidden, place)

    def _plane(self, segment: tuple[int, int], a: int, b: int, cell: tuple[slice, slice]) -> Tensor:
        """Weights of one window over a part of a cell, (h, w)."""
        rows, cols = (self._segments[k] for k in segment)
        key = (*segment, a, b)
        if key not in self._planes:
            self._planes[key] = rows.weights[a][:, None] * cols.weights[b]
        y, x = cell
        return self._planes[key][
            y.start - rows.start : y.stop - rows.start, x.start - cols.start : x.stop - cols.start
        ]

    def _reduce(
        self,
        task: TaskOutput,
        logits_Khw: Tensor,
        hidden: Tensor | None,
        place: tuple[slice, slice],
    ) -> None:
        layers = self._layers[task.name]
        top = logits_Khw.amax(dim=0)
        below = logits_Khw - top
        finite = torch.isfinite(top)
        if hidden is not None:
            finite |= hidden
        self._broken[task.name].append((~finite).any())

        def store(layer: Tensor, values: Tensor) -> None:
            layer[..., *place] = values if hidden is None else values.masked_fill_(hidden, NODATA)

        further = (layers.confidence, layers.entropy, layers.probabilities)
        if all(layer is None for layer in further):
            store(layers.classes, self._winners(task, (below + 1).clamp_(min=0)))
            return
        shares = below.exp()
        total = shares.sum(dim=0)
        if layers.confidence is not None:
            store(layers.confidence, _steps(total.reciprocal()))
        if layers.entropy is not None:
            # ln of the sum less the mean exponent; nothing is added where a class is impossible.
            spent = (shares * below.nan_to_num(neginf=0.0)).sum(dim=0) / total
            nats = total.log() - spent
            store(layers.entropy, _steps(nats / math.log(max(2, len(task.scored)))))
        if layers.probabilities is not None:
            wanted = shares[list(task.probabilities)] / total
            store(layers.probabilities, _steps(wanted))
        store(layers.classes, self._winners(task, shares))

    def _winners(self, task: TaskOutput, shares_Khw: Tensor) -> Tensor:
        """Ids (h, w) of the classes whose share is 1, all others being below; spends `shares_Khw`.

        A share of 1 floors to 1, all others to 0. Counting down makes the first of equals win.
        Eight times as fast as an argmax over the first dimension.
        """
        count = len(shares_Khw)
        places = torch.arange(count, 0, -1, dtype=shares_Khw.dtype, device=shares_Khw.device)
        first = shares_Khw.floor_().mul_(places[:, None, None]).amax(dim=0)
        ids = (count - first.nan_to_num_(nan=1.0)).to(torch.uint8)
        if task.class_ids == tuple(range(count)):
            return ids
        table = torch.tensor(task.class_ids, dtype=torch.uint8, device=ids.device)
        return table[ids.int()]


def _single_threads(count: int) -> ThreadPoolExecutor | None:
    """As many threads as torch has, in each of which torch runs on that thread alone.

    A strip is too small for torch to share among threads: on two busy cores that made blending
    fifteen times slower than on one.
    """
    if count == 1:
        return None
    pool = ThreadPoolExecutor(count, thread_name_prefix="blend")
    ready = Barrier(count)

    def settle() -> None:
        torch.get_num_threads()  # else the thread's first operation takes the number over again
        torch.set_num_threads(1)
        ready.wait()

    for waiting in [pool.submit(settle) for _ in range(count)]:
        waiting.result()
    # The number is a thread's own, but threads that start later take over the last that was set.
    torch.set_num_threads(count)
    return pool


def _steps(shares: Tensor) -> Tensor:
    """Shares from 0 to 1 as bytes from 0 to `CONFIDENCE_STEPS`."""
    return (shares * CONFIDENCE_STEPS).round_().clamp_(0, CONFIDENCE_STEPS).to(torch.uint8)


def _segments(lattice: Lattice, device: torch.device) -> tuple[_Segment, ...]:
    """The one or two parts of a cell along an axis that equally many windows reach."""
    side, stride = lattice.window_px, lattice.stride_px
    weight = torch.from_numpy(window_weight(lattice)).double()
    reach = math.ceil(side / stride)
    last = side - (reach - 1) * stride
    segments = []
    for start, stop, count in ((0, last, reach), (last, stride, reach - 1)):
        if start < stop:
            parts = torch.stack(
                [weight[a * stride + start : a * stride + stop] for a in range(count)]
            )
            parts = (parts / parts.sum(dim=0)).float().to(device)
            segments.append(_Segment(start, stop, tuple(parts)))
    return tuple(segments)


def _columns(scored: tuple[int, ...], device: torch.device) -> slice | Tensor:
    """Index of the scored logits: a slice, which copies nothing, where they are contiguous."""
    if scored == tuple(range(scored[0], scored[0] + len(scored))):
        return slice(scored[0], scored[0] + len(scored))
    return torch.tensor(scored, device=device)
