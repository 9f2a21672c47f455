"""`bocage simulate`: what it says about totals, and which options it passes on."""

from pathlib import Path
from typing import Any

import pytest

from bocage import simulate
from bocage.files import write_json
from bocage.simulate import benchmark

pytestmark = pytest.mark.unit


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete benchmark of the standard size, of which only the total is real."""
    asked = {"kind": "benchmark", "benchmark": "v1", "size": "standard"}
    write_json(tmp_path / "simulation.json", {"version": 0, **asked, "complete": True})
    monkeypatch.setattr(simulate, "simulate_benchmark", lambda out, **options: "total-of-it")
    monkeypatch.setattr(simulate, "verify_benchmark", lambda out, workers: "total-of-it")
    return tmp_path


@pytest.mark.parametrize("words", [("--benchmark", "v1", "--size", "standard"), ("--verify",)])
@pytest.mark.parametrize("published", [True, False])
def test_a_total_that_could_not_be_compared_is_said_to_be_so(
    bocage, held: Path, monkeypatch: pytest.MonkeyPatch, words, published
):
    totals = {("v1", "standard" if published else "small"): "total-of-it"}
    monkeypatch.setattr(benchmark, "TOTALS", totals)
    result = bocage("simulate", held, *words)
    told = " ".join(result.err.split())
    assert result.code == 0
    assert "total-of-it" in told
    assert ("Not compared: no total is published" in told) is not published


def test_a_territory_takes_a_shard_and_says_when_others_are_missing(bocage, tmp_path, monkeypatch):
    asked: dict[str, Any] = {}

    def draw(out: Path, **options: Any) -> bool:
        asked.update(options)
        return False

    monkeypatch.setattr(simulate, "simulate_area", draw)
    result = bocage("simulate", tmp_path / "land", "--area", "2km", "--shard", "2/8")
    assert result.code == 0
    assert (asked["size_m"], asked["shard"]) == (2_000.0, (2, 8))
    assert "still lacks parts of other shards" in " ".join(result.err.split())
