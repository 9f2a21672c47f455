"""When satellites pass, what the sky was like on each date, and what clouds hide.

Passes follow the orbits: Sentinel-2 every 5 days with two satellites, Sentinel-1 every 6 days per
orbit direction. Dates and weather belong to a granule of the ground, as products do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, draw, hash_at, make_key
from bocage.simulate.noise import Window, smoothstep, value_noise

_GRANULE_CM = 2_048_000
_SENTINEL2_DAYS, _SENTINEL1_DAYS = 5, 6
_MAX_DATES = 60


@dataclass(frozen=True)
class Granule:
    """The part of a domain whose products share their dates."""

    domain: Domain
    seed: int
    column: int
    row: int

    @classmethod
    def at(cls, domain: Domain, seed: int, u: int, v: int) -> Granule:
        """The granule of a point (cm)."""
        return cls(domain, seed, u // _GRANULE_CM, v // _GRANULE_CM)

    def key(self, *parts: int | str) -> int:
        """Key of one of the granule's random numbers."""
        return make_key(self.seed, self.domain.key, self.column, self.row, *parts)


def sentinel2_days(granule: Granule) -> NDArray[np.int64]:
    """Days of the year (0 = 1 January) with a Sentinel-2 image, (T,), T from 30 to 60.

    Of the 73 passes about four in ten are not in the archive (tiles under closed cloud, orbits that
    miss the place); which ones is a draw.
    """
    key = granule.key("sentinel2 dates")
    first = int(draw(hash_at(key, -1), 0)[0] * _SENTINEL2_DAYS)
    days = np.arange(first, 365, _SENTINEL2_DAYS)
    order = np.argsort(draw(hash_at(key, days), 1), kind="stable")
    kept = 40 + int(draw(hash_at(key, -2), 0)[0] * (_MAX_DATES - 40))
    return np.sort(days[order[:kept]])


def sentinel1_days(granule: Granule, orbit: str) -> NDArray[np.int64]:
    """Days of the year with a Sentinel-1 image of that orbit, (T,): every 6 days, some 12."""
    key = granule.key("sentinel1 dates", orbit)
    first = int(draw(hash_at(key, -1), 0)[0] * _SENTINEL1_DAYS)
    days = np.arange(first, 365, _SENTINEL1_DAYS)
    missed = draw(hash_at(key, days), 1) < 0.12
    # Never two in a row: the gap stays at 12 days.
    missed[1:] &= ~missed[:-1]
    return days[~missed]


def to_dates(days: NDArray[np.int64], year: int) -> list[str]:
    """Days of the year as YYYYMMDD."""
    dates = np.datetime64(f"{year:04d}-01-01", "D") + days
    return [str(date).replace("-", "") for date in dates]


def soil_moisture(granule: Granule, day: int) -> float:
    """Wetness of bare soil on a day, 0 (dry) to 1: wet winters, drying after each rain."""
    key = granule.key("rain")
    season = 0.5 + 0.32 * (abs(day - 200) / 182.5 * 2 - 1)
    rain = 0.0
    for back in range(8):
        if float(draw(hash_at(key, day - back), 1)[0]) < 0.25:
            rain = max(rain, 1.0 - back / 8)
    return float(min(max(0.65 * season + 0.35 * rain, 0.0), 1.0))


def clouds(window: Window, granule: Granule, day: int) -> tuple[Floats, Floats]:
    """Opacity of clouds, 0 to 1, and depth of their shadow, 0 to 1, over a window (H, W).

    Three dates in ten are overcast, three clear, the others broken by clouds of some hundred
    metres. Shadows are the clouds' own shape, moved by one distance for the date.
    """
    numbers = hash_at(granule.key("weather"), day)
    kind, amount = float(draw(numbers, 1)[0]), float(draw(numbers, 2)[0])
    flat = np.zeros(window.shape, dtype=np.float32)
    if kind < 0.36:
        return flat, flat
    if kind > 0.72:
        veil = value_noise(window, 60_000, granule.key("overcast", day))
        return np.clip(np.float32(0.88 + 0.1 * amount) + np.float32(0.08) * veil, 0, 1), flat
    level = 0.55 - 1.0 * amount
    move_u, move_v = 4_000 + int(amount * 17_000), -9_000 - int(amount * 11_000)
    thrown = Window(
        window.u0 - move_u, window.v0 - move_v, window.step_cm, window.width, window.height
    )
    cloud = _cloud_field(window, granule, day)
    shade = _cloud_field(thrown, granule, day)
    return smoothstep(level, level + 0.35, cloud), smoothstep(level, level + 0.35, shade)


def _cloud_field(window: Window, granule: Granule, day: int) -> Floats:
    coarse = value_noise(window, 52_000, granule.key("cloud", day, 0))
    middle = value_noise(window, 17_000, granule.key("cloud", day, 1))
    fine = value_noise(window, 5_000, granule.key("cloud", day, 2))
    field: Floats = coarse + np.float32(0.45) * middle + np.float32(0.15) * fine
    return field
