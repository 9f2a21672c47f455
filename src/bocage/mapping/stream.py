"""Windows of one block after another through the network, in batches that cross block borders.

A batch is filled with the next block's windows where a block has no more. Windows stay in the order
of the blocks, so that one blender is enough: by the time it meets a block's first window, it has
seen the last one of the block before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bocage.errors import DataError
from bocage.mapping.blend import Blender
from bocage.mapping.job import Job
from bocage.mapping.outputs import COVERAGE, coverage_bits
from bocage.mapping.plan import Block
from bocage.mapping.predict import (
    SPATIAL,
    Predictor,
    WindowInputs,
    network_inputs,
    to_device,
    window_inputs,
)
from bocage.mapping.read import BlockInputs, block_coverage, windows_with_data
from bocage.mapping.report import Clock
from bocage.memory import give_back_freed_memory
from bocage.series import SeriesConfig

_T = TypeVar("_T")

MOST_WAITING = 3
"""Blocks of which windows may wait for a batch to fill: each holds memory, and whoever hands out
blocks waits for it."""

# What reading, the network and the numbers of one block may fail with; anything else is a defect
# of this program, or the user's interrupt, and ends the run.
BLOCK_FAILURES = (DataError, OSError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Made:
    """A block's bytes, (H, W) or (P, H, W) uint8 by the layers' stems."""

    block: Block
    layers: dict[str, NDArray[np.uint8]]
    windows: int
    """That it was made from."""
    found: tuple[str, ...]
    """What was met while it was read."""


@dataclass(frozen=True)
class Lost:
    """A block that was in a batch which failed."""

    block: Block
    reason: str
    shared: bool
    """Whether other blocks were in the batch, so that this one may not be to blame."""


@dataclass(eq=False)
class _Open:
    """A block on its way; one of its kind, whatever its fields."""

    block: Block
    data_HW: NDArray[np.bool_] | None
    found: tuple[str, ...]
    layers: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    windows: int = 0
    lost: bool = False


@dataclass(frozen=True)
class _Step:
    """The next window of a block, or None: it has no more."""

    opened: _Open
    window: WindowInputs | None


class Stream:
    """One network's answers to the windows of many blocks, blended block by block."""

    def __init__(
        self, job: Job, series: SeriesConfig, predictor: Predictor, together: int, clock: Clock
    ) -> None:
        """`together` windows are a batch; `series` is how dates are chosen."""
        self._job, self._series, self._clock = job, series, clock
        self._predictor, self._together = predictor, together
        self._blender = Blender(job.plan.lattice, job.tasks, predictor.device)
        self._blended: _Open | None = None
        self._steps: list[_Step] = []
        self._waiting = 0

    def feed(self, block: Block, inputs: BlockInputs) -> Iterator[Made | Lost]:
        """Send a block's windows on their way, and give back what comes out: blocks before it too.

        Of `inputs` nothing is kept at the end.
        """
        opened = _Open(block, inputs.data_HW, inputs.found)
        for window in _until_failure(self._windows(opened, inputs)):
            if isinstance(window, str):
                yield from self._give_up(opened, window)
                return
            self._steps.append(_Step(opened, window))
            self._waiting += 1
            if self._waiting == self._together:
                yield from self.drain()
            if opened.lost:
                return
        self._steps.append(_Step(opened, None))
        if not self._waiting or len({id(step.opened) for step in self._steps}) > MOST_WAITING:
            yield from self.drain()
        # The others are views, and would keep all that was read.
        self._steps = [
            replace(step, window=step.window.detached())
            if step.opened is opened and step.window is not None
            else step
            for step in self._steps
        ]

    def drain(self) -> Iterator[Made | Lost]:
        """Send what waits, however little, and give back what comes out."""
        steps, self._steps, self._waiting = self._steps, [], 0
        unfinished = list(dict.fromkeys(step.opened for step in steps))
        for made in _until_failure(self._sent(steps)):
            if isinstance(made, str):
                self._drop()
                for opened in unfinished:
                    opened.lost = True
                    yield Lost(opened.block, made, len(unfinished) > 1)
            else:
                unfinished.pop(0)
                yield made

    def alone(self, block: Block, inputs: BlockInputs) -> Made | Lost:
        """What becomes of one block by itself; nothing may be waiting."""
        assert not self._steps
        (answer,) = [*self.feed(block, inputs), *self.drain()]
        return answer

    def _give_up(self, opened: _Open, reason: str) -> Iterator[Made | Lost]:
        """Take a block back whose next window cannot be had; those before it are sent."""
        self._steps = [step for step in self._steps if step.opened is not opened]
        yield from self.drain()
        self._drop()
        yield Lost(opened.block, reason, shared=False)

    def _drop(self) -> None:
        self._blender.drop()
        self._blended = None

    def _windows(self, opened: _Open, inputs: BlockInputs) -> Iterator[WindowInputs]:
        """Coverage, where it is wanted, and the block's windows that show something.

        Those that lack a sensor without which the network does not work are left out: their ground
        stays nodata, unless a neighbouring window that has all covers it too.
        """
        plan, block = self._job.plan, opened.block
        if COVERAGE in self._job.stems:
            bits = coverage_bits(self._job.inputs)
            opened.layers[COVERAGE] = block_coverage(inputs, block, bits)
        for row, col in windows_with_data(inputs, plan, block):
            with self._clock.stage("prepare"):
                window = window_inputs(inputs, row, col, plan.lattice, self._series)
            if not window.empty and all(window.shows(name) for name in self._job.required):
                yield window

    def _sent(self, steps: Sequence[_Step]) -> Iterator[Made]:
        """One batch: the blocks that it completes, in their order."""
        windows = [step.window for step in steps if step.window is not None]
        logits = iter(self._logits(windows) if windows else [])
        for step in steps:
            opened = step.opened
            with self._clock.stage("blend"):
                if self._blended is not opened:
                    self._blender.begin(opened.block, opened.data_HW)
                    self._blended = opened
                if step.window is not None:
                    self._blender.add(step.window.row, step.window.col, next(logits))
                    opened.windows += 1
                    continue
                self._blender.complete()
            with self._clock.stage("transfer"):
                results = self._blender.fetch()
            self._blended = None
            for layer in self._job.layers:
                if layer.stem != COVERAGE:
                    opened.layers[layer.stem] = getattr(results[layer.task], layer.product)
            if self._predictor.device.type == "cpu":
                give_back_freed_memory()
            yield Made(opened.block, opened.layers, opened.windows, opened.found)

    def _logits(self, windows: Sequence[WindowInputs]) -> list[dict[str, Tensor]]:
        """Of each window, (K, S, S) by task, on the device."""
        side = self._job.plan.lattice.seen_px
        with self._clock.stage("prepare"):
            batch = network_inputs(windows, self._job.inputs, self._job.year, side)
        with self._clock.stage("transfer"):
            batch = to_device(batch, self._predictor.device, SPATIAL)
        with self._clock.stage("network"):
            logits = self._predictor(batch)
        return [{name: t[i] for name, t in logits.items()} for i in range(len(windows))]


def _until_failure(items: Iterator[_T]) -> Iterator[_T | str]:
    """The items; where making one fails as a block may, the reason in its place and no more."""
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except BLOCK_FAILURES as error:
            reason = reason_of(error)
            break
        yield item
    # Not within the `except`, whose traceback keeps a batch's tensors.
    yield reason


def reason_of(error: BaseException) -> str:
    """What a report tells of an error."""
    return (str(error).strip() or type(error).__name__)[:1000]
