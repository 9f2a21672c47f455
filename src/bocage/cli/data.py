"""`bocage data`: index and show; download and pack stand in files of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bocage.cli import data_cut, data_describe, data_download, data_pack, data_verify

app = typer.Typer(help="Get, index and look at imagery.", no_args_is_help=True)
app.command("cut")(data_cut.cut)
app.command("describe")(data_describe.describe)
app.command("download")(data_download.download)
app.command("pack")(data_pack.pack)
app.command("split")(data_describe.split)
app.command("verify")(data_verify.verify)

_ROOT = typer.Argument(help="The data set's folder.")
_LAYOUT = typer.Option(help="flair-hub, flair, treesatai or crop-cube.")


@app.command("index")
def index(
    root: Annotated[Path, _ROOT],
    layout: Annotated[str, _LAYOUT] = "flair-hub",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="[default: ROOT/index.parquet]")
    ] = None,
    clear_dates: Annotated[
        bool, typer.Option(help="Also count the clear Sentinel-2 dates of every patch.")
    ] = True,
) -> None:
    """Read a data set once and write one row per patch: place, split, dates, classes, files.

    Example: [bold]bocage data index FLAIR-HUB --layout flair-hub[/bold]
    """
    from bocage.cli.console import progress
    from bocage.data import add_clear_dates, build_index, index_path

    target = output or index_path(root)
    with progress(f"indexing {root}") as advance:
        table = build_index(root, layout, progress=advance)
    table.write(target)
    if clear_dates:
        with progress("counting clear dates") as advance:
            table = add_clear_dates(root, table, os.cpu_count() or 1, advance)
        table.write(target)
    typer.echo(f"{len(table)} patches in {target}")
    for problem in table.problems:
        typer.echo(f"left out: {problem}", err=True)
    if table.problems:
        raise typer.Exit(1)


@app.command("show")
def show(
    patch: Annotated[str, typer.Argument(help="Patch id, as in the index.")],
    root: Annotated[Path, typer.Option(help="The data set's folder.")],
    layout: Annotated[str, _LAYOUT] = "flair-hub",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="[default: PATCH.png]")
    ] = None,
) -> None:
    """Draw a patch: every sensor, both labels, the NDVI and VH curves with cloudy dates marked.

    Example: [bold]bocage data show D004-2021_AA-S1-32_1-1 --root FLAIR-HUB[/bold]
    """
    from bocage.cli.console import progress
    from bocage.data import open_index, show_patch

    with progress(f"indexing {root}") as advance:
        table = open_index(root, layout, progress=advance)
    target = output or Path(f"{patch}.png")
    show_patch(root, layout, table.record(patch), target)
    typer.echo(str(target))
