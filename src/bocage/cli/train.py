"""`bocage train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a preset.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. training.epochs=5", metavar="K=V…")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder (default: runs/NAME).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last finished epoch.")
    ] = False,
) -> None:
    """Train a network; leaves a run folder with config, versions, log, metrics and the model.

    Example: [bold]bocage train demo data.root=sim training.epochs=10 -o runs/demo[/bold]
    """
    from bocage.cli.console import console, start_log
    from bocage.config import load_config
    from bocage.training import RunFolder, fit

    run = load_config(config, overrides or [])
    folder = RunFolder(output or Path("runs") / run.name)
    folder.create(run.to_document(), resume=resume)
    start_log(folder.log)
    fit(
        folder,
        run,
        resume=resume,
        progress=console.is_terminal,
    )
