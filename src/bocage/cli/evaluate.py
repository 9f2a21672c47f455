"""`bocage evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value over the run's config", metavar="K=V…")
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the split column: train, valid, test.")] = (
        "test"
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="[default: RUN/evaluation/SPLIT]")
    ] = None,
) -> None:
    """Score a trained model: per class, task and domain, as JSON, table and picture.

    Example: [bold]bocage evaluate runs/demo --split test[/bold]
    """
    from bocage.cli.console import progress, start_log
    from bocage.config import load_resolved
    from bocage.training import RunFolder
    from bocage.training import evaluate as evaluate_run

    folder = RunFolder(run)
    config = load_resolved(folder.config, overrides or [])
    start_log()
    target = output or folder.evaluation(split)
    with progress(f"evaluating {split}") as advance:
        evaluate_run(
            folder.bundle,
            config,
            split=split,
            target=target,
            progress=advance,
        )
    typer.echo((target / "scores.txt").read_text(encoding="utf-8"))
