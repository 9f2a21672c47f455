"""Hectares by class and zone: exact counts, bounds from confidence, and what is refused."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mapping_command import run_map
from mapping_stubs import CRS, ORIGIN, write_raster

from bocage.errors import ConfigError, DataError
from bocage.mapping import areas as areas_module
from bocage.mapping.area_table import measure_areas, write_table
from bocage.mapping.areas import count_areas
from bocage.mapping.maps import ClassMap, open_map
from bocage.mapping.validation import read_validation
from bocage.mapping.zones import read_zones

NAMES = ("field", "wood", "water")


def class_map(
    folder: Path, classes: np.ndarray, confidence: np.ndarray | None = None, **options: object
) -> ClassMap:
    """A map as `bocage map` writes it, with its confidence beside it."""
    options = {"resolution": 10.0, "tiled": True, "blockxsize": 16, "blockysize": 16} | options
    path = write_raster(folder / "cover.tif", classes[None], nodata=255, **options)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, **{f"class_{i}": name for i, name in enumerate(NAMES)})
        dataset.update_tags(task="LC")
    if confidence is not None:
        write_raster(folder / "cover_confidence.tif", confidence[None], nodata=255, **options)
    return open_map(path)


def zone_file(path: Path, shapes: list, names: list | None = None, crs: object = CRS) -> Path:
    table = {"nom": names or [f"z{i}" for i in range(len(shapes))]}
    geopandas.GeoDataFrame(table, geometry=shapes, crs=crs).to_file(path)
    return path


def square(col0: float, row0: float, col1: float, row1: float, pixel: float = 10.0):
    """A rectangle given in pixels of the test's grid."""
    x, y = ORIGIN
    return shapely.box(x + col0 * pixel, y - row1 * pixel, x + col1 * pixel, y - row0 * pixel)


def random_map(height: int, width: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 4, (height, width), dtype=np.uint8)
    values[values == 3] = 255
    return values


@pytest.mark.unit
def test_a_map_is_counted_pixel_by_pixel(tmp_path: Path) -> None:
    classes = random_map(70, 50)
    counts = count_areas(class_map(tmp_path, classes), on_ground=False)
    expected = [(classes == i).sum() for i in range(3)]
    assert counts.pixels_ZK.tolist() == [expected]
    np.testing.assert_allclose(counts.ha_ZK[0], np.array(expected) * 0.01)
    assert counts.zone_ha[0] == pytest.approx(35)
    assert counts.covered[0] == pytest.approx((classes != 255).mean())


@pytest.mark.property
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.floats(0.5, 59.5), min_size=1, max_size=4), turn=st.floats(-40, 40))
def test_a_partition_counts_every_pixel_once(tmp_path: Path, cuts, turn) -> None:
    """Neighbours that share turned edges: their counts add up to those of the whole."""
    classes = random_map(60, 60)
    source = class_map(tmp_path, classes)
    edges = [-40.0, *sorted(set(cuts)), 100.0]
    shapes = [
        shapely.affinity.rotate(square(a, -40, b, 100), turn, origin=shapely.Point(*ORIGIN))
        for a, b in pairwise(edges)
    ]
    region = square(0, 0, 60, 60)
    shapes = [s.intersection(region) for s in shapes]
    shapes = [s for s in shapes if s.area > 1]
    zones = read_zones(zone_file(tmp_path / "z.gpkg", [*shapes]), source.grid, "nom")
    counts = count_areas(source, zones)
    points = shapely.points(*_centres(60)).reshape(60, 60)
    together = shapely.union_all(shapes).buffer(1e-6)
    for mask, row in (
        (shapely.contains(together, points), counts.pixels_ZK[1:].sum(axis=0)),
        *zip((shapely.contains(s, points) for s in shapes), counts.pixels_ZK[1:], strict=True),
    ):
        expected = np.array([(classes[mask] == i).sum() for i in range(3)])
        # A centre that lies on an edge to the last digit goes to either neighbour.
        ties = sum(int((shapely.distance(s.exterior, points) < 1e-6).sum()) for s in shapes)
        assert (np.abs(row - expected) <= ties).all()


