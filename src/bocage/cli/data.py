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
_LAYOUT = typer.Option(help="flair-hub, flair, treesatai, pastis, crop-cube, territory or packed.")


@app.command("index")
def index(
    root: Annotated[Path, _ROOT],
    layout: Annotated[str, _LAYOUT] = "flair-hub",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="(default: ROOT/index.parquet)")
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
    root: Annotated[Path, typer.Option(help="The data set's folder.")],
    patch: Annotated[str | None, typer.Argument(help="Patch id, as in the index.")] = None,
    layout: Annotated[str, _LAYOUT] = "flair-hub",
    index: Annotated[
        Path | None, typer.Option(help="Its index. (default: ROOT/index.parquet)")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="(default: what is shown, .png)")
    ] = None,
    roi: Annotated[
        str | None, typer.Option(help="Show all patches of an ROI instead: D004-2021_AA-S1-32.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Show examples of a class instead: greenhouse.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Examples. (default: 12)")] = None,
) -> None:
    """Draw a patch with every sensor and its curves, an ROI as a mosaic, or examples of a class.

    Example: [bold]bocage data show D004-2021_AA-S1-32_1-1 --root FLAIR-HUB[/bold]
    """
    from bocage.cli.console import progress
    from bocage.data import open_index, show_class, show_patch, show_roi
    from bocage.errors import ConfigError

    shown = [what for what in (patch, roi, class_name) if what is not None]
    if len(shown) != 1:
        raise ConfigError("name one thing to show: a patch, --roi, or --class.")
    if count is not None and class_name is None:
        raise ConfigError("--count has no effect without --class.")
    target = output or Path(f"{shown[0].replace(':', '_').replace('/', '_')}.png")
    with progress(f"indexing {root}") as advance:
        table = open_index(root, layout, index, progress=advance)
    if patch is not None:
        show_patch(root, layout, table.record(patch), target)
    elif roi is not None:
        show_roi(root, table, roi, target)
    else:
        show_class(root, table, shown[0], target, 12 if count is None else count)
    typer.echo(str(target))


@app.command("export")
def export(
    patch: Annotated[str, typer.Argument(help="Patch id, as in the index.")],
    root: Annotated[Path, typer.Option(help="The data set's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    layout: Annotated[str, _LAYOUT] = "flair-hub",
    index: Annotated[
        Path | None, typer.Option(help="Its index. (default: ROOT/index.parquet)")
    ] = None,
) -> None:
    """Write a patch's sensors as GeoTIFFs and date files, and say how to map them.

    Example: [bold]bocage data export D004-2021_AA-S1-32_1-1 --root FLAIR-HUB -o patch[/bold]
    """
    from bocage.cli.console import progress
    from bocage.cli.imagery import options_of
    from bocage.data import export_patch, open_index

    with progress(f"indexing {root}") as advance:
        table = open_index(root, layout, index, progress=advance)
    words = [
        word
        for made in export_patch(root, layout, table.record(patch), output)
        for word in options_of(made.modality, made.raster, made.dates, made.mask)
    ]
    typer.echo(f"bocage map RUN {' '.join(words)} -o MAP")
