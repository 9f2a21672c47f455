"""What the sensors show of the simulated land, and what they hide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bocage.nomenclatures import LPIS_3
from bocage.simulate import photographs, sentinel2
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.filters import box_sum, majority, smooth
from bocage.simulate.hashing import hash_at, make_key
from bocage.simulate.landscape import Landscape, Scene
from bocage.simulate.landuse import BACKGROUND, Kind
from bocage.simulate.light import _CROWNS, View, colours
from bocage.simulate.noise import Window
from bocage.simulate.phenology import CALENDARS, ENDMEMBERS, OF_CROP, growth, is_bare, state
from bocage.simulate.relief import ground
from bocage.simulate.render import render_series
from bocage.simulate.sky import (
    Granule,
    clouds,
    sentinel1_days,
    sentinel1_passes,
    sentinel2_days,
    soil_moisture,
)
from bocage.simulate.surfaces import BEHAVIOUR, Surface

SEED = 7
WHEAT, MAIZE = LPIS_3.names.index("winter wheat"), LPIS_3.names.index("maize")
B04, B08 = 2, 6
DOMAIN = DOMAINS_BY_KEY["D024047-2021"]
STRIDE_CM = 307_200


def ndvi(series: np.ndarray) -> np.ndarray:
    """(T * 10, H, W) to (T, H, W)."""
    frames = series.reshape(-1, 10, *series.shape[1:]).astype(np.float64)
    return (frames[:, B08] - frames[:, B04]) / (frames[:, B08] + frames[:, B04])


def farmland(land: Landscape, count: int) -> list[tuple[int, int]]:
    """Corners (cm) of the half kilometres, of a hundred, with most arable land."""
    corners = [(k % 10 * STRIDE_CM, k // 10 * STRIDE_CM) for k in range(100)]
    share = [
        float((land.uses_at(Window(u, v, 2_560, 20, 20)) == Use.ARABLE).mean()) for u, v in corners
    ]
    return [corners[k] for k in np.argsort(share)[::-1][:count]]


def pure(index: np.ndarray, step: float, count: int) -> np.ndarray:
    """The parcel that fills each coarse pixel's corners and middle, else -1."""
    shifts = (0.02, 0.5, 0.98)
    places = [np.floor((np.arange(count) + shift) * step).astype(int) for shift in shifts]
    found = np.stack([index[np.ix_(rows, cols)] for rows in places for cols in places])
    return np.where((found == found[0]).all(axis=0), found[0], -1)


def look(land: Landscape, window: Window) -> tuple[View, Scene, Granule, dict[str, np.ndarray]]:
    """A window from above, its ground, the satellites' passes and what they saw."""
    view = View.of(land, window, 16)
    granule = Granule.at(land.domain, SEED, window.u0, window.v0)
    series = render_series(land, window.resampled(1_024), granule)
    return view, view.scene.inside(16, 16, 16, 16), granule, series


@pytest.fixture(scope="module")
def fields() -> dict[str, np.ndarray]:
    """Fields: crop, mean colours from above, and NDVI and VH over the year."""
    land = Landscape(DOMAIN, SEED)
    year = np.arange(75, 300, 15)
    rows = []
    for u, v in farmland(land, 5):
        # Half a kilometre at 0.4 m: the colours of a field need no finer pixels.
        window = Window(u, v, 40, 1_280, 1_280)
        view, scene, granule, series = look(land, window)
        days, radar_days = sentinel2_days(granule), sentinel1_days(granule, "ASC")
        curves = ndvi(series["SENTINEL2_TS"])
        cloud = series["SENTINEL2_MSK-SC"][1::2]
        aerial = photographs.aerial(view)
        # A coarse pixel counts for a parcel when its middle and corners lie in the parcel's crop.
        index = np.where(scene.surface == Surface.FIELD, scene.parcel, -1)
        coarse_index = pure(index, 25.6, 50)
        for parcel in np.unique(index[index >= 0]):
            coarse = coarse_index == parcel
            if coarse.sum() < 4:
                continue
            clear = cloud[:, coarse].max(axis=1) <= 1
            vh = series["SENTINEL1-ASC_TS"][1::2][:, coarse].mean(axis=1)
            rows.append(
                {
                    "crop": scene.owner.crop[parcel],
                    "aerial": aerial[:, index == parcel].mean(axis=1),
                    "ndvi": np.interp(year, days[clear], curves[clear][:, coarse].mean(axis=1)),
                    "vh": np.interp(year, radar_days, 10 * np.log10(vh)),
                }
            )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def accuracy(features: np.ndarray, crop: np.ndarray) -> float:
    """Balanced accuracy of a nearest-centroid classifier, each field left out in turn."""
    kinds = np.unique(crop)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    right: dict[int, list[bool]] = {kind: [] for kind in kinds}
    for k in range(len(crop)):
        others = np.arange(len(crop)) != k
        gaps = [
            np.linalg.norm(scaled[k] - scaled[others & (crop == kind)].mean(axis=0))
            for kind in kinds
        ]
        right[crop[k]].append(kinds[np.argmin(gaps)] == crop[k])
    return float(np.mean([np.mean(hits) for hits in right.values()]))


