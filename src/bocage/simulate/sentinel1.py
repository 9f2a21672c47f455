"""Sentinel-1: radar backscatter of the covers through the year, with speckle."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.cover import Cover, cover
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import METRE, Window
from bocage.simulate.partition import DIRECTIONS
from bocage.simulate.phenology import CALENDARS, state
from bocage.simulate.relief import ground
from bocage.simulate.sky import Granule, sentinel1_passes, soil_moisture

_WHOLE = 2.0**24
_OWN_LOOK = np.float32(0.25)
"""Weight of a pixel's own look beside those of its four corners: 4.4 equivalent looks."""
_FLOOR = 1e-5

# Where each direction's antenna looks (east, south), and the cosine of the incidence angle over
# France on the first and on the second orbit that sees a place (34 and 42 degrees).
_LOOK = {"ASC": (0.98, 0.19), "DESC": (-0.98, 0.19)}
_COSINE = np.array([0.829, 0.743], dtype=np.float32)
_REFERENCE = np.float32(0.777)
"""Cosine at which the water-cloud parameters hold (39 degrees)."""
_WAVES_PER_CM = 1.132
"""Wave number of 5.405 GHz."""
_DRIEST, _WETTEST = 6.0, 36.0
"""Volumetric moisture of bare soil, percent, from summer's end to winter rain."""
_SMOOTHEST_CM, _ROUGHEST_CM = 0.7, 2.9
"""Standard deviation of the surface's height, from a rolled seedbed to ploughed land."""
# VV and VH of bare soil at C band: level, power of the cosine of incidence, exponent per percent of
# moisture (times the cotangent), power of roughness (times the sine). The model of Baghdadi et al.
# (2016), fitted there to bare fields of many sites, most of them in France.
_SOIL_MODEL = ((-1.138, 1.528, 0.008, 0.71), (-2.325, -0.01, 0.011, 0.44))
_CATCH, _CATCH_LOSS = ((0.115, 0.050), (0.90, 0.45))
"""Water-cloud parameters of catch crops, VV and VH: one full canopy, and its attenuation."""

# Quantiles of the exponential distribution, rounded so that every machine has the same table.
_EXPONENTIAL: Floats = np.array(
    [round(-math.log((k + 0.5) / 65_536), 5) for k in range(65_536)], dtype=np.float32
)


def _soil_tables() -> tuple[Floats, Floats]:
    """Bare soil of 1 cm roughness by (band, orbit, percent of moisture), linear power, and what
    roughness in 64 steps multiplies it by, (band, orbit, 64): rounded, as the exponential is."""
    damp = np.zeros((2, len(_COSINE), 64), dtype=np.float32)
    rough = np.zeros_like(damp)
    for band, (level, slant, moist, height) in enumerate(_SOIL_MODEL):
        for orbit, cosine in enumerate(_COSINE.tolist()):
            sine = math.sqrt(1 - cosine * cosine)
            for k in range(64):
                power = 10 ** (level + moist * cosine / sine * k) * cosine**slant
                damp[band, orbit, k] = round(power, 6)
                size = _WAVES_PER_CM * (_SMOOTHEST_CM + (_ROUGHEST_CM - _SMOOTHEST_CM) * k / 63)
                rough[band, orbit, k] = round(size ** (height * sine), 5)
    return damp, rough


_DAMP, _ROUGH = _soil_tables()


def sentinel1(
    land: Landscape, window: Window, granule: Granule, days: NDArray[np.int64], orbit: str
) -> Floats:
    """Sigma nought of VV and VH in linear power, (T * 2, H, W) float32, date by date.

    The water-cloud model (Attema & Ulaby 1978), with an attenuation of its own per polarisation as
    in Baghdadi et al. (2017): canopy plus soil (Baghdadi et al. 2016) seen through the canopy,
    averaged over each pixel's points; the slope of the ground towards the antenna; then speckle
    (Goodman 1976), rounded to 1e-5. `days` must be among `sentinel1_passes`, which know each day's
    orbit.
    """
    here = cover(land, window)
    height, width = window.shape
    passes, tracks = sentinel1_passes(granule, orbit)
    track = tracks[np.searchsorted(passes, days)]
    cosine = _COSINE[track]
    power = _backscatter(here, granule, days, track, _LOOK[orbit])
    kinds, times, _ = power.shape
    whole = np.rint(power.astype(np.float64) * _WHOLE).reshape(kinds, times * 2)
    mean = (here.average(whole) / _WHOLE).astype(np.float32)
    slope = _slope_gain(land, window, cosine, _LOOK[orbit])
    seen = mean.reshape(height, width, times, 2) * slope[..., None]
    seen *= _speckle(land.key("speckle", orbit), window, days)
    stored = np.maximum(np.rint(seen.astype(np.float64) / _FLOOR), 1) * _FLOOR
    series = stored.astype(np.float32).reshape(height, width, times * 2).transpose(2, 0, 1)
    return np.ascontiguousarray(series)


