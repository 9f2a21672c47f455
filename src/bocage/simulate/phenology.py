"""The course of the year: how green, how dry and how flowery each stand is on each day.

`calendars` says what is usual for a crop; here every stand grows by its own sowing date, vigour and
soil, and bare months of arable land carry catch crops or volunteers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import LPIS_3
from bocage.simulate.calendars import SEASONAL, STATIC
from bocage.simulate.hashing import Floats, Hashes, draw

DAYS = 366

ENDMEMBERS = (
    "crop leaf", "broad leaf", "needle", "straw", "flower", "bright soil", "dark soil",
    "water", "built", "roof", "glass", "snow",
)  # fmt: skip

# Reflectance of the pure covers in Sentinel-2's ten bands, ten-thousandths. Vegetation starts from
# the levels that PROSAIL (Jacquemoud et al. 2009) gives for dense canopies and was brought to the
# July medians of real parcels (crops) and oak and birch woods (broad leaf); others are chosen
# inside the ranges of the ECOSTRESS library (Meerdink et al. 2019).
_SPECTRA = """
220 560 205 960 3100 4100 4400 4600 1900 860
195 355 170 590 2300 3050 3200 3350 1350 540
180 330 210 560 1550 1950 2100 2200 1000 460
800 1150 1500 1950 2250 2450 2600 2750 3300 2500
350 1450 1250 1800 3100 3700 3900 4000 2100 1050
900 1250 1700 2000 2200 2400 2600 2750 3500 3150
520 720 960 1150 1300 1420 1550 1650 2350 2050
480 460 310 210 130 110 95 85 40 30
1300 1450 1600 1700 1800 1900 2000 2050 2300 2200
1050 1250 1700 1950 2100 2250 2350 2450 2900 2700
2300 2450 2500 2650 2800 2950 3050 3100 2900 2500
8500 8600 8500 8400 8200 8000 7800 7500 1200 900
"""
SPECTRA: Floats = np.array([line.split() for line in _SPECTRA.strip().splitlines()], np.float32)
"""Reflectance x 10000 of each endmember in the ten bands, (E, 10)."""

_SOWING_DAYS = 16
"""Largest distance of a stand's sowing from its calendar's."""
_CATCH_UP = 0.8
"""Share of a late sowing that is made up by harvest: three weeks at sowing leave some three days at
flowering (winter wheat, as the chambers of agriculture report)."""
_SPREAD_DAYS = 14
"""Days between the earliest and the latest variety and place of one crop in a domain (chosen)."""
_IDLE_DAYS = 45
"""Bare spells of arable land at least this long grow something, or are tilled."""
_TILLED = np.float32(0.25)
"""Share of the farmers who till the stubble after harvest and sow no catch crop (chosen)."""
_PLOUGHING_DAYS = 3
"""Days from harvest to tillage."""
_SEEN_BARE = np.float32(0.15)
"""Ground under less cover than this, straw included, looks bare from above (chosen)."""


@dataclass(frozen=True)
class Calendars:
    """Courses of the year, one row per name in `names` (K of them).

    `green`, `dry`, `flower` (K, 366) cover fractions; `idle` (K, 366), 0 to 1, how far a catch crop
    would stand; `turned` (K, 366), 0 or 1, whether whoever tills the stubble has done so;
    `progress` (K, 366), 0 at sowing to 1 at harvest; `leaf` (K,) endmember of the green part;
    `canopy` (K, 6) water-cloud parameters (A of VV and VH, B of VV and VH, wood, straw); for covers
    without a season `fixed` (K,) is their endmember (else -1) and `echo` (K, 2) their VV and VH in
    linear power.
    """

    names: tuple[str, ...]
    green: Floats
    dry: Floats
    flower: Floats
    idle: Floats
    turned: Floats
    progress: Floats
    leaf: NDArray[np.intp]
    canopy: Floats
    fixed: NDArray[np.intp]
    echo: Floats

    def index(self, name: str) -> int:
        """Row of that course."""
        return self.names.index(name)


@dataclass(frozen=True)
class Growth:
    """What sets stands apart from their calendars, (U,) each.

    `season` and `sowing`: days by which the whole year, and the sowing, are late; `vigour`: factor
    on green cover; `soil`: share of bright soil; `catch`: cover of a full catch crop; `tilled`: 1
    where stubble is tilled, else 0.
    """

    season: NDArray[np.int64]
    sowing: Floats
    vigour: Floats
    soil: Floats
    catch: Floats
    tilled: Floats


@dataclass(frozen=True)
class State:
    """Cover fractions of stands on days, (U, T) each; `catch` is the green of catch crops."""

    green: Floats
    dry: Floats
    flower: Floats
    catch: Floats


def growth(numbers: Hashes, late: NDArray[np.int64] | int) -> Growth:
    """How stands grow, by their own numbers (U,), where the year is so many days late."""
    sowing = (draw(numbers, 70) + draw(numbers, 71) - np.float32(1)) * np.float32(_SOWING_DAYS)
    # Who sows no catch crop, or a poor one, tills.
    cared = draw(numbers, 77)
    tilled = cared < _TILLED
    weather = np.rint((draw(numbers, 74) - np.float32(0.5)) * _SPREAD_DAYS).astype(np.int64)
    return Growth(
        season=weather + late,
        sowing=sowing,
        vigour=np.float32(0.90) + np.float32(0.16) * draw(numbers, 72),
        soil=bright_soil(draw(numbers, 73)),
        catch=np.where(tilled, np.float32(0), np.float32(0.05) + np.float32(0.85) * cared),
        tilled=tilled.astype(np.float32),
    )


def bright_soil(brightness: Floats) -> Floats:
    """Share of bright soil in bare ground of that brightness, 0 to 1."""
    share: Floats = np.float32(0.25) + np.float32(0.6) * brightness
    return share


def state(calendar: NDArray[np.intp], grown: Growth, days: NDArray[np.int64]) -> State:
    """How stands of these calendars (U,) look on days of the year (T,)."""
    row = calendar[:, None]
    day = np.clip(days[None, :] - grown.season[:, None], 0, DAYS - 1)
    late = grown.sowing[:, None] * (1 - np.float32(_CATCH_UP) * CALENDARS.progress[row, day])
    day = np.clip(day - np.rint(late).astype(np.int64), 0, DAYS - 1)
    vigour = grown.vigour[:, None]
    catch = CALENDARS.idle[row, day] * grown.catch[:, None]
    return State(
        green=np.minimum(CALENDARS.green[row, day] * vigour, 1),
        # Stubble goes when the catch crop is sown into it, and under the plough.
        dry=CALENDARS.dry[row, day]
        * (1 - np.float32(0.6) * catch)
        * (1 - grown.tilled[:, None] * CALENDARS.turned[row, day]),
        flower=CALENDARS.flower[row, day] * vigour,
        catch=catch,
    )


def is_bare(calendar: NDArray[np.intp], grown: Growth, day: int) -> NDArray[np.bool_]:
    """Whether stands of these calendars (U,) are bare ground, seen from above on a day, (U,)."""
    now = state(calendar, grown, np.array([day]))
    bare: NDArray[np.bool_] = (now.green + now.catch + now.dry + now.flower)[:, 0] < _SEEN_BARE
    return bare


def _course(knots: str) -> Floats:
    """Cover per day of year, (366,) float32, through cubic steps between `day:value` knots."""
    course = np.zeros(DAYS, dtype=np.float64)
    pairs = [knot.split(":") for knot in knots.split()]
    days = [int(day) for day, _ in pairs]
    values = [float(value) for _, value in pairs]
    for day in range(DAYS if days else 0):
        k = sum(d <= day for d in days)
        if k in (0, len(days)):
            course[day] = values[0] if k == 0 else values[-1]
            continue
        t = (day - days[k - 1]) / (days[k] - days[k - 1])
        course[day] = values[k - 1] + (values[k] - values[k - 1]) * t * t * (3 - 2 * t)
    return course.astype(np.float32)


def _bare_spells(green: Floats, dry: Floats, flower: Floats) -> list[tuple[int, int]]:
    """First day and length of the year's bare spells; a spell may run over New Year."""
    bare = (green + flower < np.float32(0.06)) & (dry < np.float32(0.45))
    starts = np.flatnonzero(bare & ~np.roll(bare, 1))
    ends = np.flatnonzero(~bare & np.roll(bare, 1))
    return [
        (int(start), int((ends[np.searchsorted(ends, start) % len(ends)] - start) % DAYS))
        for start in starts
    ]


