"""Sentinel-2: ten bands of mixed covers through the year, with clouds, shadows and snow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.modalities import SENTINEL2_TS
from bocage.simulate.cover import Cover, cover
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window, value_noise
from bocage.simulate.phenology import CALENDARS, ENDMEMBERS, SPECTRA
from bocage.simulate.relief import ground
from bocage.simulate.sky import Granule, clouds, soil_moisture

PIXEL_CM = round(SENTINEL2_TS.resolution_m * 100)
"""Pixel size of both Sentinels in world units."""

_WHOLE = 4_096
_SOIL = (ENDMEMBERS.index("bright soil"), ENDMEMBERS.index("dark soil"))
_LEAVES = tuple(ENDMEMBERS.index(name) for name in ("crop leaf", "broad leaf", "needle"))
_SNOW = ENDMEMBERS.index("snow")
# Reflectance x 10000 of opaque cloud in the ten bands (chosen; lower where ice absorbs).
_CLOUD: Floats = np.array(
    [5200, 5150, 5200, 5300, 5450, 5550, 5600, 5650, 4100, 3200], dtype=np.float32
)


def sentinel2(
    land: Landscape, window: Window, granule: Granule, days: NDArray[np.int64]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Reflectance (T * 10, H, W) and snow/cloud probability (T * 2, H, W), uint16, date by date.

    Linear mixing of endmembers (Settle & Drake 1993): each kind of cover is leaves, straw, flowers
    and soil in the shares of its calendar; each pixel the mean of its 64 points. Then snow, cloud,
    cloud shadow, a gain per date for the atmosphere, and noise per pixel.
    """
    here = cover(land, window)
    height, width = window.shape
    shares = _abundances(here, granule, days)
    kinds, times, members = shares.shape
    mixed = here.average(shares.reshape(kinds, times * members)) / _WHOLE
    shape = (height * width, times, members)
    pixel_PTE = _uneven_growth(mixed.astype(np.float32).reshape(shape), land, window)
    snow_TP = _snow(land, window, days)
    snow = snow_TP.T[..., None]
    pixel_PTE = pixel_PTE * (1 - snow)
    pixel_PTE[..., _SNOW] += snow[..., 0]

    bands = len(SENTINEL2_TS.bands)
    value_PTB = np.zeros((height * width, times, bands), dtype=np.float32)
    for member in range(members):
        value_PTB += pixel_PTE[..., member, None] * SPECTRA[member]

    mask = np.zeros((times, 2, height * width), dtype=np.uint16)
    for t, day in enumerate(days.tolist()):
        opacity, shade = (field.reshape(-1) for field in clouds(window, granule, day))
        value_PTB[:, t] *= (1 - np.float32(0.55) * shade * (1 - opacity))[:, None]
        value_PTB[:, t] += opacity[:, None] * (_CLOUD - value_PTB[:, t])
        mask[t] = _probabilities(window, granule, day, opacity, snow_TP[t])
    date = hash_at(granule.key("atmosphere"), days)
    value_PTB *= (np.float32(0.96) + np.float32(0.08) * draw(date, 1))[:, None]
    pixel = hash_at(land.key("sentinel2 noise"), window.v[:, None], window.u[None, :]).reshape(-1)
    noise = hash_at(pixel[:, None, None], days[None, :, None], np.arange(bands)[None, None, :])
    value_PTB *= np.float32(0.975) + np.float32(0.05) * draw(noise, 1)
    stored = np.clip(np.rint(value_PTB), 1, 10_000).astype(np.uint16)
    series = stored.reshape(height, width, times * bands).transpose(2, 0, 1)
    return np.ascontiguousarray(series), mask.reshape(times * 2, height, width)


def _abundances(here: Cover, granule: Granule, days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares of the endmembers in every kind of cover on every date, (U, T, E), in 1/4096."""
    vigour = here.vigour[:, None]
    green = np.minimum(here.season(CALENDARS.green, days) * vigour, 1)
    dry = here.season(CALENDARS.dry, days)
    flower = here.season(CALENDARS.flower, days) * vigour
    total = green + dry + flower
    scale = 1 / np.maximum(total, 1)
    moisture = np.array([soil_moisture(granule, day) for day in days.tolist()], dtype=np.float32)
    bright = here.soil[:, None] * (np.float32(1.15) - np.float32(0.7) * moisture[None, :])
    soil = np.maximum(1 - total, 0)

    shares = np.zeros((*green.shape, len(ENDMEMBERS)), dtype=np.float32)
    rows = np.arange(len(green))
    shares[rows, :, CALENDARS.leaf[here.calendar]] = green * scale
    shares[..., ENDMEMBERS.index("straw")] = dry * scale
    shares[..., ENDMEMBERS.index("flower")] = flower * scale
    shares[..., _SOIL[0]] = soil * bright
    shares[..., _SOIL[1]] = soil * (1 - bright)
    fixed = CALENDARS.fixed[here.calendar]
    static = fixed >= 0
    shares[static] = 0
    shares[rows[static], :, fixed[static]] = 1
    whole: NDArray[np.float64] = np.rint(shares * _WHOLE).astype(np.float64)
    return whole


def _uneven_growth(pixel_PTE: Floats, land: Landscape, window: Window) -> Floats:
    """Better and worse places within a field: some leaves become soil, or soil leaves."""
    vigour = np.float32(0.14) * value_noise(window, 4_000, land.key("vigour")).reshape(-1)
    grown = pixel_PTE.copy()
    soil = pixel_PTE[..., _SOIL[0]] + pixel_PTE[..., _SOIL[1]]
    leaves = pixel_PTE[..., _LEAVES[0]] + pixel_PTE[..., _LEAVES[1]] + pixel_PTE[..., _LEAVES[2]]
    change = np.minimum(leaves * vigour[:, None], soil)
    small = np.float32(1e-6)
    more = 1 + change / np.maximum(leaves, small)
    less = 1 - change / np.maximum(soil, small)
    # Where there is no soil to take or give back, a bad place shows as dark soil.
    for member in _LEAVES:
        grown[..., member] *= more
    bare = soil < small
    for member in _SOIL:
        grown[..., member] *= np.where(bare, 1, less)
    grown[..., _SOIL[1]] += np.where(bare, -change, 0)
    return grown


def _snow(land: Landscape, window: Window, days: NDArray[np.int64]) -> Floats:
    """Share of each pixel under seasonal snow, (T, P): above a line that rises towards summer."""
    line = land.domain.snow_line_m
    pixels = window.width * window.height
    if line is None:
        return np.zeros((len(days), pixels), dtype=np.float32)
    altitude, _ = ground(window, land.domain, land.seed)
    season = np.minimum(days, 365 - days).astype(np.float32) / np.float32(182.5)
    level = np.float32(line - 1_100) + np.float32(1_500) * season
    above = altitude.reshape(1, -1) - level[:, None]
    return np.clip(above / np.float32(120) + np.float32(0.5), 0, 1)


def _probabilities(
    window: Window, granule: Granule, day: int, opacity: Floats, snow: Floats
) -> NDArray[np.uint16]:
    """Snow and cloud probability, (2, P) in percent: a good mask that misses thin edges."""
    blur = value_noise(window, 9_000, granule.key("mask", day)).reshape(-1)
    cloud = np.clip(112 * opacity - 6 + np.where(opacity > 0.02, 8 * blur, 0), 0, 100)
    seen = np.clip(105 * snow - 4, 0, 100) * (1 - opacity)
    return np.rint(np.stack([seen, cloud])).astype(np.uint16)
