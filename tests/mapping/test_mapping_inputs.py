"""Inputs as they come: folders, lists and virtual mosaics of tiles, addresses, other grids."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from mapping_stubs import CRS, ORIGIN, ByValue, Moody, aerial, bundle, read_map, write_raster
from rasterio.transform import from_origin

from bocage.errors import ConfigError, DataError
from bocage.imagery import Mosaic, Stack, files_of, inspect
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.job import prepare
from bocage.mapping.read import block_coverage, read_block
from bocage.models import InputConfig

pytestmark = pytest.mark.integration

RGBI, DEM, S2 = "AERIAL_RGBI", "DEM_ELEV", "SENTINEL2_TS"
TILE = 100


def cut_tiles(folder: Path, image: np.ndarray, size: int = TILE, **options) -> list[Path]:
    """The image as GeoTIFF tiles named by their place."""
    folder.mkdir(exist_ok=True)
    tiles = []
    for row in range(0, image.shape[1], size):
        for col in range(0, image.shape[2], size):
            part = image[:, row : row + size, col : col + size]
            origin = (ORIGIN[0] + col * 0.2, ORIGIN[1] - row * 0.2)
            path = folder / f"t_{row:05d}_{col:05d}.tif"
            tiles.append(write_raster(path, part, origin=origin, **options))
    return tiles


def write_vrt(path: Path, tiles: list[Path], height: int, width: int, nodata=None) -> Path:
    """What gdalbuildvrt writes."""
    value = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
    kind = "SimpleSource" if nodata is None else "ComplexSource"
    bands = []
    for band in range(1, 5):
        sources = []
        for tile in tiles:
            row, col = (int(n) for n in tile.stem.split("_")[1:3])
            h, w = min(TILE, height - row), min(TILE, width - col)
            sources.append(
                f'<{kind}><SourceFilename relativeToVRT="0">{tile}</SourceFilename>'
                f"<SourceBand>{band}</SourceBand>"
                f'<SourceProperties RasterXSize="{w}" RasterYSize="{h}" DataType="Byte" '
                f'BlockXSize="{w}" BlockYSize="1"/>'
                f'<SrcRect xOff="0" yOff="0" xSize="{w}" ySize="{h}"/>'
                f'<DstRect xOff="{col}" yOff="{row}" xSize="{w}" ySize="{h}"/>'
                + ("" if nodata is None else f"<NODATA>{nodata}</NODATA>")
                + f"</{kind}>"
            )
        bands.append(
            f'<VRTRasterBand dataType="Byte" band="{band}">{value}{"".join(sources)}'
            "</VRTRasterBand>"
        )
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{CRS}</SRS>'
        f"<GeoTransform>{ORIGIN[0]}, 0.2, 0, {ORIGIN[1]}, 0, -0.2</GeoTransform>"
        f"{''.join(bands)}</VRTDataset>"
    )
    return path


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.fixture
def image() -> np.ndarray:
    return aerial(260, 330)


def as_source(kind: str, tmp_path: Path, image: np.ndarray) -> str | Path:
    tiles = cut_tiles(tmp_path / "tiles", image)
    if kind == "folder":
        return tmp_path / "tiles"
    if kind == "pattern":
        return str(tmp_path / "tiles" / "t_*.tif")
    if kind == "list":
        (tmp_path / "tiles.txt").write_text("\n".join(f"tiles/{t.name}" for t in tiles))
        return tmp_path / "tiles.txt"
    return write_vrt(tmp_path / "tiles.vrt", tiles, *image.shape[1:])


@pytest.mark.parametrize("kind", ["folder", "pattern", "list", "vrt"])
def test_tiles_are_mapped_as_the_one_file_that_they_are(tmp_path: Path, image, kind: str) -> None:
    one = write_raster(tmp_path / "one.tif", image)
    source = Source("aerial", as_source(kind, tmp_path, image))
    assert isinstance(inspect(source).raster, Mosaic)
    config = MapConfig(overlap_px=16, block_px=512, window_px=128)
    for name, given in (("one", Source("aerial", one)), ("many", source)):
        report = map_area(bundle(Moody()), [given], tmp_path / name, config)
        assert report.exit_code == 0
        assert not report.warnings
    for layer in ("cover.tif", "cover_confidence.tif"):
        assert (tmp_path / "one" / layer).read_bytes() == (tmp_path / "many" / layer).read_bytes()


def test_tiles_that_overlap_and_leave_gaps(tmp_path: Path) -> None:
    """The first that has data is shown; where none is, nothing is mapped, and a word is said."""
    a, b = aerial(64, 64, seed=1, high=3) + 1, aerial(64, 64, seed=2, high=3) + 1
    a[:, :10] = 0
    (tmp_path / "t").mkdir()
    write_raster(tmp_path / "t" / "a.tif", a, nodata=0)
    write_raster(tmp_path / "t" / "b.tif", b, nodata=0, origin=(ORIGIN[0], ORIGIN[1] + 32 * 0.2))
    far = (ORIGIN[0] + 64 * 0.2, ORIGIN[1] - 32 * 0.2)
    write_raster(tmp_path / "t" / "c.tif", b[:, :32], nodata=0, origin=far)
    out = tmp_path / "out"
    report = map_area(bundle(ByValue()), [Source("aerial", tmp_path / "t")], out)
    expected = np.full((96, 128), 255, np.uint8)
    expected[:64, :64] = b[0]
    expected[42:, :64] = a[0, 10:]
    expected[64:, 64:] = b[0, :32]
    np.testing.assert_array_equal(read_map(out / "cover.tif"), expected)
    assert any("between them is no data" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": 0.25}, ["pixels of 0.25 x -0.25", "has 0.2 x -0.2"]),
        ({"crs": "EPSG:32631"}, ["CRS EPSG:32631", "EPSG:2154"]),
        ({"origin": (ORIGIN[0] + 0.1, ORIGIN[1])}, ["0.500 columns", "whole pixels apart"]),
        ({"dtype": np.uint16}, ["type uint16 where AERIAL_RGBI has uint8"]),
        ({"bands": 3}, ["3 bands where AERIAL_RGBI has 4"]),
    ],
)
@pytest.mark.parametrize("missing", ["stop", "report"])
def test_the_odd_tile_is_named(tmp_path: Path, image, options, words, missing) -> None:
    cut_tiles(tmp_path / "tiles", image)
    odd = aerial(TILE, TILE)[: options.get("bands", 4)].astype(options.get("dtype", np.uint8))
    placed = {k: v for k, v in options.items() if k not in ("bands", "dtype")}
    write_raster(tmp_path / "tiles" / "t_odd.tif", odd, **placed)
    with pytest.raises(DataError, match=r"t_odd\.tif") as caught:
        map_area(
            bundle(ByValue()),
            [Source("aerial", tmp_path / "tiles")],
            tmp_path / "out",
            MapConfig(missing_tiles=missing),
        )
    for word in words:
        assert word in str(caught.value)


def test_a_tile_without_a_header_stops_or_is_left_out(tmp_path: Path, image) -> None:
    tiles = cut_tiles(tmp_path / "tiles", image)
    tiles[5].write_bytes(b"II*\0" + bytes(60))
    (tmp_path / "list.txt").write_text("\n".join([*map(str, tiles), str(tmp_path / "gone.tif")]))
    source = Source("aerial", tmp_path / "list.txt")
    out = tmp_path / "out"
    with pytest.raises(
        DataError, match=r"t_00100_00100\.tif.*1 others of 13.*missing_tiles=report"
    ):
        map_area(bundle(ByValue()), [source], out)
    assert not out.exists()
    report = map_area(bundle(ByValue()), [source], out, MapConfig(missing_tiles="report"))
    expected = image[0].copy()
    expected[100:200, 100:200] = 255
    np.testing.assert_array_equal(read_map(out / "cover.tif"), expected)
    told = "\n".join(report.warnings)
    assert "t_00100_00100.tif" in told
    assert "gone.tif: no such file" in told
    assert "t_00100_00100.tif" in (out / "report.json").read_text()


@pytest.mark.parametrize("kind", ["folder", "vrt"])
def test_a_tile_that_breaks_while_it_is_read(tmp_path: Path, kind: str) -> None:
    """Its header is whole. One of two blocks meets it: that part of it is a hole, and told; or
    the run ends, and goes on when the tile is whole again."""
    image = aerial(1000, 300)
    tiles = cut_tiles(tmp_path / "tiles", image)
    broken = next(t for t in tiles if t.name == "t_00700_00200.tif")
    whole = broken.read_bytes()
    truncate(broken)
    path = tmp_path / "tiles"
    if kind == "vrt":
        path = write_vrt(tmp_path / "t.vrt", tiles, 1000, 300)
    source, config = Source("aerial", path), MapConfig(block_px=512, overlap_px=0, window_px=256)
    network = ByValue()
    with pytest.raises(DataError, match=r"t_00700_00200\.tif.*missing_tiles=report"):
        map_area(bundle(network), [source], tmp_path / "stop", config)
    assert not (tmp_path / "stop" / "cover.tif").exists()
    assert len(list((tmp_path / "stop" / "blocks").glob("00*.json"))) == 1
    report = map_area(
        bundle(network), [source], tmp_path / "out", config.model_copy(
            update={"missing_tiles": "report"}
        ),
    )  # fmt: skip
    expected = image[0].copy()
    expected[700:800, 200:300] = 255
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), expected)
    assert [w for w in report.warnings if "t_00700_00200.tif" in w and "left out" in w]
    broken.write_bytes(whole)
    after = map_area(bundle(network), [source], tmp_path / "again", config)
    assert after.warnings == ()


def test_nodata_that_a_virtual_mosaic_states_counts(tmp_path: Path, image) -> None:
    image += 1
    image[:, 20:50, 30:200] = 9
    tiles = cut_tiles(tmp_path / "tiles", image)
    path = write_vrt(tmp_path / "t.vrt", tiles, *image.shape[1:], nodata=9)
    assert isinstance(inspect(Source("aerial", path)).raster, Mosaic)
    map_area(bundle(ByValue(classes=6)), [Source("aerial", path)], tmp_path / "out")
    assert (read_map(tmp_path / "out" / "cover.tif") == 255).sum() == 30 * 170


def test_a_map_is_of_the_virtual_mosaics_own_ground(tmp_path: Path, image) -> None:
    """Larger than its tiles and in its own CRS, with a tile missing at the rim."""
    height, width = image.shape[1:]
    tiles = cut_tiles(tmp_path / "tiles", image, crs="EPSG:32631")
    path = write_vrt(tmp_path / "t.vrt", tiles, height, width)
    text = path.read_text().replace(f'Size="{width}" rasterY', f'Size="{width + 30}" rasterY')
    path.write_text(text)
    tiles[-1].unlink()
    config = MapConfig(missing_tiles="report")
    report = map_area(bundle(ByValue()), [Source("aerial", path)], tmp_path / "out", config)
    expected = np.full((height, width + 30), 255, np.uint8)
    expected[:, :width] = image[0]
    expected[200:, 300:] = 255
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), expected)
    with rasterio.open(tmp_path / "out" / "cover.tif") as made:
        assert made.crs == CRS
    assert any(tiles[-1].name in warning for warning in report.warnings)


def test_a_virtual_mosaic_that_does_more_is_left_to_gdal(tmp_path: Path, image) -> None:
    tiles = cut_tiles(tmp_path / "tiles", image)
    path = write_vrt(tmp_path / "t.vrt", tiles, *image.shape[1:])
    text = path.read_text().replace(
        'xSize="100" ySize="100"/><DstRect', 'xSize="50" ySize="50"/><DstRect'
    )
    path.write_text(text)
    assert not isinstance(inspect(Source("aerial", path)).raster, Mosaic)


def test_empty_places(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for path, words in [
        (tmp_path / "empty", "no raster in this folder"),
        (str(tmp_path / "x*.tif"), "no file matches"),
        (tmp_path / "empty.txt", "lists no file"),
    ]:
        with pytest.raises(DataError, match=words):
            inspect(Source("aerial", path))


def test_tiles_of_a_sensor_on_another_grid_are_resampled_as_one(tmp_path: Path) -> None:
    """Seams between the tiles of a coarser, shifted sensor must not show."""
    photo = write_raster(tmp_path / "a.tif", aerial(200, 200))
    dem = np.random.default_rng(0).normal(100, 20, (2, 120, 120)).astype(np.float32)
    origin = (ORIGIN[0] - 3.3, ORIGIN[1] + 2.1)
    one = write_raster(tmp_path / "one.tif", dem, 0.5, origin=origin)
    (tmp_path / "many").mkdir()
    for i in range(4):
        r, c = 60 * (i // 2), 60 * (i % 2)
        place = (origin[0] + c * 0.5, origin[1] - r * 0.5)
        write_raster(
            tmp_path / "many" / f"{i}.tif", dem[:, r : r + 60, c : c + 60], 0.5, origin=place
        )
    found = []
    for path in (one, tmp_path / "many"):
        sources = [Source("aerial", photo), Source(DEM, path)]
        job = prepare([bundle(None, (RGBI, DEM))], sources, MapConfig())
        found.append(read_block(job.sensors, job.grids, job.plan, job.plan.blocks[0], job.target))
    np.testing.assert_array_equal(found[0].images[DEM], found[1].images[DEM])


def test_infinite_values_are_holes_and_are_told(tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "a.tif", aerial(64, 64))
    dem = np.full((2, 64, 64), 5, np.float32)
    dem[0, 3, 3], dem[1, 7, 8] = np.inf, np.nan
    path = write_raster(tmp_path / "d.tif", dem)
    network = ByValue()
    sources = [Source("aerial", photo), Source(DEM, path)]
    report = map_area(bundle(network, (RGBI, DEM)), sources, tmp_path / "out")
    assert [w for w in report.warnings if "d.tif: holds NaN or infinite values" in w]
    for call in network.calls:
        assert np.isfinite(call["images"][DEM].numpy()).all()
    declared = write_raster(tmp_path / "n.tif", np.where(np.isinf(dem), np.nan, dem), nodata=np.nan)
    sources = [Source("aerial", photo), Source(DEM, declared)]
    report = map_area(bundle(network, (RGBI, DEM)), sources, tmp_path / "declared")
    assert not [w for w in report.warnings if "NaN" in w]


def test_coverage_says_which_sensors_see_a_pixel(tmp_path: Path) -> None:
    photo = aerial(128, 128)
    photo[:, :20] = 9
    dem = np.full((2, 128, 60), 5, np.float32)
    dem[:, 50:60, 10:20] = -9999
    sources = [
        Source("aerial", write_raster(tmp_path / "a.tif", photo, nodata=9)),
        Source(DEM, write_raster(tmp_path / "d.tif", dem)),
    ]
    names = (S2, RGBI, DEM)
    job = prepare([bundle(None, names)], sources, MapConfig())
    block = job.plan.blocks[0]
    inputs = read_block(job.sensors, job.grids, job.plan, block, job.target)
    bits = block_coverage(inputs, block, job.inputs)
    expected = np.full((128, 128), 0b010, np.uint8)
    expected[:20] = 0
    expected[:, :60] |= 0b100
    expected[50:60, 10:20] &= 0b011
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(bits, expected)


class Files(http.server.SimpleHTTPRequestHandler):
    """A folder, with the byte ranges that GDAL asks for."""

    def send_head(self):  # type: ignore[no-untyped-def]
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return None
        asked = self.headers.get("Range")
        if asked is None:
            return super().send_head()
        first, last = asked.removeprefix("bytes=").split("-")
        size = path.stat().st_size
        start, stop = int(first), min(int(last or size - 1), size - 1)
        if start >= size:
            self.send_error(416)
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop}/{size}")
        self.send_header("Content-Length", str(stop - start + 1))
        self.end_headers()
        if self.command == "GET":
            with path.open("rb") as handle:
                handle.seek(start)
                self.wfile.write(handle.read(stop - start + 1))
        return None

    def log_message(self, *_: object) -> None:
        pass


class Site:
    """A server on loopback that can die."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(Files, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def die(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    from bocage import rasters

    monkeypatch.setitem(rasters.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", "0")
    (tmp_path / "site").mkdir()
    place = Site(tmp_path / "site")
    yield place
    place.die()


def test_an_address_is_read_where_it_lies(tmp_path: Path, image, site: Site) -> None:
    write_raster(tmp_path / "site" / "a.tif", image, tiled=True, blockxsize=64, blockysize=64)
    out = tmp_path / "out"
    map_area(bundle(ByValue()), [Source("aerial", f"{site.url}/a.tif")], out)
    np.testing.assert_array_equal(read_map(out / "cover.tif"), image[0])
    with pytest.raises(DataError, match=r"b\.tif: cannot be read"):
        inspect(Source("aerial", f"{site.url}/b.tif"))


def test_a_server_that_dies_costs_the_blocks_that_were_left(tmp_path: Path, site: Site) -> None:
    image = aerial(2048, 256, high=4)
    write_raster(tmp_path / "site" / "b.tif", image, tiled=True, blockxsize=128, blockysize=128)

    class Fatal(ByValue):
        """When the second block is at work the third is being asked for, from a dead server."""

        def forward(self, **inputs):
            if len(self.calls) == 6:
                site.die()
            return super().forward(**inputs)

    out = tmp_path / "out"
    config = MapConfig(block_px=512, overlap_px=0, window_px=128)
    report = map_area(bundle(Fatal()), [Source("aerial", f"{site.url}/b.tif")], out, config)
    assert report.exit_code == 1
    failed = {f.index for f in report.failed}
    assert failed
    assert 0 not in failed
    assert all("b.tif" in f.reason for f in report.failed)
    found = read_map(out / "cover.tif")
    for index in range(4):
        rows = slice(512 * index, 512 * (index + 1))
        expected = np.full((512, 256), 255) if index in failed else image[0, rows]
        np.testing.assert_array_equal(found[rows], expected)


def test_a_file_that_vanishes_costs_the_blocks_that_were_left(tmp_path: Path) -> None:
    """And is found again, where it is put back."""
    image = aerial(5 * 512, 256)
    path = write_raster(tmp_path / "b.tif", image, tiled=True, blockxsize=128, blockysize=128)
    away = tmp_path / "away.tif"

    class Vanishing(ByValue):
        def forward(self, **inputs):
            if len(self.calls) == 6:
                path.rename(away)
            return super().forward(**inputs)

    out = tmp_path / "out"
    config = MapConfig(block_px=512, overlap_px=0, window_px=128, check_values=False)
    report = map_area(bundle(Vanishing()), [Source("aerial", path)], out, config)
    assert report.exit_code == 1
    failed = {f.index for f in report.failed}
    assert failed >= {3, 4}
    assert 0 not in failed
    for failure in report.failed:
        assert "b.tif: no such file" in failure.reason
        assert "moved or deleted" in failure.reason
        assert "index" not in failure.reason
    away.rename(path)
    again = map_area(bundle(ByValue()), [Source("aerial", path)], out, config)
    assert again.exit_code == 0
    assert again.blocks_resumed == 5 - len(failed)
    np.testing.assert_array_equal(read_map(out / "cover.tif"), image[0])


def stac_item(name: str, when: str, assets: dict) -> dict:
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None,
        "properties": {"datetime": when}, "assets": assets,
    }  # fmt: skip


