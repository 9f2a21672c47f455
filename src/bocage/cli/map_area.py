"""`bocage map`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bocage.errors import ConfigError

_FILE = "FILE or FILE:BANDS (e.g. ortho.tif:1,2,3,4)"


def split_bands(text: str) -> tuple[str, tuple[int, ...] | None]:
    """A file and the bands chosen behind a colon: `a.tif:4,1,2` to ("a.tif", (4, 1, 2))."""
    match = re.fullmatch(r"(.+):(\d+(?:,\d+)*)", text)
    if match is None:
        return text, None
    return match.group(1), tuple(int(band) for band in match.group(2).split(","))


def map_area(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a model.safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. overlap_px=256", metavar="K=V…")
    ] = None,
    aerial: Annotated[str | None, typer.Option(help=f"Red, green, blue, NIR: {_FILE}.")] = None,
    historical: Annotated[str | None, typer.Option(help="Panchromatic.")] = None,
    elevation: Annotated[str | None, typer.Option(help="Surface and terrain, metres.")] = None,
    height: Annotated[str | None, typer.Option(help="Object height, uint8, 0.2 m.")] = None,
    spot: Annotated[str | None, typer.Option(help="Red, green, blue, NIR reflectance.")] = None,
    sentinel2: Annotated[str | None, typer.Option(help="Ten bands per date.")] = None,
    sentinel2_dates: Annotated[
        Path | None, typer.Option("--sentinel2-dates", "--dates", help="One date per line.")
    ] = None,
    sentinel2_mask: Annotated[
        str | None, typer.Option(help="Snow and cloud probability per date.")
    ] = None,
    sentinel1_asc: Annotated[str | None, typer.Option(help="VV and VH per date, linear.")] = None,
    sentinel1_asc_dates: Annotated[Path | None, typer.Option(help="One date per line.")] = None,
    sentinel1_desc: Annotated[str | None, typer.Option(help="VV and VH per date, linear.")] = None,
    sentinel1_desc_dates: Annotated[Path | None, typer.Option(help="One date per line.")] = None,
) -> None:
    """Map an area of any size: one Cloud-Optimised GeoTIFF per task on exactly the input's grid.

    Example: [bold]bocage map runs/demo --aerial ortho.tif --sentinel2 s2.tif --dates d.txt
    -o out[/bold]
    """
    from bocage.cli.console import progress, start_log
    from bocage.config import parse_options
    from bocage.mapping import MapConfig, Source
    from bocage.mapping import map_area as run_map
    from bocage.models import load_bundle
    from bocage.training import RunFolder

    config = parse_options(MapConfig, overrides or [])
    given = {
        "aerial": (aerial, None, None),
        "historical": (historical, None, None),
        "elevation": (elevation, None, None),
        "height": (height, None, None),
        "spot": (spot, None, None),
        "sentinel2": (sentinel2, sentinel2_dates, sentinel2_mask),
        "sentinel1-asc": (sentinel1_asc, sentinel1_asc_dates, None),
        "sentinel1-desc": (sentinel1_desc, sentinel1_desc_dates, None),
    }
    sources = []
    for modality, (text, dates, mask) in given.items():
        if text is not None:
            path, bands = split_bands(text)
            sources.append(Source(modality, path, dates, mask, bands))
        elif dates is not None or mask is not None:
            raise ConfigError(f"dates or a mask are given for {modality}, but not its images")
    bundle_path = RunFolder(run).bundle if run.is_dir() else run
    start_log()
    with progress(f"mapping {output}") as advance:
        report = run_map(load_bundle(bundle_path), sources, output, config, progress=advance)
    for warning in report.warnings:
        typer.echo(f"note: {warning}")
    for file in report.maps.values():
        typer.echo(file)
    if report.failed:
        typer.echo(f"{len(report.failed)} blocks failed; see {output / 'report.json'}", err=True)
    raise typer.Exit(report.exit_code)
