"""Simulated sensors against real imagery, on the cheap subset of `tools/calibrate_simulation`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Largest mean distance per topic and unit: about a quarter above what the full comparison in
# docs/simulation.md finds, because one patch per domain is a small sample.
LIMITS = {
    ("FLAIR-HUB statistics", "relative"): 0.20,
    ("aerial histograms", "DN"): 20.0,
    ("aerial histograms", "-"): 0.40,
    ("texture at 0.2 m", "log2"): 0.85,
    ("texture spectra", "-"): 0.75,
    ("texture spectra", "log10"): 0.65,
    ("object heights", "m"): 3.2,
    ("seasonal curves", "-"): 0.17,
    ("seasonal curves", "dB"): 2.2,
    ("passes", "dates"): 45.0,
    ("passes", "-"): 0.12,
}


@pytest.fixture(scope="module")
def distances(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Mean distance per topic and unit."""
    out = tmp_path_factory.mktemp("calibration")
    command = [sys.executable, "-m", "tools.calibrate_simulation", "--quick"]
    ran = subprocess.run(
        [*command, "--real", str(real_data), "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("| what |")
    assert {path.name for path in out.iterdir()} == {
        "calibration.json", "simulation-spectra.png", "simulation-curves.png",
    }  # fmt: skip
    found = defaultdict(list)
    for row in json.loads((out / "calibration.json").read_text()):
        found[row["topic"], row["unit"]].append(row["distance"])
    return {key: float(np.mean(values)) for key, values in found.items()}


@pytest.mark.real
@pytest.mark.parametrize("topic", LIMITS, ids=" ".join)
def test_simulated_marginals_stay_close_to_real_ones(distances, topic):
    assert distances[topic] < LIMITS[topic]


@pytest.mark.unit
def test_without_real_imagery_the_command_says_what_to_name():
    ran = subprocess.run(
        [sys.executable, "-m", "tools.calibrate_simulation", "--real", "/nowhere"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "BOCAGE_REAL_DATA" in ran.stderr