@pytest.mark.integration
def test_series_tell_crops_that_one_photograph_confuses(fields):
    kinds, counts = np.unique(fields["crop"], return_counts=True)
    usual = np.isin(fields["crop"], kinds[counts >= 5])
    crop = fields["crop"][usual]
    assert len(np.unique(crop)) >= 4
    chance = 1 / len(np.unique(crop))
    series = accuracy(np.hstack([fields["ndvi"], fields["vh"]])[usual], crop)
    aerial = accuracy(fields["aerial"][usual], crop)
    assert aerial > 1.3 * chance, "a photograph shows how crops stand on its day"
    assert series > aerial + 0.15
    assert series > 0.75


@pytest.mark.integration
def test_the_curves_are_those_of_the_crops(fields):
    """Wheat is green in May and gone in July, maize the reverse; VH rises as maize grows."""
    wheat, maize = fields["crop"] == WHEAT, fields["crop"] == MAIZE
    assert min(wheat.sum(), maize.sum()) >= 4
    april, may, july, august = 2, 4, 9, 10  # days 105, 135, 210 and 225
    assert np.median(fields["ndvi"][wheat, may]) > 0.75
    assert np.median(fields["ndvi"][wheat, july]) < 0.4
    assert np.median(fields["ndvi"][maize, may]) < 0.45
    assert np.median(fields["ndvi"][maize, august]) > 0.75
    assert np.median(fields["vh"][maize, august]) > np.median(fields["vh"][wheat, may]) + 2
    assert np.median(fields["vh"][maize, august]) > np.median(fields["vh"][maize, april]) + 1.2


@pytest.mark.unit
def test_a_photograph_shows_fields_as_they_stand_on_its_day():
    land = Landscape(DOMAIN, SEED)
    u, v = farmland(land, 1)[0]
    owner = land.scene(Window(u, v, 200, 200, 200)).owner

    def red_and_nir(name: str, day: int) -> tuple[np.ndarray, np.ndarray]:
        crop = np.full_like(owner.crop, LPIS_3.names.index(name))
        table = colours(land, replace(owner, crop=crop), day).reshape(-1, len(Surface), 4)
        return table[:, Surface.FIELD, 0], table[:, Surface.FIELD, 3]

    def greenness(name: str, day: int) -> np.ndarray:
        red, nir = red_and_nir(name, day)
        return (nir - red) / (nir + red)

    may, late_july = 128, 210
    assert np.median(greenness("winter wheat", may)) > 0.8
    assert np.median(greenness("winter wheat", late_july)) < 0.4
    assert np.median(greenness("maize", late_july)) > 0.8
    # Cereals of one season cannot be told apart on one day: stands differ more than crops.
    wheat, triticale = (red_and_nir(name, may)[0] for name in ("winter wheat", "winter triticale"))
    assert abs(np.median(wheat) - np.median(triticale)) < 0.8 * wheat.std()


@pytest.mark.unit
def test_no_line_between_parcels_shows_on_roads_water_rock_or_snow():
    land = Landscape(DOMAIN, SEED)
    owner = land.scene(Window(0, 0, 200, 200, 200)).owner
    table = colours(land, owner, 200).reshape(len(owner.hash), len(Surface), 4)
    varied = np.ptp(table, axis=0).max(axis=1)
    shared = [Surface.ASPHALT, Surface.CONCRETE, Surface.GRAVEL, Surface.ROCK, Surface.WATER,
              Surface.SNOW, Surface.DECIDUOUS, Surface.CONIFER, Surface.MIXED_WOOD, Surface.BRUSH,
              Surface.LIGNEOUS]  # fmt: skip
    assert (varied[shared] == 0).all()
    assert (np.delete(varied, shared) > 0).all()
    crowns = _CROWNS[1:] / _CROWNS[1:, :1]
    assert 0.02 < crowns.std(axis=0)[1:].min() < crowns.std(axis=0).max() < 0.15
    assert (_CROWNS[0] == 1).all(), "between the crowns"


