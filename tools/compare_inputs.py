"""Trains and evaluates the benchmark's runs and writes the table that compares their inputs.

Usage: python -m tools.compare_inputs --data DIR --out DIR [--run NAME ...] [--seed N ...]
                                      [--jobs N] [key=value ...]

DIR of `--data` holds `bocage simulate DIR --benchmark v1`. Every run (a preset; all of `RUNS` when
none is named) is trained with every seed into `OUT/NAME/SEED` and scored on the test domains;
`key=value` goes to every configuration. `--jobs 2` trains two runs at once, each in a process of
one thread. Started again it goes on: finished runs are kept, a run that was stopped resumes from
its last checkpoint. After every run `OUT/comparison.md` is made anew of all finished runs in OUT,
whatever this call was asked for. Exit code 1 when a run failed; the others are finished first.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bocage.cli.console import start_log
from bocage.config import RunConfig, load_config
from bocage.errors import BocageError
from bocage.files import write_json, write_text
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.simulate.jobs import run_jobs
from bocage.training import RunFolder, evaluate, fit

RUNS = (
    "benchmark-all", "benchmark-aerial", "benchmark-elevation", "benchmark-spot",
    "benchmark-series", "benchmark-aerial-s2", "benchmark-aerial-s2-s1",
    "benchmark-all-historical",
)  # fmt: skip
SEEDS = (2025,)
FOUND_IOU = 0.005
"""Above this IoU a class counts as found: an average over classes that nobody has learnt compares
nothing."""

# What FLAIR-HUB's paper finds, better run first, by task. The last pairs say that the historical
# photograph does not help.
_EXPECTED = (
    (LAND_COVER.name, "benchmark-all", "benchmark-aerial"),
    (LAND_COVER.name, "benchmark-aerial", "benchmark-elevation"),
    (LAND_COVER.name, "benchmark-elevation", "benchmark-spot"),
    (LAND_COVER.name, "benchmark-spot", "benchmark-series"),
    (CROPS.name, "benchmark-aerial-s2", "benchmark-aerial"),
    (CROPS.name, "benchmark-aerial-s2-s1", "benchmark-aerial-s2"),
    (LAND_COVER.name, "benchmark-all", "benchmark-all-historical"),
    (CROPS.name, "benchmark-all", "benchmark-all-historical"),
)
_TASKS = {LAND_COVER.name: "land cover", CROPS.name: "crops"}
_SECONDS = "seconds.json"


@dataclass(frozen=True)
class TaskScore:
    """What a run reached on one task: percentages; `ious` by class, None for one that is absent."""

    miou: float
    accuracy: float
    ious: tuple[float | None, ...]

    @property
    def present(self) -> int:
        """Classes that the test has."""
        return sum(iou is not None for iou in self.ious)

    @property
    def found(self) -> frozenset[int]:
        """Places of the classes that the run has found."""
        ious = enumerate(self.ious)
        return frozenset(k for k, iou in ious if iou is not None and iou > 100 * FOUND_IOU)

    def over(self, classes: Collection[int]) -> float | None:
        """mIoU over some classes that it has found; None where there are none."""
        ious = [iou for k, iou in enumerate(self.ious) if k in classes and iou is not None]
        return statistics.mean(ious) if ious else None


@dataclass(frozen=True)
class Result:
    """One finished run: scores by task, and the minutes that training and evaluation took."""

    name: str
    seed: int
    scores: dict[str, TaskScore]
    minutes: float


def main(
    data: Path, out: Path, names: Sequence[str], seeds: Sequence[int], overrides: Sequence[str],
    jobs: int,
) -> int:  # fmt: skip
    """Run what is missing and write the table after each; the number of runs that failed."""
    wanted = []
    for seed in seeds:
        own = [*overrides, f"data.root={data}", f"seed={seed}"]
        wanted += [(out / name / str(seed), load_config(name, own)) for name in names]
    todo = [_Job(path, config, jobs == 1) for path, config in wanted if read_result(path) is None]
    failed = 0
    _say(f"{len(wanted)} runs, of which {len(wanted) - len(todo)} are finished")
    for number, (job, told) in enumerate(zip(todo, run_jobs(_try, todo, jobs), strict=True), 1):
        failed += told.failed
        _say(f"{number} of {len(todo)}: {job.title}: {told.text}")
        write_text(out / "comparison.md", report(read_results(out)))
    write_text(out / "comparison.md", report(read_results(out)))
    return failed


@dataclass(frozen=True)
class _Job:
    """A run to finish in its folder; alone it uses every core and logs, beside others neither."""

    path: Path
    config: RunConfig
    alone: bool

    @property
    def title(self) -> str:
        return f"{self.config.name}, seed {self.config.seed}"


@dataclass(frozen=True)
class _Told:
    text: str
    failed: bool = False


def _try(job: _Job) -> _Told:
    """Finish a run; what came of it, so that one that fails does not end the others."""
    start_log()
    if not job.alone:
        torch.set_num_threads(1)
        logging.getLogger("bocage").setLevel(logging.WARNING)
    _say(f"{job.title}: begins")
    try:
        return _Told(_in_words(_run(job.path, job.config)))
    except BocageError as error:
        return _Told(f"failed. {error}", failed=True)


def _run(path: Path, config: RunConfig) -> Result:
    """Train and evaluate what is missing; time adds up over starts that ended by themselves."""
    folder, spent = RunFolder(path), path / _SECONDS
    before = json.loads(spent.read_text("utf-8"))["seconds"] if spent.is_file() else 0.0
    begun = time.monotonic()
    try:
        if not folder.bundle.is_file():
            resume = folder.last.is_file()
            folder.create(config.to_document(), resume=resume)
            fit(folder, config, resume=resume, progress=False)
        evaluate(folder.bundle, config, split="test", target=folder.evaluation("test"))
    finally:
        # A folder without these is begun anew, and must hold nothing else.
        if folder.bundle.is_file() or folder.last.is_file():
            write_json(spent, {"seconds": round(before + time.monotonic() - begun, 1)})
    result = read_result(path)
    assert result is not None
    return result


def read_results(out: Path) -> list[Result]:
    """Every finished run below `out`, in the order of `RUNS`, then by name and seed."""
    found = [read_result(path.parent) for path in out.glob(f"*/*/{_SECONDS}")]
    place = {name: number for number, name in enumerate(RUNS)}
    return sorted(
        (result for result in found if result is not None),
        key=lambda result: (place.get(result.name, len(place)), result.name, result.seed),
    )


def read_result(path: Path) -> Result | None:
    """The result in `OUT/NAME/SEED`; None while it is not finished."""
    scores, spent = RunFolder(path).evaluation("test") / "scores.json", path / _SECONDS
    if not (scores.is_file() and spent.is_file()):
        return None
    document: dict[str, Any] = json.loads(scores.read_text("utf-8"))
    seconds = float(json.loads(spent.read_text("utf-8"))["seconds"])
    tasks = {task: _task_score(told["overall"]) for task, told in document["tasks"].items()}
    return Result(path.parent.name, int(path.name), tasks, seconds / 60)


def _task_score(overall: dict[str, Any]) -> TaskScore:
    ious = [each["iou"] for each in overall["classes"]]
    return TaskScore(
        miou=100 * float(overall["miou"]),
        accuracy=100 * float(overall["overall_accuracy"]),
        ious=tuple(None if iou is None else 100 * float(iou) for iou in ious),
    )


def report(results: Sequence[Result]) -> str:
    """Markdown: a row per run, what is missing, and each expected order with what came out."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.name, []).append(result)
    tasks = [task for task in _TASKS if any(task in result.scores for result in results)]
    lines = [*_run_table(by_name, tasks), "", *_missing(by_name), ""]
    head = ["task", "expected", "difference, points", "largest spread", "over what both find"]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for task, better, worse in _EXPECTED:
        first, second = (_scores(by_name.get(name, ()), task) for name in (better, worse))
        gap = noise = fair = "not run"
        if first and second:
            mious = [[score.miou for score in scores] for scores in (first, second)]
            gap = f"{statistics.mean(mious[0]) - statistics.mean(mious[1]):+.1f}"
            spread = max(max(values) - min(values) for values in mious)
            noise = f"{spread:.1f}" if len(first) > 1 and len(second) > 1 else "unknown: one seed"
            fair = _fair_difference(first, second)
        lines.append(f"| {_TASKS[task]} | {better} > {worse} | {gap} | {noise} | {fair} |")
    return "\n".join(lines) + "\n"


