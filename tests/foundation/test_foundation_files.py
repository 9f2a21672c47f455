"""Rasters are read or refused with a message; nothing half-written gets a final name."""

import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin

from bocage.errors import BocageError, DataError
from bocage.files import atomic_path, write_json
from bocage.rasters import describe_crs, read_bands, same_crs

pytestmark = pytest.mark.unit
LAMBERT = CRS.from_epsg(2154)


def _write(path: Path, array: np.ndarray, crs: CRS | None = LAMBERT) -> Path:
    profile = {
        "driver": "GTiff",
        "width": array.shape[2],
        "height": array.shape[1],
        "count": array.shape[0],
        "dtype": array.dtype,
        "crs": crs,
        "transform": from_origin(700000, 6600000, 0.2, 0.2),
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(array)
    return path


def test_reads_what_was_written(tmp_path: Path) -> None:
    array = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    read, grid = read_bands(_write(tmp_path / "a.tif", array), count=4, dtype="uint8", size=(6, 5))
    assert np.array_equal(read, array)
    assert grid.bounds == pytest.approx((700000, 6599998.8, 700001, 6600000))
    assert grid.resolution == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"count": 3}, "4 bands where SPOT has 3"),
        ({"dtype": "uint16"}, "pixels of type uint8 where SPOT has uint16"),
        ({"size": (64, 64)}, "6 x 5 pixels where SPOT has 64 x 64"),
    ],
)
def test_declared_shape_is_checked(tmp_path: Path, wanted: dict, message: str) -> None:
    path = _write(tmp_path / "a.tif", np.zeros((4, 6, 5), np.uint8))
    with pytest.raises(DataError, match=rf"a\.tif: {message}"):
        read_bands(path, what="SPOT", **wanted)


def test_missing_and_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.tif: no such file"):
        read_bands(tmp_path / "gone.tif")
    whole = _write(tmp_path / "whole.tif", np.ones((4, 512, 512), np.uint8)).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.tif: cannot be read.*fetch or write it again"):
        read_bands(tmp_path / "cut.tif")
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.tif: cannot be read"):
        read_bands(tmp_path / "text.tif")


def test_crs_spellings() -> None:
    local = CRS.from_wkt('LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]')
    assert same_crs(LAMBERT, local)
    assert same_crs(local, LAMBERT)
    assert same_crs(LAMBERT, CRS.from_wkt(LAMBERT.to_wkt()))
    assert not same_crs(LAMBERT, CRS.from_epsg(32631))
    assert not same_crs(local, CRS.from_epsg(32631))
    assert not same_crs(LAMBERT, None)
    assert same_crs(None, None)
    assert describe_crs(LAMBERT).startswith("EPSG:2154 (")
    assert describe_crs(None) == "no CRS"


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    write_json(target, {"a": 1})

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == [target]
    assert "1" in target.read_text()


def test_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_path(tmp_path / "map.tif"):
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"map\.tif: could not be written \(No space left"):
        fill()


@pytest.mark.real
def test_every_odd_file_is_read_or_refused_in_bounded_time(real_data: Path) -> None:
    """Files that declare gigabytes are stopped by the expected size before a pixel is decoded."""
    started = time.monotonic()
    outcomes = []
    for path in sorted((real_data / "odd").glob("*.tif*")):
        try:
            read_bands(path, count=4, dtype="uint8", size=(512, 512), what="AERIAL_RGBI")
        except BocageError as error:
            outcomes.append((path.name, str(error)))
    assert len(outcomes) > 50
    assert all(name in message for name, message in outcomes)
    assert time.monotonic() - started < 60
    pointer = next(message for name, message in outcomes if "lfs_pointer" in name)
    assert "git lfs pull" in pointer
