"""One process's part of the work: blocks in, files and outcomes out.

While the network is at one block, the next is read and the one before is written. Batches go on
over the borders of blocks; a block that is in one that fails is tried again by itself.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bocage.imagery import BrokenTileError
from bocage.mapping.backends import open_predictor
from bocage.mapping.coarse import in_map_pixels
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import averaged
from bocage.mapping.job import Job
from bocage.mapping.plan import Block
from bocage.mapping.predict import Predictor, windows_together
from bocage.mapping.read import BlockInputs, read_block
from bocage.mapping.report import Clock, FailedBlock
from bocage.mapping.stream import BLOCK_FAILURES, MOST_WAITING, Lost, Made, Stream, reason_of
from bocage.mapping.workspace import Workspace, network_digest
from bocage.mapping.write import write_block
from bocage.memory import keep_freed_memory

if TYPE_CHECKING:
    from bocage.models import Bundle


def blocks_held(config: MapConfig, device: torch.device) -> int:
    """Blocks that a worker may have to be given before it tells of the first: one written, one
    computed, one read, and those that wait for a batch to fill."""
    return 3 + (MOST_WAITING if windows_together(config, device) > 1 else 0)


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
        self.clock = Clock(device)
        if device.type == "cpu":
            keep_freed_memory()
        with self.clock.stage("start"):
            self._predictor = self._open(assignment.bundles, device)
        together = windows_together(self._config, self._predictor.device)
        series = assignment.bundles[0].meta.series
        self._stream = Stream(self._job, series, self._predictor, together, self.clock)

    def _open(self, bundles: Sequence[Bundle], device: torch.device) -> Predictor:
        lattice = self._job.plan.lattice

        def open_one(bundle: Bundle) -> Predictor:
            file = self._work.network_file(network_digest(bundle.network), lattice.seen_px)
            return open_predictor(bundle, self._config, device, lattice.seen_px, file)

        predictor = averaged(open_one, bundles, self._config.d4)
        return in_map_pixels(predictor, lattice.scale, self._job.tasks)

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
            written: deque[tuple[Block, Future[None]]] = deque()
            for answer in self._answers(reader, source):
                if isinstance(answer, Outcome):
                    yield answer
                    continue
                written.append((answer.block, writer.submit(self._store, answer)))
                if len(written) > 1:
                    yield self._outcome(*written.popleft())
            for one in written:
                yield self._outcome(*one)

    def _answers(
        self, reader: ThreadPoolExecutor, source: Iterator[Block]
    ) -> Iterator[Made | Outcome]:
        """Every block, made or given up."""
        ahead = self._ask(reader, source)
        while ahead is not None:
            block, reading = ahead
            ahead = self._ask(reader, source)
            inputs = self._received(reading)
            del reading
            if inputs is None:
                yield from self._settled(self._stream.drain())
                yield self._alone(block, tries=1)
                continue
            answers = self._stream.feed(block, inputs)
            del inputs  # the stream's alone, which lets go of it
            yield from self._settled(answers)
        yield from self._settled(self._stream.drain())

    def _ask(
        self, reader: ThreadPoolExecutor, source: Iterator[Block]
    ) -> tuple[Block, Future[BlockInputs]] | None:
        block = next(source, None)
        return None if block is None else (block, reader.submit(self._read, block))

    def _read(self, block: Block) -> BlockInputs:
        with self.clock.stage("read"):
            job = self._job
            return read_block(job.sensors, job.grids, job.plan, block, job.target)

    def _received(self, reading: Future[BlockInputs]) -> BlockInputs | None:
        """What was read; None if that has failed."""
        with contextlib.suppress(*BLOCK_FAILURES), self.clock.stage("wait"):
            return reading.result()
        return None

    def _settled(self, answers: Iterator[Made | Lost]) -> Iterator[Made | Outcome]:
        """The stream's answers; blocks that it has lost are tried by themselves."""
        lost = []
        for answer in answers:
            if isinstance(answer, Lost):
                lost.append(answer)
            else:
                yield answer
        for one in lost:
            # In a batch of several it may have failed for another's fault: it has two tries left.
            yield self._alone(one.block, tries=2 if one.shared else 1)

    def _alone(self, block: Block, tries: int) -> Made | Outcome:
        """A block that has failed, once more: a full device or a share that hung for a moment is
        common."""
        reason = ""
        for _ in range(tries):
            if self._predictor.device.type == "cuda":
                torch.cuda.empty_cache()
            try:
                answer = self._stream.alone(block, self._read(block))
            except BrokenTileError:
                raise  # missing_tiles=stop
            except BLOCK_FAILURES as error:
                reason = reason_of(error)
                continue
            if isinstance(answer, Made):
                return answer
            reason = answer.reason
        return Outcome(block, reason)

    def _store(self, made: Made) -> None:
        with self.clock.stage("write"):
            grid, place = self._job.target.grid, self._job.plan.on_map(made.block)
            for layer in self._job.layers:
                file = self._work.block_file(made.block, layer.stem)
                write_block(file, made.layers[layer.stem], layer, grid, place)
            stems = [layer.stem for layer in self._job.layers]
            self._work.complete(made.block, stems, made.windows, made.found)

    def _outcome(self, block: Block, written: Future[None]) -> Outcome:
        # A folder that cannot be written to ends the run: every further block would be lost too.
        with self.clock.stage("wait"):
            written.result()
        return Outcome(block)
