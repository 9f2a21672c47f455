"""What stands on the land: houses, roads and their ditches, rows of vines, single trees."""

from __future__ import annotations

import numpy as np
import pytest
import staged_land as staged
from numpy.lib.stride_tricks import sliding_window_view

from bocage.nomenclatures import LPIS_3
from bocage.simulate import landscape, photographs
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.filters import box_sum
from bocage.simulate.landscape import Landscape
from bocage.simulate.landuse import Kind
from bocage.simulate.light import View
from bocage.simulate.noise import Window
from bocage.simulate.partition import DIRECTIONS
from bocage.simulate.surfaces import Surface

SEED = 7


@pytest.mark.unit
def test_objects_stand_as_high_as_their_kind():
    heights: dict[int, list[np.ndarray]] = {}
    for k in range(14):
        scene = Landscape(DOMAINS[k], SEED).scene(Window(k * 409_600, 716_800, 80, 300, 300))
        for surface in np.unique(scene.surface):
            heights.setdefault(int(surface), []).append(scene.height[scene.surface == surface])
    joined = {Surface(k): np.concatenate(v) for k, v in heights.items()}
    roof = joined[Surface.TILE_ROOF]
    assert np.percentile(roof, 1) >= 2.0
    assert roof.max() <= 20
    assert 8 < np.percentile(joined[Surface.DECIDUOUS], 95) <= 20
    for flat in (Surface.ASPHALT, Surface.WATER, Surface.LAWN):
        assert np.percentile(joined[flat], 99) == 0
    assert joined[Surface.VINE_ROW].max() == pytest.approx(1.4)


@pytest.mark.unit
def test_vines_stand_in_rows_along_their_parcel():
    """In the photograph: the strongest wave across a vineyard is as long as rows are apart."""
    vineyard = LPIS_3.names.index("vineyard")
    land = Landscape(DOMAINS_BY_KEY["D034-2021"], SEED)
    side, seen = 128, 0
    for corner in staged.corners_of(land, Use.PERMANENT, 8):
        view = View.of(land, Window(*corner, 20, 384, 384), 0)
        image = photographs.aerial(view)[:3].mean(axis=0)
        scene = view.scene
        for parcel in np.unique(scene.parcel):
            rows = np.isin(scene.surface, (Surface.VINE_ROW, Surface.VINE_FLOOR))
            here = rows & (scene.parcel == parcel) & (scene.owner.crop[parcel] == vineyard)
            whole = box_sum(here, side // 2 - 1) == (side - 1) ** 2
            if not whole.any():
                continue
            y, x = np.argwhere(whole)[0] - side // 2 + 1
            grey = image[y : y + side - 1, x : x + side - 1]
            taper = np.hanning(side - 1)
            power = np.abs(np.fft.fft2((grey - grey.mean()) * taper[:, None] * taper)) ** 2
            axis = np.fft.fftfreq(side - 1, 0.2)
            waves = np.hypot(axis[:, None], axis[None, :])
            power[waves < 0.2] = 0
            peak = np.unravel_index(power.argmax(), power.shape)
            assert 1 / waves[peak] == pytest.approx(2.2, abs=0.2), "metres"
            across = DIRECTIONS[scene.owner.direction[parcel]]
            turn = (axis[peak[1]] * across[0] + axis[peak[0]] * across[1]) / waves[peak]
            assert abs(turn) > 0.98
            seen += 1
    assert seen >= 2


@pytest.mark.unit
@pytest.mark.parametrize(
    ("key", "surface", "kind", "low", "high"),
    [
        ("D024047-2021", Surface.DECIDUOUS, Kind.BROADLEAF, 150, 300),
        ("D074-2020", Surface.CONIFER, Kind.NEEDLE, 350, 600),
    ],
)
def test_woods_are_made_of_single_crowns(key, surface, kind, low, high):
    land = Landscape(DOMAINS_BY_KEY[key], SEED)
    tops = hectares = 0.0
    for corner in staged.corners_of(land, Use.WOOD, 16):
        scene = land.scene(Window(*corner, 40, 200, 200))
        wood = (scene.surface == surface) & (scene.owner.kind == kind)[scene.parcel]
        highest = sliding_window_view(scene.height, (7, 7)).max(axis=(2, 3))
        top = (scene.height[3:-3, 3:-3] == highest) & (highest > 3)
        tops += float((top & wood[3:-3, 3:-3]).sum())
        hectares += float(wood[3:-3, 3:-3].sum()) * 16e-6
        assert not (scene.crown[wood & (scene.height > 3)] == 0).any(), "what is tall is a crown"
    assert hectares > 0.5
    assert low < tops / hectares < high


@pytest.mark.unit
def test_roads_take_away_hardly_any_roof(monkeypatch):
    """Row houses, which line the streets, may lose more."""
    kinds = (Kind.HOUSE, Kind.LARGE_HOUSE, Kind.SHED)
    roofs, lost = np.zeros((2, len(kinds)), dtype=np.int64)
    # The places of these domains, of a hundred, with most houses and works.
    for key, k in (("D068-2021", 16), ("D024047-2021", 5), ("D069-2020", 44)):
        land = Landscape(DOMAINS_BY_KEY[key], SEED)
        window = Window(k % 10 * 307_200, k // 10 * 307_200, 80, 400, 400)
        none = np.zeros(window.shape, dtype=np.float32)
        with monkeypatch.context() as patched:
            patched.setattr(landscape, "paint_roads", lambda *_, none=none: none)
            without = land.scene(window)
        roof = without.surface <= Surface.METAL_ROOF
        changed = land.scene(window).surface != without.surface
        assert changed.any(), "the roads"
        for row, kind in enumerate(kinds):
            here = roof & (without.owner.kind == kind)[without.parcel]
            roofs[row] += here.sum()
            lost[row] += (here & changed).sum()
    assert (roofs > 2_000).all()
    assert (lost < 0.03 * roofs).all()


@pytest.mark.unit
def test_half_of_the_open_roads_run_between_ditches():
    """Roads between two blocks of fields that no hedge lines: 0.6 m deep, or not at all."""
    open_country = (Use.ARABLE, Use.PASTURE, Use.PERMANENT)
    roads, depths = 0, []
    for key in ("D051-2019", "D080-2021"):
        land = Landscape(DOMAINS_BY_KEY[key], SEED)
        for u in (0, 700_000, 1_400_000):
            window = Window(u, 300_000, 150, 600, 600)
            scene, layout = land.scene(window), land._layout(window)
            depth = layout.altitude - scene.ground
            assert depth.min() >= 0
            near, far = layout.land.nearest, layout.land.second
            fields = np.isin(layout.held.use, open_country)
            road = (scene.surface == Surface.ASPHALT) & (layout.land.border_m < 1.5)
            road &= fields[near] & fields[far]
            assert (depth[road] == 0).all(), "ditches lie beside the road"
            border = np.minimum(near, far) * len(fields) + np.maximum(near, far)
            hedge = (scene.surface == Surface.DECIDUOUS) & (abs(layout.land.border_m - 5.2) < 1.4)
            for each in np.unique(border[road]):
                beside = (border == each) & (abs(layout.land.border_m - 5.2) < 1.4)
                if (road & (border == each)).sum() < 40 or hedge[beside].mean() > 0.5:
                    continue
                roads += 1
                depths.append(float(depth[border == each].max()))
    deep = np.array(depths) > 0
    assert roads >= 20
    assert 0.25 < deep.mean() < 0.75
    assert np.array(depths)[deep] == pytest.approx(0.6, abs=0.02)
