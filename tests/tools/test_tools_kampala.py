"""tools/kampala.py: the whole way on a small drawn town, one short training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tools import kampala

pytestmark = pytest.mark.integration

HEIGHT, WIDTH = 512, 1280


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red roofs on noisy ground, in the names of the real photograph."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("kampala")
    (folder / "data").mkdir()
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    for top, left in rng.integers(0, (HEIGHT - 40, WIDTH - 40), (90, 2)):
        truth[top : top + 30, left : left + 35] = 1
    image = rng.integers(60, 120, (3, HEIGHT, WIDTH), dtype=np.uint8)
    image[0] += 100 * truth
    for name, bands in (("rgb", image), ("buildings", truth[None])):
        with rasterio.open(
            folder / "data" / f"kampala_A_{name}.tif", "w", driver="GTiff", count=len(bands),
            height=HEIGHT, width=WIDTH, dtype="uint8", crs="EPSG:32636",
            transform=from_origin(450_000, 40_000, 0.1, 0.1),
        ) as dataset:  # fmt: skip
            dataset.write(bands)
    kampala.main(folder / "data", folder / "out", ["training.epochs=1"])
    return folder / "out"


def test_it_learns_the_left_half_and_scores_the_right(out: Path) -> None:
    scores = json.loads((out / "kampala.json").read_text())
    with rasterio.open(out / "left_kampala_A_rgb.tif") as left:
        assert (left.height, left.width) == (HEIGHT, WIDTH // 2)
    with rasterio.open(out.parent / "data" / "kampala_A_buildings.tif") as dataset:
        truth = dataset.read(1)[:, WIDTH // 2 :]
    for plan in ("map", "overlap", "hard"):
        with rasterio.open(out / plan / "buildings.tif") as dataset:
            found = dataset.read(1)
        assert found.shape == (HEIGHT, WIDTH)
        found = found[:, WIDTH // 2 :]
        assert scores[plan]["accuracy"] == pytest.approx((found == truth).mean())
        both = ((found == 1) & (truth == 1)).sum()
        either = ((found == 1) | (truth == 1)).sum()
        assert scores[plan]["building IoU"] == pytest.approx(both / either)
    assert scores["map"]["accuracy"] > 0.5


def test_blocks_change_no_byte_and_hard_crops_jump_more(out: Path) -> None:
    scores = json.loads((out / "kampala.json").read_text())
    assert scores["the same bytes from blocks of 512 and 1024"] is True
    hard = scores["map against hard"]
    assert hard["the same, of hard"] > hard["largest mean step across a column, of the map"]


def test_the_picture_shows_something(out: Path) -> None:
    from matplotlib import pyplot as plt

    drawn = plt.imread(out / "kampala.png")
    assert drawn.shape[0] > 500
    assert drawn[..., :3].std() > 0.1
