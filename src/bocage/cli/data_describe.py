"""`bocage data describe` and `bocage data split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def describe(
    where: Annotated[Path, typer.Argument(help="An index, or a data set's folder.")],
    layout: Annotated[str, typer.Option(help="Layout of the folder.")] = "flair-hub",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for text, JSON and pictures.")
    ] = None,
) -> None:
    """Say what a data set holds: classes, dates, clouds, domains, and how its splits differ.

    Example: [bold]bocage data describe FLAIR-HUB/index.parquet -o described[/bold]
    """
    from bocage.cli.console import progress
    from bocage.data import describe_dataset
    from bocage.data.describe.text import text_lines

    with progress(f"opening {where}") as advance:
        description = describe_dataset(where, layout, output, advance)
    for line in text_lines(description):
        typer.echo(line)


def split(
    index: Annotated[Path, typer.Argument(help="The index; gets a further column.")],
    by: Annotated[str, typer.Option(help="What is held out as a whole: roi or domain.")] = "roi",
    valid: Annotated[float, typer.Option(help="Share of the patches for validation.")] = 0.1,
    test: Annotated[
        float | None, typer.Option(help="Share of the patches for testing. (default: 0.1)")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another one gives another split.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the column.")] = "split_mine",
    buffer_m: Annotated[
        float, typer.Option(help="ROIs nearer than this, in metres, stay together.")
    ] = 0.0,
    keep_test: Annotated[
        str | None, typer.Option(help="Split column whose test patches stay test patches.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a column.")] = False,
) -> None:
    """Divide a data set without leakage: whole ROIs or domains, none beside another part's.

    Parts resemble each other in the shares of their classes as well as whole ROIs or domains allow.
    Use it with data.split_column=NAME.

    Example: [bold]bocage data split FLAIR-HUB/index.parquet --by roi --keep-test split_1[/bold]
    """
    from bocage.data import PatchIndex, SplitPlan, split_index
    from bocage.data.describe.splits import describe_split
    from bocage.data.describe.text import split_lines
    from bocage.errors import ConfigError

    if test is not None and keep_test is not None:
        raise ConfigError("--test has no effect beside --keep-test: leave one of them out.")
    plan = SplitPlan(by, valid, 0.1 if test is None else test, seed, buffer_m, keep_test)
    table = split_index(PatchIndex.read(index), name, plan, replace)
    table.write(index)
    for line in split_lines(name, describe_split(table, name)):
        typer.echo(line)