@pytest.mark.parametrize("remote", [False, True])
def test_a_catalogue_of_scenes_is_a_series(tmp_path: Path, site: Site, remote: bool) -> None:
    """Three days, one of them of two halves, bands in files of their own at two resolutions."""
    folder = tmp_path / "site"
    rng = np.random.default_rng(0)
    truth = rng.integers(500, 3000, (3, 10, 16, 16)).astype(np.uint16)
    # Bands at twice the pixel size hold one number, so that resampling is exact.
    keys = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16",
            "swir22")  # fmt: skip
    coarse = {"rededge1", "rededge2", "rededge3", "nir08", "swir16", "swir22"}
    features = []
    scenes = [(0, "2021-07-01", slice(0, 16)), (1, "2021-04-01", slice(0, 8)),
              (1, "2021-04-01", slice(8, 16)), (2, "2021-05-11", slice(0, 16))]  # fmt: skip
    for number, (day, date, cols) in enumerate(scenes):
        assets = {"thumbnail": {"href": "x.jpg", "roles": ["thumbnail"]}}
        for band, key in enumerate(keys):
            pixels = truth[day, band : band + 1, :, cols]
            if key in coarse:
                truth[day, band, :, cols] = pixels[0, 0, 0]
                pixels = truth[day, band : band + 1, ::2, cols][:, :, ::2]
            path = folder / f"{number}_{key}.tif"
            origin = (ORIGIN[0] + cols.start * 10.24, ORIGIN[1])
            write_raster(path, pixels, 20.48 if key in coarse else 10.24, origin=origin)
            assets[key] = {"href": f"./{path.name}", "roles": ["data"]}
            if key == "nir":  # by common name too
                assets["B08-of-sorts"] = assets.pop(key) | {
                    "eo:bands": [{"name": "x", "common_name": "nir"}]
                }
        features.append(stac_item(f"scene{number}", f"{date}T10:00:00Z", assets))
    document = {"type": "FeatureCollection", "features": features}
    (folder / "items.json").write_text(json.dumps(document))
    path = f"{site.url}/items.json" if remote else folder / "items.json"
    sensor = inspect(Source("sentinel2", path))
    assert isinstance(sensor.raster, Stack)
    assert sensor.dates is not None
    assert sensor.dates.astype(str).tolist() == ["2021-04-01", "2021-05-11", "2021-07-01"]
    made = bundle(None, ("SENTINEL2_TS",), output_m=10.24, tile_px=16)
    job = prepare([made], [Source("sentinel2", path)], MapConfig())
    assert (job.plan.height, job.plan.width) == (16, 16)
    block = job.plan.blocks[0]
    inputs = read_block(job.sensors, job.grids, job.plan, block, job.target)
    rows, cols = inputs.cut(S2, 0, 0, 16)
    series = inputs.series[S2]
    part = series.values[..., rows, cols]
    exact = [i for i, key in enumerate(keys) if key not in coarse]
    np.testing.assert_array_equal(part[:, exact], truth[[1, 2, 0]][:, exact])
    np.testing.assert_array_equal(part[1:], truth[[2, 0]])
    dates = tmp_path / "d.txt"
    dates.write_text("20210101")
    with pytest.raises(ConfigError, match="bring their own dates"):
        inspect(Source("sentinel2", path, dates))


