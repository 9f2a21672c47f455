"""Block files and what is made of them: above all the overviews, which come from the blocks."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from tifffile import TiffFile

from bocage.errors import DataError
from bocage.mapping import cog
from bocage.mapping.cog import Piece, check_whole, tile_options
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
    assert cog_validate(target, strict=True, quiet=True)[0]
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


@pytest.mark.integration
@pytest.mark.parametrize("layer", [CLASSES, SHARES])
@pytest.mark.parametrize("block_px", [512, 1024, 1536])
@pytest.mark.parametrize("big", [False, True])
def test_tiles_lie_as_the_files_head_says(
    tmp_path: Path, layer: Layer, block_px: int, big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smallest overview first, row by row, each between its size and its last four bytes; of all
    blocks, also those that were lost."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (len(layer.bands), 2600, 1800), dtype=np.uint8)
    real = cog.cog_options
    options = {"bigtiff": "YES" if big else "NO"}
    monkeypatch.setattr(cog, "cog_options", lambda layer: real(layer) | options)
    made = write_map(tmp_path, layer, values, block_px, frozenset({1}))
    data = made.read_bytes()
    assert b"BLOCK_LEADER=SIZE_AS_UINT4" in data[:500]
    assert b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED" in data[:500]
    end = 0
    with TiffFile(made) as tiff:
        assert tiff.is_bigtiff is big
        assert [page.shape[:2] for page in tiff.pages] == [
            (2600, 1800), (1300, 900), (650, 450), (325, 225)
        ]  # fmt: skip
        for page in reversed(list(tiff.pages)):
            for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
                assert offset == end + 4 or end == 0
                assert int.from_bytes(data[offset - 4 : offset], "little") == size
                end = offset + size + 4
                assert data[end - 8 : end - 4] == data[end - 4 : end]
        assert end == len(data)
        # Another reader than GDAL.
        decoded = np.moveaxis(np.atleast_3d(tiff.pages[0].asarray()), -1, 0)
    lost = np.zeros((2600, 1800), bool)
    lost[:block_px, block_px : 2 * block_px] = True
    assert np.array_equal(decoded, np.where(lost, NODATA, values))
    assert all(np.array_equal(a, b) for a, b in zip(decoded, overviews(made)[0], strict=True))


@pytest.mark.integration
def test_tiles_of_blocks_are_copied_and_not_made_again(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (1, 2048, 2048), dtype=np.uint8)
    made = write_map(tmp_path, CLASSES, values, 1024)
    with TiffFile(made) as whole, TiffFile(tmp_path / "000003.tif") as part:
        data, block = made.read_bytes(), (tmp_path / "000003.tif").read_bytes()

        def tile(bytes_: bytes, page: Any, number: int) -> bytes:
            start = page.dataoffsets[number]
            return bytes_[start : start + page.databytecounts[number]]

        map_page, half_page, block_page = whole.pages[0], whole.pages[1], part.pages[0]
        assert tile(data, map_page, 4 * 2 + 2) == tile(block, block_page, 0)
        assert tile(data, map_page, 4 * 3 + 3) == tile(block, block_page, 2 + 1)
        assert tile(data, half_page, 2 + 1) == tile(block, block_page, 2 * 2)


@pytest.mark.integration
@pytest.mark.parametrize("block_px", [512, 1536, 2560])
def test_overviews_show_nothing_where_a_block_is_lost(tmp_path: Path, block_px: int) -> None:
    """Whatever stands beside a picture on the canvas of the block next to it."""
    values = np.ones((1, 2 * block_px, 3 * block_px), np.uint8)
    made = overviews(write_map(tmp_path, CLASSES, values, block_px, frozenset({1})))
    for place, shown in enumerate(made):
        start, stop = (-(-edge // 2**place) for edge in (block_px, 2 * block_px))
        assert (shown[0, : start - 1, start + 1 : stop - 1] == NODATA).all()
        shown[0, : start + 1, start - 1 : stop + 1] = 1
        assert (shown == 1).all()


@pytest.mark.unit
def test_a_file_that_lacks_tiles_is_not_whole(tmp_path: Path) -> None:
    """As GDAL leaves it on a disk that is full, without an error."""
    made = tmp_path / "a.tif"
    options = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 1024, "width": 1024,
               "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate",
               "sparse_ok": True, "crs": "EPSG:2154",
               "transform": from_origin(0, 0, 1, 1)}  # fmt: skip
    with rasterio.open(made, "w", **options) as dataset:
        dataset.write(np.ones((1024, 1024), np.uint8), 1)
    check_whole(made, made)
    with rasterio.open(made, "w", **options) as dataset:
        dataset.write(np.ones((512, 512), np.uint8), 1, window=Window(0, 0, 512, 512))
    with pytest.raises(DataError, match=r"a\.tif: could not be written whole"):
        check_whole(made, made)


@pytest.mark.unit
def test_a_wide_map_takes_no_more_memory_than_a_tile(tmp_path: Path) -> None:
    """Of 300 tiles side by side."""
    values = np.zeros((1, 512, 512 * 300), np.uint8)
    values[..., ::7] = np.random.default_rng(0).integers(0, 3, (1, 512, values.shape[2])).astype(
        np.uint8)[..., ::7]  # fmt: skip
    with rasterio.open(
        tmp_path / "a.tif", "w", **tile_options(CLASSES), count=1, dtype="uint8", height=512,
        width=values.shape[2], crs="EPSG:2154", transform=from_origin(0, 0, 1, 1),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    size = (tmp_path / "a.tif").stat().st_size
    pieces = [Piece(tmp_path / "a.tif", (0, 1), (0, 300))]
    tracemalloc.start()
    written = sum(len(tile) for tile in cog._tiles(pieces, 1, 300, b""))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written > 0.9 * size > 3e6
    assert peak < size / 10