@pytest.mark.unit
@pytest.mark.parametrize("surface", [Surface.PLOWED, Surface.FIELD])
def test_soils_differ_in_brightness_and_none_is_pink(surface):
    """Fields that are bare on the day too: maize in April, and what lies fallow."""
    land = Landscape(DOMAIN, SEED)
    owner = land.scene(Window(0, 0, 200, 200, 200)).owner
    grown = growth(owner.hash, DOMAIN.season_days)
    for crop in (MAIZE, BACKGROUND):
        sown = replace(owner, crop=np.full_like(owner.crop, crop))
        table = colours(land, sown, 105).reshape(len(owner.hash), len(Surface), 4)
        # In April a catch crop still stands on some of the fields of maize.
        bare = is_bare(OF_CROP[sown.crop], grown, 105)
        assert bare.mean() > 0.15
        soil = table[bare, surface]
        ratio = soil[:, 0] / soil[:, 1]
        assert np.ptp(ratio) / ratio.mean() < 0.3
        assert ratio.std() / ratio.mean() < 0.06
        assert ratio.max() < 1.35
        assert soil[:, 0].std() / soil[:, 0].mean() > 0.1
        assert (soil[:, 2] < soil[:, 1]).all()


@pytest.mark.integration
def test_photograph_and_series_agree_on_arable_land():
    """What the photograph shows bare is bare in Sentinel-2 near the day of the flight."""
    aerial, series, plowed = [], [], []
    for key in ("D024047-2021", "D068-2021", "D021-2020", "D030-2021", "D035-2020"):
        domain = DOMAINS_BY_KEY[key]
        land = Landscape(domain, SEED)
        for u, v in farmland(land, 2):
            window = Window(u, v, 40, 768, 768)
            view, scene, granule, rendered = look(land, window)
            days = sentinel2_days(granule)
            cloud = rendered["SENTINEL2_MSK-SC"][1::2].reshape(len(days), -1)
            clear = np.flatnonzero((cloud <= 1).mean(axis=1) > 0.9)
            nearest = clear[abs(days[clear] - domain.flight_day(past=False)).argmin()]
            arable = np.isin(scene.surface, (Surface.FIELD, Surface.PLOWED))
            parcel = pure(np.where(arable, scene.parcel, -1), 25.6, 30)
            image = photographs.aerial(view).astype(np.float64)
            for each in np.unique(parcel[parcel >= 0]):
                red, nir = (
                    image[0][scene.parcel == each].mean(),
                    image[3][scene.parcel == each].mean(),
                )
                aerial.append((nir - red) / (nir + red))
                green = ndvi(rendered["SENTINEL2_TS"])[nearest][parcel == each]
                series.append(green.mean())
                plowed.append(scene.owner.kind[each] == Kind.PLOWED)
    seen, bare = np.array(series), np.array(plowed)
    assert 0.08 < bare.mean() < 0.35
    assert np.corrcoef(aerial, seen)[0, 1] > 0.6
    assert (seen[bare] > 0.4).mean() < 0.05
    assert np.median(seen[~bare]) > 0.45


@pytest.mark.unit
def test_stubble_is_tilled_by_some_and_never_stands_up_again():
    grown = growth(hash_at(make_key("stubble"), np.arange(400)), 0)
    wheat = np.full(400, OF_CROP[WHEAT])
    days = np.arange(170, 300)
    now = state(wheat, grown, days)
    tilled = grown.tilled > 0
    assert 0.15 < tilled.mean() < 0.35
    autumn = days > 230
    assert now.catch[tilled].max() == 0
    assert now.dry[tilled][:, autumn].max() == 0
    assert np.median(now.dry[~tilled][:, days == 225]) > 0.1
    ripe = now.dry > 0.7
    assert (np.diff(ripe.astype(int), axis=1) == -1).sum(axis=1).max() == 1, "one harvest a year"
    assert is_bare(wheat, grown, 240)[tilled].all()
    assert not is_bare(wheat, grown, 150).any()


