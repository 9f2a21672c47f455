"""Polygons of a class map: rasters that the eye can check, and laws that hold for all."""

import resource
import signal
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box
from vector_cases import X, Y, save_map

from bocage.errors import ConfigError, DataError
from bocage.mapping.polygons import PolygonConfig, write_polygons

pytestmark = pytest.mark.unit


def layer(folder: Path, array, *, strip_px=1 << 24, confidence=None, named=True, **options):
    """The polygons of `array`, in file order; GeoParquet is the quicker one to write."""
    array = np.asarray(array, np.uint8)
    source = save_map(folder / "map.tif", array, confidence=confidence, named=named)
    config = PolygonConfig(**options)
    write_polygons(source, folder / "map.parquet", config, strip_px=strip_px)
    return gpd.read_parquet(folder / "map.parquet")


def at(x0, y0, x1, y1):
    """A rectangle in pixels of 1 m from the upper left corner, rows downwards."""
    return box(X + x0, Y - y1, X + x1, Y - y0)


# One patch in the middle, a corner of nodata.
FRAME = [[1, 1, 1, 1], [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 255]]


def test_a_hole_a_corner_and_what_the_columns_say(tmp_path) -> None:
    sure = np.full((4, 4), 127, np.uint8)
    sure[0] = 254
    rows = layer(tmp_path, FRAME, confidence=sure)
    inner, outer = at(1, 1, 3, 3), at(0, 0, 4, 4) - at(1, 1, 3, 3) - at(3, 3, 4, 4)
    assert rows.crs.to_epsg() == 2154
    assert rows["class_id"].tolist() == [1, 2]
    assert rows["class"].tolist() == ["one", "two"]
    assert rows["color"].tolist() == ["#ff0000", "#00ff00"]
    assert rows["area_m2"].tolist() == [11.0, 4.0]
    assert rows["confidence"].tolist() == pytest.approx([(4 + 7 / 2) / 11, 0.5])
    assert rows.geometry[0].equals(outer)
    assert rows.geometry[1].equals(inner)
    assert len(rows.geometry[0].exterior.coords) == 7, "six corners, and none in a straight line"
    assert rows.geometry[0].exterior.is_ccw


def test_pixels_that_meet_at_a_corner_are_two_polygons(tmp_path) -> None:
    rows = layer(tmp_path, [[1, 2], [2, 1]])
    assert rows["class_id"].tolist() == [1, 2, 2, 1]
    assert [g.area for g in rows.geometry] == [1.0] * 4


def test_a_ring_that_closes_at_a_corner_has_a_hole(tmp_path) -> None:
    rows = layer(tmp_path, [[1, 1, 1], [1, 2, 1], [1, 1, 2]])
    ring = rows.geometry[0]
    assert ring.is_valid
    assert len(ring.interiors) == 1
    assert ring.area == 7


def test_small_patches_take_the_class_with_the_longest_border(tmp_path) -> None:
    rows = layer(tmp_path, [[1, 1, 1, 2], [1, 3, 2, 2], [1, 1, 2, 2]], min_area_m2=2)
    assert rows["class_id"].tolist() == [1, 2]
    assert rows["area_m2"].tolist() == [7.0, 5.0], "three sides on class 1, one on class 2"
    # Two halves become one polygon through the patch that parted them.
    rows = layer(tmp_path, [[1, 1, 3, 1, 1], [2, 2, 2, 2, 2]], min_area_m2=1.5)
    assert rows["area_m2"].tolist() == [5.0, 5.0]
    # Crumbs that are a patch together stay.
    rows = layer(tmp_path, [[1, 1, 1, 1], [1, 2, 3, 1], [1, 1, 1, 1]], min_area_m2=1.5)
    assert rows["class_id"].tolist() == [1]


def test_nodata_neither_absorbs_nor_is_absorbed(tmp_path) -> None:
    rows = layer(tmp_path, [[255, 255, 255], [255, 1, 255], [255, 255, 2]], min_area_m2=5)
    assert rows["area_m2"].tolist() == [1.0, 1.0]
    rows = layer(tmp_path, [[1, 1, 1], [1, 255, 1], [1, 1, 1]], min_area_m2=5)
    assert rows.geometry[0].area == 8


def test_chosen_classes_have_the_borders_that_they_have_with_all(tmp_path) -> None:
    rng = np.random.default_rng(1)
    array = rng.integers(0, 4, (9, 9)).repeat(2, 0).repeat(2, 1)
    every = layer(tmp_path, array, min_area_m2=9, simplify_m=1.5)
    some = layer(tmp_path, array, min_area_m2=9, simplify_m=1.5, classes=("one", "2"))
    chosen = every[every["class_id"].isin([1, 2])]
    assert 0 < len(some) < len(every)
    assert some.geometry.to_wkb().tolist() == chosen.geometry.to_wkb().tolist()


