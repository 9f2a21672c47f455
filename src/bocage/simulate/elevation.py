"""Digital surface and terrain models, with the faults of the real products."""

from __future__ import annotations

import numpy as np

from bocage.simulate.filters import smooth
from bocage.simulate.hashing import Floats, draw
from bocage.simulate.light import View
from bocage.simulate.noise import pixel_noise, value_noise
from bocage.simulate.surfaces import Surface

_CORRELATION = (6 / 16, 4 / 16, 1 / 16)
"""Image matching sees through a window of about a metre: edges are ramps."""
_FILLED = (0.12, 0.11, 0.10, 0.09, 0.07, 0.05, 0.02)
"""Holes are filled from some metres around."""
_NEWER, _OLDER = 0.03, 0.05
"""Share of parcels whose objects are newer than the surface model, and of open rough parcels that
still carried a wood when it was flown (chosen)."""


def elevation(view: View) -> Floats:
    """Surface and terrain altitude (2, H, W) float32, metres, in whole centimetres.

    The surface model is matched from photographs of another year: blurred edges, holes filled from
    around (Hirschmueller 2008 describes why matching fails: occlusion, water, repeated or missing
    texture), trees that were smaller, objects that were not there yet or no more. The terrain model
    is a filtered one of 1 m: a little of what stood on it stays, and it is out of place by up to a
    metre, which shows on slopes.
    """
    land, window, scene = view.land, view.around, view.scene
    standing = _standing(view)
    surface = smooth(standing, _CORRELATION)
    mean = smooth(standing, _FILLED)
    lost = value_noise(window, 700, land.key("holes")) + 0.4 * value_noise(
        window, 160, land.key("holes", 2)
    )
    # Steep edges hide what is behind them.
    hidden = np.abs(surface - standing) > np.float32(0.8)
    surface = np.where(lost > np.where(hidden, np.float32(0.3), np.float32(0.85)), mean, surface)
    rough = np.where(scene.surface == Surface.WATER, np.float32(0.6), np.float32(0.12))
    surface += rough * value_noise(window, 90, land.key("matching"))
    surface += np.float32(0.05) * pixel_noise(window, land.key("matching", 2))

    terrain = _terrain(view, mean)
    stacked = view.inner(np.stack([scene.ground + surface, terrain])).astype(np.float64)
    return (np.rint(stacked * 100) / 100).astype(np.float32)


def _standing(view: View) -> Floats:
    """Height of what stood when the surface model was flown, some years before the photograph."""
    scene, numbers = view.scene, view.scene.owner.hash
    newer = draw(numbers, 90) < np.float32(_NEWER)
    smaller = np.float32(0.78) + np.float32(0.24) * draw(numbers, 91)
    factor = np.where(newer, np.float32(0), smaller)[scene.parcel]
    plants = np.isin(scene.surface, _PLANTS)
    built = np.where(newer, np.float32(0), np.float32(1))[scene.parcel]
    height = scene.height * np.where(plants, factor, built)
    wooded = np.isin(scene.surface, _ROUGH) & (draw(numbers, 92) < _OLDER)[scene.parcel]
    crown = np.float32(8) + np.float32(4) * value_noise(view.around, 500, view.land.key("felled"))
    return np.where(wooded, crown, height)


_PLANTS = [
    Surface.DECIDUOUS, Surface.CONIFER, Surface.MIXED_WOOD, Surface.LIGNEOUS, Surface.BRUSH,
    Surface.ORCHARD_TREE, Surface.OLIVE_TREE, Surface.BUSH_ROW,
]  # fmt: skip
_ROUGH = [Surface.ROUGH_GRASS, Surface.BARE, Surface.BRUSH, Surface.CLEAR_CUT]


def _terrain(view: View, mean: Floats) -> Floats:
    """The ground as filtering finds it: residues of objects, one or two decimetres of waves."""
    land, scene, window = view.land, view.scene, view.around
    shift = 4
    # Out of place by 0.8 m to the east: nothing on the flat, decimetres on slopes.
    ground = np.roll(scene.ground, shift, axis=1)
    waves = np.float32(0.22 + 0.0005 * land.domain.relief_m)
    ground = ground + waves * value_noise(window, 1_800, land.key("terrain"))
    return ground + np.float32(0.05) * mean
