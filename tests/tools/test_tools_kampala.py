"""tools/kampala.py: what it cuts, scores and draws, on a made-up town. Its commands have tests of
their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from matplotlib import pyplot as plt
from rasterio.transform import from_origin

from tools import kampala

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 128, 400


@pytest.fixture
def truth() -> np.ndarray:
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    classes[20:60, 30:90] = classes[20:60, 240:300] = 1
    return classes


def answer(classes: np.ndarray, step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and a probability that ripples by 0.01 and jumps by `step` in one column."""
    share = np.where(classes == 1, 0.8, 0.2) + 0.01 * (np.arange(WIDTH) % 2)
    share[:, WIDTH // 2 :] += step
    return classes, share


def test_it_scores_the_right_half_only(truth: np.ndarray) -> None:
    wrong_left, half_right = truth.copy(), truth.copy()
    wrong_left[:, : WIDTH // 2] = 1
    half_right[20:60, 270:300] = 0
    found = {
        "map": answer(wrong_left), "overlap": answer(half_right), "hard": answer(truth, 0.3),
        "blocks": answer(wrong_left),
    }  # fmt: skip
    scores = kampala._scores(found, truth)
    assert scores["map"] == {"building IoU": 1.0, "accuracy": 1.0}
    assert scores["overlap"]["building IoU"] == pytest.approx(0.5)
    assert scores["overlap"]["accuracy"] == pytest.approx(1 - 40 * 30 / (HEIGHT * WIDTH / 2))
    hard = scores["map against hard"]
    assert (
        hard["the same, of hard"] > 10 > 1 < hard["largest mean step across a column, of the map"]
    )
    differing = (wrong_left != half_right).mean()
    assert scores["map against overlap"]["pixels of another class"] == pytest.approx(differing)
    same = "the same bytes from blocks of 512 and 1024"
    assert scores[same] is True
    assert kampala._scores({**found, "blocks": found["overlap"]}, truth)[same] is False


def test_it_learns_from_the_left_half(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=3, height=HEIGHT, width=WIDTH,
        dtype="uint8", crs="EPSG:32636", transform=from_origin(450_000, 40_000, 0.1, 0.1),
    ) as dataset:  # fmt: skip
        dataset.write(image)
    with rasterio.open(kampala._left_half(tmp_path / "a.tif", tmp_path / "left.tif")) as left:
        assert np.array_equal(left.read(), image[..., : WIDTH // 2])
        assert left.transform == from_origin(450_000, 40_000, 0.1, 0.1)


def test_the_picture_shows_where_plans_differ(tmp_path: Path, truth: np.ndarray) -> None:
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=3, height=HEIGHT, width=WIDTH,
        dtype="uint8", crs="EPSG:32636", transform=from_origin(450_000, 40_000, 0.1, 0.1),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((3, HEIGHT, WIDTH), 90, np.uint8))
    drawn = {}
    for name, step in (("alike", 0.0), ("apart", 0.5)):
        found = {plan: answer(truth, step if plan == "hard" else 0.0) for plan in kampala.PLANS}
        kampala._draw(tmp_path / f"{name}.png", tmp_path / "a.tif", found)
        drawn[name] = plt.imread(tmp_path / f"{name}.png")[..., :3]
    changed = np.abs(drawn["alike"] - drawn["apart"]).max(axis=2) > 0.1
    rows, cols = np.nonzero(changed)
    assert changed.sum() > 1000
    # The lower right of four panels.
    assert rows.min() > changed.shape[0] * 0.4
    assert cols.min() > changed.shape[1] * 0.4
