"""`bocage map`: an area (`map_area`), and what is made of a finished map (the other commands)."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from bocage.cli import (
    map_area,
    map_areas,
    map_diff,
    map_merge,
    map_parcels,
    map_polygons,
    map_style,
)


class _AreaUnlessNamed(TyperGroup):
    """`bocage map RUN …` is `bocage map area RUN …`: the main job needs no further word.

    A run's folder that has the name of a command is written as `./merge`.
    """

    # Any: typer has moved click inside itself, and older ones import it.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["area", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_AreaUnlessNamed,
    help="Map an area: bocage map RUN --aerial ortho.tif -o OUT (bocage map area --help). "
    "Polygons, hectares and changes of finished maps.",
    no_args_is_help=True,
)
app.command("area")(map_area.map_area)
app.command("merge")(map_merge.merge)
app.command("areas")(map_areas.areas)
app.command("diff")(map_diff.diff)
app.command("style")(map_style.style)
app.command("polygons")(map_polygons.polygons)
app.command("parcels")(map_parcels.parcels)