@pytest.mark.unit
def test_late_sowings_catch_up_and_bare_months_carry_catch_crops():
    numbers = hash_at(make_key("fields"), np.arange(400))
    grown = growth(numbers, 0)
    calendar = np.full(400, CALENDARS.index("maize"))
    days = np.arange(120, 300)
    tall = state(calendar, grown, days).green > 0.5
    up, down = days[tall.argmax(axis=1)], days[-1] - tall[:, ::-1].argmax(axis=1)
    late, early = grown.sowing > 8, grown.sowing < -8
    at_start, at_end = (float(edge[late].mean() - edge[early].mean()) for edge in (up, down))
    assert at_start > 10
    assert -1 < at_end < 0.6 * at_start
    winter, seedbed = (state(calendar, grown, np.array([day])).catch[:, 0] for day in (20, 150))
    assert winter.max() > 0.8
    assert winter.min() < 0.1
    assert np.median(seedbed) == 0


@pytest.mark.unit
def test_images_follow_the_orbits_in_number_and_rhythm():
    counts, orbits, tracks = [], set(), set()
    for domain in DOMAINS:
        for k in range(4):
            granule = Granule.at(domain, SEED, k * 2_048_000, 0)
            days = sentinel2_days(granule)
            counts.append(len(days))
            assert (np.diff(days) > 0).all()
            orbits.add(len(np.unique(days % 5)))
            for orbit in ("ASC", "DESC"):
                radar, track = sentinel1_passes(granule, orbit)
                assert np.array_equal(radar, sentinel1_days(granule, orbit))
                tracks.add(int(track.max()) + 1)
                for each in np.unique(track):
                    assert set(np.diff(radar[track == each])) <= {6, 12, 24}
    assert 30 <= min(counts) < 65
    assert 85 < max(counts) <= 110
    assert orbits == tracks == {1, 2}


@pytest.mark.unit
def test_clouds_hide_the_ground_and_the_mask_is_imperfect():
    hidden = clear = thin = missed = alarms = 0
    bright = Window(0, 0, 1_024, 40, 40)
    for k in range(6):
        domain = DOMAINS[k]
        land = Landscape(domain, SEED)
        window = replace(bright, u0=k * 2_048_000)
        granule = Granule.at(domain, SEED, window.u0, 0)
        days = sentinel2_days(granule)
        rendered = render_series(land, window, granule)
        series = rendered["SENTINEL2_TS"].reshape(len(days), 10, 40, 40)
        cloud = rendered["SENTINEL2_MSK-SC"].reshape(len(days), 2, 40, 40)[:, 1]
        for t, day in enumerate(days.tolist()):
            opacity, _ = clouds(window, granule, day)
            hidden += bool((cloud[t] > 1).all())
            clear += bool((cloud[t] <= 1).mean() > 0.95)
            if opacity.min() > 0.8:
                assert cloud[t].min() > 60
                assert series[t, 0].min() > 2_500
            veiled = (opacity > 0.01) & (opacity < 0.15)
            thin += int(veiled.sum())
            missed += int((veiled & (cloud[t] <= 1)).sum())
            if opacity.max() == 0:
                alarms += int((cloud[t] > 1).sum())
    assert hidden > 100
    assert clear > 50
    assert 0.1 < missed / thin < 0.8
    assert alarms > 0


@pytest.mark.unit
def test_shadows_of_clouds_fall_away_from_the_sun():
    granule = Granule.at(DOMAIN, SEED, 0, 0)
    window = Window(0, 0, 2_000, 240, 240)
    summer = []
    for day in range(120, 220):
        cloud, shade = clouds(window, granule, day)
        if not 0.1 < cloud.mean() < 0.6 or shade.max() == 0:
            continue
        # Where the cloud must be moved to, to become its shadow.
        spectrum = np.fft.fft2(shade) * np.conj(np.fft.fft2(cloud))
        move = np.unravel_index(np.fft.ifft2(spectrum).real.argmax(), shade.shape)
        summer.append([(each + 120) % 240 - 120 for each in move])
    south, east = np.median(summer, axis=0) * 20
    assert len(summer) > 5
    # The morning sun stands in the south-east, and clouds some thousand metres high.
    assert -2_000 < south < -200
    assert -1_000 < east < -60


