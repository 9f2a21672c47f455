"""The same work on many jobs by several processes, in order and with bounded memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

from bocage.errors import BocageError, ConfigError, DataError

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with things done and their total."""


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Results of `work` on every job, in the order of the jobs.

    Worker k does every n-th job and waits until its result is taken, so that each holds one. One
    worker works in this process. An error of the user's kind ends the rest and is raised here.
    When this process is killed, each worker ends after the job in hand: nobody takes its result.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    # A fork of this process would copy GDAL's locks; the server is clean, and imports once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    pipes, processes = [], []
    try:
        for number in range(workers):
            taking, giving = context.Pipe(duplex=False)
            process = context.Process(
                target=_serve, args=(work, jobs[number::workers], giving), daemon=True
            )
            process.start()
            giving.close()
            pipes.append(taking)
            processes.append(process)
        for number in range(len(jobs)):
            try:
                value = pipes[number % workers].recv()
            except EOFError as error:
                raise DataError(
                    "a process died in the middle of its work, most likely for lack of memory. "
                    "What is finished is kept: run the same command again, with fewer --workers."
                ) from error
            if isinstance(value, BocageError):
                raise value
            yield value
    finally:
        for process in processes:
            process.terminate()
            process.join()
        for pipe in pipes:
            pipe.close()


def _serve(work: Callable[[Job], Result], jobs: Sequence[Job], giving: Connection) -> None:
    try:
        for job in jobs:
            giving.send(work(job))
    except BrokenPipeError:
        return
    except BocageError as error:
        giving.send(error)


def check_share(workers: int, shard: tuple[int, int]) -> None:
    """`ConfigError` for a number of workers or a shard that cannot be."""
    if workers < 1:
        raise ConfigError(f"workers is {workers}; it must be 1 or more.")
    part, parts = shard
    if not 1 <= part <= parts:
        raise ConfigError(f"shard is {part}/{parts}; it must be i/n with i from 1 to n.")