def _centres(side: int) -> tuple[np.ndarray, np.ndarray]:
    cols, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    return (ORIGIN[0] + 10 * cols).ravel(), (ORIGIN[1] - 10 * rows).ravel()


@pytest.mark.unit
def test_overlapping_zones_count_for_each_and_blocks_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    classes = random_map(200, 300, seed=5)
    sure = rng.integers(80, 255, classes.shape, dtype=np.uint8)
    sure[classes == 255] = 255
    source = class_map(tmp_path, classes, sure)
    shapes = [
        square(0, 0, 300, 200),
        square(20, 20, 150, 120),
        square(100, 50, 220.5, 180),
        square(250, 150, 400, 300),
        square(900, 0, 950, 10),
        shapely.segmentize(square(10, 10, 290, 190).buffer(300), 5.0),
    ]
    zones = read_zones(zone_file(tmp_path / "z.gpkg", shapes), source.grid)
    assert zones.field == "nom"
    whole = count_areas(source, zones)
    assert whole.pixels_ZK[1].tolist() == whole.pixels_ZK[0].tolist()
    inner = classes[20:120, 20:150]
    assert whole.pixels_ZK[2].tolist() == [(inner == i).sum() for i in range(3)]
    assert whole.covered[4] == pytest.approx((classes[150:, 250:] != 255).sum() / (150 * 150))
    assert whole.covered[5] == 0
    assert whole.pixels_ZK[5].sum() == 0
    monkeypatch.setattr(areas_module, "BLOCK_ROWS", 64)
    monkeypatch.setattr(areas_module, "BLOCK_COLS", 128)
    cut = count_areas(source, zones)
    np.testing.assert_array_equal(whole.pixels_ZK, cut.pixels_ZK)
    for one, other in zip(whole.bounds(0.95), cut.bounds(0.95), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.unit
def test_an_edge_through_pixel_centres_gives_each_pixel_to_one_side(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(60, 60))
    shapes = [square(0, 0, 20.5, 30.5), square(20.5, 0, 60, 30.5), square(0, 30.5, 60, 60)]
    zones = read_zones(zone_file(tmp_path / "z.gpkg", shapes), source.grid)
    counts = count_areas(source, zones)
    assert counts.pixels_ZK[1:].sum(axis=0).tolist() == counts.pixels_ZK[0].tolist()


@pytest.mark.unit
def test_zones_of_one_name_are_one_zone_and_other_crs_are_moved(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(60, 60))
    parts = [square(0, 0, 20, 60), square(15, 0, 30, 60), square(40, 0, 60, 60)]
    frame = geopandas.GeoDataFrame({"d": ["a", "a", "b"]}, geometry=parts, crs=CRS)
    frame.to_crs(4326).to_parquet(tmp_path / "z.parquet")
    zones = read_zones(tmp_path / "z.parquet", source.grid, "d")
    assert zones.names == ("a", "b")
    counts = count_areas(source, zones)
    left = random_map(60, 60)[:, :30]
    assert counts.pixels_ZK[1].tolist() == [(left == i).sum() for i in range(3)]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("crs", "origin", "size"),
    [("EPSG:2154", (1_200_000, 6_100_000), 0.004), ("EPSG:32631", (166_000, 5_400_000), 0.002)],
)
def test_areas_are_those_of_the_ellipsoid(tmp_path: Path, crs, origin, size) -> None:
    """Corsica in Lambert-93 and the edge of a UTM zone, against a geodesic polygon."""
    classes = np.zeros((128, 128), np.uint8)
    source = class_map(tmp_path, classes, crs=crs, origin=origin)
    ground = count_areas(source).ha_ZK.sum()
    plane = count_areas(source, on_ground=False).ha_ZK.sum()
    left, bottom, right, top = source.grid.bounds
    ring = shapely.segmentize(shapely.box(left, bottom, right, top), 50.0)
    to_degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    lon, lat = to_degrees.transform(*ring.exterior.xy)
    geodesic = abs(pyproj.Geod(ellps="GRS80").polygon_area_perimeter(lon, lat)[0]) / 1e4
    assert ground == pytest.approx(geodesic, rel=2e-6)
    assert abs(plane / geodesic - 1) > size / 4


