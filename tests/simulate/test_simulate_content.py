"""What the sensors show of the simulated land, and what they hide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rasterio.features import sieve

from bocage.nomenclatures import COSIA, LEVEL_2_PARENTS, LEVEL_3_PARENTS, LPIS_3
from bocage.simulate import labels, photographs
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.elevation import elevation
from bocage.simulate.filters import box_sum, majority, smooth
from bocage.simulate.hashing import hash_at, make_key
from bocage.simulate.landscape import Landscape, Scene
from bocage.simulate.landuse import BACKGROUND, Kind
from bocage.simulate.light import _CROWNS, View, _shadows, colours
from bocage.simulate.noise import Window
from bocage.simulate.phenology import CALENDARS, ENDMEMBERS, OF_CROP, growth, is_bare, state
from bocage.simulate.relief import ground
from bocage.simulate.render import render_present, render_series
from bocage.simulate.sentinel1 import _DAMP, _ROUGH, _decay, _slope_gain, _speckle
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
@pytest.mark.parametrize("key", ["D024047-2021", "D051-2019"])
def test_shadows_have_no_teeth_and_fall_from_the_ground_too(key):
    land = Landscape(DOMAINS_BY_KEY[key], SEED)
    east, south, tangent = land.domain.sun
    scene = land.scene(Window(0, 0, 20, 200, 200))
    flat = np.zeros(scene.height.shape, dtype=np.float32)
    house = flat.copy()
    house[120:160, 80:120] = 6
    from_height = _shadows(replace(scene, ground=flat, height=house), land)
    assert np.array_equal(from_height, _shadows(replace(scene, ground=house, height=flat), land))
    rows = np.flatnonzero(from_height.any(axis=1))
    first, last = from_height.argmax(axis=1)[rows], 199 - from_height[:, ::-1].argmax(axis=1)[rows]
    assert (from_height.sum(axis=1)[rows] == last - first + 1)[rows < 118].all(), "no gaps"
    steps = np.abs(np.diff(np.stack([first, last])))[:, rows[1:] < 118]
    assert steps.max() <= 2 + abs(east / south), "a straight edge"
    reach = 120 - rows.min()
    assert reach * 0.2 == pytest.approx(6 / tangent * south, abs=0.5)


@pytest.mark.unit
def test_a_wrong_declaration_removes_no_rare_crop():
    owner = Landscape(DOMAIN, SEED).scene(Window(0, 0, 320, 1_200, 1_200)).owner
    rare = [
        name for name, share in DOMAIN.crops.items() if share < 0.05 * sum(DOMAIN.crops.values())
    ]
    named = labels.named_crops(owner, DOMAIN)
    spoken = named != LPIS_3.names.index("background")
    grown = np.isin(owner.crop, [LPIS_3.names.index(name) for name in rare])
    assert (grown & spoken).sum() > 100
    assert (named == owner.crop)[grown & spoken].all()
    grazed = np.isin(owner.kind, (Kind.ROUGH, Kind.WILD)) & spoken
    assert grazed.any()
    assert not np.isin(owner.use[grazed], (Use.TOWN, Use.CENTRE, Use.WORKS)).any()
    assert 0.02 < (~spoken)[owner.crop != LPIS_3.names.index("background")].mean() < 0.08
    fallow = np.isin(owner.kind, (Kind.FIELD, Kind.PLOWED)) & (owner.crop == BACKGROUND)
    assert fallow.sum() > 50
    assert not spoken[fallow].any()
    assert (owner.kind[fallow] == Kind.PLOWED).all()
    common = np.isin(owner.crop, (WHEAT, MAIZE)) & spoken
    assert 0.005 < (named != owner.crop)[common].mean() < 0.08


@pytest.mark.unit
def test_a_full_canopy_is_brighter_in_vh_than_wet_bare_soil():
    """Baghdadi et al. (2016): wet soil returns some -18 dB in VH, dry soil 4 dB less."""
    dry, wet = (10 * np.log10(_DAMP[:, :, percent]) for percent in (6, 36))
    assert (wet - dry > 2).all()
    assert (wet[1] < -17).all()
    assert (wet[0] > -11).all()
    smooth_soil, rough_soil = _ROUGH[..., 0], _ROUGH[..., -1]
    assert (rough_soil > 1.2 * smooth_soil).all()
    a_vv, a_vh, loss_vv, loss_vh, *_ = CALENDARS.canopy[CALENDARS.index("maize")].tolist()
    canopy = a_vh * (1 - np.exp(-2 * loss_vh / 0.777))
    assert 10 * np.log10(canopy + _DAMP[1, :, 6].mean() * np.exp(-2 * loss_vh / 0.777)) > -16.5
    assert a_vv > a_vh
    assert loss_vv > 0


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
    assert snow[(days < 60) | (days > 330)].max() == 100
    assert snow[(days > 190) & (days < 230)].max() < 100
    low = render_series(Landscape(DOMAIN, SEED), Window(0, 0, 1_024, 4, 4), granule)
    assert low["SENTINEL2_MSK-SC"].reshape(-1, 2, 16)[:, 0].max() == 0


@pytest.mark.unit
def test_speckle_has_the_looks_and_the_correlation_of_real_products():
    speckle = _speckle(11, Window(0, 0, 1_024, 60, 60), np.arange(0, 360, 6))
    assert speckle.shape == (60, 60, 60, 2)
    assert float(speckle.mean()) == pytest.approx(1, abs=0.01)
    assert 1 / float(speckle.var()) == pytest.approx(4.4, abs=0.15)
    beside = np.corrcoef(speckle[:, 1:].ravel(), speckle[:, :-1].ravel())[0, 1]
    beyond = np.corrcoef(speckle[:, 2:].ravel(), speckle[:, :-2].ravel())[0, 1]
    other = np.corrcoef(speckle[..., 0].ravel(), speckle[..., 1].ravel())[0, 1]
    assert 0.4 < beside < 0.55
    assert abs(beyond) < 0.03
    assert abs(other) < 0.03
    x = np.linspace(0, 4, 50, dtype=np.float32)
    assert _decay(x) == pytest.approx(np.exp(-x), abs=2e-3)


@pytest.mark.unit
def test_slopes_that_face_the_antenna_return_more():
    land = Landscape(DOMAINS_BY_KEY["D074-2020"], SEED)
    window = Window(1_024_000, 1_024_000, 1_024, 40, 40)
    altitude, _ = ground(window, land.domain, SEED)
    eastward = np.gradient(altitude.astype(np.float64), axis=1)
    cosine = np.array([0.83], dtype=np.float32)
    ascending = _slope_gain(land, window, cosine, (1.0, 0.0))[..., 0]
    descending = _slope_gain(land, window, cosine, (-1.0, 0.0))[..., 0]
    # An antenna in the west looks east: what rises eastward faces it.
    assert np.corrcoef(eastward.ravel(), ascending.ravel())[0, 1] > 0.8
    assert np.corrcoef(eastward.ravel(), descending.ravel())[0, 1] < -0.8


@pytest.mark.unit
def test_radar_tells_roofs_from_woods_from_water():
    vv: dict[Surface, list[float]] = {}
    for k in range(12):
        domain = DOMAINS[k % len(DOMAINS)]
        land = Landscape(domain, SEED)
        window = Window(k * 409_600, 409_600, 1_024, 40, 40)
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
def test_soil_dries_after_rain_and_is_wetter_in_winter():
    granule = Granule.at(DOMAIN, SEED, 0, 0)
    wetness = soil_moisture(granule, np.arange(365))
    assert wetness.min() >= 0
    assert wetness.max() <= 1
    assert wetness[:60].mean() > wetness[170:230].mean() + 0.25
    # Drying is slow, wetting sudden.
    steps = np.diff(wetness)
    assert steps.max() > 3 * -steps.min()


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Patches of several domains with the margin that labels need."""
    found = []
    for domain in DOMAINS[:12]:
        land = Landscape(domain, SEED)
        # Of some places the one with the most kinds of land: houses, fields and trees.
        corners = [(k * 409_600, 2 * k * 409_600) for k in range(16)]
        kinds = [len(np.unique(land.uses_at(Window(u, v, 1_024, 10, 10)))) for u, v in corners]
        u, v = corners[int(np.argmax(kinds))]
        found.append(View.of(land, Window(u, v, 20, 512, 512), labels.LABEL_MARGIN_PX))
    return found


