"""`bocage map`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from bocage.cli import imagery
from bocage.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from bocage.cluster import Engine
    from bocage.mapping import Estimate, MapReport


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
    sentinel2_scale: imagery.Sentinel2Scale = None,
    sentinel2_offset: imagery.Sentinel2Offset = None,
    sentinel1_asc: imagery.Sentinel1 = None,
    sentinel1_asc_dates: imagery.Dates = None,
    sentinel1_desc: imagery.Sentinel1 = None,
    sentinel1_desc_dates: imagery.Dates = None,
    crs: Annotated[
        str | None, typer.Option(help="CRS of the map, metres, e.g. EPSG:2154 (default: finest's).")
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(help="Pixel size of a grid of its own, metres: the network's or a multiple."),
    ] = None,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="Left, bottom, right, top in the map's CRS.", metavar="L B R T"),
    ] = None,
    aoi: Annotated[
        str | None, typer.Option(help="Polygons to map: FILE or FILE:LAYER, any CRS.")
    ] = None,
    missing_tiles: Annotated[
        str | None, typer.Option(help="A tile that cannot be read: stop (default) or report.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="What runs the network: torch (default), onnxruntime or openvino."),
    ] = None,
    members: Annotated[
        list[Path] | None, typer.Option("--with", help="A further network, to average with.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Where blocks are computed: local (this machine) or ray.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster (default: one on this machine).")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only the i-th of n shares, such as 2/8; then: map merge.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Check, map a sample, and say what it will cost.")
    ] = False,
) -> None:
    """Map an area of any size: one Cloud-Optimised GeoTIFF per task on exactly the input's grid.

    An input is a file, a folder, pattern or list of tiles, an address, or a STAC document.

    Example: [bold]bocage map runs/demo --aerial tiles/ --sentinel2 s2.tif --dates d.txt
    --aoi commune.gpkg -o out[/bold]
    """
    from bocage.cli.console import console, progress, start_log
    from bocage.cli.shards import parse_shard
    from bocage.config import parse_options
    from bocage.mapping import MapConfig, estimate_map
    from bocage.mapping import map_area as run_map
    from bocage.models import load_bundle
    from bocage.training import RunFolder

    sources = imagery.sources(locals())
    words = list(overrides or [])
    given = {
        "backend": backend, "crs": crs, "resolution_m": resolution, "bounds": bounds, "aoi": aoi,
        "missing_tiles": missing_tiles,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if any(word.startswith(f"{name}=") for word in words):
            option = "resolution" if name == "resolution_m" else name.replace("_", "-")
            raise ConfigError(f"--{option} and {name}=… are both given. Give one of them.")
    config = parse_options(MapConfig, words, given)
    if engine not in ("local", "ray"):
        raise ConfigError(unknown_name("engine", engine, ("local", "ray")))
    share = None if shard is None else parse_shard(shard)
    if plan_only:
        _check_plain(shard, engine, address, config.workers)
    start_log()
    paths = [run, *(members or [])]
    weights = [RunFolder(path).bundle if path.is_dir() else path for path in paths]
    bundles = [load_bundle(path) for path in weights]
    if plan_only:
        cost = estimate_map(bundles, sources, config, output)
        for warning in cost.warnings:
            typer.echo(f"note: {warning}")
        console.print(describe(cost))
        return
    with progress(f"mapping {output}") as advance:
        report = run_map(
            bundles,
            sources,
            output,
            config,
            advance,
            share=share,
            engine=cast("Engine", engine),
            address=address,
            weights=weights,
        )
    if share is not None:
        typer.echo(f"share {shard} is done; when all are: bocage map merge {output}")
    raise typer.Exit(show(report, output))


def _check_plain(shard: str | None, engine: str, address: str | None, workers: int | None) -> None:
    """Refuse options that do not change what `--plan-only` says."""
    given = {"shard": shard, "engine": None if engine == "local" else engine, "address": address}
    found = [f"--{name} {value}" for name, value in given.items() if value is not None]
    found += [] if workers is None else [f"workers={workers}"]
    if found:
        raise ConfigError(
            f"--plan-only says what the whole map costs on one process of this machine. Leave out "
            f"{', '.join(found)}, and divide by your machines or processes."
        )


def show(report: MapReport, output: Path) -> int:
    """Print a report's notes and files; the exit code."""
    for warning in report.warnings:
        typer.echo(f"note: {warning}")
    for file in report.maps.values():
        typer.echo(file)
    if report.failed:
        where = f"; see {output / 'report.json'}" if report.maps else ""
        typer.echo(f"{len(report.failed)} blocks failed{where}\n{report.complaint}", err=True)
    return report.exit_code


def describe(cost: Estimate) -> str:
    """An estimate in a few lines."""
    stages = ", ".join(f"{stage} {_time(s)}" for stage, s in cost.seconds.items())
    return (
        f"{cost.height} x {cost.width} pixels, {cost.km2:.4g} km²: {cost.blocks} blocks, "
        f"{cost.windows} windows of {cost.window_px} px with an overlap of {cost.overlap_px} px\n"
        f"to read {_size(cost.read_bytes)} of pixels, to write {_size(cost.written_bytes)}, before "
        "compression\n"
        f"memory of one process {_size(cost.memory_bytes)}, and what the network needs\n"
        f"about {_time(cost.total_s)} on one process of this machine ({cost.device}): {stages}\n"
        f"scaled from a sample of {cost.sample_px / 1e6:.2g} megapixels"
    )


def _size(count: int) -> str:
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
