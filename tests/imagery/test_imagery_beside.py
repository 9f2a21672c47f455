"""What stands in files beside a raster counts, of local sources only, and none is ever written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import range_server
import rasterio
import rasterio.shutil
from image_cases import CRS, PIXEL_M, X, Y, photograph, read_all, save
from imagery_files import BANDS, reflectance, write_cube
from rasterio.crs import CRS as Crs
from rasterio.env import get_gdal_config
from rasterio.transform import from_origin

from bocage.errors import DataError
from bocage.imagery import Source, inspect, open_source
from bocage.rasters import open_raster

pytestmark = pytest.mark.integration

SIDE = 64
WORLD = f"{PIXEL_M}\n0\n0\n-{PIXEL_M}\n{X + PIXEL_M / 2}\n{Y - PIXEL_M / 2}\n"
LEFT = np.zeros((SIDE, SIDE), bool)
LEFT[:, :20] = True


def write_nodata(raster: Path, value: float, bands: int = 4) -> None:
    """As GDAL writes it beside what it may not or cannot change."""
    text = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band in range(1, 1 + bands)
    )
    Path(f"{raster}.aux.xml").write_text(f"<PAMDataset>{text}</PAMDataset>")


def hide_left(raster: Path, internal: bool) -> Path:
    """Give the raster a mask, in the file or beside it."""
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(raster, "r+") as dataset,
    ):
        dataset.write_mask(~LEFT)
    return raster


@pytest.mark.parametrize("internal", [True, False])
def test_masks_in_the_file_and_beside_it(tmp_path: Path, internal: bool) -> None:
    path = hide_left(save(tmp_path / "a.tif", photograph(SIDE, SIDE)), internal)
    assert (tmp_path / "a.tif.msk").exists() != internal
    np.testing.assert_array_equal(read_all(Source("aerial", path))[1], LEFT)


@pytest.mark.parametrize("suffix", [".tif", ".jp2"])
def test_nodata_beside_the_file(tmp_path: Path, suffix: str) -> None:
    image = photograph(SIDE, SIDE)
    image[:, LEFT] = 0
    path = save(tmp_path / "a.tif", image)
    if suffix == ".jp2":
        path = tmp_path / "a.jp2"
        lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO", "YCC": "NO"}
        rasterio.shutil.copy(tmp_path / "a.tif", path, driver="JP2OpenJPEG", **lossless)
    values, holes = read_all(Source("aerial", path))
    assert not holes.any()
    np.testing.assert_array_equal(values, image)
    write_nodata(path, 0)
    np.testing.assert_array_equal(read_all(Source("aerial", path))[1], LEFT)


@pytest.mark.parametrize("crs", ["aux.xml", "prj", "esri"])
def test_a_world_file_and_the_crs_beside_it(tmp_path: Path, crs: str) -> None:
    path = save(tmp_path / "a.tif", photograph(SIDE, SIDE), placed=False)
    (tmp_path / "a.tfw").write_text(WORLD)
    with pytest.raises(DataError, match=r"a\.tif: the raster has no CRS"):
        inspect(Source("aerial", path))
    if crs == "aux.xml":
        (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset><SRS>{CRS}</SRS></PAMDataset>")
    else:
        (tmp_path / "a.prj").write_text("Projection UTM")
        with pytest.raises(DataError, match=r"a\.tif: the raster has no CRS"):
            inspect(Source("aerial", path))
        version = "WKT1_ESRI" if crs == "esri" else "WKT1_GDAL"
        (tmp_path / "a.prj").write_text(Crs.from_string(CRS).to_wkt(version=version))
    grid = inspect(Source("aerial", path)).raster.grid
    assert grid.crs.to_epsg() == 2154
    assert grid.transform.almost_equals(from_origin(X, Y, PIXEL_M, PIXEL_M), 1e-9)


def test_no_file_is_written_beside(tmp_path: Path) -> None:
    image = photograph(SIDE, SIDE)
    save(tmp_path / "a.tif", image)
    rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "b.jp2", driver="JP2OpenJPEG")
    write_nodata(hide_left(save(tmp_path / "c.tif", image), internal=False), 7)
    series = write_cube(tmp_path / "d.nc", reflectance(3), [0, 30, 75])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("a.tif", "b.jp2", "c.tif"):
        read_all(Source("aerial", tmp_path / name))
    inspect(Source("sentinel2", series))
    with open_source(f'NETCDF:"{series}":{BANDS[0]}') as dataset:
        dataset.read(1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folders_are_never_listed_and_patches_have_nothing_beside_them(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", photograph(SIDE, SIDE))
    write_nodata(path, 7)
    with open_source(str(path)) as dataset:
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "TRUE"
        assert set(dataset.nodatavals) == {7}
    with open_raster(path) as dataset:
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
        assert set(dataset.nodatavals) == {None}


def test_a_mask_and_nodata_both_hide(tmp_path: Path) -> None:
    image = photograph(SIDE, SIDE, low=8)
    image[:, 50:] = 7
    path = hide_left(save(tmp_path / "a.tif", image), internal=False)
    write_nodata(path, 7)
    holes = read_all(Source("aerial", path))[1]
    np.testing.assert_array_equal(holes, LEFT | (image == 7).all(axis=0))


def test_nothing_is_asked_for_beside_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nodata(save(tmp_path / "a.tif", photograph(SIDE, SIDE)), 7)
    asked: set[str] = set()
    real = range_server._Files.send_head

    def noting(self):  # type: ignore[no-untyped-def] # what http.server returns
        asked.add(self.path)
        return real(self)

    monkeypatch.setattr(range_server._Files, "send_head", noting)
    with range_server.RangeServer(tmp_path) as server:
        sensor = inspect(Source("aerial", f"{server.url}/a.tif"))
    assert set(sensor.raster.nodata) == {None}
    assert asked == {"/a.tif"}


@pytest.mark.parametrize("value", [0, 255])
def test_a_saturated_band_is_no_hole(tmp_path: Path, value: int) -> None:
    """A roof may be 255 in red; the collar is it in all bands."""
    image = photograph(SIDE, SIDE)
    image[:, LEFT] = value
    image[0, 30:40, 30:40] = value
    path = save(tmp_path / "a.tif", image, nodata=value)
    values, holes = read_all(Source("aerial", path))
    np.testing.assert_array_equal(holes, LEFT)
    np.testing.assert_array_equal(values[:, ~LEFT], image[:, ~LEFT])


@pytest.mark.parametrize(("dtype", "value"), [("float32", -9999.0), ("uint8", 255)])
def test_one_height_without_number_is_a_hole(tmp_path: Path, dtype: str, value: float) -> None:
    """Heights may be stored in 8 bits; they are no image of 8 bits."""
    heights = np.full((2, SIDE, SIDE), 90, dtype)
    heights[0, LEFT] = value
    path = save(tmp_path / "a.tif", heights, nodata=value)
    np.testing.assert_array_equal(read_all(Source("elevation", path))[1], LEFT)
