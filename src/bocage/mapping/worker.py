"""One process's part of the work: blocks in, files and outcomes out.

While the network is at one block, the next is read and the one before is written.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bocage.errors import DataError
from bocage.imagery import BrokenTileError
from bocage.mapping.backends import open_predictor
from bocage.mapping.blend import Blender
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import averaged
from bocage.mapping.job import Job
from bocage.mapping.outputs import coverage_bits
from bocage.mapping.plan import Block
from bocage.mapping.predict import (
    Predictor,
    batches,
    network_inputs,
    window_inputs,
    windows_together,
)
from bocage.mapping.read import BlockInputs, block_coverage, read_block, windows_with_data
from bocage.mapping.report import Clock, FailedBlock
from bocage.mapping.workspace import Workspace, network_digest
from bocage.mapping.write import write_block
from bocage.memory import give_back_freed_memory, keep_freed_memory

if TYPE_CHECKING:
    from bocage.models import Bundle

# What reading, the network and the numbers of one block may fail with; anything else is a defect
# of this program, or the user's interrupt, and ends the run.
BLOCK_FAILURES = (DataError, OSError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Outcome:
    """What became of a block: None, or why it is not mapped after a second try."""

    block: Block
    reason: str | None = None

    @property
    def failure(self) -> FailedBlock | None:
        """The block as the report lists it, if it failed."""
        if self.reason is None:
            return None
        block = self.block
        rows, cols = (block.row0, block.row1), (block.col0, block.col1)
        return FailedBlock(block.index, rows, cols, self.reason)


@dataclass(frozen=True)
class Assignment:
    """All that a process needs to map blocks, and that can be sent to one."""

    job: Job
    bundles: tuple[Bundle, ...]
    config: MapConfig
    work: Workspace


class Worker:
    """Maps blocks on one device."""

    def __init__(self, assignment: Assignment, device: torch.device) -> None:
        self._job, self._config, self._work = assignment.job, assignment.config, assignment.work
        self._series = assignment.bundles[0].meta.series
        self.clock = Clock(device)
        if device.type == "cpu":
            keep_freed_memory()
        with self.clock.stage("start"):
            self._predictor = self._open(assignment.bundles, device)
        self._blender = Blender(self._job.plan.lattice, self._job.tasks, self._predictor.device)

    def _open(self, bundles: Sequence[Bundle], device: torch.device) -> Predictor:
        window_px = self._job.plan.lattice.window_px

        def open_one(bundle: Bundle) -> Predictor:
            file = self._work.network_file(network_digest(bundle.network), window_px)
            return open_predictor(bundle, self._config, device, window_px, file)

        return averaged(open_one, bundles, self._config.d4)

    def run(self, blocks: Iterable[Block]) -> Iterator[Outcome]:
        """Map the blocks in turn; an outcome comes when the block's files and marker are written.

        Takes a block from `blocks` before the one ahead of it is done. Raises `DataError` when the
        folder cannot be written to.
        """
        source = iter(blocks)
        with (
            ThreadPoolExecutor(1, thread_name_prefix="read") as reader,
            ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
        ):
            ahead = self._ask(reader, source)
            written: deque[tuple[Block, Future[None]]] = deque()
            while ahead is not None:
                block, inputs = ahead
                ahead = self._ask(reader, source)
                try:
                    made = self._try_twice(block, inputs)
                except BrokenTileError:
                    raise  # missing_tiles=stop
                except BLOCK_FAILURES as error:
                    yield Outcome(block, _reason(error))
                else:
                    written.append((block, writer.submit(self._store, block, *made)))
                del inputs
                while len(written) > (1 if ahead is not None else 0):
                    yield self._outcome(*written.popleft())

    def _ask(
        self, reader: ThreadPoolExecutor, source: Iterator[Block]
    ) -> tuple[Block, Future[BlockInputs]] | None:
        block = next(source, None)
        return None if block is None else (block, reader.submit(self._read, block))

    def _read(self, block: Block) -> BlockInputs:
        with self.clock.stage("read"):
            job = self._job
            return read_block(job.sensors, job.grids, job.plan, block, job.target)

    def _try_twice(
        self, block: Block, inputs: Future[BlockInputs]
    ) -> tuple[dict[str, NDArray[np.uint8]], int, tuple[str, ...]]:
        """The block's layers by stem, of how many windows, and what was met; tried twice."""
        with contextlib.suppress(*BLOCK_FAILURES):
            with self.clock.stage("wait"):
                found = inputs.result()
            return self._compute(block, found)
        # Once more: a full device or a share that hung for a moment is common. Not within an
        # `except`, whose traceback would keep the first try's tensors.
        if self._predictor.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._compute(block, self._read(block))

    def _compute(
        self, block: Block, inputs: BlockInputs
    ) -> tuple[dict[str, NDArray[np.uint8]], int, tuple[str, ...]]:
        side = self._job.plan.lattice.window_px
        with self.clock.stage("blend"):
            self._blender.begin(block, inputs.data_HW)
        windows = (
            window_inputs(inputs, row, col, side, self._series)
            for row, col in windows_with_data(inputs, self._job.plan, block)
        )
        together = windows_together(self._config, self._predictor.device)
        count = 0
        for group in batches(windows, together, self._job.required):
            with self.clock.stage("prepare"):
                batch = network_inputs(group, self._job.inputs, self._job.year, side)
            with self.clock.stage("network"):
                logits = self._predictor(batch)
            with self.clock.stage("blend"):
                for i, window in enumerate(group):
                    self._blender.add(
                        window.row, window.col, {name: t[i] for name, t in logits.items()}
                    )
            count += len(group)
        with self.clock.stage("blend"):
            results = self._blender.finish()
        if self._predictor.device.type == "cpu":
            give_back_freed_memory()
        layers: dict[str, NDArray[np.uint8]] = {}
        for layer in self._job.layers:
            if layer.product == "coverage":
                layers[layer.stem] = block_coverage(inputs, block, coverage_bits(self._job.inputs))
            else:
                layers[layer.stem] = getattr(results[layer.task], layer.product)
        return layers, count, inputs.found

    def _store(
        self,
        block: Block,
        layers: dict[str, NDArray[np.uint8]],
        windows: int,
        found: tuple[str, ...],
    ) -> None:
        with self.clock.stage("write"):
            grid = self._job.target.grid
            for layer in self._job.layers:
                file = self._work.block_file(block, layer.stem)
                write_block(file, layers[layer.stem], layer, grid, block)
            self._work.complete(block, windows, found)

    def _outcome(self, block: Block, written: Future[None]) -> Outcome:
        # A folder that cannot be written to ends the run: every further block would be lost too.
        with self.clock.stage("wait"):
            written.result()
        return Outcome(block)


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__)[:1000]
