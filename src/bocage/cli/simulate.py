"""`bocage simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    domains: Annotated[int, typer.Option(help="Number of domains (departments and years).")] = 3,
    patches: Annotated[int, typer.Option(help="Patches per domain.")] = 20,
    seed: Annotated[int, typer.Option(help="The landscape's seed.")] = 7,
    area: Annotated[
        float | None,
        typer.Option(help="Instead of patches, one square of this many metres as large rasters."),
    ] = None,
) -> None:
    """Write a simulated landscape in FLAIR-HUB's layout: seven sensors, two label sets, metadata.

    Example: [bold]bocage simulate sim --domains 3 --patches 20 --seed 7[/bold]
    """
    from bocage.cli.console import progress
    from bocage.simulate import simulate_area, simulate_dataset

    with progress(f"simulating {out}") as advance:
        if area is None:
            simulate_dataset(out, domains=domains, patches=patches, seed=seed, progress=advance)
        else:
            simulate_area(out, size_m=area, seed=seed, progress=advance)
