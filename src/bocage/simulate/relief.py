"""The ground: altitude, rivers in their valleys, and how far every point is from a river."""

from __future__ import annotations

import numpy as np

from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, make_key
from bocage.simulate.noise import Window, value_noise, value_noise_slope

_RIVER_CELL = 90_000
_OCTAVES = ((280_000, 0.62), (90_000, 0.25), (26_000, 0.10), (7_000, 0.022), (2_000, 0.004))
"""Lattice in cm and share of the domain's relief: roughness falls with scale (chosen)."""


def ground(window: Window, domain: Domain, seed: int) -> tuple[Floats, Floats]:
    """Altitude of the bare ground and distance to the middle of a river, metres, (H, W) each.

    Rivers are where a smooth field changes sign. The distance is field over slope, exact to first
    order; the slope has a floor, so that a flat spot of the field gives a pool and not a lake.
    """
    field, slope = value_noise_slope(window, _RIVER_CELL, make_key(seed, domain.key, "river"))
    distance = np.abs(field) / np.maximum(slope, np.float32(0.0012))
    squared = field * field
    valley = squared / (squared + np.float32(0.02))
    altitude = np.float32(domain.altitude_m) + np.float32(0.18 * domain.relief_m) * valley
    for number, (cell, share) in enumerate(_OCTAVES):
        key = make_key(seed, domain.key, "relief", number)
        altitude += np.float32(share * domain.relief_m) * value_noise(window, cell, key)
    return altitude, distance
