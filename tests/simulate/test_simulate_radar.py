"""Radar and the ground's moisture: what brightens an echo, and what the two directions see."""

from __future__ import annotations

import numpy as np
import pytest
import staged_land as staged

from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.phenology import CALENDARS, ENDMEMBERS, SPECTRA, state
from bocage.simulate.relief import ground
from bocage.simulate.sentinel1 import (
    _DAMP,
    _LOOK,
    _ROUGH,
    _backscatter,
    _decay,
    _slope_gain,
    _speckle,
    sentinel1,
)
from bocage.simulate.sentinel2 import _abundances
from bocage.simulate.sky import Granule, sentinel1_days, soil_moisture
from bocage.simulate.surfaces import Surface

SEED = 7
DOMAIN = DOMAINS_BY_KEY["D024047-2021"]
GRANULE = Granule.at(DOMAIN, SEED, 0, 0)
MAY = 135


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
        ascending = sentinel1(land, window, granule, sentinel1_days(granule, "ASC"), "ASC")
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


def echo(name: str, day: int, track: int = 0, orbit: str = "ASC") -> np.ndarray:
    """VV and VH in decibels, (64, 2), of one cover with its rows in 64 directions."""
    kinds = staged.cover_of(name, 64, direction=np.arange(64, dtype=np.int32))
    power = _backscatter(kinds, GRANULE, np.array([day]), np.array([track]), _LOOK[orbit])
    return 10 * np.log10(power[:, 0])


@pytest.fixture(scope="module")
def wet_and_dry() -> tuple[int, int]:
    """The wettest and the driest day of the year."""
    wetness = soil_moisture(GRANULE, np.arange(365))
    return int(wetness.argmax()), int(wetness.argmin())


@pytest.mark.unit
def test_rows_across_the_look_return_more_as_long_as_soil_shows(wet_and_dry):
    bare, grown = echo("bare", wet_and_dry[1]), echo("winter wheat", MAY)
    assert (np.ptp(bare, axis=0) > 1.0).all()
    assert (np.ptp(bare, axis=0) < 1.5).all()
    assert (np.ptp(grown, axis=0) < 0.5 * np.ptp(bare, axis=0)).all()
    assert (np.ptp(echo("paved", MAY), axis=0) == 0).all(), "no rows"
    # Directions count 64 to half a turn: the antennas look 11 degrees off the east and the west.
    brightest = [int(echo("bare", MAY, orbit=orbit)[:, 0].argmax()) for orbit in ("ASC", "DESC")]
    assert brightest == pytest.approx([4, 60], abs=1)


@pytest.mark.unit
def test_the_steeper_orbit_and_the_wetter_day_are_brighter(wet_and_dry):
    wet, dry = wet_and_dry
    steep, flat = echo("bare", wet, 0), echo("bare", wet, 1)
    assert (steep - flat > 1).all()
    assert (echo("bare", wet) - echo("bare", dry) > 2).all()
    assert np.array_equal(echo("roof", wet), echo("roof", dry))


@pytest.mark.unit
def test_both_directions_see_the_mountain_from_their_own_side():
    """Means over the year, so that speckle tells nothing."""
    land = Landscape(DOMAINS_BY_KEY["D074-2020"], SEED)
    window = Window(1_024_000, 1_024_000, 1_024, 24, 24)
    granule = Granule.at(land.domain, SEED, window.u0, window.v0)
    altitude, _ = ground(window, land.domain, SEED)
    eastward = np.gradient(altitude.astype(np.float64), axis=1)
    year = []
    for orbit in ("ASC", "DESC"):
        seen = sentinel1(land, window, granule, sentinel1_days(granule, orbit), orbit)
        year.append(seen.astype(np.float64).mean(axis=0))
    assert np.corrcoef(eastward.ravel(), np.log(year[0] / year[1]).ravel())[0, 1] > 0.6


@pytest.mark.unit
def test_wet_soil_is_darker_in_sentinel_2(wet_and_dry):
    bare = staged.cover_of("bare")
    days = np.array(wet_and_dry)
    shares = _abundances(bare, state(bare.calendar, bare.grown, days), GRANULE, days)[0] / 4_096
    bright, dark = ENDMEMBERS.index("bright soil"), ENDMEMBERS.index("dark soil")
    assert shares[1, bright] > 1.5 * shares[0, bright]
    assert shares[:, [bright, dark]].sum(axis=1) == pytest.approx(shares[0, [bright, dark]].sum())
    wet, dry = shares @ SPECTRA
    assert (wet < 0.95 * dry).all()
