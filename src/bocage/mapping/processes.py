"""Several processes of one machine, each with its own network: one per GPU, or as asked for.

A process that dies (killed, out of memory) loses nothing but the blocks it was at: they go to
another one. A block at which processes have died three times is listed as failed.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from bocage.errors import BocageError, DataError
from bocage.mapping.plan import Block
from bocage.mapping.worker import Assignment, Outcome, Worker

MAX_DEATHS = 3
"""Processes that may die at a block before it is given up."""
_AHEAD = 3
"""Blocks that a process holds: one written, one computed, one read."""


@dataclass
class _Child:
    process: BaseProcess
    connection: Connection
    device: torch.device
    held: deque[Block] = field(default_factory=deque)
    dismissed: bool = False


def map_in_processes(
    assignment: Assignment,
    todo: Sequence[Block],
    devices: Sequence[torch.device],
    seconds: dict[str, float],
) -> Iterator[Outcome]:
    """Map the blocks with one process per entry of `devices`; `seconds` gains their stages' time.

    Raises `DataError` when a process cannot work at all, or the folder cannot be written to.
    """
    queue = deque(todo)
    deaths: Counter[int] = Counter()
    threads = max(1, torch.get_num_threads() // len(devices))
    idle = deque(devices)
    children: list[_Child] = []
    unused = 0
    try:
        while queue or children:
            while queue and idle:
                children.append(_start(assignment, idle.popleft(), threads))
            for child in children:
                _feed(child, queue)
            ready = wait([child.connection for child in children])
            for child in [c for c in children if c.connection in ready]:
                try:
                    kind, value = child.connection.recv()
                except (EOFError, ConnectionError):
                    children.remove(child)
                    idle.append(child.device)
                    child.process.join()
                    unused = unused + 1 if not child.held else 0
                    if unused > MAX_DEATHS:
                        raise DataError(
                            "processes end before they map anything (exit status "
                            f"{child.process.exitcode}). Is there enough memory for workers="
                            f"{len(devices)}? Try workers=1."
                        ) from None
                    yield from _recover(child, queue, deaths)
                    continue
                if kind == "outcome":
                    index, reason = value
                    block = next(b for b in child.held if b.index == index)
                    child.held.remove(block)
                    yield Outcome(block, reason)
                elif kind == "done":
                    for stage, spent in value.items():
                        seconds[stage] = seconds.get(stage, 0.0) + spent
                    children.remove(child)
                    idle.append(child.device)
                    child.process.join()
                else:
                    raise DataError(value)
    finally:
        for child in children:
            child.process.kill()
            child.process.join()


def _start(assignment: Assignment, device: torch.device, threads: int) -> _Child:
    # A forked process cannot use a GPU that its parent has touched, and inherits GDAL's locks.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, assignment, str(device), threads), daemon=True
    )
    process.start()
    theirs.close()
    return _Child(process, ours, device)


def _feed(child: _Child, queue: deque[Block]) -> None:
    """Give a process what it may hold, and the word to end when there is no more."""
    try:
        while queue and len(child.held) < _AHEAD and not child.dismissed:
            child.held.append(queue.popleft())
            child.connection.send(child.held[-1].index)
        if not queue and not child.dismissed:
            child.dismissed = True
            child.connection.send(None)
    except (BrokenPipeError, ConnectionError):
        # It has died; what it held is recovered when its end of the pipe is found closed.
        child.dismissed = True


def _recover(child: _Child, queue: deque[Block], deaths: Counter[int]) -> Iterator[Outcome]:
    """Put back what a dead process held, first the block that it was at."""
    for block in reversed(child.held):
        deaths[block.index] += 1
        if deaths[block.index] < MAX_DEATHS:
            queue.appendleft(block)
        else:
            status = child.process.exitcode
            yield Outcome(
                block,
                f"{MAX_DEATHS} processes have died here (exit status {status}; -9 is often a lack "
                "of memory). Try a smaller block_px.",
            )
    child.held.clear()


def _serve(connection: Connection, assignment: Assignment, device: str, threads: int) -> None:
    """A process's life: blocks in and outcomes out, by number."""
    torch.set_num_threads(threads)
    blocks = {block.index: block for block in assignment.job.plan.blocks}

    def incoming() -> Iterator[Block]:
        while (index := connection.recv()) is not None:
            yield blocks[index]

    try:
        worker = Worker(assignment, torch.device(device))
        for outcome in worker.run(incoming()):
            connection.send(("outcome", (outcome.block.index, outcome.reason)))
        connection.send(("done", worker.clock.seconds))
    except BocageError as error:
        connection.send(("broken", str(error)))
