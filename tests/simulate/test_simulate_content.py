"""What can be learnt from the simulated land, and what cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bocage.nomenclatures import LPIS_3
from bocage.simulate import photographs
from bocage.simulate.dataset import plan_patches
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.landscape import Landscape
from bocage.simulate.light import reflectance, shadow_margin
from bocage.simulate.noise import Window
from bocage.simulate.phenology import CALENDARS, ENDMEMBERS
from bocage.simulate.render import render_series
from bocage.simulate.sentinel1 import _decay, _speckle
from bocage.simulate.sky import Granule, clouds, sentinel1_days, sentinel2_days
from bocage.simulate.surfaces import BEHAVIOUR, Surface

SEED = 7
WHEAT, MAIZE = LPIS_3.names.index("winter wheat"), LPIS_3.names.index("maize")
B04, B08 = 2, 6


def ndvi(series: np.ndarray) -> np.ndarray:
    """(T * 10, H, W) to (T, H, W)."""
    frames = series.reshape(-1, 10, *series.shape[1:]).astype(np.float64)
    return (frames[:, B08] - frames[:, B04]) / (frames[:, B08] + frames[:, B04])


def farmland(land: Landscape, count: int) -> list[tuple[int, int]]:
    """Corners (cm) of the half kilometres, of a hundred, with most arable land."""
    corners = [(k % 10 * 307_200, k // 10 * 307_200) for k in range(100)]
    share = [
        float((land.uses_at(Window(u, v, 2_560, 20, 20)) == Use.ARABLE).mean()) for u, v in corners
    ]
    return [corners[k] for k in np.argsort(share)[::-1][:count]]


@pytest.fixture(scope="module")
def parcels() -> dict[str, np.ndarray]:
    """Wheat and maize parcels: mean colours from above, NDVI and VH over the year, and the crop."""
    domain = DOMAINS[0]
    land = Landscape(domain, SEED)
    year = np.arange(75, 300, 15)
    rows = []
    for u, v in farmland(land, 3):
        # Half a kilometre at 0.4 m: the colours of a parcel need no finer pixels.
        window = Window(u, v, 40, 1_280, 1_280)
        margin = shadow_margin(window, domain)
        around = land.scene(window.padded(*margin))
        light, scene = reflectance(land, window, around), around.inside(*margin)
        granule = Granule.at(domain, SEED, u, v)
        series = render_series(land, window.resampled(1_024), granule)
        days, radar_days = sentinel2_days(granule), sentinel1_days(granule, "ASC")
        curves = ndvi(series["SENTINEL2_TS"])
        cloud = series["SENTINEL2_MSK-SC"][1::2]
        seen = {"aerial": photographs.aerial(light, window, land),
                "spot": photographs.spot(light, scene)}  # fmt: skip
        # A coarse pixel counts for a parcel when its middle and corners lie in the parcel's crop.
        index = np.where(scene.surface == Surface.FIELD, scene.parcel, -1)
        spot_index, coarse_index = pure(index, 8, 160), pure(index, 25.6, 50)
        for parcel in np.unique(index):
            crop = scene.owner.crop[parcel]
            coarse, wide = coarse_index == parcel, spot_index == parcel
            if parcel < 0 or crop not in (WHEAT, MAIZE) or coarse.sum() < 4 or wide.sum() < 9:
                continue
            clear = cloud[:, coarse].max(axis=1) <= 1
            vh = series["SENTINEL1-ASC_TS"][1::2][:, coarse].mean(axis=1)
            rows.append(
                {
                    "crop": crop,
                    "aerial": seen["aerial"][:, index == parcel].mean(axis=1),
                    "spot": seen["spot"][:, wide].mean(axis=1),
                    "ndvi": np.interp(year, days[clear], curves[clear][:, coarse].mean(axis=1)),
                    "vh": np.interp(year, radar_days, 10 * np.log10(vh)),
                }
            )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def pure(index: np.ndarray, step: float, count: int) -> np.ndarray:
    """The parcel that fills each coarse pixel's corners and middle, else -1."""
    shifts = (0.02, 0.5, 0.98)
    places = [np.floor((np.arange(count) + shift) * step).astype(int) for shift in shifts]
    found = np.stack([index[np.ix_(rows, cols)] for rows in places for cols in places])
    return np.where((found == found[0]).all(axis=0), found[0], -1)


