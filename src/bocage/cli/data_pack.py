"""`bocage data pack`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from bocage.cluster import Engine

_LAYOUT = typer.Option(
    help="Layout of SOURCE: flair-hub, flair, treesatai, pastis, crop-cube or territory."
)


def pack(
    source: Annotated[Path, typer.Argument(help="The data set's folder.")],
    target: Annotated[Path, typer.Argument(help="Folder to pack into.")],
    layout: Annotated[str, _LAYOUT] = "flair-hub",
    index: Annotated[
        Path | None, typer.Option(help="Index of SOURCE. (default: SOURCE/index.parquet)")
    ] = None,
    codec: Annotated[
        str, typer.Option(help="fast: for local disks. small: for shared disks and object storage.")
    ] = "fast",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: this machine's part of the work, from 1.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Where shards are made: local (this machine) or ray.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster (default: one on this machine).")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Then compare everything with SOURCE, bit for bit.")
    ] = False,
) -> None:
    """Pack a data set for fast reading: shards of records, their index, and a manifest.

    Started again, it goes on where it stopped. Read with data.layout=packed data.root=TARGET.

    Example: [bold]bocage data pack FLAIR-HUB FLAIR-HUB-packed --verify[/bold]
    """
    from bocage.cli.console import progress
    from bocage.cli.shards import parse_shard
    from bocage.cluster import check_engine
    from bocage.data import open_index, pack_dataset, verify_pack
    from bocage.errors import ConfigError

    check_engine(engine, address)
    if engine == "ray" and workers is not None:
        raise ConfigError("--workers is of this machine: Ray uses all cores of its cluster.")
    if verify and shard is not None:
        raise ConfigError("--verify compares everything: run it without --shard.")
    processes = workers or os.cpu_count() or 1
    with progress(f"indexing {source}") as advance:
        table = open_index(source, layout, index, progress=advance)
    with progress(f"packing into {target}") as advance:
        report = pack_dataset(
            source,
            target,
            table,
            codec=codec,
            workers=processes,
            shard=None if shard is None else parse_shard(shard),
            engine=cast("Engine", engine),
            address=address,
            progress=advance,
        )
    typer.echo(
        f"{report.patches} patches, {report.size / 1e6:,.1f} MB in {report.shards} shards "
        f"({report.written} written now)"
    )
    findings = list(report.problems)
    if not report.complete:
        typer.echo("when all parts are done, run once more without --shard: index and manifest")
    elif verify:
        with progress(f"comparing with {source}") as advance:
            findings = verify_pack(source, target, table, processes, advance)
        typer.echo(f"{len(findings)} differences" if findings else "equal to the source")
    for finding in findings:
        typer.echo(f"left out or different: {finding}", err=True)
    if findings:
        raise typer.Exit(1)