@pytest.mark.integration
def test_surface_models_are_smoothed_incomplete_and_of_another_year(views):
    steep = [0.0, 0.0]
    lost = tall = 0
    offsets = []
    for view in views:
        surface, terrain = elevation(view).astype(np.float64)
        scene = view.scene.inside(*(view.margin,) * 4)
        truth = scene.ground.astype(np.float64) + scene.height
        for k, model in enumerate((truth, surface)):
            steep[k] += float((np.abs(np.diff(model, axis=1)) > 1.5).sum())
        objects = scene.height > 4
        tall += int(objects.sum())
        lost += int((objects & (surface - scene.ground < 0.5 * scene.height)).sum())
        offsets.append(float((terrain - scene.ground)[~objects].std()))
    assert steep[1] < 0.6 * steep[0], "edges are ramps"
    assert 0.005 < lost / tall < 0.35, "some objects are missing"
    assert 0.05 < np.median(offsets) < 0.6, "metres"


@pytest.mark.integration
def test_photo_interpretation_generalises_and_confuses(views):
    seen, true = [], []
    for view in views:
        scene = view.scene.inside(*(view.margin,) * 4)
        seen.append(labels.photo_interpreted(view)[0])
        true.append(labels.land_cover(scene)[0])
        assert seen[-1].shape == true[-1].shape == (512, 512)
        assert set(np.unique(seen[-1])) <= set(COSIA.ids)
    drawn, truth = np.stack(seen), np.stack(true)
    agreement = float((drawn == truth).mean())
    assert 0.8 < agreement < 0.98

    def small_objects(maps: np.ndarray) -> int:
        """Pixels in patches of less than 8 square metres."""
        return sum(int((sieve(each, 200, connectivity=4) != each).sum()) for each in maps)

    assert small_objects(drawn) < 0.7 * small_objects(truth)
    index = COSIA.names.index
    for first, second in (
        ("pervious surface", "impervious surface"), ("agricultural land", "herbaceous vegetation"),
    ):  # fmt: skip
        here = truth == index(first)
        assert 0.001 < float((drawn[here] == index(second)).mean()) < 0.4, first
    roofs = truth == index("building")
    assert float((drawn[roofs] == index("building")).mean()) > 0.85


