"""The commands that check, describe, divide and show a dataset."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bocage.data import PatchIndex, PatchRecord

pytestmark = pytest.mark.integration


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The index of twelve ROIs of two patches, far from each other."""
    records = [
        PatchRecord(
            f"D00{r % 4}-2021_R{r}_{i}",
            f"D00{r % 4}-2021",
            f"R{r}",
            2021,
            splits={"split_1": "test" if r % 4 == 0 else ("train", "valid")[i]},
            epsg=2154,
            bounds=(1e4 * r + 102.4 * i, 6.6e6, 1e4 * r + 102.4 * (i + 1), 6.6e6 + 102.4),
            class_counts={"AERIAL_LABEL-COSIA": np.arange(19) + r},
        )
        for r in range(12)
        for i in range(2)
    ]
    path = tmp_path / "index.parquet"
    PatchIndex.from_records(records, "flair-hub").write(path)
    return path


def test_verify_exits_with_1_when_something_is_broken(bocage, simulated: Path, tmp_path: Path):
    root, out = tmp_path / "data", tmp_path / "found"
    shutil.copytree(simulated, root)
    sound = bocage("data", "verify", root, "-o", out, "--workers", 1)
    assert sound.code == 0, sound.out
    assert "0 findings" in sound.out
    assert "classes of levels 2 and 3 lie under the parent that the tree gives" in sound.out
    broken = next(root.glob("*_AERIAL_RGBI/*/*.tif"))
    broken.write_bytes(broken.read_bytes()[:3000])
    found = bocage("data", "verify", root, "-o", out, "--workers", 1)
    assert found.code == 1
    assert broken.name in found.out
    assert "1 patches read now" in found.out
    assert broken.name in (out / "findings.txt").read_text()


def test_split_divides_and_describe_sees_no_leakage(bocage, index: Path, tmp_path: Path):
    before = bocage("data", "describe", index)
    assert before.code == 0
    assert "split_1: parts share ground with the training part" in before.out
    made = bocage("data", "split", index, "--keep-test", "split_1", "--valid", 0.3)
    assert made.code == 0
    assert "split_mine: no leakage" in made.out
    after = bocage("data", "describe", index, "-o", tmp_path / "out")
    assert "split_mine: no leakage" in after.out
    assert (tmp_path / "out" / "shift_split_mine.png").exists()
    again = bocage("data", "split", index)
    assert again.code == 2
    assert "has it already" in again.err
    assert bocage("data", "split", index, "--by", "domain", "--replace").code == 0
    useless = bocage("data", "split", index, "--test", 0.2, "--keep-test", "split_1")
    assert useless.code == 2
    assert "--test has no effect" in useless.err


def test_show_draws_one_thing(bocage, simulated: Path, tmp_path: Path):
    nothing = bocage("data", "show", "--root", simulated)
    assert nothing.code == 2
    assert "name one thing to show" in nothing.err
    without = bocage("data", "show", "--roi", "R", "--count", 3, "--root", simulated)
    assert without.code == 2
    assert "--count has no effect" in without.err
    picture = tmp_path / "examples.png"
    words = ["--class", "agricultural land", "--count", 2, "--root", simulated, "-o", picture]
    assert bocage("data", "show", *words).code == 0
    assert picture.stat().st_size > 10_000
