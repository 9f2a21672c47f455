"""Coarse pixels: which covers share one, and in what state each was on a day."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import hash_at
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.phenology import CALENDARS, OF_CROP, Growth, bright_soil, growth
from bocage.simulate.surfaces import BEHAVIOUR, Surface

POINTS = 8
"""A coarse pixel is sampled on a lattice of this many points a side (1.28 m for Sentinel)."""

_CALENDAR_OF = np.array(
    [CALENDARS.index(name) if name in CALENDARS.names else -1 for name in BEHAVIOUR], np.intp
)
_BY_CROP = np.array([name == "field" for name in BEHAVIOUR])


@dataclass(frozen=True)
class Cover:
    """`counts` (P, U) float64 whole numbers: points of each pixel in each of U kinds of cover.

    Per kind (U,): `calendar` row of `CALENDARS`; `grown` how it differs from that; `direction` of
    its rows (0..63, -1 for none); `hash` its own numbers.
    """

    counts: NDArray[np.float64]
    calendar: NDArray[np.intp]
    grown: Growth
    direction: NDArray[np.int32]
    hash: NDArray[np.uint64]

    def average(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over each pixel's points of whole-number `values` (U, N): (P, N).

        Sums of whole numbers below 2**53 are exact in any order, whatever the matrix library does.
        """
        result: NDArray[np.float64] = (self.counts @ values) / (POINTS * POINTS)
        return result


@functools.lru_cache(maxsize=1)
def cover(land: Landscape, window: Window) -> Cover:
    """What the pixels of a coarse `window` (P = H x W, row by row) hold.

    The last one is kept: three series look at the same place, one after the other.
    """
    scene = land.scene(window.resampled(window.step_cm // POINTS))
    surface = scene.surface.astype(np.int64)
    # A parcel matters where its crop or stand decides; elsewhere a surface is one kind.
    own = _BY_CROP | np.isin(_CALENDAR_OF, np.arange(CALENDARS.index("bare")))
    code = np.where(own[surface], scene.parcel.astype(np.int64) + 1, 0) * len(Surface) + surface
    kinds, index = np.unique(code.reshape(-1), return_inverse=True)
    height, width = window.shape
    pixel = (
        np.arange(height * POINTS)[:, None] // POINTS * width
        + np.arange(width * POINTS)[None, :] // POINTS
    ).reshape(-1)
    counts = np.bincount(
        pixel * len(kinds) + index.reshape(-1), minlength=height * width * len(kinds)
    ).reshape(height * width, len(kinds))

    which, parcel = kinds % len(Surface), kinds // len(Surface) - 1
    owned = parcel >= 0
    row = np.maximum(parcel, 0)
    owner = scene.owner
    numbers = np.where(owned, owner.hash[row], hash_at(land.key("kind"), which))
    calendar = np.where(_BY_CROP[which], OF_CROP[owner.crop[row]], _CALENDAR_OF[which])
    grown = growth(numbers, np.where(owned, owner.late[row], land.domain.season_days))
    return Cover(
        counts=counts.astype(np.float64),
        calendar=calendar,
        grown=replace(grown, soil=np.where(owned, bright_soil(owner.soil)[row], grown.soil)),
        direction=np.where(owned, owner.direction[row], -1).astype(np.int32),
        hash=numbers,
    )
