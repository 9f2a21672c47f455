"""The fast reader gives what GDAL gives, or hands over to it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import RasterioError

from bocage.data.geotiff import crs_agree, read_geotiff
from bocage.errors import DataError
from bocage.rasters import read_bands

SERIES = np.random.default_rng(5).integers(0, 9000, (40, 10, 10)).astype(np.uint16)
IMAGE = np.random.default_rng(6).integers(0, 255, (4, 64, 64)).astype(np.uint8)
FLOATS = np.random.default_rng(7).normal(size=(2, 64, 64)).astype(np.float32)


def no_gdal(*args, **kwargs):
    raise AssertionError("went to GDAL")


@pytest.mark.unit
@pytest.mark.parametrize("array", [SERIES, IMAGE, IMAGE[:1], FLOATS], ids=lambda a: str(a.shape))
@pytest.mark.parametrize(
    "options",
    [
        {"compress": None},
        {"compress": "lzw", "predictor": 2},
        {"compress": "deflate"},
        {"compress": "zstd"},
        {"compress": "lzw", "interleave": "band"},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"tiled": True, "blockxsize": 48, "blockysize": 16, "interleave": "band"},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
    ],
    ids=str,
)
def test_the_fast_way_equals_gdal(tmp_path, write_tif, monkeypatch, array, options):
    path = write_tif(tmp_path / "a.tif", array, **options)
    count, *size = array.shape
    monkeypatch.setattr("bocage.data.geotiff.read_bands", no_gdal)
    got, grid = read_geotiff(path, count=count, dtype=str(array.dtype), size=tuple(size), what="it")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    with rasterio.open(path) as dataset:
        assert grid.crs == dataset.crs
        assert grid.transform.almost_equals(dataset.transform)


@pytest.mark.unit
def test_what_needs_interpretation_goes_to_gdal(tmp_path, write_tif):
    for options in ({"compress": "jpeg", "photometric": "ycbcr"}, {"compress": "webp"}):
        path = write_tif(tmp_path / "a.tif", IMAGE[:3], **options)
        got, _ = read_geotiff(path, count=3, dtype="uint8", size=(64, 64), what="it")
        with rasterio.open(path) as dataset:
            np.testing.assert_array_equal(got, dataset.read())
    with rasterio.open(
        tmp_path / "sparse.tif",
        "w",
        driver="GTiff",
        count=1,
        height=64,
        width=64,
        dtype="uint8",
        transform=rasterio.Affine(10, 0, 7, 0, -10, 9),
        sparse_ok=True,
        tiled=True,
        blockxsize=16,
        blockysize=16,
    ) as dataset:
        dataset.write(IMAGE[:1, :16, :16], window=((0, 16), (0, 16)))
    got, grid = read_geotiff(
        tmp_path / "sparse.tif", count=1, dtype="uint8", size=(64, 64), what="it"
    )
    np.testing.assert_array_equal(got[0, :16, :16], IMAGE[0, :16, :16])
    assert not got[0, 16:].any()
    assert grid.crs is None


@pytest.mark.unit
@pytest.mark.parametrize("compress", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_a_file_cut_anywhere_is_refused(tmp_path, write_tif, compress, keep):
    noise = np.random.default_rng(1).integers(0, 2**16, (60, 10, 10)).astype(np.uint16)
    path = write_tif(tmp_path / "a.tif", noise, compress=compress)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DataError, match=r"a\.tif"):
        read_geotiff(path, count=60, dtype="uint16", size=(10, 10), what="it")


@pytest.mark.property
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    compress=st.sampled_from([None, "lzw", "deflate", "zstd"]),
    place=st.integers(0, 800) | st.integers(0, 20_000),
    value=st.integers(0, 255),
)
def test_a_changed_byte_is_read_as_gdal_reads_it_or_refused(
    tmp_path, write_tif, compress, place, value
):
    data = bytearray(write_tif(tmp_path / "sound.tif", IMAGE, compress=compress).read_bytes())
    data[place % len(data)] = value
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(data))
    declared = {"count": 4, "dtype": "uint8", "size": (64, 64), "what": "it"}
    try:
        expected, there = read_bands(path, **declared)
    except DataError:
        expected = None
    try:
        got, grid = read_geotiff(path, **declared)
    except DataError:
        assert expected is None
        return
    assert expected is not None
    np.testing.assert_array_equal(got, expected)
    assert grid.transform.almost_equals(there.transform)


@pytest.mark.unit
def test_crs_of_files():
    lambert = rasterio.crs.CRS.from_epsg(2154)
    local = rasterio.crs.CRS.from_wkt('LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]')
    assert crs_agree(lambert, local)
    assert crs_agree(lambert, None)
    assert not crs_agree(lambert, rasterio.crs.CRS.from_epsg(32631))


@pytest.mark.real
# The files without a place on Earth are among the odd ones.
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_odd_files_are_read_as_gdal_reads_them_or_refused(real_data):
    """Whatever a file is: the same pixels as GDAL's, or a `DataError`, never anything else."""
    read = refused = unnamed = 0
    for path in sorted((real_data / "odd").glob("*.tif*")):
        try:
            with rasterio.open(path) as dataset:
                declared = (dataset.count, dataset.dtypes[0], (dataset.height, dataset.width))
                if np.prod((declared[0], *declared[2])) > 2**24:
                    continue
                if "complex_int" in declared[1]:  # a GDAL type that numpy cannot name
                    declared = (1, "uint8", declared[2])
                expected = dataset.read()
        except (RasterioError, ValueError):
            declared, expected = (1, "uint8", (20, 20)), None
        count, dtype, size = declared
        try:
            got, _ = read_geotiff(path, count=count, dtype=dtype, size=size, what="it")
        except DataError as error:
            refused += path.name in str(error)
            unnamed += path.name not in str(error)
            continue
        read += 1
        if expected is not None:
            np.testing.assert_array_equal(got, expected, err_msg=path.name)
    assert read > 10
    assert refused > 3
    assert unnamed == 0
