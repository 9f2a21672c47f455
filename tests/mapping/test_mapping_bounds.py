"""A map of a part is, pixel for pixel, the cut of the whole's: by bounds, by polygons, by both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mapping_stubs import CRS, ORIGIN, Moody, Output, aerial, bundle, write_raster
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from bocage.errors import ConfigError, DataError
from bocage.imagery import Source, read_area
from bocage.mapping import MapConfig, estimate_map, map_area, merge_shares
from bocage.mapping.job import prepare
from bocage.rasters import Grid

X, Y = ORIGIN
HEIGHT, WIDTH = 400, 500
WINDOWS = {"window_px": 64, "overlap_px": 16, "block_px": 512, "check_values": False}
STRIDE, LEAD = 48, 8
SPOT = "SPOT_RGBI"
Place = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the whole."""


class MoodyWithSpot(Moody):
    """Depends on both sensors' whole windows, and on where in the window a coarse pixel lies."""

    def forward(self, **inputs: Any) -> Output:
        fine_BKHW = super().forward(**inputs).logits["LC"]
        if SPOT not in inputs["images"]:
            return Output({"LC": fine_BKHW}, {})
        spot_BCHW = inputs["images"][SPOT].float() / 4000
        spot_BCHW = spot_BCHW * inputs["valid"][SPOT][:, None]
        ramp = torch.linspace(0.5, 2, spot_BCHW.shape[-1])
        near_BKHW = spot_BCHW * ramp + spot_BCHW.mean(dim=(2, 3), keepdim=True)
        near_BKHW = near_BKHW.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
        return Output({"LC": fine_BKHW + 4 * near_BKHW}, {})


def bounds_of(place: Place) -> tuple[float, float, float, float]:
    left, top, right, bottom = place
    return X + left * 0.2, Y - bottom * 0.2, X + right * 0.2, Y - top * 0.2


def area_of(path: Path, *shapes: shapely.Geometry) -> str:
    geopandas.GeoSeries(list(shapes), crs=CRS).to_file(path)
    return str(path)


def read_on(like: tuple[int, int], path: Path) -> tuple[np.ndarray, Place]:
    """A layer on a canvas of the whole, 255 elsewhere, and where on it the file lies."""
    with rasterio.open(path) as made:
        left, top = ~from_origin(X, Y, 0.2, 0.2) @ (made.transform.c, made.transform.f)
        assert (left, top) == pytest.approx((round(left), round(top)), abs=1e-5)
        row, col = round(top), round(left)
        image = made.read(1)
    rows = slice(max(0, row), min(like[0], row + image.shape[0]))
    cols = slice(max(0, col), min(like[1], col + image.shape[1]))
    canvas = np.full(like, 255, np.uint8)
    canvas[rows, cols] = image[
        rows.start - row : rows.stop - row, cols.start - col : cols.stop - col
    ]
    return canvas, (col, row, col + image.shape[1], row + image.shape[0])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """A photograph, and SPOT in another CRS with its own pixels, with a hole and an end inside."""
    folder = tmp_path_factory.mktemp("imagery")
    photo = write_raster(folder / "a.tif", aerial(HEIGHT, WIDTH, high=255))
    left, _, _, top = transform_bounds(CRS, "EPSG:32631", *bounds_of((-40, -40, 400, 440)))
    spot = np.random.default_rng(1).integers(1, 4000, (4, 66, 66), dtype=np.uint16)
    spot[:, 20:29, 30:44] = 0
    path = write_raster(
        folder / "s.tif",
        spot,
        crs="EPSG:32631",
        transform=from_origin(left, top, 1.5, 1.5),
        nodata=0,
    )
    return [Source("aerial", photo), Source("spot", path)]


def made_of(kind: str, sources: list[Source]) -> tuple[Any, list[Source]]:
    if kind == "alone":
        return bundle(Moody()), sources[:1]
    return bundle(MoodyWithSpot(), ("AERIAL_RGBI", SPOT)), sources