def _blobs(rng: np.random.Generator, probabilities: np.ndarray, side: int) -> np.ndarray:
    """Truth whose pixels have these probabilities (H, W, K), one draw of chance per square."""
    height, width = probabilities.shape[:2]
    draw = rng.random((-(-height // side), -(-width // side)))
    draw = np.kron(draw, np.ones((side, side)))[:height, :width]
    return (draw[..., None] > np.cumsum(probabilities, axis=-1)[..., :-1]).sum(axis=-1)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("classes", "patch_px", "error_px", "always"),
    [(2, 8, 32, True), (3, 8, 32, True), (2, 64, 64, False), (3, 64, 64, False)],
)
def test_bounds_hold_the_truth_as_often_as_they_claim(
    tmp_path: Path, classes: int, patch_px: int, error_px: int, always: bool
) -> None:
    """40 maps of a calibrated network whose errors go together over half a square of the method,
    or over all of one that is equally sure everywhere, which is the worst that it allows for."""
    rng = np.random.default_rng(classes)
    patches = 256 // patch_px
    held = total = 0
    halves = [square(0, 0, 128, 256), square(128, 0, 256, 256)]
    zone_file(tmp_path / "z.gpkg", halves)
    for _ in range(40):
        field = rng.normal(0, 1.6, (patches, patches, classes))
        field = np.kron(field, np.ones((patch_px, patch_px, 1)))
        odds = np.exp(field + rng.normal(0, 0.2, field.shape))
        odds /= odds.sum(axis=-1, keepdims=True)
        truth = _blobs(rng, odds, error_px)
        mapped = odds.argmax(axis=-1).astype(np.uint8)
        sure = np.round(odds.max(axis=-1) * 254).astype(np.uint8)
        source = class_map(tmp_path, mapped, sure)
        source = replace(source, classes={i: NAMES[i] for i in range(classes)})
        zones = read_zones(tmp_path / "z.gpkg", source.grid)
        counts = count_areas(source, zones, on_ground=False)
        low, high = counts.bounds(0.95)
        for zone, part in enumerate((truth, truth[:, :128], truth[:, 128:])):
            true_ha = np.array([(part == k).sum() for k in range(classes)]) * 0.01
            held += int(((low[zone] <= true_ha) & (true_ha <= high[zone])).sum())
            total += classes
    assert held / total >= 0.95
    assert (held == total) is always


def _table(source: ClassMap, tmp_path: Path, text: str, **options: object) -> pd.DataFrame:
    path = tmp_path / "matrix.csv"
    path.write_text(text, encoding="utf-8")
    return measure_areas(source, None, read_validation(path, source), **options)


@pytest.mark.unit
def test_a_csv_matrix_in_either_orientation_gives_the_same_estimate(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(60, 60))
    rows = "map,field,wood,water\nfield,66,4,5\nwood,3,80,1\nwater,0,2,70\n"
    turned = "reference,water,wood,field\nfield,0,3,66\nwood,2,80,4\nwater,70,1,5\n"
    one, other = _table(source, tmp_path, rows), _table(source, tmp_path, turned)
    pd.testing.assert_frame_equal(one, other)
    assert one["method"].unique().tolist() == ["stratified (sample)"]
    assert one["estimate_ha"].sum() == pytest.approx(one["ha"].sum())
    shares = one["ha"].to_numpy() / one["ha"].sum()
    rates = np.array([[66, 4, 5], [3, 80, 1], [0, 2, 70]], float)
    expected = shares @ (rates / rates.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(one["estimate_ha"], expected * one["ha"].sum())


def _scores(path: Path, domains: dict[str, list], names: tuple[str, ...] = NAMES) -> Path:
    """`scores.json` of `bocage evaluate`, its rows the reference."""
    counts = np.sum([np.array(m) for m in domains.values()], axis=0).tolist()
    matrix = {"rows": "reference", "columns": "prediction", "classes": list(names),
              "counts": counts, "domains": domains}  # fmt: skip
    path.write_text(json.dumps({"tasks": {"LC": {"confusion": matrix}}}))
    return path


@pytest.mark.unit
def test_domains_of_an_evaluation_are_clusters_and_zones_are_synthetic(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(60, 60))
    domains = {
        "D1": [[900, 10, 40], [100, 800, 0], [0, 0, 300]],
        "D2": [[700, 200, 0], [20, 900, 30], [10, 0, 500]],
        "D3": [[800, 50, 10], [60, 700, 10], [50, 0, 400]],
    }
    validation = read_validation(_scores(tmp_path / "scores.json", domains), source)
    assert validation.counts_DKK[0, 0].tolist() == [900, 100, 0]  # mapped as field
    shapes = [square(0, 0, 30, 60), square(500, 0, 600, 60)]
    zones = read_zones(zone_file(tmp_path / "z.gpkg", shapes), source.grid)
    table = measure_areas(source, zones, validation)
    whole, inside, outside = (table[table["zone"] == z] for z in ("whole map", "z0", "z1"))
    assert set(whole["method"]) == {"stratified (clusters)"}
    assert set(inside["method"]) == {"synthetic (clusters)"}
    assert inside["estimate_ha"].sum() == pytest.approx(inside["ha"].sum())
    assert (inside["estimate_se"] / inside["ha"]).mean() > (
        whole["estimate_se"] / whole["ha"]
    ).mean()
    assert outside["estimate_ha"].isna().all()
    assert (outside["covered"] == 0).all()
    one = read_validation(_scores(tmp_path / "one.json", {"D1": domains["D1"]}), source)
    with pytest.raises(ConfigError, match="one domain"):
        measure_areas(source, None, one)


@pytest.mark.integration
def test_the_command_writes_every_format(tmp_path: Path) -> None:
    classes = random_map(60, 60)
    sure = np.full(classes.shape, 200, np.uint8)
    class_map(tmp_path, classes, sure)
    zone_file(tmp_path / "z.gpkg", [square(0, 0, 30, 60), square(500, 0, 600, 60)])
    (tmp_path / "m.csv").write_text(
        "map,field,wood,water\nfield,66,4,5\nwood,3,80,1\nwater,0,2,70\n"
    )
    common = ["--zones", f"{tmp_path / 'z.gpkg'}:nom", "--confusion", tmp_path / "m.csv"]
    for suffix in ("csv", "parquet", "gpkg"):
        result = run_map("areas", tmp_path / "cover.tif", *common, "-o", tmp_path / f"out.{suffix}")
        assert result.code == 0, result.err
        assert "overall accuracy 9" in result.out
        assert "1 zones lie outside the map: z1" in result.out
    table = pd.read_csv(tmp_path / "out.csv")
    assert len(table) == 9
    assert {"ha_low", "ha_high", "estimate_low", "method", "covered"} <= set(table.columns)
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 9
    shapes = geopandas.read_file(tmp_path / "out.gpkg")
    assert shapes["zone"].tolist() == ["z0", "z1"]
    assert shapes["wood_ha"][0] == pytest.approx(table["ha"][4], rel=1e-4)
    assert shapes.crs == CRS


@pytest.mark.integration
def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(60, 60)).path
    good = zone_file(tmp_path / "z.gpkg", [square(0, 0, 30, 60)])
    out = tmp_path / "out.csv"

    def refused(code: int, text: str, *words: object) -> None:
        result = run_map("areas", *words)
        assert (result.code, text in " ".join(result.err.split())) == (code, True), result.err
        assert not out.exists()

    write_raster(tmp_path / "deg.tif", np.zeros((1, 4, 4), np.uint8), 0.1, crs="EPSG:4326",
                 origin=(2, 48))  # fmt: skip
    write_raster(tmp_path / "float.tif", np.zeros((1, 4, 4), np.float32))
    write_raster(tmp_path / "empty.tif", np.full((1, 4, 4), 255, np.uint8), nodata=255)
    refused(1, "projected CRS", tmp_path / "deg.tif", "-o", out)
    refused(1, "one of uint8", tmp_path / "float.tif", "-o", out)
    with rasterio.open(
        write_raster(tmp_path / "share.tif", np.zeros((1, 4, 4), np.uint8)), "r+"
    ) as f:
        f.scales = (1 / 254,)
    refused(1, "holds shares, not class ids", tmp_path / "share.tif", "-o", out)
    refused(1, "every pixel is nodata", tmp_path / "empty.tif", "-o", out)
    refused(2, "unknown format '.txt'", source, "-o", tmp_path / "out.txt")
    refused(2, "give --zones", source, "-o", tmp_path / "out.gpkg")
    refused(2, "--zones-layer belongs", source, "--zones-layer", "x", "-o", out)
    refused(2, "share between 0 and 1", source, "--confidence-level", 95, "-o", out)
    refused(2, "level 0.5 has no effect", source, "--confidence-level", 0.5, "-o", out)
    refused(2, "unknown field 'name'", source, "--zones", f"{good}:name", "-o", out)
    refused(2, "unknown layer 'x'", source, "--zones", good, "--zones-layer", "x", "-o", out)
    refused(1, "no such file", source, "--zones", tmp_path / "gone.gpkg", "-o", out)

    bare = geopandas.GeoDataFrame({"nom": ["a"]}, geometry=[square(0, 0, 9, 9)])
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        bare.to_file(tmp_path / "bare.gpkg")
    refused(1, "no CRS", source, "--zones", tmp_path / "bare.gpkg", "-o", out)
    points = zone_file(tmp_path / "p.gpkg", [shapely.Point(0, 0)])
    refused(1, "found Point", source, "--zones", points, "-o", out)
    hollow = zone_file(tmp_path / "h.gpkg", [square(0, 0, 9, 9), None])
    refused(1, "no geometry: z1", source, "--zones", hollow, "-o", out)
    none = zone_file(tmp_path / "n.gpkg", [square(0, 0, 9, 9), square(9, 0, 20, 9)], ["a", None])
    refused(1, "no value in 'nom'", source, "--zones", f"{none}:nom", "-o", out)
    pd.DataFrame({"nom": ["a"]}).to_csv(tmp_path / "t.csv")
    refused(1, "without geometry", source, "--zones", tmp_path / "t.csv", "-o", out)
    (tmp_path / "noise.gpkg").write_bytes(b"noise")
    refused(1, "cannot be read as polygons", source, "--zones", tmp_path / "noise.gpkg", "-o", out)
    zone_file(tmp_path / "two.gpkg", [square(0, 0, 9, 9)])
    frame = geopandas.read_file(tmp_path / "two.gpkg")
    frame.to_file(tmp_path / "two.gpkg", layer="second")
    refused(2, "several layers", source, "--zones", tmp_path / "two.gpkg", "-o", out)

    matrix = tmp_path / "m.csv"
    for text, code, message in (
        ("field,wood\n1,2\n", 1, "what the rows are"),
        ("map,field,wood\nfield,1,2\nwood,x,1\n", 1, "whole numbers"),
        ("map,field,wood\nfield,1,2\nwood,0,1\n", 2, "only in the map: water"),
        ("map,field,roof\nfield,1,2\nroof,0,1\n", 2, "only in the matrix: roof"),
        ("map,field,wood\nfield,1,2\nfield,0,1\n", 1, "same classes, each once"),
        ("map,a\na,-1\n", 1, "from 0"),
        ("", 1, "what the rows are"),
    ):
        matrix.write_text(text)
        refused(code, message, source, "--confusion", matrix, "-o", out)
    scores = tmp_path / "s.json"
    scores.write_text('{"tasks": {"other": {}}}')
    refused(2, "unknown task 'LC'", source, "--confusion", scores, "-o", out)
    scores.write_text('{"tasks": []}')
    refused(1, "not the scores.json", source, "--confusion", scores, "-o", out)
    refused(1, "no such file", source, "--confusion", tmp_path / "gone.json", "-o", out)


@pytest.mark.unit
def test_a_confidence_on_another_grid_is_refused(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(60, 60), np.full((60, 60), 200, np.uint8))
    write_raster(source.confidence, np.zeros((1, 30, 30), np.uint8))
    with pytest.raises(DataError, match="not the confidence of"):
        count_areas(source)


@pytest.mark.unit
def test_a_full_disk_leaves_no_table(tmp_path: Path) -> None:
    source = class_map(tmp_path, random_map(20, 20))
    table = measure_areas(source)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="could not be written"):
        write_table(tmp_path / "file" / "t.csv", table, None, source)