def accuracy(features: np.ndarray, crop: np.ndarray) -> float:
    """Balanced accuracy of a nearest-centroid classifier, each parcel left out in turn."""
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    right = {WHEAT: [], MAIZE: []}
    for k in range(len(crop)):
        others = np.arange(len(crop)) != k
        distance = {
            c: np.linalg.norm(scaled[k] - scaled[others & (crop == c)].mean(axis=0))
            for c in (WHEAT, MAIZE)
        }
        right[crop[k]].append(min(distance, key=distance.get) == crop[k])
    return float(np.mean([np.mean(hits) for hits in right.values()]))


@pytest.mark.integration
def test_only_the_series_tells_wheat_from_maize(parcels):
    crop = parcels["crop"]
    assert min((crop == WHEAT).sum(), (crop == MAIZE).sum()) >= 12
    assert accuracy(parcels["ndvi"], crop) > 0.9
    assert accuracy(parcels["vh"], crop) > 0.9
    assert accuracy(parcels["aerial"], crop) < 0.68
    assert accuracy(parcels["spot"], crop) < 0.68


@pytest.mark.integration
def test_the_curves_are_those_of_the_crops(parcels):
    """Wheat is green in May and gone in August, maize the reverse; VH rises as maize grows."""
    wheat, maize = parcels["crop"] == WHEAT, parcels["crop"] == MAIZE
    may, august = 4, 10  # days 135 and 225
    assert parcels["ndvi"][wheat, may].mean() > 0.65
    assert parcels["ndvi"][wheat, august].mean() < 0.35
    assert parcels["ndvi"][maize, may].mean() < 0.35
    assert parcels["ndvi"][maize, august].mean() > 0.65
    assert parcels["vh"][maize, august].mean() > parcels["vh"][maize, may].mean() + 2


@pytest.mark.unit
def test_one_photograph_shows_the_same_field_whatever_grows_on_it():
    land = Landscape(DOMAINS[0], SEED)
    u, v = farmland(land, 1)[0]
    window = Window(u, v, 40, 200, 200)
    scene = land.scene(window.padded(*shadow_margin(window, land.domain)))
    maize = replace(scene.owner, crop=np.full_like(scene.owner.crop, MAIZE))
    assert (scene.surface == Surface.FIELD).mean() > 0.3
    assert (scene.owner.crop != MAIZE).any()
    other = reflectance(land, window, replace(scene, owner=maize))
    assert np.array_equal(other, reflectance(land, window, scene))


@pytest.mark.unit
def test_cloudy_dates_exist_and_the_mask_says_so():
    domain = DOMAINS[0]
    land = Landscape(domain, SEED)
    hidden, clear, broken = 0, 0, 0
    for k in range(6):
        window = Window(k * 2_048_000, 0, 1_024, 10, 10)
        granule = Granule.at(domain, SEED, window.u0, 0)
        days = sentinel2_days(granule)
        rendered = render_series(land, window, granule)
        series = rendered["SENTINEL2_TS"].reshape(len(days), 10, 10, 10)
        cloud = rendered["SENTINEL2_MSK-SC"].reshape(len(days), 2, 10, 10)[:, 1]
        for t, day in enumerate(days.tolist()):
            opacity, _ = clouds(window, granule, day)
            share = float((cloud[t] <= 1).mean())
            hidden += share == 0
            clear += share == 1
            broken += 0 < share < 1
            if opacity.min() > 0.8:
                assert cloud[t].min() > 60
                assert series[t, 0].min() > 2_500
            if opacity.max() == 0:
                assert cloud[t].max() == 0
    assert hidden > 30
    assert clear > 60
    assert broken > 5


