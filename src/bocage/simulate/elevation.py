"""Digital surface and terrain models, with the faults of the real products."""

from __future__ import annotations

import numpy as np

from bocage.simulate.filters import smooth
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.light import View
from bocage.simulate.noise import pixel_noise, value_noise
from bocage.simulate.surfaces import Surface

_CORRELATION = (6 / 16, 4 / 16, 1 / 16)
"""Image matching sees through a window of about a metre: edges are ramps (kernel chosen)."""
_FILLED = (0.12, 0.11, 0.10, 0.09, 0.07, 0.05, 0.02)
"""Holes are filled from some metres around: a mean over 2.6 m (kernel chosen, its sum is 1)."""
_METRE = (0.2, 0.2, 0.2)
"""Mean over five pixels, a metre: the terrain model's own resolution."""
_FEATURELESS = np.float32(0.02)
"""Contrast below which an image says no less to a match: its own noise (chosen)."""
_SHIFT_PX = 4
"""How far a domain's terrain model is out of place, in pixels of 0.2 m (chosen)."""
_STILL_M, _MOVING_M = np.float32(0.03), np.float32(0.25)
"""Error of a match in metres where contrast is ample, and on water, which moves (chosen)."""
_BY_CONTRAST_M = np.float32(0.0023)
"""What contrast takes off it: 2 % of image noise over the root of 25 pixels, times 0.57 m of height
for a pixel of parallax (0.2 m, base to height 0.35; chosen, as large-format cameras have it)."""
_NEWER, _OLDER = 0.03, 0.05
"""Share of parcels whose objects are newer than the surface model, and of open rough parcels that
still carried a wood when it was flown (chosen)."""


def elevation(view: View) -> Floats:
    """Surface and terrain altitude (2, H, W) float32, metres, in whole centimetres.

    The surface model is matched from photographs of another year: blurred edges, holes filled from
    around (Hirschmueller 2008 describes why matching fails: occlusion, water, repeated or missing
    texture; the error of a match is inverse to the contrast of what is matched, Foerstner 1982),
    trees that were smaller, objects that were not there yet or no more. The terrain model is a
    filtered one of 1 m: a little of what stood on it stays, and it is out of place by up to 0.8 m,
    in each domain in another direction, which shows on slopes.

    These are effects, not a matcher: the sources say what goes wrong, how often and how far is
    chosen (thresholds and sizes of the holes, height from which an edge hides, sizes of the error's
    patches).
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
    error = _error(view)
    surface += np.float32(2.0) * error * value_noise(window, 90, land.key("matching"))
    surface += smooth(error * pixel_noise(window, land.key("matching", 2)), _CORRELATION)

    terrain = _terrain(view, mean)
    bare = smooth(scene.ground, _CORRELATION)
    stacked = view.inner(np.stack([bare + surface, terrain])).astype(np.float64)
    return (np.rint(stacked * 100) / 100).astype(np.float32)


def _error(view: View) -> Floats:
    """Error of matching each pixel, metres, by the contrast around it in the photograph."""
    grey = view.light[:3].mean(axis=0)
    mean = smooth(grey, _METRE)
    spread = np.sqrt(np.maximum(smooth(grey * grey, _METRE) - mean * mean, 0))
    contrast = np.maximum(spread / np.maximum(mean, np.float32(1e-3)), _FEATURELESS)
    error = _STILL_M + _BY_CONTRAST_M / contrast
    return np.where(view.scene.surface == Surface.WATER, _MOVING_M, error)


def _standing(view: View) -> Floats:
    """Height of what stood when the surface model was flown, some years before the photograph.

    Chosen: trees had 0.78 to 1.02 of today's height; woods felled since were 4 to 12 m high.
    """
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
    """The ground as filtering finds it: residues of objects, and waves of two decimetres and more.

    Chosen: waves every 18 m, of 0.22 m and 0.5 m more per kilometre of relief; 5 % of what stands
    stays in it.
    """
    land, scene, window = view.land, view.scene, view.around
    # Out of place: nothing on the flat, decimetres on slopes.
    turn = 2 * np.pi * float(draw(hash_at(land.key("shift"), 0), 1)[0])
    shift = round(_SHIFT_PX * np.sin(turn)), round(_SHIFT_PX * np.cos(turn))
    ground = smooth(np.roll(scene.ground, shift, axis=(0, 1)), _METRE)
    waves = np.float32(0.22 + 0.0005 * land.domain.relief_m)
    ground = ground + waves * value_noise(window, 1_800, land.key("terrain"))
    return ground + np.float32(0.05) * mean
