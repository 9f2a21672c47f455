"""What cannot be mapped is refused before any work, in words that say what to do."""

import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import rasterio
from mapping_stubs import CRS, ORIGIN, ByValue, aerial, bundle, read_map, write_raster
from pydantic import ValidationError
from rasterio.transform import Affine, from_origin

from bocage.errors import ConfigError, DataError
from bocage.imagery import read_dates
from bocage.mapping import MapConfig, Source, map_area

RGBI, DEM, S2, S1 = "AERIAL_RGBI", "DEM_ELEV", "SENTINEL2_TS", "SENTINEL1-ASC_TS"


def refuse(tmp_path, sources, kind, *words, inputs=(RGBI, DEM, S2, S1), **config):
    network = ByValue()
    with pytest.raises(kind) as caught:
        map_area(bundle(network, inputs), sources, tmp_path / "out", MapConfig(**config))
    text = str(caught.value)
    for word in words:
        assert word in text, f"'{word}' is not in: {text}"
    assert not network.calls
    assert not (tmp_path / "out").exists()


@pytest.fixture
def photo(tmp_path: Path) -> Source:
    return Source("aerial", write_raster(tmp_path / "photo.tif", aerial(64, 64)))


@pytest.mark.unit
def test_requests(tmp_path: Path, photo):
    refuse(tmp_path, [], ConfigError, "no imagery", "AERIAL_RGBI (aerial)")
    refuse(
        tmp_path, [photo, Source("spot", tmp_path / "s.tif")],
        ConfigError, "input of this network 'SPOT_RGBI'", "Valid: AERIAL_RGBI",
    )  # fmt: skip
    refuse(tmp_path, [photo, photo], ConfigError, "second source for AERIAL_RGBI", "gdalbuildvrt")
    refuse(tmp_path, [Source("arial", photo.path)], ConfigError, "'arial'", "AERIAL_RGBI")
    refuse(tmp_path, [photo], ConfigError, "device=tpu7", device="tpu7")
    refuse(
        tmp_path, [Source("aerial", photo.path, dates=tmp_path / "d.txt")],
        ConfigError, "takes no dates",
    )  # fmt: skip
    refuse(
        tmp_path, [Source("aerial", photo.path, mask=tmp_path / "m.tif")],
        ConfigError, "belongs to SENTINEL2_TS",
    )  # fmt: skip
    refuse(tmp_path, [Source("sentinel2", photo.path)], ConfigError, "needs its dates")
    refuse(
        tmp_path, [Source("aerial", photo.path, bands=(1, 2, 3))],
        ConfigError, "(1, 2, 3)", "red, green, blue, nir",
    )  # fmt: skip
    refuse(tmp_path, [photo], ConfigError, "overlap_px=90", overlap_px=90)
    refuse(tmp_path, [photo], ConfigError, "year=2021 has no effect", year=2021)


@pytest.mark.unit
def test_config_refuses_unknown_and_odd_fields():
    with pytest.raises(ValidationError, match="windowpx"):
        MapConfig(windowpx=512)
    with pytest.raises(ValidationError, match="multiple of 512"):
        MapConfig(block_px=1000)


