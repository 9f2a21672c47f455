"""`bocage data cut`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bocage.cli import imagery
from bocage.cli.fields import split_field
from bocage.errors import ConfigError


def cut(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, e.g. tile_px=256 crs=EPSG:2154", metavar="K=V…"),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Polygons with their field (parcels.gpkg:crop), or a raster of ids."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What the labels are: a task, or a class list's YAML file.")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Class of ground under no polygon (default: not known).")
    ] = None,
    aerial: imagery.Aerial = None,
    rgb: imagery.Rgb = None,
    historical: imagery.Historical = None,
    elevation: imagery.Elevation = None,
    height: imagery.Height = None,
    spot: imagery.Spot = None,
    sentinel2: imagery.Sentinel2 = None,
    sentinel2_dates: imagery.Sentinel2Dates = None,
    sentinel2_mask: imagery.Sentinel2Mask = None,
    sentinel2_scale: imagery.Sentinel2Scale = None,
    sentinel2_offset: imagery.Sentinel2Offset = None,
    sentinel1_asc: imagery.Sentinel1 = None,
    sentinel1_asc_dates: imagery.Dates = None,
    sentinel1_desc: imagery.Sentinel1 = None,
    sentinel1_desc_dates: imagery.Dates = None,
    pack: Annotated[
        bool, typer.Option(help="Copy the pixels into packed records; else they are read in place.")
    ] = True,
    keep_unlabelled: Annotated[
        bool, typer.Option("--keep-unlabelled", help="Keep patches without any label too.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)")
    ] = None,
) -> None:
    """Cut rasters and labels of your own into patches, and write a configuration to train with.

    Files on other grids and in other CRS are aligned to the finest one.

    Example: [bold]bocage data cut --rgb drone.tif --labels roofs.gpkg:kind --task roofs.yaml
    -o roofs[/bold]
    """
    sources = imagery.sources(locals())

    from bocage.cli.console import progress, start_log
    from bocage.config import parse_options
    from bocage.data.territory.config import TerritoryConfig
    from bocage.data.territory.cut import cut_territory

    given: dict[str, Any] = {
        "sources": {
            source.modality: {
                "path": str(source.path), "bands": source.bands, "dates": source.dates,
                "mask": None if source.mask is None else str(source.mask),
                "scale": source.scale, "offset": source.offset,
            }
            for source in sources
        }
    }  # fmt: skip
    if not sources:
        raise ConfigError("no imagery is given. Name at least one raster, such as --rgb ortho.tif.")
    if labels is None:
        if task is not None or background is not None:
            raise ConfigError("--task and --background belong to --labels, which is not given.")
    elif task is None:
        raise ConfigError(f"--labels {labels}: say with --task what they are.")
    else:
        path, field = split_field(labels)
        given["labels"] = {"path": path, "field": field, "task": task, "background": background}
    config = parse_options(TerritoryConfig, overrides or [], given)
    start_log()
    with progress(f"cutting into {output}") as advance:
        report = cut_territory(
            config,
            output,
            pack=pack,
            keep_unlabelled=keep_unlabelled,
            workers=workers or os.cpu_count() or 1,
            progress=lambda what, done, total: advance(done, total),
        )
    shares = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    typer.echo(f"{report.patches} patches ({shares}), {report.empty} empty squares left out")
    typer.echo(f"train on them with: bocage train {report.run} -o RUN")
    for note in report.notes:
        typer.echo(f"note: {note}")
    for problem in report.problems:
        typer.echo(f"left out: {problem}", err=True)
    if report.problems:
        raise typer.Exit(1)