@pytest.mark.unit
def test_shadows_of_clouds_darken_the_pixel(monkeypatch):
    """The same passes with and without their clouds."""
    window = Window(0, 0, 1_024, 40, 40)
    granule = Granule.at(DOMAIN, SEED, 0, 0)
    days = sentinel2_days(granule)
    skies = [clouds(window, granule, day) for day in days.tolist()]
    opacity, shade = (np.stack(fields) for fields in zip(*skies, strict=True))
    land = Landscape(DOMAIN, SEED)
    seen, _ = sentinel2.sentinel2(land, window, granule, days)
    monkeypatch.setattr(sentinel2, "clouds", lambda around, *_: np.zeros((2, *around.shape), "f4"))
    clear, _ = sentinel2.sentinel2(land, window, granule, days)
    left = (seen / clear)[B08::10]
    dark, sunny = (opacity == 0) & (shade > 0.95), (opacity == 0) & (shade == 0)
    assert min(dark.sum(), sunny.sum()) > 500
    assert 0.35 < np.median(left[dark]) < 0.6
    assert left[sunny] == pytest.approx(1)


@pytest.mark.unit
def test_snow_lies_high_in_winter_only():
    domain = DOMAINS_BY_KEY["D074-2020"]
    land = Landscape(domain, SEED)
    coarse = Window(0, 0, 10_240, 200, 200)
    altitude, _ = ground(coarse, domain, SEED)
    assert domain.snow_line_m is not None
    gap = np.abs(altitude - (domain.snow_line_m - 500))
    row, col = np.unravel_index(gap.argmin(), altitude.shape)
    high = Window(int(col) * 10_240, int(row) * 10_240, 1_024, 10, 10)
    granule = Granule.at(domain, SEED, high.u0, high.v0)
    rendered = render_series(land, high, granule)
    snow = rendered["SENTINEL2_MSK-SC"].reshape(-1, 2, 10, 10)[:, 0].max(axis=(1, 2))
    days = sentinel2_days(granule)
    winter, summer = (days < 60) | (days > 330), (days > 190) & (days < 230)
    blue = rendered["SENTINEL2_TS"][0::10].mean(axis=(1, 2))
    sky = rendered["SENTINEL2_MSK-SC"][1::2].max(axis=(1, 2))
    assert np.median(blue[winter & (sky <= 1)]) > 4 * np.median(blue[summer & (sky <= 1)])
    assert snow[winter].max() == 100
    assert snow[summer].max() < 100
    low = render_series(Landscape(DOMAIN, SEED), Window(0, 0, 1_024, 4, 4), granule)
    assert low["SENTINEL2_MSK-SC"].reshape(-1, 2, 16)[:, 0].max() == 0


@pytest.mark.unit
def test_soil_dries_after_rain_and_is_wetter_in_winter():
    granule = Granule.at(DOMAIN, SEED, 0, 0)
    wetness = soil_moisture(granule, np.arange(365))
    assert wetness.min() >= 0
    assert wetness.max() <= 1
    assert wetness[:60].mean() > wetness[170:230].mean() + 0.25
    # Drying is slow, wetting sudden.
    steps = np.diff(wetness)
    assert steps.max() > 3 * -steps.min()


@pytest.mark.unit
def test_filters_do_what_they_say():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, (24, 24)).astype(np.uint8)
    voted, counted = majority(classes, 2), box_sum(classes == 1, 2)
    for row in range(2, 22):
        for col in range(2, 22):
            square = classes[row - 2 : row + 3, col - 2 : col + 3]
            assert voted[row, col] == np.bincount(square.ravel()).argmax()
            assert counted[row, col] == (square == 1).sum()
    spike = np.zeros((2, 9, 9), dtype=np.float32)
    spike[:, 4, 4] = 1
    assert smooth(spike, (0.5, 0.25))[0, 3:6, 3:6].sum() == pytest.approx(1)
    assert smooth(spike, (0.5, 0.25))[1, 4, 5] == pytest.approx(0.125)


@pytest.mark.unit
def test_calendars_know_every_crop_and_surface():
    assert set(LPIS_3.names) - {"background"} <= set(CALENDARS.names)
    assert set(BEHAVIOUR) - {"field"} <= set(CALENDARS.names)
    for course in (CALENDARS.green, CALENDARS.dry, CALENDARS.flower, CALENDARS.idle):
        assert course.min() >= 0
        assert course.max() <= 1
    assert (CALENDARS.green + CALENDARS.dry + CALENDARS.flower).max() < 1.35
    assert len(ENDMEMBERS) == 12
    courses = {
        (CALENDARS.green[k].tobytes(), CALENDARS.canopy[k].tobytes())
        for k in range(len(CALENDARS.names))
        if CALENDARS.fixed[k] < 0
    }
    assert len(courses) == int((CALENDARS.fixed < 0).sum()), "no two crops look alike all year"
