"""`bocage map diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bocage.cli.fields import split_field
from bocage.errors import ConfigError


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The map of the first date.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The map of the second date.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    zones: Annotated[
        str | None, typer.Option(help="Polygons, with a field of names: communes.gpkg:nom.")
    ] = None,
    zones_layer: Annotated[
        str | None, typer.Option(help="Layer of the zones' file, where it has several.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Confidence that both maps must have, 0 to 1.")
    ] = None,
    min_area: Annotated[
        float | None, typer.Option(help="Size that a patch of one change must have, m².")
    ] = None,
    plane: Annotated[
        bool, typer.Option("--plane", help="Areas in the map's plane, not on the ground.")
    ] = False,
) -> None:
    """Change between two maps on one grid: a raster of from-to codes, its style, and hectares.

    Example: [bold]bocage map diff 2018/land-cover.tif 2024/land-cover.tif --min-confidence 0.8
    --min-area 500 -o change[/bold]
    """
    from bocage.cli.console import progress
    from bocage.config import parse_options
    from bocage.mapping.change import ChangeConfig, diff_maps
    from bocage.mapping.maps import open_map
    from bocage.mapping.zones import read_zones

    if zones_layer is not None and zones is None:
        raise ConfigError("--zones-layer belongs to --zones, which is not given.")
    config = parse_options(
        ChangeConfig,
        [],
        {"min_confidence": min_confidence, "min_area_m2": min_area, "on_ground": not plane},
    )
    first, second = open_map(before), open_map(after)
    places = None
    if zones is not None:
        path, field = split_field(zones)
        places = read_zones(Path(path), first.grid, field, zones_layer)
        typer.echo(f"{len(places)} zones, named by {places.field or 'their number'}")
    with progress(f"comparing {before.name}") as advance:
        report = diff_maps(first, second, output, config, places, advance)
    share = 100 * report.changed_ha / report.compared_ha if report.compared_ha else 0.0
    typer.echo(f"{report.changed_ha:,.2f} of {report.compared_ha:,.2f} ha changed ({share:.2f} %)")
    typer.echo(str(report.raster))
