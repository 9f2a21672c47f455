"""Block files and what is made of them: above all the overviews, which come from the blocks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin

from bocage.mapping.outputs import NODATA, Layer
from bocage.mapping.plan import Block, Plan, make_lattice
from bocage.mapping.write import write_block, write_cog
from bocage.rasters import Grid

CLASSES = Layer("c", "classes", "t", ("classes",), {0: "a", 1: "b", 2: "c"}, {0: (1, 2, 3, 255)})
SHARES = Layer("p", "probabilities", "t", ("a", "b"))


def write_map(
    folder: Path,
    layer: Layer,
    values_CHW: NDArray[np.uint8],
    block_px: int,
    lost: frozenset[int] = frozenset(),
) -> Path:
    """The map of the values, cut into blocks, without those `lost`."""
    height, width = values_CHW.shape[1:]
    grid = Grid(CRS.from_epsg(2154), from_origin(700000, 6600000, 0.2, 0.2), width, height)
    plan = Plan(height, width, make_lattice(512, 1), block_px, lost)
    parts: list[tuple[Block, Path]] = []
    for block in plan.blocks:
        file = folder / f"{block.index:06d}.tif"
        here = values_CHW[:, block.row0 : block.row1, block.col0 : block.col1]
        write_block(file, here, layer, grid, block)
        parts.append((block, file))
    target = folder / "map.tif"
    write_cog(target, layer, grid, parts, folder)
    return target


def overviews(path: Path) -> list[NDArray[np.uint8]]:
    """The map and its overviews, (C, h, w), largest first."""
    with rasterio.open(path) as dataset:
        count, found = len(dataset.overviews(1)), [dataset.read()]
    for level in range(count):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.read())
    return found


def cells(values_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The four pixels (4, h, w) that each pixel of the next overview stands for; nodata beyond."""
    whole = np.pad(values_HW, [(0, side % 2) for side in values_HW.shape], constant_values=NODATA)
    return np.stack([whole[y::2, x::2] for y in (0, 1) for x in (0, 1)])


@pytest.mark.property
@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(1, 1200),
    width=st.integers(1, 1200),
    block_px=st.sampled_from([512, 1024]),
    seed=st.integers(0, 99),
)
def test_overviews_show_the_most_frequent_class_of_their_cell(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, block_px: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice(np.array([0, 1, 2, NODATA], np.uint8), (1, height, width))
    made = overviews(
        write_map(tmp_path_factory.mktemp("map"), CLASSES, values, block_px, frozenset())
    )
    assert np.array_equal(made[0], values)
    longest = max(height, width)
    assert len(made) == 1 + (longest > 512) + (longest > 1024)
    # Each is made from the one before.
    for large, small in itertools.pairwise(made):
        parts = cells(large[0])
        assert small.shape[1:] == parts.shape[1:]
        counts = np.stack([(parts == value).sum(axis=0) for value in (0, 1, 2)])
        shown = small[0] != NODATA
        assert np.array_equal(shown, counts.sum(axis=0) > 0)
        # Of classes that are equally frequent it may show any.
        chosen = np.take_along_axis(counts, small.astype(np.int64).clip(max=2), axis=0)[0]
        assert np.array_equal(chosen[shown], counts.max(axis=0)[shown])


@pytest.mark.integration
def test_overviews_do_not_depend_on_the_cut_and_average_shares(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shares = rng.integers(0, 255, (2, 1100, 1536), dtype=np.uint8)
    shares[:, 300:700, 900:1300] = NODATA
    made = []
    for block_px in (512, 1024, 1536):
        (tmp_path / str(block_px)).mkdir()
        made.append(overviews(write_map(tmp_path / str(block_px), SHARES, shares, block_px)))
    for other in made[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(made[0], other, strict=True))
    for band in range(2):
        parts = np.ma.masked_equal(cells(shares[band]), NODATA)
        assert np.abs(made[0][1][band] - parts.mean(axis=0).filled(NODATA)).max() <= 0.5


@pytest.mark.integration
def test_lost_block_is_nodata_in_the_overviews_too(tmp_path: Path) -> None:
    values = np.ones((1, 1024, 1024), np.uint8)
    made = overviews(write_map(tmp_path, CLASSES, values, 512, frozenset({1})))
    for place, shown in enumerate(made):
        half = 512 // 2**place
        assert (shown[0, :half, half:] == NODATA).all()
        shown[0, :half, half:] = 1
        assert (shown == 1).all()


@pytest.mark.integration
@pytest.mark.parametrize("layer", [CLASSES, SHARES])
def test_map_wider_than_a_blocks_overviews_reach(tmp_path: Path, layer: Layer) -> None:
    # Stripes of whole cells of the last overview, some of them without data, and a half cell.
    width = 128 * 512 + 128
    line = np.array([0, 1, NODATA, 2], np.uint8)[np.arange(width) // 256 % 4]
    line[1024 + 100 : 1024 + 256] = NODATA
    values = np.broadcast_to(line, (len(layer.bands), 300, width))
    made = overviews(write_map(tmp_path, layer, values, 4096))
    assert [small.shape[2] for small in made] == [-(-width // 2**k) for k in range(9)]
    for place in (5, 6, 7, 8):
        # What is left of a cell that is in part without data counts.
        assert np.array_equal(made[place][0, 0], line[:: 2**place])
