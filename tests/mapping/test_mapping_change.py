"""Change between two maps: codes, hectares, sureness, small patches, and grids that do not fit."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_command import run_map
from mapping_stubs import CRS, ORIGIN, read_map, write_raster
from rio_cogeo.cogeo import cog_validate

from bocage.errors import ConfigError, DataError
from bocage.mapping import areas as areas_module
from bocage.mapping import change as change_module
from bocage.mapping.change import NO_CHANGE_DATA, ChangeConfig, diff_maps, overlap_of
from bocage.mapping.maps import ClassMap, open_map
from bocage.mapping.patches import Sides, find_patches
from bocage.mapping.zones import read_zones

NAMES = ("field", "wood", "water")
PX_M2 = 4.0


def a_map(
    path: Path,
    classes: np.ndarray,
    sure: np.ndarray | None = None,
    names: tuple[str, ...] = NAMES,
    **options: object,
) -> ClassMap:
    options = {"resolution": 2.0, "nodata": 255} | options
    write_raster(path, classes[None], **options)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, **{f"class_{i}": name for i, name in enumerate(names)})
    if sure is not None:
        write_raster(path.with_name(f"{path.stem}_confidence.tif"), sure[None], **options)
    return open_map(path)


def noise(height: int, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 3, (height, width), dtype=np.uint8)
    values[:3, :5] = 255
    return values


@pytest.mark.unit
def test_codes_table_and_style_say_what_changed(tmp_path: Path) -> None:
    one, two = noise(70, 90, 1), noise(70, 90, 2)
    two[60:, 80:] = 255
    report = diff_maps(
        a_map(tmp_path / "a.tif", one), a_map(tmp_path / "b.tif", two), tmp_path / "out",
        ChangeConfig(on_ground=False),
    )  # fmt: skip
    codes = read_map(report.raster)
    known = (one != 255) & (two != 255)
    np.testing.assert_array_equal(codes, np.where(known, one * np.uint16(256) + two, 65535))
    assert cog_validate(report.raster, quiet=True)[0]
    table = pd.read_csv(tmp_path / "out" / "change.csv")
    for row in table.to_dict("records"):
        pixels = int((known & (one == row["from_id"]) & (two == row["to_id"])).sum())
        assert row["pixels"] == pixels
        assert row["ha"] == pytest.approx(pixels * PX_M2 / 1e4)
        assert (row["from"], row["to"]) == (NAMES[row["from_id"]], NAMES[row["to_id"]])
    assert report.compared_ha == pytest.approx(known.sum() * PX_M2 / 1e4)
    assert report.changed_ha == pytest.approx((known & (one != two)).sum() * PX_M2 / 1e4)
    style = (tmp_path / "out" / "change.qml").read_text(encoding="utf-8")
    assert style.count("<paletteEntry") == 6
    assert 'value="258" label="wood → water"' in style
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        "change.csv", "change.qml", "change.tif",
    ]  # fmt: skip


@pytest.mark.unit
def test_change_counts_only_where_both_maps_are_sure(tmp_path: Path) -> None:
    one, two = noise(40, 40, 1), noise(40, 40, 2)
    rng = np.random.default_rng(3)
    sure = [rng.integers(0, 255, one.shape, dtype=np.uint8) for _ in range(2)]
    maps = [
        a_map(tmp_path / f"{name}.tif", classes, how_sure)
        for name, classes, how_sure in zip("ab", (one, two), sure, strict=True)
    ]
    report = diff_maps(*maps, tmp_path / "out", ChangeConfig(min_confidence=0.5))
    both = (sure[0] >= 127) & (sure[1] >= 127)
    known = one != 255
    expected = np.where(known & both, two, one) + one * np.uint16(256)
    expected[~known | (two == 255)] = NO_CHANGE_DATA
    np.testing.assert_array_equal(read_map(report.raster), expected)


def by_hand(codes: np.ndarray, wanted: np.ndarray, min_px: int) -> np.ndarray:
    """Small patches put back, one flood fill after the other."""
    codes, seen = codes.copy(), ~wanted
    height, width = codes.shape
    for start in zip(*np.nonzero(wanted), strict=True):
        if seen[start]:
            continue
        patch, queue = [], [start]
        seen[start] = True
        while queue:
            row, col = queue.pop()
            patch.append((row, col))
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(col - 1, 0), min(col + 2, width)):
                    if not seen[r, c] and codes[r, c] == codes[start]:
                        seen[r, c] = True
                        queue.append((r, c))
        if len(patch) < min_px:
            for place in patch:
                codes[place] = (codes[place] >> 8) * 257
    return codes


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 999), st.floats(0.05, 0.95))
def test_patches_are_those_of_a_flood_fill(height, width, seed, density) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(1, 3, (height, width)).astype(np.uint16)
    wanted = rng.random((height, width)) < density
    runs = find_patches(codes, wanted, Sides(False, False, False, False))
    assert runs.mask(runs.size > 0, codes.shape).tolist() == wanted.tolist()
    for min_px in (2, 5):
        dropped = runs.mask(runs.size < min_px, codes.shape)
        np.testing.assert_array_equal(dropped, by_hand(codes, wanted, min_px) % 257 == 0)
    assert not runs.goes_on.any()


@pytest.mark.unit
@pytest.mark.parametrize("min_px", [2, 9, 40, 400])
def test_small_patches_go_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, min_px: int
) -> None:
    """Blocks of 16 pixels, a margin of 4 at first, and a thin line through all blocks."""
    rng = np.random.default_rng(5)
    one = np.zeros((90, 110), np.uint8)
    two = np.where(rng.random(one.shape) < 0.35, rng.integers(1, 3, one.shape), 0).astype(np.uint8)
    two[40:47, 20:60] = 2
    two[70] = 0
    two[70, :105] = 1
    two[71] = two[69] = 0
    two[5, 5] = 255
    maps = (a_map(tmp_path / "a.tif", one), a_map(tmp_path / "b.tif", two))
    monkeypatch.setattr(areas_module, "BLOCK_ROWS", 16)
    monkeypatch.setattr(areas_module, "BLOCK_COLS", 16)
    monkeypatch.setattr(change_module, "_FIRST_MARGIN", 4)
    report = diff_maps(*maps, tmp_path / "out", ChangeConfig(min_area_m2=min_px * PX_M2))
    codes = one * np.uint16(256) + two
    codes[two == 255] = NO_CHANGE_DATA
    expected = by_hand(codes, (one != two) & (two != 255), min_px)
    np.testing.assert_array_equal(read_map(report.raster), expected)
    assert (read_map(report.raster)[70, :105] == 1).all() == (min_px <= 105)


@pytest.mark.unit
def test_maps_that_are_shifted_by_whole_pixels_are_compared_where_both_are(tmp_path: Path) -> None:
    ground = noise(100, 100, 7)
    first = a_map(tmp_path / "a.tif", ground[:60, :70])
    x, y = ORIGIN
    second = a_map(tmp_path / "b.tif", ground[20:, 30:], origin=(x + 60, y - 40))
    shared = overlap_of(first, second)
    assert (shared.grid.height, shared.grid.width) == (40, 40)
    zone = shapely.box(x + 60, y - 120, x + 100, y - 40)
    geopandas.GeoDataFrame({"n": ["z"]}, geometry=[zone], crs=CRS).to_file(tmp_path / "z.gpkg")
    zones = read_zones(tmp_path / "z.gpkg", first.grid)
    report = diff_maps(first, second, tmp_path / "out", zones=zones)
    assert report.changed_ha == 0
    table = report.table
    assert table.loc[table["zone"] == "z", "pixels"].sum() == 20 * 40
    assert table.loc[table["zone"] == "whole map", "pixels"].sum() == 1600


@pytest.mark.unit
def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    classes = noise(20, 20, 1)
    first = a_map(tmp_path / "a.tif", classes)
    x, y = ORIGIN
    for name, message, options in (
        ("half", "gdalwarp -r near -t_srs EPSG:2154 -te 700000 6599960 700040 6600000 -tr 2 2",
         {"origin": (x + 1, y)}),
        ("coarse", "pixels of 4 x 4", {"resolution": 4.0}),
        ("utm", "EPSG:32631", {"crs": "EPSG:32631"}),
        ("away", "share no ground", {"origin": (x + 4000, y)}),
        ("names", "different classes; 1: 'wood' and 'roof'", {"names": ("field", "roof", "water")}),
    ):  # fmt: skip
        second = a_map(tmp_path / f"{name}.tif", classes, **options)
        with pytest.raises(ConfigError, match=message):
            diff_maps(first, second, tmp_path / "out")
    second = a_map(tmp_path / "b.tif", classes)
    with pytest.raises(ConfigError, match="no confidence layer"):
        diff_maps(first, second, tmp_path / "out", ChangeConfig(min_confidence=0.9))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="could not be written"):
        diff_maps(first, second, tmp_path / "file" / "out")


@pytest.mark.integration
def test_the_command_tells_how_much_changed(tmp_path: Path) -> None:
    one, two = np.zeros((50, 50), np.uint8), np.zeros((50, 50), np.uint8)
    two[:10, :10] = 1
    two[30, 30] = 2
    maps = [a_map(tmp_path / f"{n}.tif", m).path for n, m in zip("ab", (one, two), strict=True)]
    words = ["diff", *maps, "--min-area", 40, "--plane", "-o", tmp_path / "out"]
    result = run_map(*words)
    assert result.code == 0, result.err
    assert "0.04 of 1.00 ha changed (4.00 %)" in result.out
    assert run_map(*words, "--min-confidence", 2).code == 2
    pixel = run_map(*words, "--min-area", 4)  # 4.000001 is a pixel too: sizes are rounded so
    assert (pixel.code, "min_area_m2=4 has no effect" in " ".join(pixel.err.split())) == (2, True)
    assert run_map(*words, "--min-area", 4.000001).code == 2
    assert run_map(*words, "--min-area", 4.1).code == 0
    assert run_map(*words, "--zones-layer", "x").code == 2