def _idle(spells: list[tuple[int, int]]) -> Floats:
    """How far a catch crop stands, 0 to 1: up within weeks of harvest, destroyed before sowing.

    After a winter crop it may as well be the next one, and stays until New Year.
    """
    course = np.zeros(DAYS, dtype=np.float32)
    for start, length in spells:
        if length < _IDLE_DAYS:
            continue
        rise = min(50, length // 3)
        since = np.arange(length)
        up = np.clip((since - 8) / rise, 0, 1)
        ends_with_year = start + length == DAYS
        down = np.ones(length) if ends_with_year else np.clip((length - 12 - since) / 14, 0, 1)
        course[(start + since) % DAYS] = np.minimum(up * up * (3 - 2 * up), down)
    return course


def _turned(spells: list[tuple[int, int]]) -> Floats:
    """1 on the days of long bare spells from a few days after harvest on."""
    course = np.zeros(DAYS, dtype=np.float32)
    for start, length in spells:
        if length >= _IDLE_DAYS:
            course[(start + np.arange(_PLOUGHING_DAYS, length)) % DAYS] = 1
    return course


def _progress(green: Floats) -> Floats:
    """Share of the year's green that is behind: what was late at sowing is hardly so at harvest,
    nor after it, or a field would be harvested twice."""
    behind = np.cumsum(green.astype(np.float64))
    return np.round(behind / max(float(behind[-1]), 1e-9), 4).astype(np.float32)


def _build() -> Calendars:
    rows = [[cell.strip() for cell in line.split("|")] for line in SEASONAL.strip().splitlines()]
    names = (*(row[0] for row in rows), *STATIC)
    seasonal = len(rows)
    green, dry, flower, idle, turned, progress = (
        np.zeros((len(names), DAYS), np.float32) for _ in range(6)
    )
    for k, row in enumerate(rows):
        green[k], dry[k], flower[k] = (_course(row[column]) for column in (2, 3, 4))
        spells = _bare_spells(green[k], dry[k], flower[k]) if row[0] in LPIS_3.names else []
        idle[k], turned[k], progress[k] = _idle(spells), _turned(spells), _progress(green[k])
    echo = np.zeros((len(names), 2), dtype=np.float32)
    echo[seasonal:] = [(vv, vh) for _, vv, vh in STATIC.values()]
    still = [ENDMEMBERS.index(endmember) for endmember, _, _ in STATIC.values()]
    return Calendars(
        names=names,
        green=green,
        dry=dry,
        flower=flower,
        idle=idle,
        turned=turned,
        progress=progress,
        leaf=np.array([ENDMEMBERS.index(row[1]) for row in rows] + [0] * len(STATIC), np.intp),
        canopy=np.array([row[5].split() for row in rows] + [[0] * 6] * len(STATIC), np.float32),
        fixed=np.array([-1] * seasonal + still, dtype=np.intp),
        echo=echo,
    )


CALENDARS = _build()
OF_CROP = np.array(
    [CALENDARS.index(name if name in CALENDARS.names else "bare") for name in LPIS_3.names], np.intp
)
"""Row of `CALENDARS` of every level-3 crop, (C,): arable land without one lies fallow, bare."""