def _backscatter(
    here: Cover, granule: Granule, days: NDArray[np.int64], track: NDArray[np.intp],
    look: tuple[float, float],
) -> Floats:  # fmt: skip
    """VV and VH of every kind of cover on every date, (U, T, 2), linear power.

    Rows across the look direction send more back, most of all from bare and sparsely covered soil
    (Ulaby & Bare 1979; up to 1.5 dB here, chosen).
    """
    grown = state(here.calendar, here.grown, days)
    cosine = _COSINE[track]
    moisture = _DRIEST + (_WETTEST - _DRIEST) * soil_moisture(granule, days).astype(np.float64)
    percent = np.rint(moisture).astype(np.intp)
    tilled = (64 * draw(here.hash, 75)).astype(np.intp)
    dense = np.float32(0.85) + np.float32(0.3) * draw(here.hash, 78)
    *strength, wood, straw = (CALENDARS.canopy[here.calendar, k, None] for k in range(6))
    # Leaves cover the ground long before they weigh on it.
    leafy = grown.green + grown.flower
    biomass = leafy * leafy * leafy + straw * grown.dry
    canopy = wood + (1 - wood) * biomass
    second = grown.catch * grown.catch
    rows = DIRECTIONS[np.maximum(here.direction, 0)]
    facing = np.abs(rows[:, 0] * np.float32(look[0]) + rows[:, 1] * np.float32(look[1]))
    ridges = np.where(here.direction >= 0, np.float32(0.35) * facing**2, 0)
    tilt = cosine / _REFERENCE

    power = np.zeros((*canopy.shape, 2), dtype=np.float32)
    for band in (0, 1):
        echo, loss = strength[band], strength[2 + band]
        # Two-way loss in the canopy, of the crop or of the catch crop after it.
        through = _decay(2 * (loss * canopy + np.float32(_CATCH_LOSS[band]) * second) / cosine)
        soil = _DAMP[band, track, percent] * _ROUGH[band][track[None, :], tilled[:, None]]
        soil = soil * (1 + ridges[:, None] * through)
        leaves = dense[:, None] * tilt * (echo * canopy + np.float32(_CATCH[band]) * second)
        power[..., band] = leaves * (1 - through) + soil * through
    static = CALENDARS.fixed[here.calendar] >= 0
    bright = np.float32(0.7) + np.float32(0.6) * draw(here.hash, 76)
    power[static] = (CALENDARS.echo[here.calendar] * bright[:, None])[static][:, None, :]
    return power


def _slope_gain(
    land: Landscape, window: Window, cosine: Floats, look: tuple[float, float]
) -> Floats:
    """How much more a slope that faces the antenna returns, (H, W, T): the area law (Small 2011).

    Ground under a pixel of the image plane grows as sin(incidence) over sin(local incidence).
    """
    altitude, _ = ground(window.padded(1, 1, 1, 1), land.domain, land.seed)
    pitch = np.float32(2 * window.step_cm / METRE)
    rise = (altitude[1:-1, 2:] - altitude[1:-1, :-2]) * np.float32(look[0])
    rise += (altitude[2:, 1:-1] - altitude[:-2, 1:-1]) * np.float32(look[1])
    # Tangent of the slope along the look: positive where the ground rises away from the antenna.
    tangent = (rise / pitch)[..., None]
    sine = np.sqrt(1 - cosine * cosine)
    local = (sine - cosine * tangent) / np.sqrt(1 + tangent * tangent)
    gain: Floats = sine / np.maximum(local, np.float32(0.25))
    return gain


def _decay(x: Floats) -> Floats:
    """exp(-x) for x >= 0 to three digits, by arithmetic that every machine does alike."""
    y = x / np.float32(32)
    result = 1 / (1 + y + y * y * np.float32(0.5))
    for _ in range(5):
        result = result * result
    return result


def _speckle(key: int, window: Window, days: NDArray[np.int64]) -> Floats:
    """Multiplicative speckle, (H, W, T, 2), mean 1: weighted means of exponential looks.

    The looks of a pixel's four corners, which its neighbours share, and one of its own: 4.4
    equivalent looks (ESA's figure for GRD products in IW mode) that are correlated by a half
    between neighbours, because a product of 20 m resolution is sampled every 10 m. The real series
    of TreeSatAI have 4.7 to 5.1 looks and correlations of 0.43 to 0.48.
    """
    step = window.step_cm
    u, v = window.u - step // 2, window.v - step // 2
    corner = hash_at(key, np.append(v, v[-1] + step)[:, None], np.append(u, u[-1] + step)[None, :])
    node = _looks(hash_at(corner[..., None], days))
    own = _looks(hash_at(corner[:-1, :-1, None] ^ np.uint64(1), days))
    total = (node[:-1, :-1] + node[:-1, 1:]) + (node[1:, :-1] + node[1:, 1:])
    result: Floats = (total + _OWN_LOOK * own) / (4 + _OWN_LOOK)
    return result


def _looks(numbers: NDArray[np.uint64]) -> Floats:
    """One exponential number for VV and one for VH per hash, (..., 2)."""
    low = numbers & np.uint64(0xFFFF)
    high = (numbers >> np.uint64(32)) & np.uint64(0xFFFF)
    return np.stack([_EXPONENTIAL[low.astype(np.intp)], _EXPONENTIAL[high.astype(np.intp)]], -1)
