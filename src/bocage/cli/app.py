"""All commands, gathered."""

from __future__ import annotations

from typing import Annotated

import typer

from bocage import __version__
from bocage.cli import data, demo, evaluate, maps, models, simulate, train

app = typer.Typer(
    name="bocage",
    help="Land-cover and crop maps from aligned imagery of a territory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"bocage {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Land-cover and crop maps from aligned imagery of a territory."""


app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("simulate")(simulate.simulate)
app.command("demo")(demo.demo)
app.add_typer(maps.app, name="map")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
