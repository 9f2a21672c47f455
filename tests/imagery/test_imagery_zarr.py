"""Zarr stores of versions 2 and 3: the same series as in NetCDF, read window by window."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from imagery_files import BANDS, LEFT, PIXEL, TOP, reflectance, write_cube, write_store
from numcodecs import BZ2, LZ4, LZMA, Blosc, GZip, Zlib
from range_server import RangeServer
from rasterio.windows import Window
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from bocage import rasters
from bocage.errors import ConfigError, DataError
from bocage.imagery import (
    SensorGrid,
    Source,
    absolute,
    inspect,
    open_source,
    read_raster,
    reading_of,
)
from bocage.imagery.locate import plain_address
from bocage.imagery.zarr_store import _opened
from bocage.modalities import get_modality

pytestmark = pytest.mark.integration

STEPS = [0, 30, 75]
DAYS = ["2021-04-01", "2021-05-01", "2021-06-15"]


def read(source: Source) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    sensor = inspect(source)
    grid = sensor.raster.grid
    found = read_raster(
        sensor.raster,
        SensorGrid(grid, Fraction(1)),
        (0, grid.height),
        (0, grid.width),
        reading_of(sensor.modality),
    )
    assert sensor.dates is not None
    return sensor.dates.astype(str).tolist(), *found


@pytest.mark.parametrize("order", ["variables", "time-band", "band-time"])
@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("version", [2, 3])
def test_a_store_is_a_series(tmp_path: Path, version: int, consolidated: bool, order: str) -> None:
    frames = reflectance(3)
    path = write_store(
        tmp_path / "s2.zarr", frames, STEPS[::-1],
        version=version, consolidated=consolidated, order=order,
    )  # fmt: skip
    days, values, valid = read(Source("sentinel2", path))
    assert days == DAYS
    np.testing.assert_array_equal(values, frames[::-1])
    assert valid is None


@pytest.mark.parametrize(
    "made",
    [
        {"version": 2, "compressors": Blosc("lz4", shuffle=Blosc.BITSHUFFLE)},
        {"version": 2, "compressors": None},
        {"version": 3, "compressors": BloscCodec(cname="zstd", shuffle="shuffle")},
        {"version": 3, "compressors": ZstdCodec(level=3), "shards": (3, 8, 12, 10)},
        {"version": 3, "north_up": False},
        {"version": 3, "group": "measurements/r10m"},
        {"version": 2, "units": "hours since 2021-04-01 00:30:00", "days": [10, 730, 1810]},
        {"version": 3, "units": "nanoseconds since 2021-04-01T10:36:29.024000",
         "days": [d * 86_400 * 10**9 + 123 for d in STEPS]},
    ],
    ids=["blosc 2", "raw 2", "blosc 3", "shards", "rows northwards", "group", "hours", "ns"],
)  # fmt: skip
def test_ways_to_write_it(tmp_path: Path, made: dict[str, Any]) -> None:
    frames = reflectance(3)
    steps = made.pop("days", STEPS)
    path = write_store(tmp_path / "s2", frames, steps, order="time-band", **made)
    named = f'ZARR:"{path}":/{made["group"]}' if "group" in made else path
    days, values, _ = read(Source("sentinel2", named))
    assert days == DAYS
    np.testing.assert_array_equal(values, frames)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["time-band", "variables"])
def test_scaled_numbers_with_holes(tmp_path: Path, version: int, order: str) -> None:
    frames = reflectance(3)
    stored = (frames / 2).astype(np.int16)
    stored[1, 4, 2, 3] = -1
    nodata = {"fill_value": -1} if version == 2 else {"_FillValue": -1}
    path = write_store(
        tmp_path / "s2.zarr", stored, STEPS,
        version=version, order=order, scale_factor=2e-4, add_offset=0.0, **nodata,
    )  # fmt: skip
    _, values, valid = read(Source("sentinel2", path))
    assert valid is not None
    assert np.argwhere(~valid).tolist() == [[1, 2, 3]]
    here = np.broadcast_to(valid[:, None], values.shape)
    np.testing.assert_array_equal(values[here], (frames // 2 * 2)[here])


def test_what_was_never_written_is_a_hole(tmp_path: Path) -> None:
    """A scene that does not reach a chunk leaves it out of the store."""
    path = write_store(tmp_path / "s2.zarr", reflectance(3), STEPS, order="time-band")
    # The middle date, all bands (in chunks of four), the upper left of its pixels.
    for part in range(3):
        (path / f"reflectance/c/1/{part}/0/0").unlink()
    _, _, valid = read(Source("sentinel2", path))
    assert valid is not None
    hole = np.zeros((3, 12, 12), bool)
    hole[1, :6, :5] = True
    np.testing.assert_array_equal(~valid, hole)


def test_a_window_reads_only_its_chunks(tmp_path: Path) -> None:
    frames = reflectance(3)
    path = write_store(tmp_path / "s2.zarr", frames, STEPS, order="time-band", compressors=None)
    with open_source(str(path)) as dataset:
        # Chunks of one date, four bands and 6 x 5 pixels; whichever others there are break.
        for chunk in (path / "reflectance/c").rglob("*"):
            if chunk.is_file() and chunk.relative_to(path / "reflectance/c").parts != tuple("1110"):
                chunk.write_bytes(b"broken")
        found = dataset.read([10 + 5 + 1, 10 + 4 + 1], window=Window(1, 7, 4, 5))
        np.testing.assert_array_equal(found, frames[1, [5, 4], 7:12, 1:5])
        with pytest.raises(DataError, match=r"s2\.zarr: cannot be read as Zarr"):
            dataset.read([1], window=Window(0, 0, 12, 12))


def test_one_variable_of_many_is_named_and_brings_its_days(tmp_path: Path) -> None:
    frames = reflectance(3)
    store = write_store(tmp_path / "s2.zarr", frames, STEPS, order="time-band")
    root = zarr.open_group(store)
    root.create_array("other", data=frames[:, 0] * 0, dimension_names=["time", "y", "x"])
    cube = write_cube(tmp_path / "c.nc", frames, STEPS, order="time-band")
    with pytest.raises(DataError, match=r"no variable for B02.*its variables are other, reflect"):
        inspect(Source("sentinel2", store))
    (tmp_path / "d.txt").write_text("20220101\n20220201\n20220301")
    for named in (f'ZARR:"{store}":/reflectance', f'NETCDF:"{cube}":reflectance'):
        days, values, _ = read(Source("sentinel2", named))
        assert days == DAYS
        np.testing.assert_array_equal(values, frames)
        # A text file goes before the time axis.
        assert read(Source("sentinel2", named, tmp_path / "d.txt"))[0][0] == "2022-01-01"


def test_an_address(tmp_path: Path) -> None:
    frames = reflectance(3)
    write_store(tmp_path / "s2.zarr", frames, STEPS, consolidated=True)
    with RangeServer(tmp_path) as server:
        days, values, _ = read(Source("sentinel2", f"{server.url}/s2.zarr"))
    assert days == DAYS
    np.testing.assert_array_equal(values, frames)


CODECS = {
    "gzip": (3, GzipCodec()),
    "zstd": (3, ZstdCodec()),
    "blosc": (3, BloscCodec()),
    "gzip 2": (2, GZip()),
    "zlib 2": (2, Zlib()),
    "lzma 2": (2, LZMA()),
    "bz2 2": (2, BZ2()),
    "lz4 2": (2, LZ4()),
    "blosc 2": (2, Blosc()),
}


def write_tile(path: Path, column: int, codec: str) -> np.ndarray:
    """A photograph (4, 8, 8), so many columns from the left, as one chunk; what it shows."""
    version, compressor = CODECS[codec]
    group = zarr.open_group(path, mode="w", zarr_format=version)
    image = (1 + np.arange(4 * 8 * 8) // 5).reshape(4, 8, 8).astype(np.uint8) + np.uint8(column)
    for name, values, dims in (
        ("image", image, ["band", "y", "x"]),
        ("y", TOP - PIXEL * (np.arange(8) + 0.5), ["y"]),
        ("x", LEFT + PIXEL * (column + np.arange(8) + 0.5), ["x"]),
    ):
        words: dict[str, Any] = {"dimension_names": dims} if version == 3 else {}
        attributes = {"_ARRAY_DIMENSIONS": dims} if version == 2 else {}
        words["compressors"] = [compressor]
        group.create_array(name, data=values, chunks=values.shape, attributes=attributes, **words)
    group.attrs["proj:code"] = "EPSG:2154"
    return image


@pytest.mark.parametrize("damage", ["half", "noise", "nothing"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_chunk_costs_its_tile(tmp_path: Path, codec: str, damage: str) -> None:
    """Each codec has errors of its own: all are told, none ends the run."""
    image = write_tile(tmp_path / "a.zarr", 0, codec)
    write_tile(tmp_path / "b.zarr", 8, codec)
    (tmp_path / "tiles.txt").write_text("a.zarr\nb.zarr")
    raster = inspect(Source("aerial", tmp_path / "tiles.txt"), "report").raster
    chunk = tmp_path / "b.zarr/image" / ("c/0/0/0" if CODECS[codec][0] == 3 else "0.0.0")
    content = chunk.read_bytes()
    noise = np.random.default_rng(0).bytes(len(content))
    chunk.write_bytes(
        {"half": content[: len(content) // 2], "noise": content[:12] + noise, "nothing": b""}[
            damage
        ]
    )
    words = r"b\.zarr: cannot be read as Zarr \(.+\)\. The store"
    with open_source(str(tmp_path / "b.zarr")) as dataset, pytest.raises(DataError, match=words):
        dataset.read([1], window=Window(0, 0, 8, 8))
    found: set[str] = set()
    grid = SensorGrid(raster.grid, Fraction(1))
    reading = reading_of(get_modality("aerial"))
    values, valid = read_raster(raster, grid, (0, 8), (0, 16), reading, found=found)
    np.testing.assert_array_equal(values[0, :, :, :8], image)
    assert valid is not None
    assert valid[0].sum(axis=0).tolist() == [8] * 8 + [0] * 8
    assert len(found) == 1
    assert "a tile is left out where it breaks" in found.pop()


@pytest.mark.parametrize("name", ["x", "time"])
def test_damaged_coordinates_are_told(tmp_path: Path, name: str) -> None:
    path = write_store(tmp_path / "s2.zarr", reflectance(3), STEPS, order="time-band")
    (path / name / "c/0").write_bytes(b"xx")
    with pytest.raises(DataError, match=r"s2\.zarr: cannot be read as Zarr"):
        inspect(Source("sentinel2", path))


@pytest.mark.parametrize("key", ["scale_factor", "add_offset"])
def test_a_scale_that_is_no_number_is_told(tmp_path: Path, key: str) -> None:
    words: dict[str, Any] = {key: "x"}
    path = write_store(tmp_path / "s2.zarr", reflectance(3), STEPS, order="time-band", **words)
    with pytest.raises(DataError, match=rf"its attribute {key} is 'x', no number"):
        inspect(Source("sentinel2", path))


def test_a_store_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s2.zarr", reflectance(3), STEPS, order="time-band")
    days, values, _ = read(Source("sentinel2", path))
    shutil.rmtree(path)
    write_store(path, reflectance(2), [0, 99], order="time-band", scale_factor=2e-4)
    days, values, _ = read(Source("sentinel2", path))
    assert days == ["2021-04-01", "2021-07-09"]
    np.testing.assert_array_equal(values, reflectance(2) * 2)
    variable = Source("sentinel2", f'ZARR:"{path}":/reflectance')
    assert len(read(variable)[0]) == 2
    time.sleep(0.01)  # the clock of files
    array = zarr.open_group(path)["reflectance"]
    array.attrs["scale_factor"] = 1e-4
    np.testing.assert_array_equal(read(variable)[1], reflectance(2))


@pytest.mark.parametrize(("pixel", "share"), [(10.0, 1e-6), (10.24, 0.01), (0.2, 0.1)])
def test_coordinates_as_coarse_as_float32(tmp_path: Path, pixel: float, share: float) -> None:
    """At 6,600 km it holds half metres: steps look uneven, and the ends alone say too little."""
    side = 1000
    group = zarr.open_group(tmp_path / "f.zarr", mode="w")
    group.create_array(
        "v", shape=(side, side), chunks=(side, side), dtype="u1", dimension_names=["y", "x"]
    )
    for name, corner, step in (("y", TOP, -pixel), ("x", LEFT, pixel)):
        values = (corner + step * (np.arange(side) + 0.5)).astype(np.float32)
        group.create_array(name, data=values, dimension_names=[name])
    with open_source(str(tmp_path / "f.zarr")) as dataset:
        for place in (0, side):
            x, y = dataset.transform @ (place, place)
            assert x == pytest.approx(LEFT + pixel * place, abs=share * pixel)
            assert y == pytest.approx(TOP - pixel * place, abs=share * pixel)
    # What float32 cannot have rounded is uneven still.
    values[7] += 1.0
    group["x"][:] = values
    _opened.cache_clear()
    with open_source(str(tmp_path / "f.zarr")) as dataset, pytest.raises(DataError, match="evenly"):
        _ = dataset.transform


def test_a_variable_without_two_dimensions_is_told(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s2.zarr", reflectance(3), STEPS)
    with pytest.raises(DataError, match=r":/time: has 1 of the two dimensions that a raster has"):
        inspect(Source("sentinel2", f'ZARR:"{path}":/time'))


def test_a_server_that_vanishes_or_was_never_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(rasters.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", "0")
    words = r"s2\.zarr: cannot be read as Zarr \(Connection refused\)\. Check the address"
    write_store(tmp_path / "s2.zarr", reflectance(3), STEPS, order="time-band", consolidated=True)
    with RangeServer(tmp_path) as server:
        address = f"{server.url}/s2.zarr"
        raster = inspect(Source("sentinel2", address)).raster
    grid, reading = SensorGrid(raster.grid, Fraction(1)), reading_of(get_modality("sentinel2"))
    with pytest.raises(DataError, match=words):
        read_raster(raster, grid, (0, 12), (0, 12), reading)
    _opened.cache_clear()
    with pytest.raises(DataError, match=words):
        inspect(Source("sentinel2", address))
    with pytest.raises(DataError, match=r"cannot be read as Zarr \(.*\)\. Check the address"):
        inspect(Source("sentinel2", "https://host.invalid/s2.zarr"))


def test_a_silent_server_is_not_waited_for(monkeypatch) -> None:
    for name, value in (("TIMEOUT", "0.3"), ("MAX_RETRY", "1"), ("RETRY_DELAY", "0.1")):
        monkeypatch.setitem(rasters.GDAL_OPTIONS, f"GDAL_HTTP_{name}", value)
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        with pytest.raises(DataError, match="no answer in time"):
            inspect(Source("sentinel2", f"http://127.0.0.1:{server.getsockname()[1]}/s2.zarr"))
    assert time.monotonic() - begin < 10


def test_paths_of_gdal_to_a_store(tmp_path: Path) -> None:
    frames = reflectance(3)
    write_store(tmp_path / "s2.zarr", frames, STEPS, consolidated=True)
    with RangeServer(tmp_path) as server:
        _, values, _ = read(Source("sentinel2", f"/vsicurl/{server.url}/s2.zarr"))
    np.testing.assert_array_equal(values, frames)
    assert plain_address("/vsis3/bucket/s2.zarr") == "s3://bucket/s2.zarr"
    with pytest.raises(ConfigError, match=r"/vsizip/a\.zip/s2\.zarr: Zarr is read from folders"):
        inspect(Source("sentinel2", "/vsizip/a.zip/s2.zarr"))


@pytest.mark.parametrize("form", ["{}", 'ZARR:"{}":/B02', "ZARR:{}:/B02", 'NETCDF:"{}":B02'])
def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    (tmp_path / "s2.zarr").mkdir()
    monkeypatch.chdir(tmp_path)
    whole = absolute(form.format("s2.zarr"))
    assert str(tmp_path / "s2.zarr") in whole
    assert whole.replace('"', "").endswith(form.format("s2.zarr").replace('"', "")[-7:])
    assert absolute(whole) == whole
    assert absolute('ZARR:"s3://bucket/s2.zarr":/B02') == 'ZARR:"s3://bucket/s2.zarr":/B02'


def test_stores_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = reflectance(3)
    with pytest.raises(DataError, match=r"none\.zarr: no such folder"):
        inspect(Source("sentinel2", tmp_path / "none.zarr"))
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(DataError, match=r"empty\.zarr: cannot be read as Zarr"):
        inspect(Source("sentinel2", tmp_path / "empty.zarr"))
    path = write_store(tmp_path / "odd.zarr", frames, STEPS, units="months since 2021-04-01")
    with pytest.raises(DataError, match="time in 'months since 2021-04-01'"):
        inspect(Source("sentinel2", path))
    path = write_store(tmp_path / "uneven.zarr", frames, STEPS)
    zarr.open_group(path)["x"][3] = 0
    with pytest.raises(DataError, match="its coordinate 'x' is not evenly spaced"):
        inspect(Source("sentinel2", path))
    path = write_store(tmp_path / "nowhere.zarr", frames, STEPS)
    zarr.open_group(path)["spatial_ref"].attrs.clear()
    with pytest.raises(DataError, match="has no CRS"):
        inspect(Source("sentinel2", path))
    path = write_store(tmp_path / "codec.zarr", frames, STEPS)
    text = (path / BANDS[0] / "zarr.json").read_text()
    (path / BANDS[0] / "zarr.json").write_text(text.replace('"zstd"', '"of tomorrow"'))
    with pytest.raises(DataError, match=r"cannot be read as Zarr.*tomorrow"):
        inspect(Source("sentinel2", path))
    _opened.cache_clear()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ConfigError, match=r"pip install 'bocage\[zarr\]'"):
        inspect(Source("sentinel2", path))