def test_an_image_of_a_catalogue_and_its_refusals(tmp_path: Path, image) -> None:
    tiles = cut_tiles(tmp_path / "t", image)
    colours = [{"name": n, "common_name": n.lower()} for n in ("Red", "Green", "Blue", "NIR")]
    features = [
        stac_item(t.stem, "2021-07-01T00:00:00Z", {
            "image": {"href": f"t/{t.name}", "eo:bands": colours, "roles": ["data"]},
            "metadata": {"href": "x.xml", "roles": ["metadata"]},
        }) for t in tiles
    ]  # fmt: skip
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    for name in ("", "#image", "#data"):
        source = Source("aerial", f"{path}{name}")
        assert isinstance(inspect(source).raster, Mosaic)
    out = tmp_path / "out"
    map_area(bundle(ByValue()), [source], out)
    np.testing.assert_array_equal(read_map(out / "cover.tif"), image[0])
    with pytest.raises(ConfigError, match=r"unknown asset 'imag'; did you mean 'image'"):
        inspect(Source("aerial", f"{path}#imag"))
    with pytest.raises(DataError, match=r"no asset with band 'dsm', only image, metadata"):
        inspect(Source(DEM, path))
    path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(DataError, match="no STAC item with assets"):
        inspect(Source("aerial", path))
    path.write_text("not json")
    with pytest.raises(DataError, match="cannot be read as a STAC document"):
        inspect(Source("aerial", path))


