"""Sentinel-2: ten bands of mixed covers through the year, with clouds, shadows and snow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.modalities import SENTINEL2_TS
from bocage.simulate.cover import Cover, cover
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window, value_noise
from bocage.simulate.phenology import CALENDARS, ENDMEMBERS, SPECTRA, State, state
from bocage.simulate.relief import ground
from bocage.simulate.sky import Granule, clouds, soil_moisture

PIXEL_CM = round(SENTINEL2_TS.resolution_m * 100)
"""Pixel size of both Sentinels in world units."""

_WHOLE = 4_096
_SOIL = (ENDMEMBERS.index("bright soil"), ENDMEMBERS.index("dark soil"))
_LEAVES = tuple(ENDMEMBERS.index(name) for name in ("crop leaf", "broad leaf", "needle"))
_SNOW = ENDMEMBERS.index("snow")
_COARSE = [SENTINEL2_TS.bands.index(band) for band in ("B05", "B06", "B07", "B8A", "B11", "B12")]
"""Bands of 20 m, which the series repeats on the 10 m grid."""
# Reflectance x 10000 of opaque cloud in the ten bands (chosen; lower where ice absorbs).
_CLOUD: Floats = np.array(
    [5200, 5150, 5200, 5300, 5450, 5550, 5600, 5650, 4100, 3200], dtype=np.float32
)
# What is left of the atmosphere after correction: scattering falls with the wavelength.
_HAZE: Floats = np.array([110, 70, 50, 40, 25, 20, 18, 15, 5, 3], dtype=np.float32)
_BRIGHT_BLUE, _MISTAKEN = np.float32(1_250), 0.12
"""Ground brighter than this in blue may pass for cloud, on that share of the dates."""


def sentinel2(
    land: Landscape, window: Window, granule: Granule, days: NDArray[np.int64]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Reflectance (T * 10, H, W) and snow/cloud probability (T * 2, H, W), uint16, date by date.

    Linear mixing of endmembers (Settle & Drake 1993): each kind of cover is leaves, straw, flowers
    and soil in the shares of its calendar; each pixel the mean of its 64 points. Then snow, cloud,
    cloud shadow, a gain and a haze per date for the atmosphere, the coarser grid of the 20 m bands,
    and noise per pixel.
    """
    # Whole 20 m cells around the window, so that neighbours agree on them.
    top, left = (window.v0 // PIXEL_CM) % 2, (window.u0 // PIXEL_CM) % 2
    around = window.padded(top, (window.height + top) % 2, left, (window.width + left) % 2)
    here = cover(land, around)
    shares = _abundances(here, state(here.calendar, here.grown, days), granule, days)
    kinds, times, members = shares.shape
    mixed = here.average(shares.reshape(kinds, times * members)) / _WHOLE
    pixels = around.height * around.width
    pixel_PTE = _uneven_growth(
        mixed.astype(np.float32).reshape(pixels, times, members), land, around
    )
    snow_TP = _snow(land, around, days)
    snow = snow_TP.T[..., None]
    pixel_PTE = pixel_PTE * (1 - snow)
    pixel_PTE[..., _SNOW] += snow[..., 0]

    bands = len(SENTINEL2_TS.bands)
    value_PTB = np.zeros((pixels, times, bands), dtype=np.float32)
    for member in range(members):
        value_PTB += pixel_PTE[..., member, None] * SPECTRA[member]
    clear_blue_PT = value_PTB[..., 0].copy()

    mask = np.zeros((times, 2, pixels), dtype=np.uint16)
    for t, day in enumerate(days.tolist()):
        opacity, shade = (field.reshape(-1) for field in clouds(around, granule, day))
        value_PTB[:, t] *= (1 - np.float32(0.55) * shade * (1 - opacity))[:, None]
        value_PTB[:, t] += opacity[:, None] * (_CLOUD - value_PTB[:, t])
        mask[t] = _probabilities(around, granule, day, opacity, clear_blue_PT[:, t], snow_TP[t])
    date = hash_at(granule.key("atmosphere"), days)
    value_PTB *= (np.float32(0.96) + np.float32(0.08) * draw(date, 1))[:, None]
    value_PTB += (2 * draw(date, 2) * draw(date, 2))[:, None] * _HAZE
    _coarsen(value_PTB.reshape(*around.shape, times, bands))
    pixel = hash_at(land.key("sentinel2 noise"), around.v[:, None], around.u[None, :]).reshape(-1)
    noise = hash_at(pixel[:, None, None], days[None, :, None], np.arange(bands)[None, None, :])
    value_PTB *= np.float32(0.975) + np.float32(0.05) * draw(noise, 1)
    stored = np.clip(np.rint(value_PTB), 1, 10_000).astype(np.uint16)
    rows, cols = slice(top, top + window.height), slice(left, left + window.width)
    series = stored.reshape(*around.shape, times * bands)[rows, cols].transpose(2, 0, 1)
    seen = mask.reshape(times * 2, *around.shape)[:, rows, cols]
    return np.ascontiguousarray(series), np.ascontiguousarray(seen)


def _abundances(
    here: Cover, grown: State, granule: Granule, days: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Shares of the endmembers in every kind of cover on every date, (U, T, E), in 1/4096.

    Wet soil is darker (Lobell & Asner 2002): moisture moves it from the bright to the dark one.
    """
    green = grown.green + grown.catch
    total = green + grown.dry + grown.flower
    scale = 1 / np.maximum(total, 1)
    moisture = soil_moisture(granule, days)
    bright = here.grown.soil[:, None] * (np.float32(1.15) - np.float32(0.7) * moisture[None, :])
    soil = np.maximum(1 - total, 0)

    shares = np.zeros((*green.shape, len(ENDMEMBERS)), dtype=np.float32)
    rows = np.arange(len(green))
    shares[rows, :, CALENDARS.leaf[here.calendar]] = green * scale
    shares[..., ENDMEMBERS.index("straw")] = grown.dry * scale
    shares[..., ENDMEMBERS.index("flower")] = grown.flower * scale
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
    """Share of each pixel under seasonal snow, (T, P): above a line that rises towards summer.

    No snow model is followed. The line lies 1,100 m below the domain's snow of summer at New Year,
    climbs by 1,500 m to midsummer and falls again, on straight lines and alike in every year and on
    every aspect; snow fills a pixel within 120 m of altitude (all chosen).
    """
    line = land.domain.snow_line_m
    pixels = window.width * window.height
    if line is None:
        return np.zeros((len(days), pixels), dtype=np.float32)
    altitude, _ = ground(window, land.domain, land.seed)
    season = np.minimum(days, 365 - days).astype(np.float32) / np.float32(182.5)
    level = np.float32(line - 1_100) + np.float32(1_500) * season
    above = altitude.reshape(1, -1) - level[:, None]
    return np.clip(above / np.float32(120) + np.float32(0.5), 0, 1)


def _coarsen(value_HWTB: Floats) -> None:
    """Give the 20 m bands one value per two by two pixels, in place."""
    part = value_HWTB[..., _COARSE]
    mean = (part[0::2, 0::2] + part[0::2, 1::2]) + (part[1::2, 0::2] + part[1::2, 1::2])
    value_HWTB[..., _COARSE] = np.repeat(np.repeat(mean * np.float32(0.25), 2, axis=0), 2, axis=1)


def _probabilities(
    window: Window, granule: Granule, day: int, opacity: Floats, blue: Floats, snow: Floats
) -> NDArray[np.uint16]:
    """Snow and cloud probability, (2, P) in percent, with the faults of single-date detectors.

    As in the comparison of ten detectors by Skakun et al. (2022): thin cloud and cloud edges are
    missed, shadows are no class, and bright ground (roofs, gravel, snow) passes for cloud at times.
    """
    wobble = value_noise(window, 9_000, granule.key("mask", day)).reshape(-1)
    cloud = 130 * opacity - np.float32(9) + np.where(opacity > 0.02, 9 * wobble, 0)
    if float(draw(hash_at(granule.key("mistaken"), day), 1)[0]) < _MISTAKEN:
        bright = np.clip((blue - _BRIGHT_BLUE) / 600, 0, 1)
        cloud = np.maximum(cloud, bright * (np.float32(55) + 30 * wobble))
    seen = np.clip(105 * snow - 4, 0, 100) * (1 - opacity)
    both: NDArray[np.uint16] = np.rint(np.stack([seen, np.clip(cloud, 0, 100)])).astype(np.uint16)
    return both
