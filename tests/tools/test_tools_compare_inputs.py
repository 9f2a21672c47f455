"""tools/compare_inputs.py: the table, on made-up results, and two runs at once, on real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bocage.errors import DataError
from bocage.nomenclatures import CROPS, LAND_COVER
from tools import compare_inputs
from tools.compare_inputs import RUNS, read_results, report

ROOT = Path(__file__).parents[2]


def finish(out: Path, name: str, seed: int, miou: float, crop_ious: list[float | None]) -> Path:
    """A finished run as the tool leaves it, with 80 % accuracy in six minutes."""

    def task(mean: float, ious: list[float | None]) -> dict[str, Any]:
        classes = [{"iou": iou} for iou in ious]
        return {"overall": {"miou": mean, "overall_accuracy": 0.8, "classes": classes}}

    folder = out / name / str(seed)
    scores = folder / "evaluation" / "test" / "scores.json"
    scores.parent.mkdir(parents=True)
    tasks = {LAND_COVER.name: task(miou, [0.5, 0.3, 0.004, None]), CROPS.name: task(0.1, crop_ious)}
    scores.write_text(json.dumps({"tasks": tasks}))
    (folder / "seconds.json").write_text(json.dumps({"seconds": 360.0}))
    return folder


def row(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.unit
def test_the_table_is_made_of_every_finished_run_with_the_spread_over_seeds(tmp_path):
    finish(tmp_path, "benchmark-aerial", 2025, 0.40, [0.2, 0.0, None])
    finish(tmp_path, "benchmark-all", 2026, 0.54, [0.2, 0.3, None])
    finish(tmp_path, "benchmark-all", 2025, 0.50, [0.2, 0.004, None])
    begun = finish(tmp_path, "benchmark-spot", 2025, 0.9, [0.9])
    (begun / "evaluation" / "test" / "scores.json").unlink()

    results = read_results(tmp_path)
    assert [(result.name, result.seed) for result in results] == [
        ("benchmark-all", 2025), ("benchmark-all", 2026), ("benchmark-aerial", 2025),
    ]  # fmt: skip
    text = report(results)
    assert row(text, "benchmark-all") == [
        "benchmark-all", "52.0 (50.0 to 54.0)", "2 of 3", "40.0 (40.0 to 40.0)",
        "80.0 (80.0 to 80.0)", "10.0 (10.0 to 10.0)", "1 to 2 of 2", "20.0 (20.0 to 20.0)",
        "80.0 (80.0 to 80.0)", "2", "6.0", "12.0",
    ]  # fmt: skip
    assert row(text, "benchmark-aerial")[1:6] == ["40.0", "2 of 3", "40.0", "80.0", "10.0"]
    assert "land cover, mIoU % of 2 shared" in text
    total = row(text, "all |")
    assert (total[0], total[-3], total[-1]) == ("all", "3", "18.0")
    assert "benchmark-aerial (2026)" in text
    assert "benchmark-spot (2025, 2026)" in text
    assert "benchmark-all (" not in text


@pytest.mark.unit
def test_orders_are_told_with_their_sign_and_without_seeds_no_spread_is_claimed(tmp_path):
    for seed, better, worse in ((1, 0.50, 0.52), (2, 0.54, 0.53)):
        finish(tmp_path, "benchmark-all", seed, better, [0.2])
        finish(tmp_path, "benchmark-aerial", seed, worse, [0.2])
    finish(tmp_path, "benchmark-elevation", 1, 0.60, [0.2])
    orders = report(read_results(tmp_path)).partition("| task |")[2].splitlines()[2:]
    assert orders[:3] == [
        "| land cover | benchmark-all > benchmark-aerial | -0.5 | 4.0 | +0.0 (2) |",
        "| land cover | benchmark-aerial > benchmark-elevation | -7.5 | unknown: one seed "
        "| +0.0 (2) |",
        "| land cover | benchmark-elevation > benchmark-spot | not run | not run | not run |",
    ]
    assert len(orders) == 8


@pytest.mark.unit
def test_a_class_that_one_run_misses_decides_no_order(tmp_path):
    finish(tmp_path, "benchmark-aerial-s2", 1, 0.5, [0.4, 0.8, 0.0])
    finish(tmp_path, "benchmark-aerial", 1, 0.5, [0.6, 0.0, 0.3])
    (line,) = [
        line
        for line in report(read_results(tmp_path)).splitlines()
        if line.startswith("| crops | benchmark-aerial-s2 > benchmark-aerial |")
    ]
    assert line.endswith("| -20.0 (1) |")


@pytest.mark.unit
def test_all_runs_finished_is_said(tmp_path):
    for name in RUNS:
        finish(tmp_path, name, 2025, 0.4, [0.2])
    text = report(read_results(tmp_path))
    assert "All runs are finished." in text
    assert "not run" not in text


@pytest.mark.integration
def test_two_runs_at_once_are_told_and_joined_with_those_before(
    simulated: Path, tmp_path: Path, tiny: list[str]
):
    kept = finish(tmp_path, "benchmark-all", 2025, 0.5, [0.2])
    command = [
        sys.executable, "-m", "tools.compare_inputs", "--data", str(simulated),
        "--out", str(tmp_path), "--run", "benchmark-spot", "--run", "benchmark-elevation",
        "--jobs", "2", "training.epochs=1", "training.validate_every=1",
        *(each for each in tiny if "temporal" not in each and "series" not in each),
    ]  # fmt: skip

    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "2 runs, of which 0 are finished" in ran.stdout
    assert "2 of 2: benchmark-elevation, seed 2025: land cover" in ran.stdout
    text = (tmp_path / "comparison.md").read_text("utf-8")
    assert [line.split()[1] for line in text.splitlines()[2:6]] == [
        "benchmark-all", "benchmark-elevation", "benchmark-spot", "all",
    ]  # fmt: skip
    assert (kept / "seconds.json").is_file()


@pytest.mark.unit
def test_a_run_that_fails_is_told_and_counted_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def attempt(path: Path, config: Any) -> compare_inputs.Result:
        if config.name == "benchmark-spot":
            raise DataError("no such patch")
        finish(tmp_path, config.name, config.seed, 0.5, [0.2])
        return compare_inputs.Result(config.name, config.seed, {}, 6.0)

    monkeypatch.setattr(compare_inputs, "_run", attempt)
    names = ["benchmark-spot", "benchmark-elevation"]
    assert compare_inputs.main(tmp_path, tmp_path, names, [2025], [], 1) == 1
    told = capsys.readouterr().out
    assert "1 of 2: benchmark-spot, seed 2025: failed. no such patch" in told
    assert "2 of 2: benchmark-elevation" in told
    assert "| benchmark-elevation |" in (tmp_path / "comparison.md").read_text("utf-8")
    finish(tmp_path, "benchmark-spot", 2025, 0.5, [0.2])
    assert compare_inputs.main(tmp_path, tmp_path, names, [2025], [], 1) == 0
    assert "2 runs, of which 2 are finished" in capsys.readouterr().out
