"""`bocage evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or a bundle (.safetensors).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value over the run's config", metavar="K=V…")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="For a bundle: the YAML file or preset that names its data "
            "(default: the preset of a published network)."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the split column: train, valid, test.")] = (
        "test"
    ),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="(default: RUN/evaluation/SPLIT; beside a bundle)"),
    ] = None,
) -> None:
    """Score a trained model: per class, task and domain, as JSON, table and picture.

    Example: [bold]bocage evaluate runs/demo --split test[/bold], or
    [bold]bocage evaluate models/lc-a.safetensors data.root=FLAIR-HUB[/bold]
    """
    from bocage.cli.console import progress, start_log
    from bocage.config import load_for_bundle, load_resolved
    from bocage.errors import ConfigError
    from bocage.models import read_meta
    from bocage.training import RunFolder
    from bocage.training import evaluate as evaluate_run

    if run.is_dir():
        if config is not None:
            raise ConfigError(
                "--config is for a bundle; a run's folder holds its own. Leave it out."
            )
        folder = RunFolder(run)
        bundle, plan = folder.bundle, load_resolved(folder.config, overrides or [])
        target = output or folder.evaluation(split)
    else:
        meta = read_meta(run)
        source = config or getattr(meta.network, "name", "")
        if not source:
            raise ConfigError(
                f"{run}: which data to score it on? Name a YAML file or preset with --config."
            )
        bundle, plan = run, load_for_bundle(meta, source, overrides or [])
        target = output or run.with_suffix("") / "evaluation" / split
    start_log()
    with progress(f"evaluating {split}") as advance:
        evaluate_run(bundle, plan, split=split, target=target, progress=advance)
    typer.echo((target / "scores.txt").read_text(encoding="utf-8"))
