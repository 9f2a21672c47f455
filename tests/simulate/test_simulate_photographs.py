"""What single photographs show: shadows, optics, days, and the film of the 1950s."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import staged_land as staged

from bocage.nomenclatures import LPIS_3
from bocage.simulate import labels, photographs
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY
from bocage.simulate.landscape import Landscape
from bocage.simulate.light import View, _shadows
from bocage.simulate.noise import Window
from bocage.simulate.surfaces import Surface

SEED = 7
DOMAIN = DOMAINS_BY_KEY["D024047-2021"]


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


def fine_contrast(image: np.ndarray) -> float:
    """How far pixels differ from their four neighbours, in spreads of the whole image."""
    value = image.astype(np.float64)
    around = sum(np.roll(value, step, axis) for step in (1, -1) for axis in (0, 1)) / 4
    return float(np.abs(value - around)[1:-1, 1:-1].mean() / value.std())


@pytest.mark.unit
@pytest.mark.parametrize("key", ["D024047-2021", "D068-2021"])
def test_the_optics_of_spot_are_softer_than_its_pixels(key):
    land = Landscape(DOMAINS_BY_KEY[key], SEED)
    view = View.of(land, Window(819_200, 1_638_400, 20, 256, 256), labels.LABEL_MARGIN_PX)
    averaged = photographs.aerial(view).reshape(4, 32, 8, 32, 8).mean(axis=(2, 4))
    for band, fine in enumerate(photographs.spot(view)):
        assert fine_contrast(fine) < 0.75 * fine_contrast(averaged[band])


@pytest.mark.unit
def test_spot_shows_fields_on_another_day():
    """Flown in late July, when wheat is cut and maize tall; seen from space in June."""
    land = Landscape(DOMAIN, SEED)
    window = Window(0, 0, 20, 320, 320)
    green: dict[str, list[float]] = {"photograph": [], "SPOT": []}
    for crop in ("winter wheat", "maize"):
        there = staged.stage(land, window, 16)
        plots = staged.owners(64, crop=np.full(64, LPIS_3.names.index(crop), np.uint8))
        place = [np.arange(side) * 8 // side for side in there.shape]
        parcel = place[0][:, None] * 8 + place[1][None, :]
        scene = staged.scene(there, Surface.FIELD, parcel, plots)
        view = staged.lit(land, window, 16, scene)
        for name, image in (("photograph", photographs.aerial(view)),
                            ("SPOT", photographs.spot(view))):  # fmt: skip
            red, _, _, nir = image.mean(axis=(1, 2))
            green[name].append((nir - red) / (nir + red))
    assert green["photograph"][0] < green["photograph"][1] - 0.3, "wheat is straw in July"
    assert green["SPOT"][0] > green["SPOT"][1] + 0.2, "and green in June"


@pytest.fixture
def plain() -> View:
    """A grey plain without any texture, as the film of the past saw 400 m of it."""
    land = Landscape(DOMAIN, SEED, past=True)
    margin = photographs.HISTORICAL_MARGIN_PX
    window = Window(0, 0, 40, 1_000, 1_000).padded(margin, margin, margin, margin)
    view = staged.unlit(land, staged.scene(window, Surface.CONCRETE), margin)
    view.light[:] = 0.1
    return view


@pytest.mark.unit
def test_film_has_grain(plain):
    image = photographs.historical(plain)[0].astype(np.float64)
    near = np.abs(np.diff(image, axis=1))
    assert 1.2 < near.mean() < 4, "digital numbers from one pixel to the next"
    # Single grains, and clumps of them as wide as three pixels.
    wide = image.reshape(250, 4, 250, 4).mean(axis=(1, 3))
    assert 0.8 < np.abs(np.diff(wide, axis=1)).mean() < 4


@pytest.mark.unit
def test_film_has_dust_and_scratches(plain):
    image = photographs.historical(plain)[0].astype(np.float64)
    away = image - np.median(image)
    bright, dark = away > 60, away < -60
    # Specks are four pixels wide, scratches one pixel wide and 60 m long.
    specks = bright.reshape(250, 4, 250, 4).mean(axis=(1, 3))
    assert 1 <= (specks == 1).sum() <= 15
    assert 0 < dark.mean() < 1e-3
    along = bright.sum(axis=0)
    assert 1 <= (along >= 140).sum() <= 20


@pytest.mark.unit
def test_slopes_in_the_sun_are_bright_and_shadows_keep_the_light_of_the_sky():
    land = Landscape(DOMAIN, SEED)
    window = Window(0, 0, 20, 100, 100)
    there = staged.stage(land, window, 0)
    east, south, _ = DOMAIN.sun
    toward = 0.2 * (east * np.arange(there.width) + south * np.arange(there.height)[:, None])
    seen = {
        name: staged.lit(land, window, 0, staged.scene(there, Surface.CONCRETE, **on)).light
        for name, on in {
            "flat": {},
            "facing": {"ground": -0.3 * toward},
            "averted": {"ground": 0.3 * toward},
            # A wall south of the window, twelve metres high.
            "shaded": {"height": np.where(there.v[:, None] > window.v[-1], 12.0, 0.0)},
        }.items()
    }
    mean = {name: light.mean(axis=(1, 2)) / seen["flat"].mean() for name, light in seen.items()}
    assert (mean["facing"] > 1.05 * mean["flat"]).all()
    assert (mean["averted"] < 0.9 * mean["flat"]).all()
    left = (seen["shaded"] / seen["flat"])[:, -10:].mean(axis=(1, 2))
    assert (left < 0.6).all()
    assert left[3] < left[0] < left[2], "the sky is blue"


@pytest.mark.unit
def test_prints_are_developed_unevenly(plain):
    image = photographs.historical(plain)[0].astype(np.float64)
    wide = image.reshape(10, 100, 10, 100).mean(axis=(1, 3))
    assert wide.std() > 0.015 * wide.mean()