def _fair_difference(first: Sequence[TaskScore], second: Sequence[TaskScore]) -> str:
    """Of mIoU over the classes that every run of both has found, and how many these are."""
    both = _found_by_all([*first, *second])
    means = [statistics.mean(s.over(both) or 0 for s in scores) for scores in (first, second)]
    return f"{means[0] - means[1]:+.1f} ({len(both)})" if both else "none"


def _found_by_all(scores: Sequence[TaskScore]) -> frozenset[int]:
    return frozenset.intersection(*(score.found for score in scores)) if scores else frozenset()


def _run_table(by_name: dict[str, list[Result]], tasks: Sequence[str]) -> list[str]:
    all_runs = [run for runs in by_name.values() for run in runs]
    shared = {task: _found_by_all(_scores(all_runs, task)) for task in tasks}
    columns = [
        f"{_TASKS[task]}, {what}"
        for task in tasks
        for what in ("mIoU %", "classes", f"mIoU % of {len(shared[task])} shared", "accuracy %")
    ]
    head = ["run", *columns, "seeds", "minutes a run", "minutes in all"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, runs in by_name.items():
        cells = [name]
        for task in tasks:
            scores = _scores(runs, task)
            fair = [score.over(shared[task]) for score in scores]
            cells += [
                _spread([score.miou for score in scores]),
                _classes(scores),
                _spread([value for value in fair if value is not None]),
                _spread([score.accuracy for score in scores]),
            ]
        minutes = [run.minutes for run in runs]
        times = [f"{statistics.mean(minutes):.1f}", f"{sum(minutes):.1f}"]
        lines.append(f"| {' | '.join([*cells, str(len(runs)), *times])} |")
    every = [run.minutes for run in all_runs]
    total = ["all", *[""] * len(columns), str(len(every)), "", f"{sum(every):.1f}"]
    return [*lines, f"| {' | '.join(total)} |"]


def _missing(by_name: dict[str, list[Result]]) -> list[str]:
    """Which of `RUNS` lack a seed that another run has."""
    seeds = sorted({run.seed for runs in by_name.values() for run in runs})
    lacking = [
        f"{name} ({', '.join(map(str, gone))})"
        for name in RUNS
        if (gone := [s for s in seeds if s not in {run.seed for run in by_name.get(name, ())}])
    ]
    about = (
        f"A class is found when its IoU is above {100 * FOUND_IOU:g} %; shared are those that "
        "every run here finds."
    )
    return [about, f"Not run: {', '.join(lacking)}." if lacking else "All runs are finished."]


def _scores(runs: Sequence[Result], task: str) -> list[TaskScore]:
    return [run.scores[task] for run in runs if task in run.scores]


def _spread(values: Sequence[float]) -> str:
    """Mean, and lowest to highest where there are several; a dash where there is none."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def _classes(scores: Sequence[TaskScore]) -> str:
    """How many classes were found of how many: the fewest to the most over the seeds."""
    if not scores:
        return "–"
    counts = [len(score.found) for score in scores]
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} of {scores[0].present}"


def _in_words(result: Result) -> str:
    told = [
        f"{_TASKS.get(task, task)} {score.miou:.1f} % "
        f"({len(score.found)} of {score.present} classes)"
        for task, score in result.scores.items()
    ]
    return f"{', '.join(told)}, {result.minutes:.1f} minutes"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", action="append", metavar="NAME")
    parser.add_argument("--seed", action="append", type=int, metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_args()
    if given.jobs < 1:
        parser.error(f"--jobs is {given.jobs}; it must be 1 or more.")
    names, seeds = given.run or RUNS, given.seed or SEEDS
    failed = main(given.data, given.out, names, seeds, given.overrides, given.jobs)
    sys.exit(1 if failed else 0)
