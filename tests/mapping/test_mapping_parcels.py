"""Parcels by vote: rasters that the eye can check, and parcels of every odd kind."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from shapely import MultiPolygon, Point, Polygon, box
from vector_cases import X, Y, save_map

from bocage.errors import ConfigError, DataError
from bocage.mapping.parcels import write_parcels

pytestmark = pytest.mark.unit

MAP = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [1, 3, 3, 255], [3, 3, 255, 255]], np.uint8)


def at(x0, y0, x1, y1):
    """A rectangle in pixels of 1 m from the upper left corner, rows downwards."""
    return box(X + x0, Y - y1, X + x1, Y - y0)


def vote(folder, shapes, *, array=MAP, crs="EPSG:2154", columns=None, confidence=None, **options):
    class_map = save_map(folder / "map.tif", array, confidence=confidence)
    layer = gpd.GeoDataFrame(columns or {}, geometry=shapes, crs=crs)
    layer.to_parquet(folder / "parcels.parquet")
    target = folder / "voted.gpkg"
    report = write_parcels(class_map, folder / "parcels.parquet", target, **options)
    return gpd.read_file(target), report


def test_the_majority_wins_and_the_second_is_told(tmp_path) -> None:
    shapes = [at(0, 0, 2, 3), at(2, 2, 4, 4), at(2, 0, 4, 2)]
    rows, report = vote(tmp_path, shapes, columns={"id": ["a", "b", "c"], "n": [7, 8, 9]})
    assert report.findings == {}
    assert rows["id"].tolist() == ["a", "b", "c"]
    assert rows["n"].tolist() == [7, 8, 9]
    assert rows["class_id"].tolist() == [1, 3, 2]
    assert rows["class"].tolist() == ["one", "three", "two"]
    assert rows["share"].tolist() == pytest.approx([5 / 6, 1.0, 1.0])
    assert rows["second_class"].tolist()[0] == "three"
    assert rows["second_share"].tolist()[0] == pytest.approx(1 / 6)
    assert rows["second_class_id"].isna().tolist() == [False, True, True]
    assert rows["pixels"].tolist() == [6, 1, 4]
    assert rows["covered"].tolist() == [1.0, 0.25, 1.0]
    assert shapely.equals(rows.geometry.values, np.array(shapes)).all()


def test_pixels_vote_with_their_confidence(tmp_path) -> None:
    array = np.array([[1, 1, 2]], np.uint8)
    sure = np.array([[50, 50, 200]], np.uint8)
    rows, _ = vote(tmp_path, [at(0, 0, 3, 1)], array=array, confidence=sure)
    assert rows["class"][0] == "two"
    assert rows["share"][0] == pytest.approx(2 / 3)
    assert rows["confidence"][0] == pytest.approx(100 / 254)
    rows, _ = vote(tmp_path, [at(0, 0, 3, 1)], array=array, confidence=sure * 0)
    assert rows["class"][0] == "one", "no pixel is sure of anything: they count equally"


def test_an_inner_buffer_leaves_the_border_out(tmp_path) -> None:
    array = np.full((6, 12), 2, np.uint8)
    array[2:4, 2:4] = 1
    shapes = [at(0, 0, 6, 6), at(8, 0, 9, 6)]
    plain, _ = vote(tmp_path, shapes, array=array)
    inner, report = vote(tmp_path, shapes, array=array, inner_buffer_m=2.0)
    assert plain["class"].tolist() == ["two", "two"]
    assert inner["class"].tolist() == ["one", "two"]
    assert inner["pixels"].tolist() == [4, 6]
    assert report.findings == {"too small for the buffer": [1]}


def test_odd_parcels_are_reported_and_never_end_the_work(tmp_path) -> None:
    bow_tie = Polygon([(X, Y), (X + 2, Y - 2), (X + 2, Y), (X, Y - 2)])
    shapes = [
        at(0, 0, 2, 2), at(0, 0, 2, 2), bow_tie, Polygon(), None, Point(X, Y), at(90, 0, 99, 9),
        at(3, 3, 4, 4), at(0.1, 0.1, 0.3, 0.3), at(-2, 0, 2, 2),
        MultiPolygon([at(0, 0, 1, 1), at(2, 0, 4, 1)]),
    ]  # fmt: skip
    rows, report = vote(tmp_path, shapes)
    assert report.parcels == len(rows) == len(shapes)
    assert report.findings == {
        "empty": [3, 4],
        "no polygon": [5],
        "repaired": [2],
        "duplicated": [0, 1],
        "outside the map": [6],
        "no data": [7, 8],
    }
    assert rows["class_id"].isna().tolist() == [False] * 3 + [True] * 6 + [False] * 2
    assert rows["remark"][2] == "repaired"
    assert rows.geometry[2].is_valid
    assert rows["covered"].tolist()[9] == pytest.approx(0.5)
    assert rows["class"][10] == "two"
    assert rows["pixels"][10] == 3


def test_parcels_of_another_crs_are_moved_to_the_map_and_stay_in_theirs(tmp_path) -> None:
    array = np.ones((60, 60), np.uint8)
    array[:, 30:] = 2
    shapes = gpd.GeoSeries([at(2, 2, 28, 50), at(32, 2, 55, 50)], crs="EPSG:2154")
    moved = shapes.to_crs("EPSG:4326")
    rows, report = vote(tmp_path, list(moved), array=array, crs="EPSG:4326")
    assert rows["class"].tolist() == ["one", "two"]
    assert rows.crs.to_epsg() == 4326
    assert report.findings == {}
    far = [box(-180, -90, -179, -89)]
    _, report = vote(tmp_path, far, array=array, crs="EPSG:4326")
    assert list(report.findings) == ["outside the map"]


@pytest.mark.property
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 9))
def test_pixels_are_those_that_gdal_finds_whatever_the_strips(tmp_path_factory, seed, rows) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    array[rng.random(array.shape) < 0.1] = 255
    corners = rng.uniform(-5, 35, (6, 5, 2)) * (1, -1) + (X, Y)
    shapes = list(shapely.convex_hull(shapely.multipoints(corners)))
    shapes[0] = shapes[0].difference(shapes[0].centroid.buffer(2))
    folder = tmp_path_factory.mktemp("vote")
    voted, _ = vote(folder, shapes, array=array, strip_px=30 * rows)
    for i, shape in enumerate(shapes):
        inside = rasterio.features.geometry_mask(
            [shape], array.shape, from_origin(X, Y, 1, 1), invert=True
        )
        counts = np.bincount(array[inside & (array != 255)], minlength=4)
        assert voted["pixels"][i] == counts.sum()
        if counts.any():
            assert voted["class_id"][i] == counts.argmax()
            assert voted["share"][i] == pytest.approx(counts.max() / counts.sum())


def test_requests_that_cannot_be_carried_out(tmp_path) -> None:
    class_map = save_map(tmp_path / "map.tif", MAP)
    layer = gpd.GeoDataFrame({"class": ["x"]}, geometry=[at(0, 0, 1, 1)], crs="EPSG:2154")
    parcels = tmp_path / "parcels.gpkg"
    layer.to_file(parcels)
    with pytest.raises(ConfigError, match=r"already has column.* class,"):
        write_parcels(class_map, parcels, tmp_path / "o.gpkg")
    with pytest.raises(ConfigError, match=r"\.gpkg or \.parquet"):
        write_parcels(class_map, parcels, tmp_path / "o.shp")
    with pytest.raises(ConfigError, match="inner_buffer_m=-1"):
        write_parcels(class_map, parcels, tmp_path / "o.gpkg", inner_buffer_m=-1)
    layer[["geometry"]].to_file(parcels, layer="second")
    with pytest.raises(DataError, match="2 layers with geometry"):
        write_parcels(class_map, parcels, tmp_path / "o.gpkg")
    with pytest.raises(DataError, match="no such file"):
        write_parcels(class_map, tmp_path / "none.gpkg", tmp_path / "o.gpkg")
    parcels.write_bytes(parcels.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read as polygons"):
        write_parcels(class_map, parcels, tmp_path / "o.gpkg")
    (tmp_path / "bare.geojson").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read as polygons"):
        write_parcels(class_map, tmp_path / "bare.geojson", tmp_path / "o.gpkg")
    bare = tmp_path / "bare.parquet"
    gpd.GeoDataFrame(geometry=[at(0, 0, 1, 1)]).to_parquet(bare)
    with pytest.raises(DataError, match="has no CRS"):
        write_parcels(class_map, bare, tmp_path / "o.gpkg")
    assert not list(tmp_path.glob("*o.gpkg*"))
