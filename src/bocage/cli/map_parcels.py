"""`bocage map parcels`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def parcels(
    class_map: Annotated[Path, typer.Argument(metavar="MAP", help="A finished class map.")],
    parcel_layer: Annotated[Path, typer.Argument(metavar="PARCELS", help="Polygons to decide.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="GeoPackage (.gpkg) or GeoParquet (.parquet).")
    ],
    inner_buffer: Annotated[
        float, typer.Option(help="Leave out pixels nearer than this to the border, metres.")
    ] = 0.0,
) -> None:
    """The class of each given parcel, by vote of its pixels.

    Example: [bold]bocage map parcels out/crops.tif parcels.gpkg -o voted.gpkg --inner-buffer
    5[/bold]
    """
    from bocage.cli.console import progress
    from bocage.mapping.parcels import write_parcels

    with progress(f"votes of {parcel_layer}") as advance:
        report = write_parcels(
            class_map, parcel_layer, output, inner_buffer_m=inner_buffer, progress=advance
        )
    typer.echo(f"{output}: {report.parcels} parcels")
    for finding, rows in report.findings.items():
        shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
        typer.echo(f"note: {finding}: {len(rows)} parcel(s), row(s) {shown}")
