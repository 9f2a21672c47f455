"""Several processes of one machine, each with its own network: one per GPU, or as asked for.

A process that dies (killed, out of memory) loses nothing but the blocks it was at: they go to
another one. A block at which processes have died three times is listed as failed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from bocage.errors import BocageError, DataError
from bocage.mapping.handout import MAX_DEATHS, Handout
from bocage.mapping.plan import Block
from bocage.mapping.worker import Assignment, Outcome, Worker, blocks_held

_MAX_STARTS = 2
"""Processes that may end on a device, one after the other, before they are ready for blocks."""
_FAREWELL_S = 5.0
"""What a process gets to end by itself when all is done."""


@dataclass
class _Child:
    process: BaseProcess
    connection: Connection
    device: torch.device
    start: int
    """Which attempt at this device it is."""
    held: list[Block] = field(default_factory=list)
    ready: bool = False
    running: bool = False
    """Whether it waits for more blocks before it writes the last that it has."""
    seconds: dict[str, float] = field(default_factory=dict)


def map_in_processes(
    assignment: Assignment,
    todo: Sequence[Block],
    devices: Sequence[torch.device],
    seconds: dict[str, float],
) -> Iterator[Outcome]:
    """Map the blocks with one process per entry of `devices`; `seconds` gains their stages' time.

    Raises `DataError` when no process can work at all, or the folder cannot be written to, and
    `RuntimeError` with a process's traceback for a defect of this program.
    """
    # As bytes: the pickler of multiprocessing would put every tensor into shared memory, of which
    # containers have 64 MB, for the price of a file descriptor per tensor and process.
    payload = pickle.dumps(assignment)
    handout = Handout(todo)
    threads = max(1, torch.get_num_threads() // len(devices))
    held = blocks_held(assignment.config, devices[0])
    idle = deque((device, 1) for device in devices)
    children: list[_Child] = []
    try:
        while len(handout) or any(child.held for child in children):
            while len(handout) and idle:
                children.append(_start(payload, *idle.popleft(), threads))
            for child in children:
                _feed(child, handout, held, len(devices))
            heard = wait([child.connection for child in children])
            for child in [c for c in children if c.connection in heard]:
                try:
                    kind, value = child.connection.recv()
                except (EOFError, ConnectionError):
                    children.remove(child)
                    child.process.join()
                    status = child.process.exitcode
                    if child.ready:
                        idle.append((child.device, 1))
                        yield from handout.lost(
                            child.held,
                            f"{MAX_DEATHS} processes have died here (exit status {status}; -9 is "
                            "often a lack of memory). Try a smaller block_px.",
                        )
                    elif child.start < _MAX_STARTS:
                        idle.append((child.device, child.start + 1))
                    elif not children and not idle:
                        raise DataError(_never_ready(status, len(devices))) from None
                    continue
                if kind == "ready":
                    child.ready = True
                elif kind == "outcome":
                    index, reason, spent = value
                    for stage, now in spent.items():
                        more = now - child.seconds.get(stage, 0.0)
                        seconds[stage] = seconds.get(stage, 0.0) + more
                    child.seconds = spent
                    block = next(b for b in child.held if b.index == index)
                    child.held.remove(block)
                    yield Outcome(block, reason)
                elif kind == "broken":
                    raise DataError(value)
                else:
                    raise RuntimeError(f"a process that maps blocks has failed:\n{value}")
        _dismiss([child for child in children if child.ready])
    finally:
        for child in children:
            child.process.kill()
            child.process.join()


def _never_ready(status: int | None, workers: int) -> str:
    return (
        f"processes end before they can map anything (exit status {status}). A script that maps in "
        'several processes does so under `if __name__ == "__main__":`. Else there may not be '
        f"enough memory for workers={workers}: try workers=1."
    )


def _start(payload: bytes, device: torch.device, start: int, threads: int) -> _Child:
    # A forked process cannot use a GPU that its parent has touched, and inherits GDAL's locks.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, payload, str(device), threads), daemon=True
    )
    try:
        process.start()
    except OSError as error:
        raise DataError(
            f"a process cannot be started ({error.strerror or error}). Try workers=1."
        ) from error
    theirs.close()
    return _Child(process, ours, device, start)


def _feed(child: _Child, handout: Handout, most: int, processes: int) -> None:
    """Give a process what it may hold, and the word to finish that when there is no more for it.

    Of what is left all processes get their share: none is to have `most` while others have none.
    """
    if not child.ready:
        return
    # One that dies meanwhile is found out when its end of the pipe is found closed.
    with contextlib.suppress(ConnectionError):
        if child.running or not child.held:
            share = -(-len(handout) // processes)
            blocks = handout.fresh(min(share, most - len(child.held)))
            child.held += blocks
            child.running = child.running or bool(blocks)
            for block in blocks:
                child.connection.send(block.index)
            if child.running and len(child.held) < most:
                child.running = False
                child.connection.send(None)
        if not child.held and (block_alone := handout.doubtful()) is not None:
            child.held.append(block_alone)
            child.connection.send(block_alone.index)
            child.connection.send(None)


def _dismiss(children: Sequence[_Child]) -> None:
    """Let processes that hold nothing end by themselves."""
    for child in children:
        with contextlib.suppress(ConnectionError):
            child.connection.send(None)
    for child in children:
        child.process.join(_FAREWELL_S)


def _serve(connection: Connection, payload: bytes, device: str, threads: int) -> None:
    """A process's life: blocks in and outcomes out, by number.

    None ends a run of blocks, whose last is then finished; None instead of a run ends the process.
    """
    torch.set_num_threads(threads)

    def run_from(first: int) -> Iterator[Block]:
        index: int | None = first
        while index is not None:
            yield blocks[index]
            index = connection.recv()

    try:
        assignment: Assignment = pickle.loads(payload)
        blocks = {block.index: block for block in assignment.job.plan.blocks}
        worker = Worker(assignment, torch.device(device))
        connection.send(("ready", None))
        while (first := connection.recv()) is not None:
            for outcome in worker.run(run_from(first)):
                told = (outcome.block.index, outcome.reason, dict(worker.clock.seconds))
                connection.send(("outcome", told))
    except (BocageError, OSError) as error:
        connection.send(("broken", str(error)))
    except Exception:  # noqa: BLE001 - a defect, which the parent raises with this traceback
        connection.send(("defect", traceback.format_exc()))
