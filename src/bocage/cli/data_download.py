"""`bocage data download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bocage.errors import DataError

if TYPE_CHECKING:
    from bocage.data.download import Outcome, Plan, Step


def download(
    dataset: Annotated[
        str, typer.Option(help="flair-hub, flair1, flair2, toy, flair1-toy or flair2-toy.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    domains: Annotated[str | None, typer.Option(help="D012-2019,D004 … (default: all)")] = None,
    modalities: Annotated[
        str | None, typer.Option(help="aerial,sentinel2 … (default: all)")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="land-cover, crops, or none (default: all)")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only what holds patches of train, valid or test.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="FLAIR-HUB's split (default: split_1)")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address of a copy of IGN's plain files.")
    ] = None,
    connections: Annotated[
        int | None, typer.Option(help="Files fetched at once (default: 4)")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Say what would be fetched, and stop.")
    ] = False,
) -> None:
    """Get a data set: planned, fetched with resume, checked, unpacked; what is here is kept.

    A folder appears under its name when it is complete. Run the same command again after an
    interruption: only what is missing is fetched.

    Example: [bold]bocage data download --dataset flair-hub --domains D012-2019,D004-2021
    --modalities aerial,sentinel2 --split train --labels crops -o FLAIR-HUB[/bold]
    """
    from bocage.cli.console import start_log
    from bocage.data.download import make_plan, parse_request

    config = parse_request(
        {
            "dataset": dataset,
            "output": output,
            "domains": _list(domains),
            "modalities": _list(modalities),
            "labels": _list(labels),
            "split": split,
            "split_column": split_column,
            "mirror": mirror,
            "connections": connections,
        }
    )
    start_log()

    def fetch_first(plan: Plan) -> None:
        typer.echo("fetching the metadata, which tell the splits")
        failed = _run(plan).failed
        if failed:
            raise DataError("; ".join(failed.values()))

    plan = make_plan(config, fetch_first)
    _show(plan, every_file=plan_only)
    if plan_only:
        return
    outcome = _run(plan)
    if outcome.failed:
        typer.echo(f"{len(outcome.failed)} of {len(plan.missing)} files failed:", err=True)
        for name, finding in sorted(outcome.failed.items()):
            typer.echo(f"  {name}: {finding}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{config.output}: complete")


def _list(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def _show(plan: Plan, *, every_file: bool) -> None:
    from rich.filesize import decimal

    if every_file:
        for item in plan.items:
            state = "here" if item.here else "missing"
            typer.echo(f"{item.archive.folder:44}{decimal(item.size):>12}  {state}")
    here = len(plan.items) - len(plan.missing)
    typer.echo(
        f"{len(plan.items)} files, {here} of them here; {decimal(plan.size)} to fetch, about "
        f"{decimal(plan.needed)} of disk needed, {decimal(plan.free)} free"
    )


def _run(plan: Plan) -> Outcome:
    """Do a plan, with a bar for every file on its way, a line for every finished one, a total."""
    from rich.filesize import decimal
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from bocage.cli.console import console
    from bocage.data.download import download as run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        all_files = bars.add_task("total", total=plan.size)
        tasks = {
            item.archive.folder: bars.add_task(item.archive.folder, visible=False, start=False)
            for item in plan.missing
        }
        fetched: dict[str, int] = {}
        finished: list[str] = []

        def listen(step: Step) -> None:
            task = tasks[step.name]
            if step.phase in ("done", "failed"):
                finished.append(step.name)
                bars.remove_task(task)
                console.print(
                    f"[{len(finished)}/{len(tasks)}] {step.name}: {step.phase}, "
                    f"{decimal(step.total)}",
                    markup=False,
                    highlight=False,
                )
                return
            if step.phase == "fetch":
                bars.advance(all_files, step.done - fetched.get(step.name, 0))
                fetched[step.name] = step.done
            bars.start_task(task)
            bars.update(
                task,
                description=f"{step.phase} {step.name}",
                completed=step.done,
                total=step.total,
                visible=True,
            )

        return run(plan, listen=listen)
