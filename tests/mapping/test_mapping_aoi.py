"""The map's grid: the reference's, another one, a part of either; and where the map is wanted."""

import contextlib
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import rasterio
import shapely
from mapping_stubs import CRS, ORIGIN, ByValue, Moody, aerial, bundle, read_map, write_raster
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as move

from bocage.errors import ConfigError, DataError
from bocage.imagery import Source
from bocage.mapping import MapConfig, map_area

pytestmark = pytest.mark.integration

X, Y = ORIGIN
SMALL = {"block_px": 512, "window_px": 64, "overlap_px": 16}


def polygons(path: Path, *shapes: shapely.Geometry, crs: str | None = CRS, layer=None) -> str:
    frame = geopandas.GeoDataFrame(geometry=list(shapes), crs=crs)
    if crs is not None and crs != CRS:
        frame = geopandas.GeoDataFrame(geometry=list(shapes), crs=CRS).to_crs(crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, layer=layer)
    return str(path)


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A rectangle in pixels of the reference."""
    return shapely.box(X + left * 0.2, Y - bottom * 0.2, X + right * 0.2, Y - top * 0.2)


@pytest.fixture
def photo(tmp_path: Path) -> Source:
    return Source("aerial", write_raster(tmp_path / "p.tif", aerial(600, 1500, high=255)))


def pasted(path: Path, like: Path) -> np.ndarray:
    """The map on the reference's grid, 255 around it."""
    with rasterio.open(path) as made, rasterio.open(like) as reference:
        offset = ~reference.transform @ (made.transform.c, made.transform.f)
        col, row = (round(v) for v in offset)
        assert offset == pytest.approx((col, row), abs=1e-6)
        canvas = np.full(reference.shape, 255, np.uint8)
        canvas[row : row + made.height, col : col + made.width] = made.read(1)
        return canvas


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
def test_an_area_is_the_cut_of_the_whole_map(tmp_path: Path, photo: Source, crs: str) -> None:
    """The network depends on the whole window and the place in it, and yet not a pixel differs."""
    triangle = shapely.Polygon([(X + 130, Y - 21), (X + 210, Y - 33.3), (X + 177, Y - 90)])
    aoi = polygons(tmp_path / "a.gpkg", triangle, crs=crs)
    config = MapConfig(**SMALL)
    whole = map_area(bundle(Moody()), [photo], tmp_path / "whole", config)
    part = map_area(
        bundle(Moody()), [photo], tmp_path / "part", config.model_copy(update={"aoi": aoi})
    )
    assert part.width * part.height < whole.width * whole.height / 2
    expected = read_map(tmp_path / "whole" / "cover.tif")
    found = pasted(tmp_path / "part" / "cover.tif", photo.path)
    inside = found != 255
    assert inside.sum() * 0.04 == pytest.approx(triangle.area, rel=0.002)
    np.testing.assert_array_equal(found[inside], expected[inside])
    rows, cols = np.nonzero(inside)
    shapes = shapely.points(X + (cols + 0.5) * 0.2, Y - (rows + 0.5) * 0.2)
    assert shapely.dwithin(triangle, shapes, 0.02).all()


def test_blocks_outside_the_area_are_not_computed(tmp_path: Path, photo: Source) -> None:
    """Two islands far apart: what lies between costs nothing."""
    aoi = polygons(tmp_path / "a.gpkg", box(10, 10, 40, 40), box(1300, 550, 1400, 590))
    network = ByValue(classes=255)
    config = MapConfig(**SMALL, aoi=aoi)
    report = map_area(bundle(network), [photo], tmp_path / "out", config)
    assert (report.blocks, len(report.failed)) == (2, 0)
    assert report.windows < 20
    found = pasted(tmp_path / "out" / "cover.tif", photo.path)
    assert (found != 255).sum() == 30 * 30 + 100 * 40


def test_polygons_are_mended_and_lines_left_out(tmp_path: Path, photo: Source) -> None:
    p = [(X + 2, Y - 2), (X + 10, Y - 10), (X + 10, Y - 2), (X + 2, Y - 10)]
    shapes = [shapely.Polygon(p), shapely.LineString(p), shapely.Polygon()]
    aoi = polygons(tmp_path / "a.gpkg", *shapes, layer="communes") + ":communes"
    report = map_area(bundle(ByValue()), [photo], tmp_path / "out", MapConfig(**SMALL, aoi=aoi))
    assert [w for w in report.warnings if "1 invalid polygons were mended" in w]
    mapped = (read_map(tmp_path / "out" / "cover.tif") != 255).sum()
    assert mapped * 0.04 == pytest.approx(32, rel=0.05)


