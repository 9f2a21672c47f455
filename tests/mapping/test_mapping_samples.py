"""A sample of points: brought onto the map's pixels and into its zones, and what is refused."""

import re
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from mapping_command import run_map
from mapping_stubs import CRS, ORIGIN
from test_mapping_areas import class_map, random_map, square, zone_file

from bocage.errors import ConfigError, DataError
from bocage.mapping import areas as areas_module
from bocage.mapping.area_table import measure_areas
from bocage.mapping.areas import count_areas
from bocage.mapping.maps import ClassMap
from bocage.mapping.samples import count_by_zone, read_samples
from bocage.mapping.zones import read_zones

NAMES = ("field", "wood", "water")
GRID_PX, PIXEL_M = 60, 10.0


def points_at(cols: list[float], rows: list[float]) -> np.ndarray:
    """Points given in pixels of the test's grid."""
    x, y = ORIGIN
    return shapely.points(x + PIXEL_M * np.array(cols), y - PIXEL_M * np.array(rows))


def sample_file(path: Path, points: object, classes: list, crs: object = CRS) -> Path:
    geopandas.GeoDataFrame({"class": classes}, geometry=list(points), crs=crs).to_file(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> ClassMap:
    return class_map(tmp_path, random_map(GRID_PX, GRID_PX))


def draw(source_classes: np.ndarray, each: int) -> tuple[list[float], list[float]]:
    """Places within pixels, drawn at random within each mapped class."""
    rng = np.random.default_rng(0)
    rows, cols = np.concatenate(
        [rng.permutation(np.argwhere(source_classes == k))[:each] for k in range(3)]
    ).T
    return (cols + rng.random(len(cols))).tolist(), (rows + rng.random(len(rows))).tolist()


@pytest.mark.unit
def test_points_are_counted_where_their_pixels_are(tmp_path: Path, source: ClassMap) -> None:
    classes = random_map(GRID_PX, GRID_PX)
    cols, rows = draw(classes, 30)
    true = np.random.default_rng(1).integers(0, 3, len(cols))
    path = sample_file(tmp_path / "p.gpkg", points_at(cols, rows), [NAMES[k] for k in true])
    validation = read_samples(path, source)
    expected = np.zeros((3, 3), int)
    mapped = classes[np.array(rows).astype(int), np.array(cols).astype(int)]
    np.add.at(expected, (mapped, true), 1)
    assert validation.counts_DKK[0].tolist() == expected.tolist()
    assert validation.notes == ()
    # Zone edges through pixels: a unit goes with the middle of its pixel, as the pixel does.
    shapes = [square(0, 0, 20.3, 60), square(20.3, 0, 60, 60), square(10, 10, 40, 40)]
    zones = read_zones(zone_file(tmp_path / "z.gpkg", shapes), source.grid)
    counts = count_by_zone(validation, zones, source.grid)
    assert counts[:2].sum(axis=0).tolist() == expected.tolist()
    left = np.array(cols).astype(int) + 0.5 < 20.3
    part = np.zeros((3, 3), int)
    np.add.at(part, (mapped[left], true[left]), 1)
    assert counts[0].tolist() == part.tolist()
    table = measure_areas(source, zones, validation)
    assert table["units"].tolist()[::3] == [90, *counts.sum(axis=(1, 2))]
    assert table["method"].tolist()[::3] == ["stratified (sample)", *["composite (points)"] * 3]
    for _, rows_of_zone in table.groupby("zone"):
        assert rows_of_zone["estimate_ha"].sum() == pytest.approx(rows_of_zone["ha"].sum())


@pytest.mark.unit
def test_a_unit_on_an_edge_is_in_the_zone_that_its_pixel_is_counted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit in every pixel, edges through the middles of pixels: units are as the pixels are."""
    classes = random_map(GRID_PX, GRID_PX)
    source = class_map(tmp_path, classes)
    rows, cols = np.argwhere(classes != 255).T
    names = [NAMES[k] for k in classes[rows, cols]]
    path = sample_file(tmp_path / "p.gpkg", points_at(cols + 0.5, rows + 0.5), names)
    shapes = [
        square(0, 0, 20.5, 30.5), square(20.5, 0, 60, 30.5), square(0, 30.5, 60, 60),
        square(20.5, 10.5, 40.5, 40.5), square(900, 0, 950, 9),
    ]  # fmt: skip
    zones = read_zones(zone_file(tmp_path / "z.gpkg", shapes), source.grid)
    validation = read_samples(path, source)
    for side in (1024, 16):  # whole; blocks without an edge too
        monkeypatch.setattr(areas_module, "BLOCK_ROWS", side)
        monkeypatch.setattr(areas_module, "BLOCK_COLS", side)
        counts = count_by_zone(validation, zones, source.grid)
        pixels = count_areas(source, zones).pixels_ZK
        np.testing.assert_array_equal(counts.sum(axis=2), pixels[1:])
        assert counts[:3].sum() == len(rows)


@pytest.mark.unit
@pytest.mark.parametrize("kind", ["ids", "text", "floats", "folded"])
def test_classes_by_name_or_number_and_points_in_degrees(
    tmp_path: Path, source: ClassMap, kind: str
) -> None:
    cols, rows = draw(random_map(GRID_PX, GRID_PX), 5)
    ids = [0, 1, 2] * 5
    values = {
        "ids": ids,
        "text": [str(k) for k in ids],
        "floats": [float(k) for k in ids],
        "folded": [NAMES[k].upper() + " " for k in ids],
    }[kind]
    frame = geopandas.GeoDataFrame(
        {"truth": values, "n": 0}, geometry=list(points_at(cols, rows)), crs=CRS
    )
    frame.to_crs(4326).to_parquet(tmp_path / "p.parquet")
    validation = read_samples(tmp_path / "p.parquet", source, "truth")
    assert validation.counts_DKK.sum(axis=(0, 1)).tolist() == [5, 5, 5]


@pytest.mark.unit
def test_multipoints_of_one_point_are_points(tmp_path: Path, source: ClassMap) -> None:
    """So QGIS writes points into many formats."""
    cols, rows = draw(random_map(GRID_PX, GRID_PX), 5)
    single = points_at(cols, rows)
    multiple = [shapely.MultiPoint([p]) for p in single]
    words = [NAMES[k % 3] for k in range(15)]
    expected = read_samples(sample_file(tmp_path / "p.gpkg", single, words), source)
    for name, points in (("m", multiple), ("mixed", [*multiple[:7], *single[7:]])):
        frame = geopandas.GeoDataFrame({"class": words}, geometry=list(points), crs=CRS)
        frame.to_parquet(tmp_path / f"{name}.parquet")
        found = read_samples(tmp_path / f"{name}.parquet", source)
        assert found.counts_DKK.tolist() == expected.counts_DKK.tolist()
    multiple[3] = shapely.MultiPoint(single[:2])
    path = sample_file(tmp_path / "two.gpkg", multiple, words)
    with pytest.raises(DataError, match=r"1 of 15 features hold several points\. Split them"):
        read_samples(path, source)


@pytest.mark.unit
def test_points_that_say_nothing_are_left_out_and_told(tmp_path: Path, source: ClassMap) -> None:
    classes = random_map(GRID_PX, GRID_PX)
    empty, full = np.argwhere(classes == 255)[0] + 0.5, np.argwhere(classes == 1)[:4] + 0.5
    rows = [*full[:, 0], full[0, 0] + 0.3, empty[0], -1.0, 5.0]
    cols = [*full[:, 1], full[0, 1] - 0.3, empty[1], 5.0, 60.5]
    path = sample_file(tmp_path / "p.gpkg", points_at(cols, rows), ["wood"] * 8)
    validation = read_samples(path, source, "class")
    assert validation.counts_DKK[0].tolist() == [[0, 0, 0], [0, 4, 0], [0, 0, 0]]
    assert validation.notes == (
        "2 of 8 points lie outside the map and are left out",
        "1 of 8 points lie where the map has no data and are left out",
        "1 of 8 points lie in the pixel of another one and count once with it",
    )


@pytest.mark.unit
def test_what_is_no_sample_of_the_map_is_refused(tmp_path: Path, source: ClassMap) -> None:
    good = points_at([5.5, 9.5], [5.5, 9.5])

    def refused(kind: type[Exception], text: str, path: Path, field: str | None = None) -> None:
        with pytest.raises(kind, match=text):
            read_samples(path, source, field)

    refused(DataError, "no such file", tmp_path / "gone.gpkg")
    path = sample_file(tmp_path / "good.gpkg", good, ["wood", "wood"])
    refused(ConfigError, "unknown field 'name'", path, "name")
    wide = geopandas.GeoDataFrame({"a": [1, 2], "b": [1, 2]}, geometry=list(good), crs=CRS)
    wide.to_file(tmp_path / "wide.gpkg")
    refused(ConfigError, "which field.*wide.gpkg:class. Fields: a, b", tmp_path / "wide.gpkg")
    strange = sample_file(tmp_path / "s.gpkg", good, ["wood", "woods"])
    refused(DataError, "1 of 2 points.*unknown class 'woods'; did you mean 'wood'", strange)
    refused(
        DataError,
        "1 of 2 points have no value",
        sample_file(tmp_path / "n.gpkg", good, ["wood", None]),
    )
    none = sample_file(tmp_path / "none.gpkg", [good[0], None], ["wood", "wood"])
    refused(DataError, "1 of 2 points have no place", none)
    polygons = sample_file(tmp_path / "poly.gpkg", [square(0, 0, 9, 9)], ["wood"])
    refused(DataError, "a sample is of points; found Polygon", polygons)
    far = sample_file(tmp_path / "far.gpkg", points_at([900, 900], [5, 6]), ["wood", "wood"])
    refused(DataError, "no point lies on the map; 2 of 2 points lie outside", far)
    twice = sample_file(tmp_path / "t.gpkg", points_at([5.2, 5.8], [7.5, 7.5]), ["wood", "field"])
    refused(DataError, "different classes in one pixel, 1 times", twice)
    pd.DataFrame({"x": [1], "y": [1], "class": ["wood"]}).to_csv(tmp_path / "p.csv")
    refused(DataError, "without geometry. Give points", tmp_path / "p.csv")
    bare = geopandas.GeoDataFrame({"class": ["wood"]}, geometry=list(good[:1]))
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        bare.to_file(tmp_path / "bare.gpkg")
    refused(DataError, "the points have no CRS", tmp_path / "bare.gpkg")


@pytest.mark.integration
def test_the_command_takes_points_and_says_what_it_made_of_them(tmp_path: Path) -> None:
    classes = random_map(GRID_PX, GRID_PX)
    source = class_map(tmp_path, classes)
    cols, rows = draw(classes, 20)
    keep = classes[np.array(rows).astype(int), np.array(cols).astype(int)] != 2
    inside = points_at(np.array(cols)[keep].tolist(), np.array(rows)[keep].tolist())
    points = [*inside, *points_at([99], [5])]
    path = sample_file(tmp_path / "p.gpkg", points, ["wood"] * len(points))
    zones = zone_file(tmp_path / "z.gpkg", [square(0, 0, 30, 60), square(500, 0, 600, 60)])
    words = ["areas", source.path, "--zones", zones, "--samples", f"{path}:class"]
    result = run_map(*words, "-o", tmp_path / "out.csv")
    assert result.code == 0, result.err
    assert "note: 1 of 41 points lie outside the map" in result.out
    assert "fewer than two units" in result.out  # nobody looked at water
    whole = pd.read_csv(tmp_path / "out.csv").head(3)
    wood, water = (whole["pixels"][k] / whole["pixels"].sum() for k in (1, 2))
    accuracy = re.search(r"overall accuracy ([\d.]+) to ([\d.]+) %", result.out)
    assert accuracy
    low, high = map(float, accuracy.groups())
    # All 20 units in wood are right, all 20 in field wrong, and water may be either.
    assert low < 100 * wood - 1
    assert high > 100 * (wood + water) + 1
    table = pd.read_csv(tmp_path / "out.csv")
    zone = table[table["zone"] == "z0"]
    assert zone["method"].unique().tolist() == ["composite (points)"]
    assert 0 < zone["units"].iloc[0] < 40
    assert (zone["estimate_low"] <= zone["estimate_ha"]).all()
    assert table.loc[table["zone"] == "z1", "estimate_ha"].isna().all()
    both = run_map(*words, "--confusion", tmp_path / "m.csv", "-o", tmp_path / "two.csv")
    assert both.code == 2
    assert "one validation at a time" in " ".join(both.err.split())