@pytest.mark.integration
def test_declarations_are_shifted_partly_wrong_and_disagree_with_the_cover(views):
    background = LPIS_3.names.index("background")
    counts = {"moved": 0, "wrong": 0, "trees": 0, "undeclared": 0, "field": 0}
    for view in views:
        scene = view.scene.inside(*(view.margin,) * 4)
        levels, truth = labels.declared(view), labels.crops(scene)[2]
        assert np.array_equal(np.array(LEVEL_3_PARENTS)[levels[2]], levels[1])
        assert np.array_equal(np.array(LEVEL_2_PARENTS)[levels[1]], levels[0])
        said, crop = levels[2], truth != background
        counts["field"] += int(crop.sum())
        counts["undeclared"] += int((crop & (said == background)).sum())
        counts["wrong"] += int((crop & (said != background) & (said != truth)).sum())
        trees = np.isin(scene.surface, (Surface.DECIDUOUS, Surface.MARGIN, Surface.BRUSH))
        counts["trees"] += int((trees & (said != background)).sum())
    assert counts["trees"] > 1_000, "hedges and margins belong to declared parcels"
    # Borders drawn inside, and the parcels that nobody declares (their share: `named_crops`).
    assert 0.004 < counts["undeclared"] / counts["field"] < 0.3
    assert 0.001 < counts["wrong"] / counts["field"] < 0.15


@pytest.mark.unit
def test_the_true_maps_stay_available(views):
    view = views[0]
    scene = view.scene.inside(*(view.margin,) * 4)
    made = render_present(view.land, view.window)
    true = render_present(view.land, view.window, truth=True)
    assert np.array_equal(true["AERIAL_LABEL-COSIA"], labels.land_cover(scene))
    assert np.array_equal(true["ALL_LABEL-LPIS"], labels.crops(scene))
    assert np.array_equal(true["AERIAL_RGBI"], made["AERIAL_RGBI"])
    assert not np.array_equal(true["AERIAL_LABEL-COSIA"], made["AERIAL_LABEL-COSIA"])


@pytest.mark.unit
def test_old_photographs_are_metres_out_of_place():
    moves = []
    for domain in DOMAINS[:8]:
        past = Landscape(domain, SEED, past=True)
        view = View.of(past, Window(409_600, 409_600, 40, 64, 64), photographs.HISTORICAL_MARGIN_PX)
        down, across = photographs._misregistration(view)
        assert max(abs(down).max(), abs(across).max()) <= photographs.MISREGISTRATION_PX
        moves.append(0.4 * np.hypot(down.mean(), across.mean()))
    assert np.median(moves) > 1
    assert max(moves) > 2.5


@pytest.mark.unit
def test_surveys_differ_in_colour_sharpness_and_sun():
    cameras = [photographs._Camera.of(domain) for domain in DOMAINS]
    assert len({camera.blur for camera in cameras}) == len(DOMAINS)
    gains = np.array([camera.gain / photographs._EXPOSURE for camera in cameras])
    assert gains.std(axis=0).min() > 0.03
    assert len({domain.sun for domain in DOMAINS}) > 5
    assert len({domain.aerial_day for domain in DOMAINS}) > 5


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
