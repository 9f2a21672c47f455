"""Work in processes that are watched: one that hangs or dies is replaced, and its job told apart.

A file can make a reading library loop for hours, ask for all memory, or crash. None of that may end
a check of millions of files, or hide which one it was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from bocage.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")

Work = Callable[[Job, Callable[[str], None]], Result]
"""A job and a function that says what is begun, to a result."""

_READY, _BEGUN, _DONE = range(3)
# A process imports a good part of the scientific Python before it is ready, from a slow disk too.
_START_S = 120.0
_LONGEST_WAIT_S = 1.0
# Slow to import, and needed by whoever reads.
_PRELOADED = "bocage.data.layouts"


@dataclass(frozen=True)
class Limits:
    """What one step of a job may take: wall-clock seconds, and memory beyond the idle process."""

    seconds: float = 60.0
    memory_bytes: int = 2**30


@dataclass(frozen=True)
class Stopped(Generic[Job]):
    """A job whose process was killed after the time limit, or died by itself, and where."""

    job: Job
    step: str
    reason: str


@dataclass(frozen=True)
class Done(Generic[Job, Result]):
    """A job and its result.

    `peak_bytes` is the most memory that its process has held so far, beyond the idle process.
    """

    job: Job
    result: Result
    peak_bytes: int


def watch(
    work: Work[Job, Result],
    jobs: Iterable[Job],
    workers: int,
    limits: Limits,
    again: Callable[[Stopped[Job]], Job | None],
) -> Iterator[Done[Job, Result] | Stopped[Job]]:
    """Results in the order in which they are done, with at most `workers` jobs under way.

    `work` and jobs are pickled. A stopped job goes to `again`, which gives the job to try in its
    place, or None: then it is among the results as `Stopped`.
    """
    source, waiting = iter(jobs), deque[Job]()
    crew: list[_Worker[Job, Result]] = []

    def next_job() -> Job | None:
        return waiting.popleft() if waiting else next(source, None)

    try:
        crew += [_Worker(work, limits) for _ in range(max(1, workers))]
        while True:
            for place, worker in enumerate(crew):
                yield from worker.answers()
                stopped = worker.stopped()
                if stopped is not None:
                    worker.kill()
                    crew[place] = _Worker(work, limits)
                    retry = again(stopped)
                    if retry is None:
                        yield stopped
                    else:
                        waiting.append(retry)
            for worker in crew:
                if worker.ready and worker.job is None:
                    job = next_job()
                    if job is None:
                        break
                    worker.give(job)
            if all(worker.job is None for worker in crew):
                job = next_job()
                if job is None:
                    return
                waiting.appendleft(job)
            _sleep(crew)
    finally:
        for worker in crew:
            worker.kill()


def _sleep(crew: Sequence[_Worker[Any, Any]]) -> None:
    """Until a process says something, or the next deadline."""
    speaking = [worker for worker in crew if worker.job is not None or not worker.ready]
    soonest = min(worker.deadline for worker in speaking) - time.monotonic()
    wait([worker.pipe for worker in speaking], timeout=min(max(soonest, 0.0), _LONGEST_WAIT_S))


class _Worker(Generic[Job, Result]):
    """One process, its pipe, and what it is at."""

    def __init__(self, work: Work[Job, Result], limits: Limits) -> None:
        # A fork of this process would copy GDAL's locks; the server is clean, and imports once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_PRELOADED, getattr(work, "func", work).__module__])
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(work, theirs, limits.memory_bytes), daemon=True
        )
        self._process.start()
        theirs.close()
        self._limits = limits
        self.job: Job | None = None
        self.ready = False
        self._step = ""
        self._ended = False
        self.deadline = time.monotonic() + _START_S

    def give(self, job: Job) -> None:
        self.job, self._step = job, ""
        self.deadline = time.monotonic() + self._limits.seconds
        try:
            self.pipe.send(job)
        except OSError:
            self._ended = True

    def answers(self) -> Iterator[Done[Job, Result]]:
        """What the process has said since the last call."""
        while not self._ended:
            try:
                if not self.pipe.poll():
                    return
                kind, value, peak = self.pipe.recv()
            except (EOFError, OSError):
                self._ended = True
                return
            self.deadline = time.monotonic() + self._limits.seconds
            if kind == _READY:
                self.ready = True
                self.deadline = float("inf")
            elif kind == _BEGUN:
                self._step = value
            else:
                job, self.job = self.job, None
                self.deadline = float("inf")
                assert job is not None
                yield Done(job, value, peak)

    def stopped(self) -> Stopped[Job] | None:
        """The job that must be given up, if it must."""
        late = time.monotonic() > self.deadline
        if not self._ended and not late:
            return None
        if self.job is None:
            raise DataError(
                "a checking process does not start or ends by itself, most likely for lack of "
                "memory. Run the same command again, with fewer --workers."
            )
        reason = f"not read within {self._limits.seconds:g} s"
        if self._ended:
            self._process.join(5)
            reason = f"the reading process died ({_exit(self._process.exitcode)})"
        return Stopped(self.job, self._step, reason)

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.close()
        self._process.kill()
        self._process.join()
        self._process.close()


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _serve(work: Work[Any, Any], pipe: Connection, memory_bytes: int) -> None:
    """The life of a process: jobs in, results out, until the other end closes."""
    # Ctrl-C reaches every process: only the one that watches answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory(memory_bytes)
    idle = _peak_bytes()

    def begin(step: str) -> None:
        pipe.send((_BEGUN, step, 0))

    # The other end may be gone at any time: killed, and with it the need for this process.
    with contextlib.suppress(EOFError, OSError):
        pipe.send((_READY, None, 0))
        while True:
            result = work(pipe.recv(), begin)
            pipe.send((_DONE, result, _peak_bytes() - idle))


def _limit_memory(extra_bytes: int) -> None:
    """Let this process take so much more memory than now; then allocations fail, as they should.

    Counted is what the process may write to; files mapped for reading are free.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    used = 1024 * int(fields["VmData"].split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = used + extra_bytes
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
