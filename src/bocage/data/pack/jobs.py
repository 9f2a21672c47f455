"""The same work on many shards, by several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from bocage.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Results of `work` on every job, in the order in which they are done.

    One worker works in this process. The first error ends the rest: jobs that have not begun are
    dropped, those that have begun are waited for.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    # A fork of this process would copy GDAL's locks; the server is clean, and imports once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    # Ctrl-C reaches every process: only this one answers, by waiting for what has begun.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=ignore)
    try:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process died in the middle of its work, most likely for lack of memory. Finished "
            "shards are kept: run the same command again, with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