@pytest.mark.unit
def test_snow_lies_high_in_winter_only():
    domain = DOMAINS_BY_KEY["D074-2020"]
    land = Landscape(domain, SEED)
    high = next(p for p in plan_patches(domain, SEED, 20, alone=False) if "-3" in p.region)
    rendered = render_series(land, high.window.resampled(1_024), high.granule)
    snow = rendered["SENTINEL2_MSK-SC"].reshape(-1, 2, 10, 10)[:, 0].max(axis=(1, 2))
    days = sentinel2_days(high.granule)
    winter = (days < 60) | (days > 330)
    assert snow[winter].max() == 100
    assert snow[(days > 190) & (days < 230)].max() < 100
    low = render_series(Landscape(DOMAINS[0], SEED), Window(0, 0, 1_024, 4, 4), high.granule)
    assert low["SENTINEL2_MSK-SC"].reshape(-1, 2, 16)[:, 0].max() == 0


@pytest.mark.unit
def test_speckle_has_the_mean_and_spread_of_four_looks():
    speckle = _speckle(np.arange(200_000, dtype=np.uint64), 1)
    assert float(speckle.mean()) == pytest.approx(1, abs=0.01)
    assert float(speckle.std()) == pytest.approx(0.5, abs=0.01)
    x = np.linspace(0, 4, 50, dtype=np.float32)
    assert _decay(x) == pytest.approx(np.exp(-x), abs=2e-3)


@pytest.mark.unit
def test_radar_tells_roofs_from_woods_from_water():
    domain = DOMAINS[0]
    land = Landscape(domain, SEED)
    vv: dict[Surface, list[float]] = {}
    for k in range(4):
        window = Window(k * 2_048_000, 409_600, 1_024, 40, 40)
        scene = land.scene(window.resampled(128))
        granule = Granule.at(domain, SEED, window.u0, window.v0)
        orbits = render_series(land, window, granule)
        ascending, descending = orbits["SENTINEL1-ASC_TS"], orbits["SENTINEL1-DESC_TS"]
        assert not np.array_equal(ascending[:40], descending[:40])
        points = scene.surface.reshape(40, 8, 40, 8).transpose(0, 2, 1, 3).reshape(40, 40, 64)
        for surface, share in (
            (Surface.WATER, 0.7), (Surface.DECIDUOUS, 1.0), (Surface.TILE_ROOF, 0.5),
        ):  # fmt: skip
            mostly = (points == surface).mean(axis=2) >= share
            vv.setdefault(surface, []).extend(ascending[0::2].mean(axis=0)[mostly].tolist())
    assert min(len(values) for values in vv.values()) > 5
    water, wood, roof = (float(np.mean(values)) for values in vv.values())
    assert 2 * water < wood
    assert 1.5 * wood < roof


@pytest.mark.unit
def test_objects_stand_as_high_as_their_kind():
    heights: dict[int, list[np.ndarray]] = {}
    for k in range(14):
        scene = Landscape(DOMAINS[0], SEED).scene(Window(k * 409_600, 716_800, 80, 300, 300))
        for surface in np.unique(scene.surface):
            heights.setdefault(int(surface), []).append(scene.height[scene.surface == surface])
    joined = {Surface(k): np.concatenate(v) for k, v in heights.items()}
    roof = joined[Surface.TILE_ROOF]
    assert np.percentile(roof, 1) >= 2.5
    assert roof.max() <= 13
    assert 8 < np.percentile(joined[Surface.DECIDUOUS], 95) <= 20
    for flat in (Surface.ASPHALT, Surface.WATER, Surface.LAWN, Surface.GRAVEL):
        assert joined[flat].max() == 0
    assert joined[Surface.VINE_ROW].max() == pytest.approx(1.4)


@pytest.mark.unit
def test_calendars_know_every_crop_and_surface_of_every_domain():
    for domain in DOMAINS:
        for name in (*domain.crops, *domain.permanent):
            assert name in CALENDARS.names, name
    assert set(BEHAVIOUR) - {"field"} <= set(CALENDARS.names)
    for course in (CALENDARS.green, CALENDARS.dry, CALENDARS.flower):
        assert course.min() >= 0
        assert course.max() <= 1
    assert (CALENDARS.green + CALENDARS.dry + CALENDARS.flower).max() < 1.35
    assert len(ENDMEMBERS) == 12