def test_simplified_stairs_are_straight_and_shared(tmp_path) -> None:
    array = np.where(np.tri(12, dtype=bool), 1, 2)
    rows = layer(tmp_path, array, simplify_m=1.0)
    assert [len(g.exterior.coords) - 1 for g in rows.geometry] == [5, 3]
    assert shapely.coverage_is_valid(rows.geometry.values)


def test_tiles_cut_polygons_along_a_stated_grid(tmp_path) -> None:
    rows = layer(tmp_path, np.ones((4, 6), np.uint8), tile_km=0.004)
    assert [g.bounds for g in rows.geometry] == [at(0, 0, 4, 4).bounds, at(4, 0, 6, 4).bounds]
    array = np.random.default_rng(3).integers(0, 3, (20, 20)).repeat(2, 0)
    rows = layer(tmp_path, array, tile_km=0.007, simplify_m=3.0)
    union = shapely.union_all(rows.geometry.values)
    assert union.equals(at(0, 0, 20, 40)), "cut, simplified tiles fit together"
    assert rows.geometry.area.sum() == pytest.approx(union.area)


def test_a_large_map_is_cut_unless_it_is_told_otherwise(tmp_path, monkeypatch) -> None:
    """As if it had been asked for, and the report says so: memory never follows the area."""
    array = np.random.default_rng(3).integers(0, 3, (20, 25)).astype(np.uint8)
    asked = layer(tmp_path, array, tile_km=0.008)
    monkeypatch.setattr("bocage.mapping.polygons.run.TILE_PX", 8)
    target = tmp_path / "o.parquet"
    for limit, tile_km, cut_km in [(500, None, None), (499, None, 0.008), (499, 1.0, None)]:
        monkeypatch.setattr("bocage.mapping.polygons.run.WHOLE_PX", limit)
        report = write_polygons(tmp_path / "map.tif", target, PolygonConfig(tile_km=tile_km))
        assert report.cut_km == cut_km
        assert (report.polygons == len(asked)) == (cut_km is not None)


def test_a_geopackage_streams_in_batches(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bocage.mapping.polygons.run.BATCH", 3)
    array = np.arange(20).reshape(4, 5).astype(np.uint8)
    source = save_map(tmp_path / "map.tif", array, named=False)
    report = write_polygons(source, tmp_path / "out.gpkg")
    rows = gpd.read_file(tmp_path / "out.gpkg")
    assert report.polygons == len(rows) == 20
    assert rows["class"].tolist() == [f"class {i}" for i in range(20)]
    assert rows["color"].isna().all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "out.gpkg"]


def test_a_map_without_data_has_no_polygons(tmp_path) -> None:
    rows = layer(tmp_path, np.full((3, 3), 255), simplify_m=1.0, min_area_m2=4)
    assert len(rows) == 0
    assert rows.crs.to_epsg() == 2154


arrays = st.builds(
    lambda seed, h, w, classes, holes, grain: _random_map(seed, h, w, classes, holes, grain),
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4),
    st.sampled_from([0.0, 0.15]), st.integers(1, 3),
)  # fmt: skip