@pytest.mark.parametrize(
    ("shapes", "crs", "kind", "words"),
    [
        ([box(5000, 0, 5100, 50)], CRS, DataError, "none of the area is in the imagery"),
        ([box(0, 0, 50, 50)], None, DataError, "no CRS"),
        ([shapely.LineString([(X, Y), (X + 9, Y - 9)])], CRS, ConfigError, "no polygon"),
        ([shapely.Polygon([(X, Y), (X + 5, Y), (X, Y)])], CRS, ConfigError, "no polygon"),
        ([], CRS, DataError, "no polygons in it"),
    ],
)
def test_areas_that_are_none(tmp_path: Path, photo: Source, shapes, crs, kind, words) -> None:
    path = tmp_path / "a.geojson" if crs is CRS and shapes else tmp_path / "a.shp"
    path = path if shapes else tmp_path / "a.gpkg"
    with pytest.warns(UserWarning, match="crs") if crs is None else contextlib.nullcontext():
        aoi = polygons(path, *shapes, crs=crs)
    with pytest.raises(kind, match=words) as caught:
        map_area(bundle(ByValue()), [photo], tmp_path / "out", MapConfig(aoi=aoi))
    assert path.name in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_area_files_that_cannot_be_read(tmp_path: Path, photo: Source) -> None:
    text = tmp_path / "t.gpkg"
    text.write_text("no polygons")
    (tmp_path / "t.parquet").write_text("no polygons")
    good = polygons(tmp_path / "a.gpkg", box(0, 0, 50, 50), layer="one")
    polygons(tmp_path / "b.parquet", box(0, 0, 50, 50))
    for aoi, kind, words in [
        (str(tmp_path / "gone.gpkg"), DataError, "gone.gpkg: no such file"),
        (str(text), DataError, "cannot be read as polygons"),
        (str(tmp_path / "t.parquet"), DataError, "cannot be read as GeoParquet"),
        (f"{good}:two", ConfigError, "unknown layer 'two'.*Valid: one"),
        (f"{tmp_path / 'b.parquet'}:one", ConfigError, "a Parquet file has no layers"),
    ]:
        with pytest.raises(kind, match=words):
            map_area(bundle(ByValue()), [photo], tmp_path / "out", MapConfig(aoi=aoi))


def test_one_of_several_layers_is_named(tmp_path: Path, photo: Source) -> None:
    """Not the first by chance. A table without geometry, such as QGIS's styles, is no layer."""
    path = polygons(tmp_path / "a.gpkg", box(0, 0, 50, 50), layer="fields")
    styles = pandas.DataFrame({"style": ["plain"]})
    pyogrio.write_dataframe(styles, path, layer="layer_styles")
    out = tmp_path / "out"
    report = map_area(bundle(ByValue()), [photo], out, MapConfig(**SMALL, aoi=path))
    assert (report.width, report.height) == (50, 50)
    polygons(Path(path), box(10, 10, 30, 40), layer="communes")
    with pytest.raises(ConfigError, match=r"several layers: fields, communes\. .*a\.gpkg:LAYER"):
        map_area(bundle(ByValue()), [photo], tmp_path / "no", MapConfig(aoi=path))
    assert not (tmp_path / "no").exists()
    config = MapConfig(**SMALL, aoi=f"{path}:communes")
    report = map_area(bundle(ByValue()), [photo], tmp_path / "one", config)
    assert (report.width, report.height) == (20, 30)
    config = MapConfig(aoi=f"{path}:layer_styles")
    with pytest.raises(DataError, match="a table without geometry"):
        map_area(bundle(ByValue()), [photo], tmp_path / "no", config)


def test_an_area_in_geoparquet(tmp_path: Path, photo: Source) -> None:
    aoi = polygons(tmp_path / "a.parquet", box(5, 5, 45, 65))
    report = map_area(bundle(ByValue()), [photo], tmp_path / "out", MapConfig(**SMALL, aoi=aoi))
    assert (report.width, report.height) == (40, 60)


def test_bounds_are_widened_to_whole_pixels_and_show_what_lies_beyond(tmp_path: Path) -> None:
    image = aerial(200, 300)
    photo = Source("aerial", write_raster(tmp_path / "p.tif", image))
    bounds = (X + 10.05, Y - 30.1, X + 70.1, Y - 5.15)
    network = ByValue()
    map_area(bundle(network), [photo], tmp_path / "out", MapConfig(bounds=bounds))
    with rasterio.open(tmp_path / "out" / "cover.tif") as made:
        assert made.transform.almost_equals(from_origin(X + 10, Y - 5, 0.2, 0.2), 1e-6)
        assert made.shape == (126, 301)
        found = made.read(1)
    expected = np.full((126, 301), 255, np.uint8)
    expected[:, :250] = image[0, 25:151, 50:]
    np.testing.assert_array_equal(found, expected)
    # The first window begins where the whole's does, and sees the imagery before the map.
    first = network.calls[0]["images"]["AERIAL_RGBI"][0].numpy()
    lead = 8
    np.testing.assert_array_equal(first[:, lead:, lead:], image[:, : 64 - lead, : 64 - lead])


