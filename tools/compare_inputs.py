"""Trains and evaluates the benchmark's runs and writes the table that compares their inputs.

Usage: python -m tools.compare_inputs --data DIR --out DIR [--run NAME ...] [--seed N ...]
                                      [key=value ...]

DIR of `--data` holds `bocage simulate DIR --benchmark v1`. Every run (a preset; all of `RUNS` when
none is named) is trained with every seed into `OUT/NAME/SEED` and scored on the test domains;
`key=value` goes to every configuration. Started again it goes on: finished runs are kept, a run
that was stopped resumes from its last checkpoint. `OUT/comparison.md` is rewritten after every run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bocage.cli.console import start_log
from bocage.config import RunConfig, load_config
from bocage.files import write_json, write_text
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.training import RunFolder, evaluate, fit

RUNS = (
    "benchmark-all", "benchmark-aerial", "benchmark-elevation", "benchmark-spot",
    "benchmark-series", "benchmark-aerial-s2", "benchmark-aerial-s2-s1",
    "benchmark-all-historical",
)  # fmt: skip
SEEDS = (2025,)

# What FLAIR-HUB's paper finds, better run first, by task. The last pair says that the historical
# photograph does not help.
_EXPECTED = (
    (LAND_COVER.name, "benchmark-all", "benchmark-aerial"),
    (LAND_COVER.name, "benchmark-aerial", "benchmark-elevation"),
    (LAND_COVER.name, "benchmark-elevation", "benchmark-spot"),
    (LAND_COVER.name, "benchmark-spot", "benchmark-series"),
    (CROPS.name, "benchmark-aerial-s2", "benchmark-aerial"),
    (CROPS.name, "benchmark-aerial-s2-s1", "benchmark-aerial-s2"),
    (LAND_COVER.name, "benchmark-all", "benchmark-all-historical"),
)
_TASKS = {LAND_COVER.name: "land cover", CROPS.name: "crops"}


@dataclass(frozen=True)
class Result:
    """One finished run: mIoU by task, and the minutes that training and evaluation took."""

    name: str
    seed: int
    miou: dict[str, float]
    minutes: float


def main(data: Path, out: Path, names: list[str], seeds: list[int], overrides: list[str]) -> None:
    """Run what is missing and write the table after each."""
    results: list[Result] = []
    for seed in seeds:
        for name in names:
            config = load_config(name, [*overrides, f"data.root={data}", f"seed={seed}"])
            results.append(_run(RunFolder(out / name / str(seed)), config))
            write_text(out / "comparison.md", report(results))


def _run(folder: RunFolder, config: RunConfig) -> Result:
    """Train and evaluate unless that is done; time adds up over interrupted starts."""
    target = folder.evaluation("test")
    spent = folder.path / "seconds.json"
    before = json.loads(spent.read_text("utf-8"))["seconds"] if spent.is_file() else 0.0
    begun = time.monotonic()
    if not folder.bundle.is_file():
        resume = folder.last.is_file()
        folder.create(config.to_document(), resume=resume)
        fit(folder, config, resume=resume, progress=False)
    scored = (target / "scores.json").is_file()
    if not scored:
        evaluate(folder.bundle, config, split="test", target=target)
        write_json(spent, {"seconds": round(before + time.monotonic() - begun, 1)})
    document: dict[str, Any] = json.loads((target / "scores.json").read_text("utf-8"))
    miou = {
        task: 100 * float(scores["overall"]["miou"]) for task, scores in document["tasks"].items()
    }
    seconds = float(json.loads(spent.read_text("utf-8"))["seconds"])
    return Result(config.name, config.seed, miou, seconds / 60)


def report(results: list[Result]) -> str:
    """Markdown: one row per run, then each expected order with what came out."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.name, []).append(result)
    tasks = [task for task in _TASKS if any(task in result.miou for result in results)]
    head = " | ".join(f"{_TASKS[task]}, mIoU %" for task in tasks)
    lines = [f"| run | {head} | seeds | minutes a run |", "|---" * (len(tasks) + 3) + "|"]
    for name, runs in by_name.items():
        cells = " | ".join(_spread([run.miou[task] for run in runs]) for task in tasks)
        minutes = statistics.mean(run.minutes for run in runs)
        lines.append(f"| {name} | {cells} | {len(runs)} | {minutes:.1f} |")
    lines += ["", "| task | expected | difference, points | largest spread |", "|---|---|---|---|"]
    for task, better, worse in _EXPECTED:
        if better in by_name and worse in by_name:
            first = [run.miou[task] for run in by_name[better]]
            second = [run.miou[task] for run in by_name[worse]]
            gap = statistics.mean(first) - statistics.mean(second)
            noise = max(max(values) - min(values) for values in (first, second))
            lines.append(f"| {_TASKS[task]} | {better} > {worse} | {gap:+.1f} | {noise:.1f} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    """Mean, and lowest to highest where there are several."""
    mean = statistics.mean(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", action="append", metavar="NAME")
    parser.add_argument("--seed", action="append", type=int, metavar="N")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_args()
    start_log()
    main(
        given.data,
        given.out,
        given.run or list(RUNS),
        given.seed or list(SEEDS),
        given.overrides,
    )
