"""`bocage map merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    output: Annotated[Path, typer.Argument(help="The folder in which the shares worked.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Finish although blocks are missing: nodata there.")
    ] = False,
) -> None:
    """Finish a map whose blocks were computed with --shard: files, overviews and report.

    Example: [bold]bocage map merge out[/bold]
    """
    from bocage.cli.map_area import show
    from bocage.mapping import merge_shares

    raise typer.Exit(show(merge_shares(output, partial), output))
