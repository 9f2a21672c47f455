"""The same work on many shards: by several processes, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from bocage.cluster import ray_cluster
from bocage.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")
_RETRIES = 3
"""Times that a job is given out again when its worker has died."""


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


def run_on_ray(
    work: Callable[[Job], Result], jobs: Sequence[Job], address: str | None
) -> Iterator[Result]:
    """Results of `work` on every job by a task on one core each, in the order they are done.

    A task whose worker or machine is lost is given out again. The first error ends the rest.
    """
    with ray_cluster(address) as ray:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(work)
        running = [task.remote(job) for job in jobs]
        try:
            while running:
                ready, running = ray.wait(running, num_returns=1)
                yield ray.get(ready[0])
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
            raise DataError(
                f"workers of the cluster died {_RETRIES + 1} times at one shard, most likely for "
                "lack of memory. Finished shards are kept: run the same command again, on machines "
                "with more memory per core."
            ) from error
        finally:
            for left in running:
                ray.cancel(left)
