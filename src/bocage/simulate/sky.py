"""When satellites pass, what the sky was like on each date, and what clouds hide.

Passes follow the orbits: one Sentinel-2 orbit sees a place every 5 days with two satellites
(Drusch et al. 2012), one Sentinel-1 orbit every 6 days (Torres et al. 2012), every 12 after
Sentinel-1B's end in December 2021. Swaths overlap at these latitudes, so that many places lie under
two orbits of a kind. Dates and weather belong to a granule of the ground, as products do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, draw, hash_at, make_key
from bocage.simulate.noise import Window, smoothstep, value_noise

_GRANULE_CM = 2_048_000
_SENTINEL2_DAYS = 5
_FEWEST_DATES, _MOST_DATES = 30, 110
_TWO_SENTINEL2_ORBITS, _TWO_SENTINEL1_ORBITS = 0.5, 0.4
"""Share of places under two orbits (of Sentinel-1: per direction)."""

_SUNSHINE_H, _SUMMER_RAIN_MM = 1_900, 190
"""Hours of sunshine in a year, and rain of June to August, that the ordinary shares belong to."""
# The sun over a pass at half past ten: towards east and south, and the tangent of its height in
# midwinter and midsummer at 46 degrees north.
_SUN_EAST, _SUN_SOUTH, _SUN_LOW, _SUN_HIGH = 0.42, 0.91, 0.34, 1.73


class Sky(IntEnum):
    """What hangs over a granule at a pass."""

    CLEAR = 0
    BROKEN = 1
    CIRRUS = 2
    OVERCAST = 3


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
    """Days of the year (0 = 1 January) with a Sentinel-2 image, (T,), T from 30 to 110.

    One orbit or two, of which the archive lacks three in ten of the overcast dates and one in eight
    of the others; which ones is a draw.
    """
    key = granule.key("sentinel2 dates")
    number = hash_at(key, -1)
    first = int(draw(number, 0)[0] * _SENTINEL2_DAYS)
    orbits = [first]
    if float(draw(number, 1)[0]) < _TWO_SENTINEL2_ORBITS:
        orbits.append((first + (2 if float(draw(number, 2)[0]) < 0.5 else 3)) % _SENTINEL2_DAYS)
    days = np.sort(np.concatenate([np.arange(day, 365, _SENTINEL2_DAYS) for day in orbits]))
    overcast = weather(granule, days)[0] == Sky.OVERCAST
    # Below 1 an image is kept; the order decides where the bounds on their number do.
    reluctance = draw(hash_at(key, days), 1) / np.where(overcast, 0.7, 0.88).astype(np.float32)
    count = int(np.clip((reluctance < 1).sum(), _FEWEST_DATES, _MOST_DATES))
    return np.sort(days[np.argsort(reluctance, kind="stable")[:count]])


def sentinel1_passes(granule: Granule, orbit: str) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Days of the year with a Sentinel-1 image of that direction, and the orbit of each, (T,) both.

    Orbit 0 sees every place, orbit 1 some, one day before it. One pass in twelve is missing, never
    two of an orbit in a row.
    """
    key = granule.key("sentinel1 dates", orbit)
    number = hash_at(key, -1)
    period = 6 if granule.domain.year < 2022 else 12
    first = int(draw(number, 0)[0] * period)
    tracks = 2 if float(draw(number, 1)[0]) < _TWO_SENTINEL1_ORBITS else 1
    found = []
    for track in range(tracks):
        days = np.arange((first - track) % period, 365, period)
        missed = draw(hash_at(key, days), 1) < 1 / 12
        missed[1:] &= ~missed[:-1]
        found.append(days[~missed])
    days = np.concatenate(found)
    order = np.argsort(days, kind="stable")
    tracks_of = np.concatenate([np.full(len(part), k) for k, part in enumerate(found)])
    return days[order], tracks_of[order].astype(np.intp)


def sentinel1_days(granule: Granule, orbit: str) -> NDArray[np.int64]:
    """Days of the year with a Sentinel-1 image of that direction, (T,)."""
    return sentinel1_passes(granule, orbit)[0]


def to_dates(days: NDArray[np.int64], year: int) -> list[str]:
    """Days of the year as YYYYMMDD."""
    dates = np.datetime64(f"{year:04d}-01-01", "D") + days
    return [str(date).replace("-", "") for date in dates]