@pytest.fixture(scope="module")
def wholes(
    tmp_path_factory: pytest.TempPathFactory, sources: list[Source]
) -> dict[str, dict[str, np.ndarray]]:
    """Classes and confidence of the whole, by kind of network."""
    found = {}
    for kind in ("alone", "beside SPOT"):
        out = tmp_path_factory.mktemp("whole")
        network, given = made_of(kind, sources)
        map_area(network, given, out, MapConfig(**WINDOWS))
        layers = ("cover", "cover_confidence")
        found[kind] = {name: read_on((HEIGHT, WIDTH), out / f"{name}.tif")[0] for name in layers}
    return found


def assert_cut(out: Path, whole: dict[str, np.ndarray], wanted_HW: np.ndarray) -> Place:
    """Where it is wanted the map is the whole's, elsewhere nodata; its place is given back.

    Confidence to one step of 254: a resampled number may be rounded the other way.
    """
    classes_HW, place = read_on((HEIGHT, WIDTH), out / "cover.tif")
    shares_HW, _ = read_on((HEIGHT, WIDTH), out / "cover_confidence.tif")
    for found_HW in (classes_HW, shares_HW):
        np.testing.assert_array_equal(found_HW == 255, ~wanted_HW)
    np.testing.assert_array_equal(classes_HW[wanted_HW], whole["cover"][wanted_HW])
    gap_HW = shares_HW.astype(int) - whole["cover_confidence"]
    assert np.abs(gap_HW[wanted_HW]).max() <= 1
    assert (gap_HW[wanted_HW] != 0).mean() < 1e-3
    return place


def rectangle(place: Place) -> np.ndarray:
    left, top, right, bottom = place
    wanted_HW = np.zeros((HEIGHT, WIDTH), bool)
    wanted_HW[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    return wanted_HW


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["alone", "beside SPOT"])
@pytest.mark.parametrize(
    "place",
    [
        (251, 0, WIDTH, HEIGHT),
        (0, 0, 251, HEIGHT),
        (0, 197, WIDTH, HEIGHT),
        (0, 0, WIDTH, 197),
        # On the stride, and where a window of the whole ends.
        (2 * STRIDE, 3 * STRIDE, 7 * STRIDE, 6 * STRIDE),
        (5 * STRIDE - LEAD, 64 - LEAD, 5 * STRIDE - LEAD + 3, 64 - LEAD + 1),
        # Beyond the imagery on all sides, and at its corners.
        (-130, -75, WIDTH + 90, HEIGHT + 200),
        (-700, -30, 5, 3),
        (440, HEIGHT - 7, WIDTH + 40, HEIGHT + 600),
    ],
    ids=["east", "west", "south", "north", "stride", "edge", "around", "corner", "far corner"],
)
def test_bounds_are_the_cut_of_the_whole(
    tmp_path: Path, sources: list[Source], wholes: Any, kind: str, place: Place
) -> None:
    """The network depends on the whole window and the place in it, and yet not a pixel differs."""
    network, given = made_of(kind, sources)
    config = MapConfig(**WINDOWS, bounds=bounds_of(place))
    map_area(network, given, tmp_path / "out", config)
    assert assert_cut(tmp_path / "out", wholes[kind], rectangle(place)) == place


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["alone", "beside SPOT"])
def test_an_area_within_bounds_is_the_cut_of_the_whole(
    tmp_path: Path, sources: list[Source], wholes: Any, kind: str
) -> None:
    """The bounds cut the area where no window and no coarse pixel begins."""
    network, given = made_of(kind, sources)
    triangle = shapely.Polygon([(X + 30.1, Y - 9), (X + 97, Y - 30.3), (X + 21, Y - 76.7)])
    place = (171, 83, 411, 333)
    config = MapConfig(
        **WINDOWS, bounds=bounds_of(place), aoi=area_of(tmp_path / "a.gpkg", triangle)
    )
    map_area(network, given, tmp_path / "out", config)
    wanted_HW = read_on((HEIGHT, WIDTH), tmp_path / "out" / "cover.tif")[0] != 255
    rows, cols = np.indices((HEIGHT, WIDTH))
    centres = shapely.points(X + (cols + 0.5) * 0.2, Y - (rows + 0.5) * 0.2)
    odd = wanted_HW != (shapely.contains(triangle, centres) & rectangle(place))
    assert shapely.dwithin(triangle.boundary, centres[odd], 0.02).all()
    assert odd.sum() < 9 < wanted_HW.sum()
    assert assert_cut(tmp_path / "out", wholes[kind], wanted_HW) == place


