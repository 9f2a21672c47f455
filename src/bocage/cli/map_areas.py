"""`bocage map areas`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bocage.cli.fields import split_field
from bocage.errors import ConfigError


def areas(
    source: Annotated[Path, typer.Argument(metavar="MAP", help="A finished class map.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Table to write: .csv, .parquet, or .gpkg of zones."),
    ],
    zones: Annotated[
        str | None, typer.Option(help="Polygons, with a field of names: communes.gpkg:nom.")
    ] = None,
    zones_layer: Annotated[
        str | None, typer.Option(help="Layer of the zones' file, where it has several.")
    ] = None,
    confusion: Annotated[
        Path | None,
        typer.Option(help="Validation: scores.json of 'bocage evaluate', or a CSV of counts."),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(help="Validation: points, with a field of true classes: points.gpkg:class."),
    ] = None,
    confidence_level: Annotated[
        float | None, typer.Option(help="Of all intervals (default: 0.95).")
    ] = None,
    plane: Annotated[
        bool, typer.Option("--plane", help="Areas in the map's plane, not on the ground.")
    ] = False,
) -> None:
    """Hectares per class, of the whole map and of each zone, with bounds and unbiased estimates.

    Example: [bold]bocage map areas out/land-cover.tif --zones communes.gpkg:nom
    --samples points.gpkg:class -o hectares.csv[/bold]
    """
    from bocage.cli.console import progress
    from bocage.mapping.area_table import check_format, estimate_whole, measure_areas, write_table
    from bocage.mapping.maps import check_not_input, open_map
    from bocage.mapping.samples import read_samples
    from bocage.mapping.validation import read_validation
    from bocage.mapping.zones import read_zones

    if zones_layer is not None and zones is None:
        raise ConfigError("--zones-layer belongs to --zones, which is not given.")
    if confusion is not None and samples is not None:
        raise ConfigError("--confusion and --samples: one validation at a time. Give one of them.")
    check_format(output, zones is not None)
    opened = open_map(source)
    others = [Path(split_field(file)[0]) for file in (zones, samples) if file is not None]
    check_not_input(
        [output], [*opened.files, *others, *([confusion] if confusion is not None else ())]
    )
    places = None
    if zones is not None:
        path, field = split_field(zones)
        places = read_zones(Path(path), opened.grid, field, zones_layer)
        typer.echo(f"{len(places)} zones, named by {places.field or 'their number'}")
    validation = read_validation(confusion, opened) if confusion is not None else None
    if samples is not None:
        path, field = split_field(samples)
        validation = read_samples(Path(path), opened, field)
        for note in validation.notes:
            typer.echo(f"note: {note}")
    with progress(f"counting {source.name}") as advance:
        table = measure_areas(
            opened,
            places,
            validation,
            level=confidence_level,
            on_ground=not plane,
            progress=advance,
        )
    write_table(output, table, places, opened)
    whole = table[table["zone"] == table["zone"].iloc[0]].head(table["class_id"].nunique())
    for row in whole[whole["ha"] > 0].to_dict("records"):
        estimated = (
            f"   estimate {row['estimate_ha']:,.2f}"
            f" ({row['estimate_low']:,.2f} to {row['estimate_high']:,.2f})"
            if "estimate_ha" in row
            else ""
        )
        typer.echo(f"{row['class']:<28}{row['ha']:>16,.2f} ha{estimated}")
    if validation is not None:
        estimate = estimate_whole(whole, validation, confidence_level)
        low, high = (100 * end for end in estimate.overall_interval())
        unknown = 100 * estimate.open_K.sum()
        if unknown:
            typer.echo(f"overall accuracy {low:.1f} to {high:.1f} %")
            typer.echo(
                f"note: {unknown:.1f} % of the map is of classes that the validation has fewer "
                "than two units of; all intervals hold that they could be anything."
            )
        else:
            typer.echo(f"overall accuracy {100 * estimate.overall:.1f} % ({low:.1f} to {high:.1f})")
    outside = table.loc[table["covered"] == 0, "zone"].unique()
    if len(outside):
        shown = ", ".join(outside[:8])
        typer.echo(f"note: {len(outside)} zones lie outside the map: {shown}")
    typer.echo(str(output))
