"""`bocage map polygons`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def polygons(
    class_map: Annotated[Path, typer.Argument(metavar="MAP", help="A finished class map.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="GeoPackage (.gpkg) or GeoParquet (.parquet).")
    ],
    min_area: Annotated[
        float | None, typer.Option(help="Smallest polygon, m²; smaller ones join a neighbour.")
    ] = None,
    simplify: Annotated[
        float | None, typer.Option(help="How far a simplified border may stray, metres.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes to write, e.g. building,water. Default: all.")
    ] = None,
    tile_km: Annotated[
        float | None,
        typer.Option(
            help="Cut polygons along a grid of this many km, which bounds memory "
            "(default: none up to a gigapixel, then 32 768 pixels)."
        ),
    ] = None,
) -> None:
    """Polygons of a class map, in one layer, without gaps or overlaps.

    Example: [bold]bocage map polygons out/cover.tif -o cover.gpkg --min-area 50 --simplify
    0.5[/bold]
    """
    from bocage.cli.console import progress
    from bocage.config import parse_options
    from bocage.mapping.polygons import PolygonConfig, write_polygons

    given = {
        "min_area_m2": min_area,
        "simplify_m": simplify,
        "classes": None if classes is None else [name.strip() for name in classes.split(",")],
        "tile_km": tile_km,
    }
    config = parse_options(PolygonConfig, [], given)
    with progress(f"polygons of {class_map}") as advance:
        report = write_polygons(class_map, output, config, progress=advance)
    typer.echo(f"{output}: {report.polygons} polygons")
    if min_area is not None:
        typer.echo(f"note: {report.absorbed} patches below {min_area:g} m² joined a neighbour")
    if report.cut_km is not None:
        typer.echo(
            f"note: polygons are cut along squares of {report.cut_km:g} km, as the map is larger "
            "than a gigapixel; --tile-km sets another size."
        )