@pytest.mark.integration
def test_an_area_that_begins_on_a_stride_is_the_cut_of_the_whole(
    tmp_path: Path, sources: list[Source], wholes: Any
) -> None:
    """Its first pixels are reached by the window before, its last ones by the window behind."""
    place = (3 * STRIDE - LEAD, 2 * STRIDE - LEAD, 6 * STRIDE - LEAD + 3, 5 * STRIDE - LEAD + 3)
    aoi = area_of(tmp_path / "a.gpkg", shapely.box(*bounds_of(place)))
    map_area(bundle(Moody()), sources[:1], tmp_path / "out", MapConfig(**WINDOWS, aoi=aoi))
    assert assert_cut(tmp_path / "out", wholes["alone"], rectangle(place)) == place


@pytest.mark.integration
def test_blocks_beyond_the_imagery_are_none_and_the_others_lie_on_the_map(
    tmp_path: Path, sources: list[Source]
) -> None:
    """A failed block is told in pixels of the map, and shares find their places again."""
    bounds = bounds_of((-600, -30, WIDTH, HEIGHT))
    config = MapConfig(**WINDOWS, bounds=bounds)
    network = Moody()
    network.fail_after = 0
    out = tmp_path / "out"
    report = map_area(bundle(network), sources[:1], out, config, share=(1, 2))
    (failed,) = report.failed
    assert (failed.index, failed.rows, failed.cols) == (1, (0, 430), (512, 1024))
    assert "out of sorts" in failed.reason
    network.fail_after = None
    for number in (1, 2):
        map_area(bundle(network), sources[:1], out, config, share=(number, 2))
    with rasterio.open(out / "blocks" / "000001_cover.tif") as block:
        expected = from_origin(X - 600 * 0.2 + 512 * 0.2, Y + 30 * 0.2, 0.2, 0.2)
        assert block.transform.almost_equals(expected, 1e-5)
    report = merge_shares(out)
    assert (report.blocks, report.exit_code) == (2, 0)
    assert (report.height, report.width) == (430, 1100)
    alone = map_area(bundle(Moody()), sources[:1], tmp_path / "alone", config)
    for one, other in zip(report.maps.values(), alone.maps.values(), strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    said = estimate_map(bundle(Moody()), sources[:1], config)
    assert (said.blocks, said.windows) == (report.blocks, report.windows)


@pytest.mark.integration
def test_a_plan_of_another_layout_is_refused(tmp_path: Path, sources: list[Source]) -> None:
    """Its blocks would be taken for others."""
    out, config = tmp_path / "out", MapConfig(**WINDOWS)
    map_area(bundle(Moody()), sources[:1], out, config, share=(1, 2))
    plan = out / "blocks" / "plan.json"
    stated = json.loads(plan.read_text())
    del stated["layout"], stated["product"]["origin"], stated["product"]["whole_px"]
    plan.write_text(json.dumps(stated))
    words = r"plan\.json: has layout 1, where this version of bocage writes 3.*overwrite=true"
    with pytest.raises(ConfigError, match=words):
        map_area(bundle(Moody()), sources[:1], out, config)
    with pytest.raises(ConfigError, match=words):
        merge_shares(out)
    anew = config.model_copy(update={"overwrite": True})
    assert map_area(bundle(Moody()), sources[:1], out, anew).exit_code == 0


SIDES = (1300, 1700)
CRS_OF_MAP = rasterio.CRS.from_string(CRS)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Source:
    photo = np.zeros((4, *SIDES), np.uint8)
    return Source("aerial", write_raster(tmp_path_factory.mktemp("large") / "a.tif", photo))


@st.composite
def polygons(draw: st.DrawFn) -> list[shapely.Geometry]:
    """Triangles, slivers and stripes of all sizes and places, many of them across blocks."""
    down, across = (st.floats(-90, side + 90) for side in SIDES)
    found = []
    for _ in range(draw(st.integers(1, 4))):
        corners = [(draw(across), draw(down)) for _ in range(3)]
        found.append(shapely.Polygon([(X + col * 0.2, Y - row * 0.2) for col, row in corners]))
    return [shape.buffer(draw(st.sampled_from([0.01, 0.1, 20]))) for shape in found]


@pytest.mark.property
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(polygons(), st.sampled_from([512, 1024, 1536]), st.sampled_from([0, 16, 40]), st.booleans())
def test_every_wanted_pixel_is_in_one_block_and_no_block_without(
    tmp_path: Path, large: Source, shapes: Any, block_px: int, overlap_px: int, bounded: bool
) -> None:
    aoi = area_of(tmp_path / "a.gpkg", *shapes)
    config = MapConfig(
        **{**WINDOWS, "block_px": block_px, "overlap_px": overlap_px},
        aoi=aoi,
        bounds=bounds_of((-20, 313, 1407, 1399)) if bounded else None,
    )
    frame = Grid(CRS_OF_MAP, from_origin(X, Y, 0.2, 0.2), SIDES[1], SIDES[0])
    mask_HW = read_area(aoi, CRS_OF_MAP).mask(frame, (0, SIDES[0]), (0, SIDES[1]))
    expected_HW = np.ones(SIDES, bool) if mask_HW is None else mask_HW.copy()
    if bounded:
        expected_HW[:313] = expected_HW[:, 1407:] = False
    if not expected_HW.any():
        with pytest.raises((ConfigError, DataError), match=r"no(ne| pixel)"):
            prepare([bundle(Moody())], [large], config)
        return
    job = prepare([bundle(Moody())], [large], config)
    kept = np.zeros(SIDES, int)
    for block in job.plan.blocks:
        rows, cols = (block.row0, block.row1), (block.col0, block.col1)
        mask = job.target.wanted(rows, cols)
        assert mask is None or mask.any()
        part = kept[slice(*rows), slice(*cols)]
        part += 1 if mask is None else mask
    np.testing.assert_array_equal(kept, expected_HW)


@pytest.mark.integration
def test_a_part_may_lie_where_a_sensor_of_the_whole_has_nothing(tmp_path: Path) -> None:
    """It is the cut of the whole's map, which counts the sensor as absent there."""
    photo = write_raster(tmp_path / "a.tif", aerial(200, 1000, high=255))
    spot = np.random.default_rng(1).integers(1, 4000, (4, 25, 30), dtype=np.uint16)
    sources = [Source("aerial", photo), Source("spot", write_raster(tmp_path / "s.tif", spot, 1.6))]
    network = bundle(MoodyWithSpot(), ("AERIAL_RGBI", SPOT))
    map_area(network, sources, tmp_path / "whole", MapConfig(**WINDOWS))
    part = MapConfig(**WINDOWS, bounds=bounds_of((600, 0, 1000, 200)))
    report = map_area(network, sources, tmp_path / "part", part)
    assert any("s.tif: does not cover all of the area" in text for text in report.warnings)
    for layer in ("cover", "cover_confidence", "coverage"):
        with rasterio.open(tmp_path / "whole" / f"{layer}.tif") as dataset:
            expected = dataset.read(1)[:, 600:]
        with rasterio.open(tmp_path / "part" / f"{layer}.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(1), expected)
    far = write_raster(tmp_path / "far.tif", spot, 1.6, origin=(X + 9000, Y))
    with pytest.raises(DataError, match=r"far\.tif"):
        map_area(network, [sources[0], Source("spot", far)], tmp_path / "none", part)
