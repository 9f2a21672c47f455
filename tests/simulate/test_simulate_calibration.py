"""Simulated sensors against real imagery, on the cheap subset of `tools/calibrate_simulation`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.simulation_goldens import CALIBRATION, ROOT, quick_distances

SLACK = 1.3
"""A mean distance may grow by so much: another draw of places moves it by about a quarter."""

MEASURED: dict[str, float] = json.loads(CALIBRATION.read_text())["distances"]
"""What `python -m tools.simulation_goldens --real DIR` measured when the content last changed."""


@pytest.fixture(scope="module")
def distances(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Mean distance per topic and measure, of today's simulator."""
    out = tmp_path_factory.mktemp("calibration")
    found = quick_distances(real_data, out)
    assert {path.name for path in out.iterdir()} == {
        "calibration.json", "simulation-spectra.png", "simulation-curves.png",
    }  # fmt: skip
    return found


@pytest.mark.real
def test_every_comparison_has_a_limit(distances):
    assert distances.keys() == MEASURED.keys()
    assert {key.partition(":")[0] for key in distances} == {
        "FLAIR-HUB statistics", "aerial histograms", "texture at 0.2 m", "texture spectra",
        "object heights", "seasonal curves", "summer reflectance", "passes",
    }  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("topic", MEASURED)
def test_simulated_marginals_stay_close_to_real_ones(distances, topic):
    assert distances[topic] <= SLACK * MEASURED[topic]


@pytest.mark.unit
def test_without_real_imagery_the_command_says_what_to_name():
    ran = subprocess.run(
        [sys.executable, "-m", "tools.calibrate_simulation", "--real", "/nowhere"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "BOCAGE_REAL_DATA" in ran.stderr
