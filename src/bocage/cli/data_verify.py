"""`bocage data verify`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 20


def verify(
    root: Annotated[Path, typer.Argument(help="The data set's folder.")],
    layout: Annotated[
        str,
        typer.Option(help="flair-hub, flair, treesatai, pastis, crop-cube, territory or packed."),
    ] = "flair-hub",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder. (default: ROOT/verify)")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds that one file may take to be read.")
    ] = 60.0,
    again: Annotated[
        bool, typer.Option("--again", help="Read also what is unchanged since an earlier run.")
    ] = False,
) -> None:
    """Read every file of a data set and list what is wrong with it.

    Started again, it goes on where it stopped, and reads only what has changed since. Exit code 1
    when there is an error.

    Example: [bold]bocage data verify FLAIR-HUB --layout flair-hub -o findings[/bold]
    """
    from bocage.cli.console import progress
    from bocage.data import verify_dataset

    with progress(f"checking {root}") as advance:
        report = verify_dataset(
            root,
            layout,
            output,
            workers=workers or os.cpu_count() or 1,
            time_limit_s=time_limit,
            again=again,
            progress=advance,
        )
    for line in report.lines(_SHOWN):
        typer.echo(line)
    typer.echo(f"{report.read:,} patches read now; findings in {report.folder}")
    if not report.clean:
        raise typer.Exit(1)
