"""Doing a plan: several archives on their way at once, unpacked while the next ones load."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from bocage.data.download.plan import AHEAD, WORK, Item, Plan
from bocage.data.download.unpack import unpack
from bocage.errors import BocageError, DataError
from bocage.transfer import PATIENT, Patience, exclusive, fetch

Phase = Literal["fetch", "unpack", "done", "failed"]


@dataclass(frozen=True)
class Step:
    """How far one archive is; `done` and `total` in bytes of its phase."""

    name: str
    phase: Phase
    done: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """What became of a plan's missing archives."""

    done: tuple[str, ...]
    failed: dict[str, str]
    """Folder to what happened."""


def download(
    plan: Plan,
    *,
    listen: Callable[[Step], None] | None = None,
    patience: Patience = PATIENT,
) -> Outcome:
    """Fetch and unpack what is missing.

    `listen` is called from several threads. One archive's failure does not stop the others, but
    when as many fail in a row as are fetched at once (three at least) the rest is not tried: the
    server is gone, or the disk full.

    Raises `DataError` before anything is fetched when the disk is too small, and when another
    process downloads to the same folder.
    """
    if not plan.missing:
        return Outcome((), {})
    if plan.free < plan.needed:
        raise DataError(
            f"{plan.config.output}: about {plan.needed / 1e9:.1f} GB are needed to fetch and "
            f"unpack, {plan.free / 1e9:.1f} GB are free. Nothing was fetched. Make room, choose "
            "another disk with --output, or fewer domains or modalities."
        )
    work = plan.config.output / WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{work}: cannot be made ({error.strerror}).") from error
    lock = work / "lock"
    with exclusive(lock, plan.config.output):
        outcome = _Run(plan, listen or (lambda step: None), patience).go()
        lock.unlink()
    with suppress(OSError):  # what is kept for the next run keeps the folder
        work.rmdir()
    return outcome


class _Run:
    """The state of one download; all of it is changed by the calling thread alone."""

    def __init__(self, plan: Plan, listen: Callable[[Step], None], patience: Patience) -> None:
        self.connections = plan.config.connections
        self.listen = listen
        self.patience = patience
        self.stop = threading.Event()
        self.queue = deque(plan.missing)
        self.active: dict[Future[None], tuple[Item, Phase]] = {}
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.failures_in_a_row = 0

    def go(self) -> Outcome:
        """Until nothing is left; an interruption waits for the threads, which end soon."""
        with (
            ThreadPoolExecutor(self.connections, "fetch") as fetchers,
            ThreadPoolExecutor(1, "unpack") as unpacker,
        ):
            try:
                while self.queue or self.active:
                    self._start(fetchers)
                    finished, _ = wait(self.active, return_when=FIRST_COMPLETED)
                    for future in finished:
                        self._finish(future, unpacker)
            finally:
                self.stop.set()
                fetchers.shutdown(wait=False, cancel_futures=True)
                unpacker.shutdown(wait=False, cancel_futures=True)
        return Outcome(tuple(self.done), self.failed)

    def _start(self, fetchers: ThreadPoolExecutor) -> None:
        """Begin fetching as much as connections and waiting archives allow."""
        while self.queue and len(self.active) < self.connections + AHEAD:
            fetching = sum(phase == "fetch" for _, phase in self.active.values())
            if fetching >= self.connections:
                return
            item = self.queue.popleft()
            self.active[fetchers.submit(self._fetch, item)] = (item, "fetch")

    def _finish(self, future: Future[None], unpacker: ThreadPoolExecutor) -> None:
        item, phase = self.active.pop(future)
        name = item.archive.folder
        try:
            future.result()
        except CancelledError:
            self.failed[name] = "not finished: given up after the failures of others"
        except BocageError as error:
            self.failed[name] = str(error)
            self.listen(Step(name, "failed", 0, item.size))
            self.failures_in_a_row += 1
            if self.failures_in_a_row >= max(3, self.connections):
                self._give_up()
        else:
            if phase == "fetch":
                self.active[unpacker.submit(self._unpack, item)] = (item, "unpack")
                return
            self.done.append(name)
            self.failures_in_a_row = 0
            self.listen(Step(name, "done", item.size, item.size))

    def _give_up(self) -> None:
        self.stop.set()
        for item in self.queue:
            self.failed[item.archive.folder] = "not tried after the failures of others"
        self.queue.clear()

    def _fetch(self, item: Item) -> None:
        def advance(done: int, total: int | None) -> None:
            self.listen(Step(item.archive.folder, "fetch", done, total or item.size))

        advance(0, None)
        for other in item.zip.parent.glob(f"*{item.archive.folder}.*"):
            if item.zip.name not in other.name and other.is_file():
                other.unlink()  # of another version
        # The name carries the version, and was given when the content had been checked.
        if not (item.source.version and item.zip.is_file()):
            fetch(item.source, item.zip, advance=advance, patience=self.patience, stop=self.stop)

    def _unpack(self, item: Item) -> None:
        def advance(done: int, total: int) -> None:
            self.listen(Step(item.archive.folder, "unpack", done, total))

        any_top = item.archive.any_top
        unpack(item.zip, item.folder, any_top=any_top, advance=advance, stop=self.stop)
        item.zip.unlink()