@pytest.mark.unit
def test_files_that_are_not_the_product(tmp_path: Path, photo):
    def one(name, array, **options):
        return [Source(name, write_raster(tmp_path / "x.tif", array, **options))]

    refuse(tmp_path, [Source("aerial", tmp_path / "gone.tif")], DataError, "gone.tif: no such file")
    refuse(
        tmp_path, one("aerial", aerial(64, 64)[:3]),
        DataError, "x.tif: 3 bands where AERIAL_RGBI has 4 (red, green, blue, nir)",
        "give imagery that has it", "(AERIAL_RGB, --rgb)", "leave this one out",
    )  # fmt: skip
    refuse(
        tmp_path, one("aerial", aerial(64, 64).astype(np.uint16)),
        DataError, "type uint16 where AERIAL_RGBI has uint8", "gdal_translate -ot Byte -scale",
    )  # fmt: skip
    opaque = aerial(64, 64)
    opaque[3] = 255
    refuse(tmp_path, one("aerial", opaque), DataError, "band 4 is opacity", "nir", "--rgb")
    refuse(
        tmp_path, one("rgb", aerial(64, 64)),
        DataError, "band 4 is marked as opacity", "infrared", "x.tif:1,2,3",
        inputs=("AERIAL_RGB",),
    )  # fmt: skip
    six = np.concatenate([aerial(64, 64), aerial(64, 64)[:2]])
    refuse(tmp_path, one("aerial", six), DataError, "6 bands", "x.tif:1,2,3,4")
    text = tmp_path / "t.tif"
    text.write_text("no image " * 500)
    refuse(tmp_path, [Source("aerial", text)], DataError, "t.tif: cannot be read as a raster")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crs": None}, ["no CRS", "gdal_edit.py -a_srs"]),
        ({"crs": "EPSG:4326", "transform": from_origin(2, 48, 2e-6, 2e-6)},
         ["EPSG:4326", "projected CRS in metres", "gdalwarp"]),
        ({"crs": "EPSG:2225"}, ["US survey foot", "not in metres"]),
        ({"transform": Affine.translation(*ORIGIN) * Affine.rotation(20)
          * Affine.scale(0.2, -0.2)}, ["rotated", "north-up"]),
        ({"transform": Affine(0.2, 0, ORIGIN[0], 0, 0.2, ORIGIN[1])}, ["not north-up"]),
        ({"transform": from_origin(*ORIGIN, 0.2, 0.25)}, ["0.2 m x 0.25 m", "maps at 0.2 m"]),
        ({"resolution": 0.5}, ["0.5 m x 0.5 m", "gdalwarp -tr 0.2 0.2"]),
    ],
)  # fmt: skip
def test_reference_grids(tmp_path: Path, options, words):
    path = write_raster(tmp_path / "photo.tif", aerial(64, 64), **options)
    refuse(tmp_path, [Source("aerial", path)], DataError, "photo.tif", *words)


@pytest.mark.unit
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_raster_without_georeference(tmp_path: Path):
    path = write_raster(
        tmp_path / "photo.tif", aerial(64, 64), transform=Affine.identity(), crs=CRS
    )
    refuse(tmp_path, [Source("aerial", path)], DataError, "no geotransform")


@pytest.mark.unit
def test_sensor_elsewhere(tmp_path: Path, photo):
    dem = np.ones((2, 64, 64), np.float32)
    far = write_raster(tmp_path / "dem.tif", dem, origin=(ORIGIN[0] + 500, ORIGIN[1]))
    refuse(
        tmp_path, [photo, Source("elevation", far)],
        DataError, "dem.tif", "EPSG:2154", "(700500,", "does not cover any of", "(700000,",
    )  # fmt: skip


@pytest.mark.unit
def test_equal_numbers_in_another_crs_are_another_place(tmp_path: Path, photo):
    dem = np.ones((2, 64, 64), np.float32)
    path = write_raster(tmp_path / "dem.tif", dem, crs="EPSG:32631")
    refuse(
        tmp_path, [photo, Source("elevation", path)],
        DataError, "EPSG:32631", "EPSG:2154", "does not cover any of",
    )  # fmt: skip


@pytest.mark.unit
def test_crs_spelled_differently_is_accepted(tmp_path: Path, photo):
    local = 'LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1],AXIS["Easting",EAST],' \
        'AXIS["Northing",NORTH]]'  # fmt: skip
    dem = np.full((2, 64, 64), 3, np.float32)
    path = write_raster(tmp_path / "dem.tif", dem, crs=rasterio.crs.CRS.from_wkt(local))
    network = ByValue()
    report = map_area(
        bundle(network, (RGBI, DEM)), [photo, Source("elevation", path)], tmp_path / "out"
    )
    assert not report.warnings
    assert all(call["valid"][DEM].all() for call in network.calls)


