"""`bocage demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("demo"),
) -> None:
    """Simulate, train with and without the series, evaluate, map 1 km², and write one page.

    Example: [bold]bocage demo demo[/bold], then open demo/index.html
    """
    from bocage.cli.console import progress, start_log
    from bocage.demo import run_demo

    start_log(out / "log.txt")
    page = run_demo(out, progress)
    typer.echo(f"open {page}")
