"""`bocage map`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bocage.cli import imagery
from bocage.errors import ConfigError


def map_area(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a model.safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. overlap_px=256", metavar="K=V…")
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
    sentinel1_asc: imagery.Sentinel1 = None,
    sentinel1_asc_dates: imagery.Dates = None,
    sentinel1_desc: imagery.Sentinel1 = None,
    sentinel1_desc_dates: imagery.Dates = None,
    backend: Annotated[
        str | None,
        typer.Option(help="What runs the network: torch (default), onnxruntime or openvino."),
    ] = None,
) -> None:
    """Map an area of any size: one Cloud-Optimised GeoTIFF per task on exactly the input's grid.

    Example: [bold]bocage map runs/demo --aerial ortho.tif --sentinel2 s2.tif --dates d.txt
    -o out[/bold]
    """
    from bocage.cli.console import progress, start_log
    from bocage.config import parse_options
    from bocage.mapping import MapConfig
    from bocage.mapping import map_area as run_map
    from bocage.models import load_bundle
    from bocage.training import RunFolder

    sources = imagery.sources(locals())
    words = list(overrides or [])
    if backend is not None:
        if any(word.startswith("backend=") for word in words):
            raise ConfigError("--backend and backend=… are both given. Give one of them.")
        words.append(f"backend={backend}")
    config = parse_options(MapConfig, words)
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