def test_items_of_two_zones_are_laid_over_each_other(tmp_path: Path) -> None:
    """Two images in neighbouring zones become one on the grid asked for."""
    from rasterio.transform import from_origin
    from rasterio.warp import transform as move

    features = []
    for crs, lon in (("EPSG:32631", 5.9994), ("EPSG:32632", 6.0004)):
        x, y = (v[0] for v in move("EPSG:4326", crs, [lon], [45.0]))
        array = np.full((4, 320, 320), 1 if lon < 6 else 2, np.uint8)
        file = write_raster(
            tmp_path / f"{crs[-2:]}.tif", array, crs=crs,
            transform=from_origin(x - 32, y + 32, 0.2, 0.2),
        )  # fmt: skip
        colours = [{"common_name": n} for n in ("red", "green", "blue", "nir")]
        features.append(
            stac_item(crs, "2021-07-01T00:00:00Z", {"a": {"href": file.name, "eo:bands": colours}})
        )
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    out = tmp_path / "out"
    map_area(
        bundle(ByValue()), [Source("aerial", path)], out, MapConfig(crs="EPSG:2154", overlap_px=0)
    )
    found = read_map(out / "cover.tif")
    assert {1, 2, 255} == set(np.unique(found).tolist())
    for value in (1, 2):
        assert (found == value).sum() == pytest.approx(320 * 320, rel=0.03)
    assert len(files_of(inspect(Source("aerial", path)).raster)) == 2
    with rasterio.open(out / "cover.tif") as made:
        assert made.crs.to_epsg() == 2154
        assert made.res == (0.2, 0.2)


