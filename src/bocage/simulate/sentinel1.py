"""Sentinel-1: radar backscatter of the covers through the year, with speckle."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.cover import Cover, cover
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.partition import DIRECTIONS
from bocage.simulate.phenology import CALENDARS
from bocage.simulate.sky import Granule, soil_moisture

_WHOLE = 2.0**24
_LOOKS = 4
"""Sentinel-1 GRD in IW mode has 4.4 equivalent looks (ESA product specification)."""
_FLOOR = 1e-5

# Cosine of the incidence angle and the look direction (east, south) of each orbit over France.
_ORBITS = {"ASC": (0.777, (0.98, 0.19)), "DESC": (0.743, (-0.98, 0.19))}
_SOIL_VV, _SOIL_VH = (0.030, 0.150), (0.0045, 0.0150)
"""Bare soil from dry to wet, linear power."""

# Quantiles of the exponential distribution, rounded so that every machine has the same table.
_EXPONENTIAL: Floats = np.array(
    [round(-math.log((k + 0.5) / 65_536), 5) for k in range(65_536)], dtype=np.float32
)


def sentinel1(
    land: Landscape, window: Window, granule: Granule, days: NDArray[np.int64], orbit: str
) -> Floats:
    """Sigma nought of VV and VH in linear power, (T * 2, H, W) float32, date by date.

    The water-cloud model (Attema & Ulaby 1978): canopy plus soil seen through the canopy, averaged
    over each pixel's points; then speckle, a mean of exponentials, rounded to 1e-5.
    """
    here = cover(land, window)
    height, width = window.shape
    cosine, look = _ORBITS[orbit]
    power = _backscatter(here, granule, days, cosine, look)
    kinds, times, _ = power.shape
    whole = np.rint(power.astype(np.float64) * _WHOLE).reshape(kinds, times * 2)
    mean = (here.average(whole) / _WHOLE).astype(np.float32)

    pixel = hash_at(land.key("speckle", orbit), window.v[:, None], window.u[None, :]).reshape(-1)
    numbers = hash_at(pixel[:, None], days[None, :])
    speckle = np.stack([_speckle(numbers, 1), _speckle(numbers, 2)], axis=2)
    seen = mean.reshape(height * width, times, 2) * speckle
    stored = np.maximum(np.rint(seen.astype(np.float64) / _FLOOR), 1) * _FLOOR
    series = stored.astype(np.float32).reshape(height, width, times * 2).transpose(2, 0, 1)
    return np.ascontiguousarray(series)


def _backscatter(
    here: Cover, granule: Granule, days: NDArray[np.int64], cosine: float,
    look: tuple[float, float],
) -> Floats:  # fmt: skip
    """VV and VH of every kind of cover on every date, (U, T, 2), linear power."""
    green = here.season(CALENDARS.green, days) * here.vigour[:, None]
    canopy = green + np.float32(0.45) * here.season(CALENDARS.dry, days)
    moisture = np.array([soil_moisture(granule, day) for day in days.tolist()], dtype=np.float32)
    rough = np.float32(0.75) + np.float32(0.6) * draw(here.hash, 75)
    scattering = CALENDARS.canopy[here.calendar]
    # Two-way loss. Upright rows across the look direction send more back (chosen: up to 1 dB).
    through = _decay(2 * scattering[:, 2:3] * canopy / np.float32(cosine))
    rows = DIRECTIONS[np.maximum(here.direction, 0)]
    facing = np.abs(rows[:, 0] * np.float32(look[0]) + rows[:, 1] * np.float32(look[1]))
    facing = np.where(here.direction >= 0, 1 + np.float32(0.25) * facing**2, 1)

    power = np.zeros((*canopy.shape, 2), dtype=np.float32)
    for band, (dry, wet) in enumerate((_SOIL_VV, _SOIL_VH)):
        soil = (np.float32(dry) + np.float32(wet - dry) * moisture)[None, :] * rough[:, None]
        leaves = scattering[:, band : band + 1] * np.float32(cosine / 0.76) * canopy
        power[..., band] = (leaves * (1 - through) + soil * through) * facing[:, None]
    static = CALENDARS.fixed[here.calendar] >= 0
    bright = np.float32(0.7) + np.float32(0.6) * draw(here.hash, 76)
    power[static] = (CALENDARS.echo[here.calendar] * bright[:, None])[static][:, None, :]
    return power


def _decay(x: Floats) -> Floats:
    """exp(-x) for x >= 0 to three digits, by arithmetic that every machine does alike."""
    y = x / np.float32(32)
    result = 1 / (1 + y + y * y * np.float32(0.5))
    for _ in range(5):
        result = result * result
    return result


def _speckle(numbers: NDArray[np.uint64], stream: int) -> Floats:
    """Multiplicative speckle of `_LOOKS` looks, mean 1: a mean of exponentials."""
    bits = hash_at(numbers, stream)
    total = np.zeros(numbers.shape, dtype=np.float32)
    for look in range(_LOOKS):
        part = (bits >> np.uint64(16 * look)) & np.uint64(0xFFFF)
        total += _EXPONENTIAL[part.astype(np.intp)]
    return total / np.float32(_LOOKS)
