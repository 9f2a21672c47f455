"""`bocage map style`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def style(
    source: Annotated[Path, typer.Argument(metavar="MAP", help="A finished class map.")],
    language: Annotated[
        Literal["en", "fr"], typer.Option(help="Of the class names in the legend.")
    ] = "en",
) -> None:
    """Write QGIS styles beside a map and its confidence, loaded with them: legend and ramp.

    Example: [bold]bocage map style out/land-cover.tif --language fr[/bold]
    """
    from bocage.mapping.maps import open_map
    from bocage.mapping.styles import style_map

    for file in style_map(open_map(source), language):
        typer.echo(str(file))
