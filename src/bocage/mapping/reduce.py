"""Pieces of a block that the same windows reach: their mean logits, reduced to bytes on a device.

Two implementations of one meaning: `TensorReducer` here, of torch operations, for GPUs, and
`bocage.mapping.reduce_compiled.CompiledReducer`, which goes over a piece once, for CPUs.

Legend: K scored classes, P classes whose probability is wanted, H x W pixels of a block, h x w of
a piece, S side of a window, n windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bocage.mapping.outputs import CONFIDENCE_STEPS, NODATA, TaskOutput

Window = Mapping[str, Tensor]
"""Logits (K, S, S) float32 of one window by task, on the device."""


@dataclass(frozen=True)
class Layers:
    """A task's bytes of a block on the device, (H, W) uint8, `probabilities` (P, H, W); None:
    not wanted."""

    classes: Tensor
    confidence: Tensor | None
    entropy: Tensor | None
    probabilities: Tensor | None

    @classmethod
    def empty(cls, task: TaskOutput, shape: tuple[int, int], device: torch.device) -> Layers:
        """What the task wants, all nodata."""

        def layer(*size: int) -> Tensor:
            if device.type == "cpu":
                # Numpy asks for large pages of memory, and touches one where torch does 512.
                return torch.from_numpy(np.full(size, NODATA, np.uint8))
            return torch.full(size, NODATA, dtype=torch.uint8, device=device)

        wanted = len(task.probabilities)
        return cls(
            layer(*shape),
            layer(*shape) if task.confidence else None,
            layer(*shape) if task.entropy else None,
            layer(wanted, *shape) if wanted else None,
        )


@dataclass(frozen=True)
class Piece:
    """A rectangle of h x w pixels of the block that the same n windows reach."""

    rows: slice
    cols: slice
    """Where it lies in the block."""
    windows: tuple[Window, ...]
    corners: tuple[tuple[int, int], ...]
    """Row and column of each window at which the rectangle begins."""
    weights: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    """Of each window, (h,) and (w,): a pixel's weight is the product of its row's and column's."""
    whole: bool
    """Whether the weights add up to one; if not, a window is missing."""

    def part(self, number: int, count: int) -> Piece:
        """Part `number` of `count`, cut by rows; it may be empty."""
        height = self.rows.stop - self.rows.start
        start, stop = height * number // count, height * (number + 1) // count
        return replace(
            self,
            rows=slice(self.rows.start + start, self.rows.start + stop),
            corners=tuple((row + start, col) for row, col in self.corners),
            weights=tuple((down[start:stop], across) for down, across in self.weights),
        )


class Reducer(Protocol):
    """What makes bytes of a task's logits."""

    def __call__(
        self, task: TaskOutput, piece: Piece, hidden_HW: Tensor | None, layers: Layers
    ) -> Tensor | bool:
        """Fill the piece's place in `layers`; pixels of `hidden_HW` become nodata.

        Returns whether a number was met that is not finite, in a pixel that is not hidden.
        """


class TensorReducer:
    """The reduction in torch's operations, for a GPU."""

    def __init__(self, tasks: Sequence[TaskOutput], device: torch.device) -> None:
        self._device = device
        self._columns = {task.name: _columns(task.scored, device) for task in tasks}
        # On the device once: a copy for every piece would make the processor wait for it.
        self._ids = {
            task.name: torch.tensor(task.class_ids, dtype=torch.uint8, device=device)
            for task in tasks
        }
        self._places = {
            task.name: torch.arange(len(task.scored), 0, -1, dtype=torch.uint8, device=device)
            for task in tasks
        }
        self._wanted = {
            task.name: torch.tensor(task.probabilities, dtype=torch.int64, device=device)
            for task in tasks
        }

    def __call__(
        self, task: TaskOutput, piece: Piece, hidden_HW: Tensor | None, layers: Layers
    ) -> Tensor:
        """As `Reducer` says; the answer stays on the device."""
        hidden = None if hidden_HW is None else hidden_HW[piece.rows, piece.cols]
        logits_Khw = self._mean(task, piece)
        top = logits_Khw.amax(dim=0)
        finite = torch.isfinite(top)
        if hidden is not None:
            finite |= hidden
        below = logits_Khw - top

        def store(layer: Tensor, values: Tensor) -> None:
            if hidden is not None:
                values = values.masked_fill_(hidden, NODATA)
            layer[..., piece.rows, piece.cols] = values

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
            store(layers.probabilities, _steps(shares[self._wanted[task.name]] / total))
        # Of equals the first wins: on a GPU argmax alone does not promise it.
        first = ((below == 0) * self._places[task.name][:, None, None]).amax(dim=0)
        place = len(logits_Khw) - first.clamp(min=1).int()
        store(layers.classes, self._ids[task.name][place])
        return ~finite.all()

    def _mean(self, task: TaskOutput, piece: Piece) -> Tensor:
        """Weighted mean of the windows' logits, (K, h, w)."""
        columns = self._columns[task.name]
        height = piece.rows.stop - piece.rows.start
        width = piece.cols.stop - piece.cols.start
        total: Tensor | None = None
        weight_sum: Tensor | None = None
        for window, (row, col), (down, across) in zip(
            piece.windows, piece.corners, piece.weights, strict=True
        ):
            logits = window[task.name][columns, row : row + height, col : col + width]
            if len(piece.windows) == 1:
                return logits
            # The two factors: their product would be thousands of times as many bytes to copy.
            rows, cols = (torch.from_numpy(part).to(self._device) for part in (down, across))
            weight = rows[:, None] * cols
            total = logits * weight if total is None else total.addcmul_(logits, weight)
            weight_sum = weight if weight_sum is None else weight_sum + weight
        assert total is not None
        assert weight_sum is not None
        return total if piece.whole else total.div_(weight_sum)


def _steps(shares: Tensor) -> Tensor:
    """Shares from 0 to 1 as bytes from 0 to `CONFIDENCE_STEPS`."""
    return (shares * CONFIDENCE_STEPS).round_().clamp_(0, CONFIDENCE_STEPS).to(torch.uint8)


def _columns(scored: tuple[int, ...], device: torch.device) -> slice | Tensor:
    """Index of the scored logits: a slice, which copies nothing, where they are contiguous."""
    if scored == tuple(range(scored[0], scored[0] + len(scored))):
        return slice(scored[0], scored[0] + len(scored))
    return torch.tensor(scored, device=device)