@pytest.mark.parametrize("where", ["across", "west", "east"])
@pytest.mark.parametrize("tiles", ["two", "world"])
def test_degrees_go_on_behind_the_dateline(tmp_path: Path, where: str, tiles: str) -> None:
    """Elevation in two tiles, one at 180 degrees east and one at 180 west, or in one file around
    the Earth, under a map on either side or across: heights are longitudes beyond 180."""
    step, count = 1 / 3600, 100
    (tmp_path / "dem").mkdir()
    for name, left, first in (("E179", 180 - count * step, -count), ("W180", -180.0, 0)):
        beyond = np.arange(first, first + count) + 0.5
        dem = np.broadcast_to(1000 + beyond, (2, 60, count)).astype(np.float32)
        place = from_origin(left, 60 * step, step, step)
        write_raster(tmp_path / "dem" / f"{name}.tif", dem, crs="EPSG:4326", transform=place)
    source: Path = tmp_path / "dem"
    if tiles == "world":
        beyond = (np.arange(-648_000, 648_000, 3600) + 1800.0) % 1_296_000 - 648_000
        dem = np.broadcast_to(1000 + beyond, (2, 2, 360)).astype(np.float32)
        source = write_raster(
            tmp_path / "world.tif", dem, crs="EPSG:4326", transform=from_origin(-180, 1, 1, 1)
        )
    # EPSG:3832 counts metres from 150 degrees east; an arc second is 30.92 of them.
    second_m = 6_378_137 * np.pi / 180 / 3600
    middle = 30 * 3600 * second_m + {"across": 0, "west": -900, "east": 900}[where]
    pixel = 10.0
    photo = write_raster(
        tmp_path / "a.tif", aerial(40, 120), pixel, crs="EPSG:3832", origin=(middle - 600, 1200.0)
    )
    names = (InputConfig(modality=RGBI, resolution_m=pixel),
             InputConfig(modality=DEM, resolution_m=pixel))  # fmt: skip
    sources = [Source("aerial", photo), Source(DEM, source)]
    job = prepare([bundle(None, names, output_m=pixel)], sources, MapConfig())
    assert not [w for w in job.warnings if "does not cover all" in w]
    block = job.plan.blocks[0]
    inputs = read_block(job.sensors, job.grids, job.plan, block, job.target)
    window = inputs.cut(DEM, 0, 0, 40)
    rows, cols = window[0], slice(window[1].start, window[1].start + 120)
    assert DEM not in inputs.valid or inputs.valid[DEM][rows, cols].all()
    east = middle - 600 + pixel * (np.arange(120) + 0.5) - 30 * 3600 * second_m
    if tiles == "two":
        expected, within = 1000 + east / second_m, 0.52
    else:
        expected, within = np.where(east < 0, -800, 2800), 1e-3
    # Within half a pixel of the line there is its own side's last pixel, not a mean of both.
    heights = inputs.images[DEM][0, rows, cols]
    np.testing.assert_allclose(heights, np.broadcast_to(expected, heights.shape), atol=within)