def _random_map(seed, height, width, classes, holes, grain):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, classes, (height, width))
    array[rng.random(array.shape) < holes] = 255
    return array.repeat(grain, 0).repeat(grain + 1, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("polygons")


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(array=arrays)
def test_exact_polygons_are_the_pixels(folder, array) -> None:
    rows = layer(folder, array)
    assert rows.geometry.is_valid.all()
    assert (rows.geometry.area == rows["area_m2"]).all()
    assert rows["area_m2"].sum() == (array != 255).sum()
    assert shapely.coverage_is_valid(rows.geometry.values)
    height, width = np.nonzero(array != 255)
    centres = shapely.points(X + width + 0.5, Y - height - 0.5)
    point, polygon = shapely.STRtree(rows.geometry.values).query(centres, predicate="within")
    assert (point == np.arange(len(centres))).all(), "every pixel centre lies in one polygon"
    assert (rows["class_id"].to_numpy()[polygon] == array[height, width]).all()


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(
    array=arrays,
    rows=st.integers(1, 5),
    min_area=st.sampled_from([None, 2.5, 7.0]),
    tolerance=st.sampled_from([None, 0.8, 2.0, 30.0]),
)
def test_strips_leave_no_trace(folder, array, rows, min_area, tolerance) -> None:
    options = {"min_area_m2": min_area, "simplify_m": tolerance}
    options = {key: value for key, value in options.items() if value is not None}
    sure = (array.astype(int) * 37 % 255).astype(np.uint8)
    layer(folder, array, confidence=sure, **options)
    whole = (folder / "map.parquet").read_bytes()
    layer(folder, array, confidence=sure, strip_px=array.shape[1] * rows, **options)
    assert (folder / "map.parquet").read_bytes() == whole


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(array=arrays, tolerance=st.sampled_from([0.5, 1.0, 2.0, 5.0, 100.0]))
def test_simplified_polygons_leave_no_gap_and_no_overlap(folder, array, tolerance) -> None:
    exact = layer(folder, array)
    simple = layer(folder, array, simplify_m=tolerance)
    assert len(simple) == len(exact)
    if not len(simple):
        return
    assert simple.geometry.is_valid.all()
    assert shapely.coverage_is_valid(simple.geometry.values)
    union = shapely.union_all(simple.geometry.values)
    assert union.area == pytest.approx(simple.geometry.area.sum(), abs=1e-6)
    assert (simple.geometry.area > 0).all()
    holes = [shapely.get_num_interior_rings(f.geometry.values).tolist() for f in (exact, simple)]
    assert holes[0] == holes[1], "topology stays"
    moved = shapely.hausdorff_distance(
        shapely.unary_union(simple.boundary.values), shapely.unary_union(exact.boundary.values)
    )
    assert moved <= tolerance + 1e-9


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(array=arrays, min_area=st.sampled_from([1.5, 4.0, 15.0]))
def test_no_patch_below_the_minimum_but_between_nodata(folder, array, min_area) -> None:
    rows = layer(folder, array, min_area_m2=min_area)
    assert rows["area_m2"].sum() == (array != 255).sum()
    assert (rows.geometry.area == rows["area_m2"]).all()
    shapes = rows.geometry.values
    for i in np.flatnonzero(rows["area_m2"] < min_area):
        others = np.delete(np.arange(len(rows)), i)
        border = shapely.length(shapely.intersection(shapes[i].boundary, shapes[others]))
        assert not border.any(), "only what nothing but nodata surrounds stays small"
    pairs = shapely.STRtree(shapes).query(shapes, predicate="touches").T
    for a, b in pairs[pairs[:, 0] < pairs[:, 1]]:
        if rows["class_id"][a] == rows["class_id"][b]:
            assert shapely.length(shapely.intersection(shapes[a], shapes[b])) == 0


def test_requests_that_cannot_be_carried_out(tmp_path) -> None:
    source = save_map(tmp_path / "map.tif", np.array(FRAME, np.uint8))
    target = tmp_path / "o.gpkg"
    with pytest.raises(ConfigError, match="unknown class 'twoo'; did you mean 'two'"):
        write_polygons(source, target, PolygonConfig(classes=("twoo",)))
    with pytest.raises(ConfigError, match="unknown class '77'"):
        write_polygons(source, target, PolygonConfig(classes=("77",)))
    with pytest.raises(ConfigError, match="min_area_m2=1 has no effect"):
        write_polygons(source, target, PolygonConfig(min_area_m2=1))
    with pytest.raises(ConfigError, match=r"\.gpkg or \.parquet"):
        write_polygons(source, tmp_path / "o.shp")
    for crs, kind, words in (
        ("EPSG:4326", np.uint8, "projected CRS"),
        ("EPSG:2154", np.float32, "float32"),
    ):
        odd = save_map(tmp_path / "odd.tif", np.ones((4, 4), kind), crs=crs, named=False)
        with pytest.raises(DataError, match=words):
            write_polygons(odd, target)
    assert not list(tmp_path.glob("*o.gpkg*"))


def test_a_confidence_of_another_size_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="map_confidence"):
        layer(tmp_path, FRAME, confidence=np.ones((5, 4), np.uint8))


@pytest.mark.parametrize("tile_km", [None, 0.05])
def test_a_truncated_map_is_named_and_nothing_is_left(tmp_path, tile_km) -> None:
    rng = np.random.default_rng(0)
    source = save_map(tmp_path / "map.tif", rng.integers(0, 4, (200, 200)).astype(np.uint8))
    with source.open("rb+") as handle:
        handle.truncate(source.stat().st_size // 2)
    with pytest.raises(DataError, match=r"map\.tif: cannot be read as a raster"):
        write_polygons(source, tmp_path / "o.gpkg", PolygonConfig(tile_km=tile_km))
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_target_that_cannot_be_written(tmp_path, suffix) -> None:
    source = save_map(tmp_path / "map.tif", np.array(FRAME, np.uint8))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="could not be written"):
        write_polygons(source, tmp_path / "file" / f"o{suffix}")


class _FullDisk:
    """A process may write files of at most `size` bytes while this lasts."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.signal)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, suffix) -> None:
    rng = np.random.default_rng(0)
    source = save_map(tmp_path / "map.tif", rng.integers(0, 4, (150, 150)).astype(np.uint8))
    with _FullDisk(150_000), pytest.raises(DataError, match="could not be written"):
        write_polygons(source, tmp_path / f"o{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
