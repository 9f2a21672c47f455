"""Surface and terrain models: what they miss, where they are wrong, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
import staged_land as staged

from bocage.simulate import labels
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY
from bocage.simulate.elevation import _error, elevation
from bocage.simulate.landscape import Landscape
from bocage.simulate.light import View
from bocage.simulate.noise import Window
from bocage.simulate.surfaces import Surface

SEED = 7
DOMAIN = DOMAINS_BY_KEY["D024047-2021"]
LAND = Landscape(DOMAIN, SEED)
MARGIN = 16
PLOT_PX = 24


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Patches of several domains."""
    found = []
    for domain in DOMAINS[:6]:
        land = Landscape(domain, SEED)
        found.append(
            View.of(land, Window(*staged.varied_corner(land), 20, 512, 512), labels.LABEL_MARGIN_PX)
        )
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
    assert 0.002 < lost / tall < 0.35, "some objects are missing"
    assert 0.05 < np.median(offsets) < 0.6, "metres"


@pytest.fixture(scope="module")
def plots() -> dict[str, np.ndarray]:
    """Height of the surface model in the middle of 1,600 plots, by what stands there today:
    houses of 6 m, woods of 10 m, fields and rough grass, 400 each."""
    side = 40
    window = Window(0, 0, 20, side * PLOT_PX + 2 * MARGIN, side * PLOT_PX + 2 * MARGIN)
    place = np.clip((np.arange(window.width) - MARGIN) // PLOT_PX, 0, side - 1)
    parcel = place[:, None] * side + place[None, :]
    kinds = {"house": (Surface.TILE_ROOF, 6.0), "wood": (Surface.DECIDUOUS, 10.0),
             "field": (Surface.FIELD, 0.0), "rough": (Surface.ROUGH_GRASS, 0.0)}  # fmt: skip
    surface = np.array([surface for surface, _ in kinds.values()])[parcel % 4]
    height = np.array([height for _, height in kinds.values()])[parcel % 4]
    there = staged.scene(window, surface, parcel, staged.owners(side * side), height=height)
    model = elevation(staged.unlit(LAND, there, MARGIN))[0]
    blocks = model.reshape(side, PLOT_PX, side, PLOT_PX)[:, 8:16, :, 8:16]
    middle = np.median(blocks, axis=(1, 3)).reshape(-1)
    return {name: middle[k::4] for k, name in enumerate(kinds)}


@pytest.mark.unit
def test_surface_models_lack_what_is_new_and_hold_what_is_gone(plots):
    for kind in ("house", "wood"):
        assert 0.01 < (plots[kind] < 1.5).mean() < 0.06, kind
    assert 0.02 < (plots["rough"] > 5).mean() < 0.09
    assert not (plots["field"] > 2).any(), "nobody clears a wood for a field"
    standing = plots["house"][plots["house"] > 1.5]
    assert np.median(standing) == pytest.approx(6, abs=0.1)


@pytest.mark.unit
def test_trees_were_smaller_when_the_surface_model_was_flown(plots):
    wood = plots["wood"][plots["wood"] > 1.5]
    assert 8.5 < np.median(wood) < 9.4
    assert wood.std() > 0.4
    assert wood.max() < 10.8


@pytest.mark.unit
def test_ditches_are_shallower_in_the_terrain_model():
    """A ditch of 0.6 m along 200 m, dug into a plain of which the sensors see every pebble."""
    window = Window(0, 0, 20, 1_000 + 2 * MARGIN, 96)
    metres = 0.2 * (np.arange(window.height) - window.height // 2)
    depth = 0.6 * np.maximum(1 - metres * metres, 0)
    pebbles = np.random.default_rng(1).uniform(0.1, 0.9, window.shape).astype(np.float32)
    models = []
    for dug in (depth, 0 * depth):
        there = staged.scene(window, Surface.GRAVEL, ground=-dug[:, None])
        view = staged.unlit(LAND, there, MARGIN)
        view.light[:] = pebbles
        models.append(elevation(view).mean(axis=2))
    surface, terrain = (models[0] - models[1]).min(axis=1)
    assert -0.6 < surface < -0.565
    assert surface + 0.01 < terrain < -0.45


@pytest.mark.unit
def test_water_moves_and_gravel_does_not():
    window = Window(0, 0, 20, 400, 200)
    there = staged.stage(LAND, window, MARGIN)
    surface = np.where(there.u < window.u[200], Surface.WATER, Surface.GRAVEL)
    view = staged.lit(LAND, window, MARGIN, staged.scene(there, surface))
    water = view.scene.surface == Surface.WATER
    # Off the bank, where both mix.
    shallow, stony = np.s_[:, :192], np.s_[:, 208:]
    model = elevation(view)[0]
    assert model[shallow].std() > 3 * model[stony].std()
    assert _error(view)[water].min() > 3 * np.median(_error(view)[~water])
    assert model[stony].std() > 0.03


@pytest.mark.unit
def test_terrain_models_are_out_of_place_in_a_direction_of_their_own():
    window = Window(0, 0, 20, 64, 64)
    moves = []
    for domain in DOMAINS:
        land = Landscape(domain, SEED)
        flat = elevation(staged.unlit(land, staged.scene(window, Surface.GRAVEL), MARGIN))[1]
        move = []
        for axis in (0, 1):
            rise = 0.5 * 0.2 * np.expand_dims(np.arange(64), 1 - axis)
            there = staged.scene(window, Surface.GRAVEL, ground=rise)
            view = staged.unlit(land, there, MARGIN)
            gap = elevation(view)[1] - flat - view.inner(there.ground)
            assert np.ptp(gap) < 0.03, "the same everywhere"
            move.append(float(gap.mean()) / 0.5)
        moves.append(move)
    metres = np.hypot(*np.transpose(moves))
    assert metres.max() < 0.95
    assert np.median(metres) > 0.6
    assert len({(round(down, 1), round(across, 1)) for down, across in moves}) >= 8


@pytest.mark.unit
def test_surface_models_have_holes_that_are_filled_from_around():
    """Walls of 8 m and a metre's width: where the match is lost, half as high and wider."""
    window = Window(0, 0, 20, 800, 800)
    wall = np.arange(800) % 40 < 5
    there = staged.scene(
        window, Surface.CONCRETE, np.arange(800) // 40, staged.owners(20), height=8.0 * wall
    )
    view = staged.unlit(LAND, there, 0)
    view.light[:] = np.random.default_rng(1).uniform(0.1, 0.9, window.shape)
    model = elevation(view)[0][20:-20, 2::40][:, 1:]
    model = model[:, np.median(model, axis=0) > 1]  # without walls that are newer
    assert 0.002 < (model < 6).mean() < 0.15
    assert model.min() > 3
    assert np.median(model) == pytest.approx(8, abs=0.1)


@pytest.mark.unit
def test_terrain_models_of_a_plain_have_waves():
    window = Window(0, 0, 20, 600, 600)
    flat = elevation(staged.unlit(LAND, staged.scene(window, Surface.GRAVEL), MARGIN))[1]
    assert 0.05 < flat.std() < 0.25
    assert abs(np.diff(flat, axis=1)).max() < 0.03, "long ones"
