"""What every command shows: log lines on the terminal and in a file, and a progress bar."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

console = Console(stderr=True)


def start_log(file: Path | None = None) -> None:
    """Log lines of `bocage` to the terminal and, appended, to `file`."""
    logger = logging.getLogger("bocage")
    logger.setLevel(logging.INFO)
    logger.handlers.clear()
    logger.addHandler(RichHandler(console=console, show_path=False, show_level=False, markup=False))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    # Lightning announces devices and tips on its own loggers; its warnings still come through.
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextlib.contextmanager
def progress(title: str, *, in_bytes: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar; call the value with items or bytes done and, where known, in total.

    It is first shown when it is called: what need not be done is not announced.
    """
    count: tuple[ProgressColumn, ...] = (MofNCompleteColumn(),)
    if in_bytes:
        count = (DownloadColumn(), TransferSpeedColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), *count, TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task = bar.add_task(title, total=None)

    def advance(done: int, total: int | None) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        bar.stop()