@pytest.mark.parametrize(
    ("bounds", "words"),
    [((0, 0, 10, 10), "none of the imagery lies there"), ((X, Y, X, Y + 5), "no area"),
     ((X, Y, X - 5, Y + 5), "no area"), ((X, Y, X + 5, float("nan")), "no area")],
)  # fmt: skip
def test_bounds_that_leave_nothing(tmp_path: Path, photo: Source, bounds, words) -> None:
    with pytest.raises(ConfigError, match=words):
        map_area(bundle(ByValue()), [photo], tmp_path / "out", MapConfig(bounds=bounds))


ROTATED = Affine.translation(X, Y) @ Affine.rotation(20) @ Affine.scale(0.2, -0.2)
GRIDS = {
    "rotated": {"transform": ROTATED},
    "south-up": {"transform": Affine(0.2, 0, X, 0, 0.2, Y)},
    "feet": {"crs": "EPSG:2225", "transform": from_origin(6_500_000, 2_000_000, 0.656, 0.656)},
    "degrees": {"crs": "EPSG:4326", "transform": from_origin(3.0, 46.5, 2.6e-6, 1.8e-6)},
    "other pixels": {"resolution": 0.25},
    "polar": {"crs": "EPSG:3413", "resolution": 0.21, "origin": (-20, 20)},
    "dateline": {"crs": "EPSG:4326", "transform": from_origin(179.9999, 10, 1.8e-6, 1.8e-6)},
}
TARGETS = {"feet": "EPSG:32610", "degrees": "EPSG:2154", "polar": "EPSG:3995",
           "dateline": "EPSG:3832"}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_that_is_asked_for_takes_any_reference(tmp_path: Path, name: str) -> None:
    """A picture of four fields comes out where it lies on the ground."""
    image = np.zeros((4, 200, 200), np.uint8)
    image[:, :100, 100:], image[:, 100:, :100], image[:, 100:, 100:] = 1, 2, 3
    path = write_raster(tmp_path / "p.tif", image, **GRIDS[name])
    source, made = Source("aerial", path), bundle(ByValue())
    with pytest.raises(DataError, match=r"p\.tif.*(crs=|resolution_m=)"):
        map_area(made, [source], tmp_path / "no")
    config = MapConfig(crs=TARGETS.get(name), resolution_m=0.2, window_px=64)
    map_area(made, [source], tmp_path / "out", config)
    with rasterio.open(path) as given, rasterio.open(tmp_path / "out" / "cover.tif") as out:
        assert out.res == (0.2, 0.2)
        assert out.transform.c / 0.2 == pytest.approx(round(out.transform.c / 0.2), abs=1e-4)
        for row, col in ((40, 40), (40, 160), (160, 40), (160, 160)):
            x, y = given.transform @ (col + 0.5, row + 0.5)
            xs, ys = move(given.crs, out.crs, [x], [y])
            found = next(out.sample([(xs[0], ys[0])]))[0]
            assert found == image[0, row, col]


def test_grids_that_cannot_be(tmp_path: Path, photo: Source) -> None:
    for config, words in [
        (MapConfig(crs="EPSG:4326"), "cannot lie in EPSG:4326"),
        (MapConfig(crs="EPSG:2225"), "projected CRS in metres"),
        (MapConfig(crs="EPSG:none"), "not a CRS"),
    ]:
        with pytest.raises(ConfigError, match=words):
            map_area(bundle(ByValue()), [photo], tmp_path / "out", config)


def test_the_same_grid_asked_for_is_the_references_own(tmp_path: Path, photo: Source) -> None:
    config = MapConfig(**SMALL)
    map_area(bundle(Moody()), [photo], tmp_path / "own", config)
    same = config.model_copy(update={"crs": CRS, "resolution_m": 0.2})
    map_area(bundle(Moody()), [photo], tmp_path / "same", same)
    first, second = (read_map(tmp_path / n / "cover.tif") for n in ("own", "same"))
    np.testing.assert_array_equal(first, second)


