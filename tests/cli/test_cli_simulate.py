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
    monkeypatch.setattr(simulate, "verify_benchmark", lambda out, **options: "total-of-it")
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--area", "10m"), "--area 10m; a territory is between 51.2 and 20,000 m wide"),
        (("--size", "standard"), "--size has no effect when patches are written; add --benchmark"),
        (("--verify", "--size", "small"), "--size has no effect beside --verify; leave it out"),
    ],
)
def test_refusals_speak_of_the_options_that_were_given(bocage, held: Path, words, message):
    result = bocage("simulate", held, *words)
    assert result.code == 2
    assert message in " ".join(result.err.split())


def test_verifying_shows_how_far_it_is(bocage, held: Path, monkeypatch: pytest.MonkeyPatch):
    def look(out: Path, *, workers: int, progress: Any) -> str:
        progress(3, 3080)
        return "total-of-it"

    monkeypatch.setattr(simulate, "verify_benchmark", look)
    # A long path would leave no room for the number in a narrow terminal.
    monkeypatch.chdir(held)
    assert "3/3080" in bocage("simulate", ".", "--verify").err


def test_a_data_set_without_training_patches_is_announced(bocage, tmp_path, monkeypatch):
    monkeypatch.setattr(simulate, "simulate_dataset", lambda out, **options: True)
    words = ("--domains", "D068-2021,", "--patches", "3")
    told = " ".join(bocage("simulate", tmp_path / "out", *words).err.split())
    assert "No patch will be for training or validation" in told
    assert "No patch" not in bocage("simulate", tmp_path / "out").err


@pytest.mark.parametrize(
    ("manifest", "remedy"),
    [
        (None, "Name one that `bocage simulate` has written"),
        ({"version": 4, "kind": "dataset", "complete": True}, "`bocage simulate OUT --benchmark"),
        ({"version": 1, "kind": "benchmark", "complete": True}, "another folder: `bocage simulate"),
        ([], "Simulate again in another folder"),
    ],
)
def test_a_folder_that_cannot_be_verified_has_a_remedy(bocage, tmp_path, manifest, remedy):
    if manifest is not None:
        write_json(tmp_path / "simulation.json", manifest)
    result = bocage("simulate", tmp_path, "--verify")
    assert result.code == 1
    assert remedy in " ".join(result.err.split())
