"""Where imagery ends inside its raster, windows look at mirrored ground; the map stays nodata."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mapping_stubs import ByValue, Moody, Output, aerial, bundle, read_map, write_raster

from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.holes import CONTINUED_PX, Views, mirror_holes, mirror_of
from bocage.sample import Series

RGBI, DEM, S2 = "AERIAL_RGBI", "DEM_ELEV", "SENTINEL2_TS"
MASKS = arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def numbered(height: int, width: int) -> np.ndarray:
    """An image of one band in which no two pixels are alike."""
    return np.arange(height * width).reshape(1, height, width)


def views(images: dict, valid: dict, series: dict | None = None, **ratios: Fraction) -> Views:
    series = series or {}
    known = {name: ratios.get(name, Fraction(1)) for name in (*images, *series)}
    return Views(images, valid, series, known)


@pytest.mark.unit
@pytest.mark.parametrize(
    "edges", [(20, 33, 25, 50), (0, 60, 0, 41), (7, 60, 0, 70), (30, 31, 9, 70)]
)
def test_a_rectangle_is_mirrored_as_a_rasters_end_is(edges) -> None:
    """As often as needed, and at the corners alike."""
    top, bottom, left, right = edges
    image, valid = numbered(60, 70), np.zeros((60, 70), bool)
    valid[top:bottom, left:right] = True
    margins = ((0, 0), (top, 60 - bottom), (left, 70 - right))
    expected = np.pad(image[:, top:bottom, left:right], margins, mode="symmetric")
    np.testing.assert_array_equal(image.reshape(1, -1)[:, mirror_of(valid)], expected)


@pytest.mark.unit
def test_what_lies_beyond_the_window_is_the_edge_repeated() -> None:
    valid = np.zeros((3, 9), bool)
    valid[:, :3] = True
    assert mirror_of(valid)[0].tolist() == [0, 1, 2, 2, 1, 0, 2, 2, 2]


@pytest.mark.property
@given(MASKS, st.none() | st.integers(0, 6))
def test_every_pixel_looks_at_data_behind_its_nearest(data_HW: np.ndarray, reach) -> None:
    """Against all pairs of pixels."""
    height, width = data_HW.shape
    found = mirror_of(data_HW, reach)
    known = np.argwhere(data_HW)
    for y, x in np.ndindex(height, width):
        there = tuple(int(n) for n in divmod(int(found[y, x]), width))
        squares = ((known - (y, x)) ** 2).sum(axis=1)
        far = not len(known) or (reach is not None and squares.min() > reach**2)
        if data_HW[y, x] or far:
            assert there == (y, x)
            continue
        assert data_HW[there]
        behind = []
        for nearest in known[squares == squares.min()]:
            step = nearest - (y, x)
            behind.append(tuple((nearest + step - np.sign(step)).tolist()))
        inside = [0 <= r < height and 0 <= c < width for r, c in behind]
        if all(inside) and all(data_HW[place] for place in behind):
            assert there in behind


@pytest.mark.unit
def test_ground_that_nobody_sees_is_mirrored_for_all_sensors_together() -> None:
    """A sensor of coarser pixels with a hole of its own is mirrored with its hole, a date too."""
    side, ratio = 64, Fraction(8)
    photo, spot = numbered(side, side), numbered(8, 8)
    seen = np.ones((side, side), bool)
    seen[:, 32:] = False
    spot_seen = np.zeros((8, 8), bool)
    spot_seen[:, 2:4] = True
    values = np.stack([numbered(8, 8), 100 + numbered(8, 8)]).astype(np.uint16)
    clouds = np.repeat(values[:, :1], 2, axis=1) % 50
    days = np.array(["2021-03-01", "2021-04-01"], "datetime64[D]")
    dated = np.zeros((2, 8, 8), bool)
    dated[0, :, :4] = dated[1, :4, :4] = True
    before = views(
        {RGBI: photo, "SPOT_RGBI": spot},
        {RGBI: seen, "SPOT_RGBI": spot_seen},
        {S2: Series(values, days, clouds, dated)},
        SPOT_RGBI=ratio, SENTINEL2_TS=ratio,
    )  # fmt: skip
    kept = photo.copy(), values.copy(), dated.copy()
    after = mirror_holes(before, side)
    np.testing.assert_array_equal(after.images[RGBI][..., 32:], photo[..., 31::-1])
    assert RGBI not in after.valid
    own = [0, 1, 2, 3, 3, 2, 1, 0]
    np.testing.assert_array_equal(after.series[S2].values, values[..., own])
    np.testing.assert_array_equal(after.series[S2].snow_cloud, clouds[..., own])
    np.testing.assert_array_equal(after.series[S2].valid, dated[..., own])
    # Where the photograph sees on, SPOT is continued by its own rule, so it has no hole left here.
    assert side < 8 * CONTINUED_PX
    assert "SPOT_RGBI" not in after.valid
    np.testing.assert_array_equal(after.images["SPOT_RGBI"][0, 0], [3, 2, 2, 3, 3, 2, 2, 3])
    for array, copy in zip((photo, values, dated), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.unit
def test_ground_that_another_sensor_maps_is_not_invented() -> None:
    """A photograph that covers a corner is continued by a few pixels, and absent beyond."""
    photo, seen = numbered(96, 96), np.zeros((96, 96), bool)
    seen[:30, :30] = True
    height = np.ones((2, 96, 96), np.float32)
    after = mirror_holes(views({RGBI: photo, DEM: height}, {RGBI: seen}), 96)
    away = np.hypot(*np.maximum(0, np.indices((96, 96)) - 29))
    np.testing.assert_array_equal(after.valid[RGBI], away <= CONTINUED_PX)
    np.testing.assert_array_equal(after.images[RGBI][:, seen], photo[:, seen])
    edge = after.images[RGBI][0, 5, 30 : 30 + CONTINUED_PX]
    np.testing.assert_array_equal(edge, photo[0, 5, 29 : 29 - CONTINUED_PX : -1])
    np.testing.assert_array_equal(after.images[RGBI][:, away > 20], photo[:, away > 20])
    assert after.images[DEM] is height


@pytest.mark.unit
def test_without_a_hole_nothing_is_copied_and_without_a_pixel_nothing_is_invented() -> None:
    whole, none = numbered(16, 16), np.zeros((16, 16), bool)
    after = mirror_holes(views({RGBI: whole}, {}), 16)
    assert after.images[RGBI] is whole
    assert not after.valid
    days = np.array(["2021-03-01"], "datetime64[D]")
    empty = Series(np.zeros((1, 10, 16, 16), np.uint16), days, None, none[None])
    after = mirror_holes(views({RGBI: whole}, {RGBI: np.tri(16, dtype=bool)}, {S2: empty}), 16)
    assert RGBI not in after.valid
    assert not after.series[S2].valid.any()
    assert not mirror_holes(views({}, {}, {S2: empty}), 16).series[S2].valid.any()


@pytest.mark.integration
@pytest.mark.parametrize("with_elevation", [False, True])
def test_the_cut_does_not_show_around_holes(tmp_path: Path, with_elevation: bool) -> None:
    """The network looks at the whole window; holes are larger and smaller than one."""
    image = aerial(1100, 1000, high=255) + 1
    away = np.hypot(*(np.indices((1100, 1000)) - np.array([500, 510])[:, None, None]))
    image[:, (away < 170) & (away > 20)] = 0
    image[:, :300, 900:] = image[:, 1040:] = 0
    image[:, np.random.default_rng(1).random((1100, 1000)) < 1e-3] = 0
    sources = [Source("aerial", write_raster(tmp_path / "a.tif", image, nodata=0))]
    names = (RGBI,)
    if with_elevation:
        dem = np.random.default_rng(2).normal(100, 9, (2, 130, 60)).astype(np.float32)
        dem[:, 20:40, 5:30] = -9999
        sources.append(Source(DEM, write_raster(tmp_path / "d.tif", dem, 1.7)))
        names = (RGBI, DEM)

    class Whole(Moody):
        def forward(self, **inputs):
            self.seen += 1
            image = inputs["images"].get(RGBI)
            if image is None:
                image = torch.zeros(1, 4, *inputs["output_hw"])
            heights = inputs["images"].get(DEM, torch.zeros(1)).float().mean()
            return super().forward(images={RGBI: image.float() + heights})

    made = []
    for block_px in (512, 2048):
        out = tmp_path / f"out{block_px}"
        config = MapConfig(window_px=128, overlap_px=48, block_px=block_px, check_values=False)
        assert map_area(bundle(Whole(), names), sources, out, config).exit_code == 0
        made.append([read_map(out / f"cover{s}.tif") for s in ("", "_confidence")])
    np.testing.assert_array_equal(made[0], made[1])
    assert len(np.unique(made[0][1])) > 50
    if not with_elevation:
        np.testing.assert_array_equal(made[0][0] == 255, (image == 0).all(axis=0))


@pytest.mark.integration
def test_nodata_stays_nodata_and_an_absent_sensor_absent(tmp_path: Path) -> None:
    """The network sees no hole where there is no map, and no photograph where none is near."""
    photo = aerial(64, 512, high=3) + 1
    photo[:, :, 150:] = 0
    photo[:, 30:33, 40:60] = 0
    dem = np.full((2, 64, 512), 5, np.float32)
    dem[:, :, :100] = -9999
    dem[:, :, 400:] = -9999
    sources = [
        Source("aerial", write_raster(tmp_path / "a.tif", photo, nodata=0)),
        Source(DEM, write_raster(tmp_path / "d.tif", dem)),
    ]
    network, out = ByValue(), tmp_path / "out"
    config = MapConfig(window_px=64, overlap_px=0)
    map_area(bundle(network, (RGBI, DEM)), sources, out, config)
    found, coverage = read_map(out / "cover.tif"), read_map(out / "coverage.tif")
    photographed, measured = (photo != 0).all(axis=0), dem[0] > 0
    np.testing.assert_array_equal(found == 255, ~photographed & ~measured)
    np.testing.assert_array_equal(coverage & 1 > 0, photographed)
    np.testing.assert_array_equal(coverage & 2 > 0, measured)
    np.testing.assert_array_equal(found[photographed], photo[0][photographed])
    # A call for each of the 7 windows that reach data, from west to east.
    assert len(network.calls) == 7
    assert [bool(c["present"][RGBI]) for c in network.calls] == [True] * 3 + [False] * 4
    assert [bool(c["present"][DEM]) for c in network.calls] == [False] + [True] * 6
    masks = {
        name: [c["valid"][name].all().item() for c in network.calls if name in c["valid"]]
        for name in (RGBI, DEM)
    }
    # In the second window the photograph alone has the west, in the third elevation the east.
    assert masks == {RGBI: [True, True, False], DEM: [False, True, True, True, True, True]}


@pytest.mark.integration
def test_dates_of_the_border_are_chosen_by_the_ground_that_is_there(tmp_path: Path) -> None:
    """Half of the window is nodata on both dates: that is no cloud, and neither date is lost."""
    values = np.full((2, 10, 16, 16), 700, np.uint16)
    values[..., 8:] = 65535
    mask = np.zeros((2, 2, 16, 16), np.uint16)
    mask[1, 1, :, 4:] = 90
    (tmp_path / "d.txt").write_text("20210401\n20210501")
    write_raster(tmp_path / "s.tif", values.reshape(-1, 16, 16), 10.24)
    write_raster(tmp_path / "m.tif", mask.reshape(-1, 16, 16), 10.24)
    source = Source(S2, tmp_path / "s.tif", tmp_path / "d.txt", tmp_path / "m.tif")

    days: set[int] = set()

    class Dated(torch.nn.Module):
        def forward(self, **inputs):
            assert inputs["series_valid"][S2].all()
            assert (inputs["series"][S2] == 700).all()
            days.update(inputs["days"][S2].flatten().tolist())
            return Output({"LC": torch.zeros(1, 4, *inputs["output_hw"])}, {})

    made = bundle(Dated(), (S2,), output_m=10.24, tile_px=16)
    map_area(made, [source], tmp_path / "out", MapConfig(overlap_px=0))
    assert days == {-44}  # 1 April; May is cloudy
    found = read_map(tmp_path / "out" / "cover.tif")
    assert (found[:, 8:] == 255).all()
    assert (found[:, :8] != 255).all()