def weather(granule: Granule, days: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """The `Sky` on each day, (T,), and a number in [0, 1) for how much of it, (T,).

    No weather model is followed: each day is drawn by itself. Clear skies are rarer in winter and
    where the sun shines for fewer hours of the year (by how much is chosen); shares are set so that
    as many images of a place come out clear, three in ten, as on the real series of
    `tools/calibrate_simulation`.
    """
    numbers = hash_at(granule.key("weather"), days)
    kind = draw(numbers, 1)
    # 1 on the shore of the Mediterranean; and -1 summer to 1 winter.
    sunny = (granule.domain.sunshine_h - _SUNSHINE_H) / 750
    winter = np.abs(days - 196).astype(np.float32) / np.float32(91.25) - 1
    clear = np.float32(0.16 + 0.10 * sunny) - np.float32(0.05) * winter
    overcast = np.float32(0.51 - 0.12 * sunny) + np.float32(0.08) * winter
    sky = np.full(len(days), Sky.BROKEN, dtype=np.int64)
    sky[kind > np.float32(0.92) - overcast] = Sky.CIRRUS
    sky[kind > 1 - overcast] = Sky.OVERCAST
    sky[kind < clear] = Sky.CLEAR
    return sky, draw(numbers, 2)


def soil_moisture(granule: Granule, days: NDArray[np.int64]) -> Floats:
    """Wetness of bare soil on days of the year, (T,), 0 (dry) to 1: wet winters, drying after rain.

    It rains on half of the overcast days and some of the others, in summer as often as the domain's
    rain has it; the top centimetres dry out within about a week, and in a dry summer further. No
    water balance is kept: a yearly course plus the latest rain, with weights, chances of rain and
    days of drying that are chosen.
    """
    ample = min(granule.domain.summer_rain_mm / _SUMMER_RAIN_MM, 1.5) - 1
    memory = np.arange(8)
    recent = days[:, None] - memory
    sky, _ = weather(granule, recent.reshape(-1))
    summer = np.clip(1 - np.abs(recent.reshape(-1) - 196).astype(np.float32) / 75, 0, 1)
    chance = np.where(sky == Sky.OVERCAST, np.float32(0.5), np.float32(0.08))
    chance = chance * (1 + np.float32(ample) * summer)
    rains = draw(hash_at(granule.key("rain"), recent.reshape(-1)), 1) < chance
    left = (1 - memory / 8).astype(np.float32)
    rain = np.where(rains.reshape(recent.shape), left, 0).max(axis=1)
    season = np.float32(0.18) + np.float32(0.64 / 182.5) * np.abs(days - 200).astype(np.float32)
    season += np.float32(0.12 * ample) * np.clip(1 - np.abs(days - 196) / np.float32(75), 0, 1)
    wetness: Floats = np.float32(0.65) * season + np.float32(0.35) * rain
    return np.clip(wetness, 0, 1)


def clouds(window: Window, granule: Granule, day: int) -> tuple[Floats, Floats]:
    """Opacity of clouds, 0 to 1, and depth of their shadow, 0 to 1, over a window (H, W).

    Clouds are sums of value noise above a level (after Perlin 1985). Shadows are the clouds' own
    shape, thrown away from the sun by the height of their base: the geometry by which Zhu &
    Woodcock (2012) match shadows to clouds. Opacities, sizes (50 to 520 m) and heights of the base
    (700 to 3,000 m) are chosen.
    """
    skies, amounts = weather(granule, np.array([day]))
    sky, amount = Sky(int(skies[0])), float(amounts[0])
    flat = np.zeros(window.shape, dtype=np.float32)
    if sky is Sky.CLEAR:
        return flat, flat
    if sky is Sky.OVERCAST:
        veil = value_noise(window, 60_000, granule.key("overcast", day))
        return np.clip(np.float32(0.88 + 0.1 * amount) + np.float32(0.08) * veil, 0, 1), flat
    if sky is Sky.CIRRUS:
        veil = value_noise(window, 140_000, granule.key("cirrus", day))
        thin = np.float32(0.05 + 0.20 * amount) * (1 + np.float32(0.7) * veil)
        return np.clip(thin, 0, 1), flat
    level = 0.55 - 1.0 * amount
    base_m = 700 + 2_300 * float(draw(hash_at(granule.key("weather"), day), 3)[0])
    summer = 1 - abs(day - 172) / 194
    reach = base_m * 100 / (_SUN_LOW + (_SUN_HIGH - _SUN_LOW) * summer)
    toward_u, toward_v = round(reach * _SUN_EAST), round(reach * _SUN_SOUTH)
    # What shades a point stands that far towards the sun.
    above = Window(
        window.u0 + toward_u, window.v0 + toward_v, window.step_cm, window.width, window.height
    )
    cloud = _cloud_field(window, granule, day)
    shade = _cloud_field(above, granule, day)
    return smoothstep(level, level + 0.35, cloud), smoothstep(level, level + 0.35, shade)


def _cloud_field(window: Window, granule: Granule, day: int) -> Floats:
    coarse = value_noise(window, 52_000, granule.key("cloud", day, 0))
    middle = value_noise(window, 17_000, granule.key("cloud", day, 1))
    fine = value_noise(window, 5_000, granule.key("cloud", day, 2))
    field: Floats = coarse + np.float32(0.45) * middle + np.float32(0.15) * fine
    return field