@pytest.mark.unit
def test_series_files(tmp_path: Path, photo):
    dates = tmp_path / "dates.txt"
    dates.write_text("20210101\n20210201\n20210301\n")
    stack = np.ones((40, 4, 4), np.uint16)
    path = write_raster(tmp_path / "s2.tif", stack, 10.24)
    refuse(
        tmp_path, [photo, Source("sentinel2", path, dates)],
        DataError, "s2.tif: 40 bands, that is 4 dates of 10 bands", "dates.txt lists 3 dates",
    )  # fmt: skip
    dates.write_text("20210101\n20210201\n20210301\n20210401")
    mask = write_raster(tmp_path / "m.tif", stack[:7], 10.24)
    refuse(
        tmp_path, [photo, Source("sentinel2", path, dates, mask)],
        DataError, "m.tif: 7 bands where the snow and cloud mask of 4 dates has 8",
    )  # fmt: skip
    odd = write_raster(tmp_path / "odd.tif", stack[:37], 10.24)
    refuse(tmp_path, [photo, Source("sentinel2", odd, dates)], DataError, "no whole number")
    radar = write_raster(tmp_path / "s1.tif", np.full((8, 4, 4), -12, np.float32), 10.24)
    refuse(
        tmp_path, [photo, Source("sentinel1-asc", radar, dates)],
        DataError, "s1.tif", "decibels", "10 ** (dB / 10)",
    )  # fmt: skip


@pytest.mark.unit
@pytest.mark.parametrize("text", ["20210101\n2021/02/01", "20210101\n20210230", "20210101\n1"])
def test_dates_that_are_none(tmp_path: Path, text):
    path = tmp_path / "dates.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"dates\.txt, line 2: .* is not a date"):
        read_dates(path)


@pytest.mark.unit
def test_dates_files(tmp_path: Path):
    path = tmp_path / "dates.txt"
    path.write_bytes("\ufeff2021-01-31\r\n20200229\r\n\r\n".encode())
    assert read_dates(path).astype(str).tolist() == ["2021-01-31", "2020-02-29"]
    path.write_text("\n")
    with pytest.raises(DataError, match="no date in the file"):
        read_dates(path)
    with pytest.raises(DataError, match=r"gone\.txt: the dates cannot be read"):
        read_dates(tmp_path / "gone.txt")


@pytest.mark.unit
def test_output_folders(tmp_path: Path, photo):
    out = tmp_path / "out"
    network = ByValue()
    out.write_text("a file")
    with pytest.raises(ConfigError, match="out: is a file"):
        map_area(bundle(network), [photo], out)
    out.unlink()
    (out / "blocks").mkdir(parents=True)
    (out / "blocks" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not of a mapping run"):
        map_area(bundle(network), [photo], out, MapConfig(overwrite=True))
    assert (out / "blocks" / "thesis.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "cover.tif").write_text("mine")
    with pytest.raises(ConfigError, match=r"already holds cover\.tif"):
        map_area(bundle(network), [photo], other)
    assert (other / "cover.tif").read_text() == "mine"
    assert not network.calls


@pytest.mark.integration
def test_a_target_that_takes_nothing(photo):
    """Not even root may make a folder there."""
    network = ByValue()
    with pytest.raises(DataError, match="/proc/bocage-map: cannot be written to"):
        map_area(bundle(network), [photo], Path("/proc/bocage-map"))
    assert not network.calls


@pytest.mark.integration
@pytest.mark.parametrize(("limit", "kept"), [(8_000, 0), (140_000, 2)])
def test_a_target_that_is_full(tmp_path: Path, limit: int, kept: int):
    """A limit on the size of files stands for a full disk: blocks, or the whole map, do not fit.
    Nothing truncated counts as done, and the same command then goes on."""
    values = aerial(1000, 512)
    source = Source("aerial", write_raster(tmp_path / "photo.tif", values))
    config = MapConfig(block_px=512, overlap_px=0, window_px=256)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(DataError, match=r"out/.*could not be written"):
            map_area(bundle(ByValue()), [source], tmp_path / "out", config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    report = map_area(bundle(ByValue()), [source], tmp_path / "out", config)
    assert (report.exit_code, report.blocks_resumed) == (0, kept)
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), values[0])
