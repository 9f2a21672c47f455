"""`bocage data cut` from folders of tiles, addresses, catalogues and cubes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from imagery_files import LEFT, TOP, reflectance, write_cube, write_items, write_store
from range_server import RangeServer
from rasterio.transform import from_origin
from typer.testing import CliRunner

from bocage.cli.app import app
from bocage.data import PatchIndex, get_layout
from bocage.sample import Sample

pytestmark = pytest.mark.integration

SIDE, TILE = 96, 32
DAYS = ["2021-05-01", "2021-06-01", "2021-07-01", "2022-03-01"]
S2 = "SENTINEL2_TS"


@pytest.fixture
def photo() -> np.ndarray:
    """120 m in pixels of 1.25 m, as the ten-metre pixels of the series are twelve to a side."""
    return np.random.default_rng(1).integers(20, 220, (3, SIDE, SIDE)).astype(np.uint8)


def write(path: Path, array: np.ndarray, row: int = 0, col: int = 0) -> Path:
    pixel = 1.25
    profile = {
        "driver": "GTiff", "count": 3, "height": array.shape[1], "width": array.shape[2],
        "dtype": "uint8", "crs": "EPSG:2154",
        "transform": from_origin(LEFT + col * pixel, TOP - row * pixel, pixel, pixel),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(array)
    return path


def cut(out: Path, *words: object) -> tuple[dict[str, Sample], str]:
    """The patches that the command makes, and what it says."""
    command = ["data", "cut", "-o", out, "--keep-unlabelled", "--workers", 1, f"tile_px={TILE}"]
    done = CliRunner().invoke(app, [str(word) for word in (*command, *words)])
    assert done.exit_code == 0, (done.output, done.exception)
    root = out / "patches"
    layout = get_layout("packed")
    records = PatchIndex.read(root / "index.parquet")
    names = ("AERIAL_RGB", S2)
    return {r.patch_id: layout.read(root, r, names, [], "refuse") for r in records}, done.stdout


def assert_photo(found: dict[str, Sample], photo: np.ndarray) -> None:
    assert len(found) == 9
    for patch_id, sample in found.items():
        row, col = (TILE * int(place) for place in patch_id.split("-"))
        expected = photo[:, row : row + TILE, col : col + TILE]
        np.testing.assert_array_equal(sample.images["AERIAL_RGB"], expected)


@pytest.mark.parametrize("kind", ["folder", "pattern"])
def test_a_folder_of_tiles(tmp_path: Path, photo: np.ndarray, kind: str) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for row in range(0, SIDE, 40):
        for col in range(0, SIDE, 40):
            part = photo[:, row : row + 40, col : col + 40]
            write(tiles / f"t{row}_{col}.tif", part, row, col)
    found, said = cut(tmp_path / "out", "--rgb", tiles if kind == "folder" else tiles / "t*.tif")
    assert_photo(found, photo)
    assert "note" not in said
    # A gap is told, and what lies in it is left out.
    (tiles / "t0_0.tif").unlink()
    found, said = cut(tmp_path / "gap", "--rgb", tiles)
    assert "between them is no data" in said
    assert "0-0" not in found
    assert len(found) == 8


def test_an_address(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "site").mkdir()
    write(tmp_path / "site" / "ortho.tif", photo)
    with RangeServer(tmp_path / "site") as server:
        found, _ = cut(tmp_path / "out", "--rgb", f"{server.url}/ortho.tif")
    # The patches hold the pixels: the server is no longer needed.
    assert_photo(found, photo)


@pytest.mark.parametrize("kind", ["document", "address", "cube", "zarr"])
def test_a_series(tmp_path: Path, photo: np.ndarray, kind: str) -> None:
    """Beside a photograph; the offset of its last item is taken off and told."""
    site = tmp_path / "site"
    site.mkdir()
    truth = reflectance(4)
    stored = truth.copy()
    stored[3] += 1000
    items = write_items(
        site, DAYS, stored, [{}, {}, {}, {"s2:processing_baseline": "04.00"}], [{}] * 4
    )
    cube = write_cube(site / "s2.nc", truth, [0, 31, 61, 304], units="days since 2021-05-01")
    store = write_store(site / "s2.zarr", truth, [0, 31, 61, 304], units="days since 2021-05-01")
    ortho = write(tmp_path / "ortho.tif", photo)
    with RangeServer(site) as server:
        source = {
            "document": items, "address": f"{server.url}/items.json", "cube": cube, "zarr": store,
        }[kind]  # fmt: skip
        found, said = cut(tmp_path / "out", "--rgb", ortho, "--sentinel2", source)
    assert_photo(found, photo)
    assert ("numbers of 25% of its bands are taken minus 1000" in said) == (
        kind in ("document", "address")
    )
    for patch_id, sample in found.items():
        row, col = (4 * int(place) for place in patch_id.split("-"))
        series = sample.series[S2]
        assert series.dates.astype(str).tolist() == DAYS
        np.testing.assert_array_equal(series.values, truth[..., row : row + 4, col : col + 4])


def test_a_doubt_is_told(tmp_path: Path) -> None:
    (tmp_path / "dates.txt").write_text("\n".join(DAYS))
    stored = (reflectance(4) + 1000).reshape(-1, 12, 12)
    path = tmp_path / "s2.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=40, height=12, width=12, dtype="uint16", crs="EPSG:2154",
        transform=from_origin(LEFT, TOP, 10, 10),
    ) as target:  # fmt: skip
        target.write(stored)
    words = ("--sentinel2", path, "--dates", tmp_path / "dates.txt", "tile_px=16")
    assert "as if all had the offset of 1000" in cut(tmp_path / "out", *words)[1]
    told = cut(tmp_path / "told", *words, "--sentinel2-offset", -1000)[1]
    assert "as if" not in told
    assert "are taken minus 1000" in told


@pytest.mark.parametrize("form", ["{}.zarr", 'ZARR:"{}.zarr":/reflectance', 'NETCDF:"{}.nc":B02'])
def test_pixels_that_stay_are_found_from_anywhere(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Named from one folder, cut without packing, read from another one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    write(Path("ortho.tif"), photo)
    write_store(Path("s2.zarr"), reflectance(2), [0, 31], order="time-band")
    write_cube(Path("s2.nc"), reflectance(2), [0, 31], order="time-band")
    source = form.format("s2").replace("B02", "reflectance")
    words = ("--rgb", "ortho.tif", "--sentinel2", source, "--keep-unlabelled", "tile_px=32")
    done = CliRunner().invoke(app, ["data", "cut", "-o", "out", "--no-pack", *words])
    assert done.exit_code == 0, (done.output, done.exception)
    monkeypatch.chdir(tmp_path)
    root = here / "out/territory"
    layout = get_layout("territory")
    for record in PatchIndex.read(root / "index.parquet"):
        row, col = (4 * int(place) for place in record.patch_id.split("-"))
        series = layout.read(root, record, [S2], [], "refuse").series[S2]
        expected = reflectance(2)[..., row : row + 4, col : col + 4]
        np.testing.assert_array_equal(series.values, expected)
