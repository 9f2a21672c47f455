"""`bocage simulate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

# What each way of using the command takes; any other option that is given would have no effect.
_OPTIONS = {
    "--verify": {"verify", "workers"},
    "--area": {"area", "seed", "shard", "workers"},
    "--benchmark": {"benchmark", "size", "shard", "workers"},
    "": {"domains", "patches", "seed", "sensors", "classes", "shard", "workers"},
}

_UNPUBLISHED = (
    "Not compared: no total is published for this size of this version. The files agree with their "
    "own list, but nothing shows that they are the same as on other machines."
)


def simulate(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    domains: Annotated[
        str,
        typer.Option(help="Number of domains (departments and years), or keys such as D068-2021."),
    ] = "3",
    patches: Annotated[int, typer.Option(help="Patches per domain.")] = 20,
    seed: Annotated[int, typer.Option(help="The landscape's seed.")] = 7,
    sensors: Annotated[
        str, typer.Option(help="Only these sensors, by official name with commas between.")
    ] = "",
    classes: Annotated[
        str,
        typer.Option(help="Classes of land cover or crops to look for, with semicolons between."),
    ] = "",
    area: Annotated[
        str | None,
        typer.Option(help="Instead of patches, one square of this side (5km, 800m), as rasters."),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Instead, this published benchmark: v1.")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the benchmark: small or standard.")] = "small",
    verify: Annotated[
        bool, typer.Option("--verify", help="Write nothing: check every file of a benchmark.")
    ] = False,
    shard: Annotated[
        str, typer.Option(help="Part i of n of the work, as i/n: for several machines.")
    ] = "1/1",
    workers: Annotated[
        int | None, typer.Option(help="Processes; one per processor when left out.")
    ] = None,
) -> None:
    """Write a simulated landscape in FLAIR-HUB's layout: seven sensors, two label sets, metadata.

    Example: [bold]bocage simulate sim --domains 3 --patches 20 --seed 7[/bold],
    [bold]bocage simulate bench --benchmark v1[/bold], [bold]bocage simulate land --area 5km[/bold]
    """
    from bocage.cli.console import console, progress
    from bocage.cli.shards import parse_shard
    from bocage.simulate import (
        empty_splits,
        has_published_total,
        simulate_area,
        simulate_benchmark,
        simulate_dataset,
        verify_benchmark,
    )
    from bocage.simulate.request import parse_domains, parse_names, parse_side

    _refuse_unused(context)
    if workers is None:
        workers = os.cpu_count() or 1
    if verify:
        with progress(f"checking {out}") as advance:
            held = verify_benchmark(out, workers=workers, progress=advance)
        console.print(f"{out} is whole: {held}")
        if not has_published_total(out):
            console.print(_UNPUBLISHED)
        return
    with progress(f"simulating {out}") as advance:
        share, total = parse_shard(shard), None
        if area is not None:
            side = parse_side(area)
            whole = simulate_area(
                out, size_m=side, seed=seed, workers=workers, shard=share, progress=advance
            )
        elif benchmark is not None:
            total = simulate_benchmark(
                out, name=benchmark, size=size, workers=workers, shard=share, progress=advance
            )
            whole = total is not None
        else:
            chosen = parse_domains(domains)
            lacking = empty_splits(chosen, patches)
            if lacking is not None:
                console.print(lacking)
            whole = simulate_dataset(
                out,
                domains=chosen,
                patches=patches,
                seed=seed,
                sensors=parse_names(sensors, ","),
                classes=parse_names(classes, ";"),
                workers=workers,
                shard=share,
                progress=advance,
            )
    if not whole:
        console.print(
            f"shard {shard} is done; {out} still lacks parts of other shards. The last of them to "
            "end here makes it whole; where each has a folder of its own, copy them together and "
            "run this once more on the result, without --shard."
        )
    if total is not None:
        console.print(f"total of all checksums: {total}")
        if not has_published_total(out):
            console.print(_UNPUBLISHED)


def _refuse_unused(context: typer.Context) -> None:
    """`ConfigError` for an option that the chosen way of using the command would ignore."""
    from bocage.errors import ConfigError

    given = {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None
        and source.name == "COMMANDLINE"
    }
    way = next((way for way in _OPTIONS if way.removeprefix("--") in given), "")
    unused = sorted(given - _OPTIONS[way] - {"out"})
    if unused:
        beside = f"beside {way}" if way else "when patches are written"
        remedy = "leave it out"
        if unused[0] == "size" and not way:
            remedy = "add --benchmark v1, or leave it out"
        raise ConfigError(f"--{unused[0]} has no effect {beside}; {remedy}.")