def test_a_grid_over_a_pole_or_a_world_is_refused_or_told(tmp_path: Path) -> None:
    world = write_raster(
        tmp_path / "world.tif", aerial(180, 360), crs="EPSG:4326",
        transform=from_origin(-180, 90, 1, 1),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"(blocks, at most|cannot be shown)"):
        map_area(
            bundle(ByValue()), [Source("aerial", world)], tmp_path / "a", MapConfig(crs="EPSG:3857")
        )
    photo = write_raster(
        tmp_path / "pole.tif", aerial(64, 64), crs="EPSG:3413",
        transform=from_origin(-6.4, 6.4, 0.2, 0.2),
    )  # fmt: skip
    dem = np.full((2, 20, 36_000), 5, np.float32)
    wide = write_raster(
        tmp_path / "dem.tif", dem, crs="EPSG:4326", transform=from_origin(-180, 90, 0.01, 0.01)
    )
    made = bundle(ByValue(), ("AERIAL_RGBI", "DEM_ELEV"))
    report = map_area(made, [Source("aerial", photo), Source("elevation", wide)], tmp_path / "b")
    assert report.exit_code == 0
    east = write_raster(
        tmp_path / "east.tif", np.full((2, 64, 64), 5, np.float32), crs="EPSG:4326",
        transform=from_origin(179.9993, 10.0003, 2e-5, 2e-5),
    )  # fmt: skip
    across = write_raster(
        tmp_path / "across.tif", aerial(64, 64), crs="EPSG:3832",
        transform=from_origin(3_339_584.7 - 6, 1_111_475.1, 0.2, 0.2),
    )  # fmt: skip
    network = ByValue()
    made = bundle(network, ("AERIAL_RGBI", "DEM_ELEV"))
    map_area(made, [Source("aerial", across), Source("elevation", east)], tmp_path / "c")
    assert all(call["valid"]["DEM_ELEV"].all() for call in network.calls)


@pytest.mark.integration
def test_edges_through_pixels_are_decided_once_for_all(tmp_path: Path) -> None:
    """Whatever the blocks, and for areas that share the edge: every pixel is in one of the two."""
    side, pixel = 1300, 0.2
    photo = Source("aerial", write_raster(tmp_path / "a.tif", aerial(side, side)))
    left, top = ORIGIN[0] + 0.1, ORIGIN[1] - 0.1  # the centre of the first pixel
    right, bottom = left + pixel * 1299, top - pixel * 1299
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    middle = [(left + pixel * 433, top), (left + pixel * 866, bottom)]
    halves = [
        [corners[0], middle[0], middle[1], corners[3]],
        [middle[0], corners[1], corners[2], middle[1]],
    ]
    seen = np.zeros((side, side), int)
    for number, ring in enumerate(halves):
        area = tmp_path / f"{number}.gpkg"
        geopandas.GeoSeries([shapely.Polygon(ring)], crs=CRS).to_file(area)
        kept = []
        for block_px in (512, 1024, 1536):
            out = tmp_path / f"{number}-{block_px}"
            config = MapConfig(aoi=str(area), block_px=block_px, window_px=128, overlap_px=0)
            report = map_area(bundle(ByValue()), [photo], out, config)
            with rasterio.open(report.maps["cover"]) as dataset:
                kept.append(dataset.read(1))
                col, row = (
                    round(v)
                    for v in ~from_origin(*ORIGIN, pixel, pixel) @ dataset.transform @ (0, 0)
                )
        for other in kept[1:]:
            np.testing.assert_array_equal(kept[0], other)
        height, width = kept[0].shape
        seen[row : row + height, col : col + width] += kept[0] != 255
    assert (seen[1:-1, 1:-1] == 1).all()
    assert seen.max() == 1


@pytest.mark.integration
def test_areas_that_miss_the_bounds_or_every_pixel_are_named(tmp_path: Path, photo: Source) -> None:
    x, y = ORIGIN[0] + 8.02, ORIGIN[1] - 8.02
    area = tmp_path / "small.gpkg"
    geopandas.GeoSeries([shapely.box(x, y - 0.04, x + 0.04, y)], crs=CRS).to_file(area)
    with pytest.raises(ConfigError, match="no pixel has its centre in the area"):
        map_area(bundle(ByValue()), [photo], tmp_path / "out", MapConfig(aoi=str(area)))
    bounds = (ORIGIN[0] + 20, ORIGIN[1] - 30, ORIGIN[0] + 30, ORIGIN[1] - 20)
    config = MapConfig(aoi=str(area), bounds=bounds)
    with pytest.raises(ConfigError, match=r"none of the area is within bounds"):
        map_area(bundle(ByValue()), [photo], tmp_path / "out", config)
