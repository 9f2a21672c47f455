"""The ground: valleys that drain, hills between them, and how far every point is from water.

Rivers run side by side down the domain's general slope, each a meandering line. Brooks run from
the ridges between them down to the nearest river. Altitude is a product of the two distances, so
that water flows downhill by construction: along a brook it falls to the river, along a river with
the general slope. Hills and roughness are added off the channels only.

That rivers come first and the ground is raised between them follows Génevaux et al. 2013 ("Terrain
generation using procedural models based on hydrology"), who grow a network where this has lines;
that roughness falls with scale and is least in valleys, Musgrave, Kolb & Mace 1989 ("The synthesis
and rendering of eroded fractal terrains"). Formulas and numbers are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, Ints, draw, hash_at, make_key
from bocage.simulate.noise import (
    METRE,
    Window,
    smoothstep,
    value_noise,
    value_noise_at,
    value_noise_gradient,
)
from bocage.simulate.partition import DIRECTIONS

_FALL = 0.0008
"""General slope: 0.8 m of fall per kilometre of river (chosen; lowland rivers have 0.2 to 5)."""
_MOUTH_M = 70_000
"""Altitudes are counted from a point this far downstream: no domain lies below the sea."""
_BROOKS = 0.3
"""Distance between brooks, as a share of the distance between rivers."""
_CUT = 0.55
"""Share of a hillside's height that a brook cuts away beside the river."""
_DEEPEST_M = 800.0
"""Hillsides higher than this are cut as deep as this one: a gorge, not a share of a mountain."""
_SPRING = 0.8
"""Brooks rise this far up the hillside, 1 being the ridge."""
_MEANDER_CELL, _MEANDER_M = 180_000, 260
_BEND_CELL, _BEND_M = 60_000, 90
_SWELL_CELL = 700_000
_HILLS = ((90_000, 0.16), (26_000, 0.07), (7_000, 0.018), (2_000, 0.004))
"""Lattice in cm and share of the domain's relief: roughness falls with scale (chosen)."""
_ROUGHEST_M = 600.0
"""Roughness grows with the relief up to this one: mountains are higher than hills by their valleys'
width. Half of a high domain is steeper than some 17 degrees, a tenth than some 30, and less than
one place in a hundred than 45."""
_OFF_CHANNEL_M, _FLOOR = 140.0, 0.20
"""How far from a river the ground is as rough as it gets; in a trough, a share of the distance
between rivers more."""
_STEP_CM = 6_000


@dataclass(frozen=True)
class Terrain:
    """The ground at scattered points, (N,) float32 each.

    `altitude` and `bank` (distance to the water's edge) in metres; `east` and `south`: rise of the
    ground per metre in that direction.
    """

    altitude: Floats
    bank: Floats
    east: Floats
    south: Floats

    @property
    def slope(self) -> Floats:
        """Steepness, metres per metre."""
        result: Floats = np.sqrt(self.east * self.east + self.south * self.south)
        return result

    @property
    def sunny(self) -> Floats:
        """Aspect: 1 on a slope that faces south, -1 on one that faces north."""
        return self.south * np.float32(-1) / np.maximum(self.slope, np.float32(1e-3))


def ground(window: Window, domain: Domain, seed: int) -> tuple[Floats, Floats]:
    """Altitude of the bare ground and distance to the nearest water's edge, metres, (H, W) each.

    The distance is negative inside rivers and brooks. It is the line's field over its slope, exact
    to first order.
    """
    main, east, south = value_noise_gradient(
        window, _MEANDER_CELL, make_key(seed, domain.key, "river")
    )
    cos, sin = _course(domain, seed)
    steep_u = cos + np.float32(_MEANDER_M) * east
    steep_v = sin + np.float32(_MEANDER_M) * south
    return _shape(
        window.u[None, :],
        window.v[:, None],
        domain,
        seed,
        main,
        np.sqrt(steep_u * steep_u + steep_v * steep_v),
        lambda cell, key: value_noise(window, cell, key),
    )


def terrain_at(u: Ints, v: Ints, domain: Domain, seed: int) -> Terrain:
    """The ground at scattered points (N,) cm; slopes over 60 m."""
    count = len(u)
    # Each point with one to the east and one to the south of it.
    u = np.concatenate([u, u + _STEP_CM, u]).astype(np.int64)
    v = np.concatenate([v, v, v + _STEP_CM]).astype(np.int64)
    main = value_noise_at(u, v, _MEANDER_CELL, make_key(seed, domain.key, "river"))
    altitude, bank = _shape(
        u, v, domain, seed, main, np.ones(len(u), dtype=np.float32),
        lambda cell, key: value_noise_at(u, v, cell, key),
    )  # fmt: skip
    here = altitude[:count]
    rise = np.float32(METRE / _STEP_CM)
    return Terrain(
        here,
        bank[:count],
        (altitude[count : 2 * count] - here) * rise,
        (altitude[2 * count :] - here) * rise,
    )


def _course(domain: Domain, seed: int) -> tuple[np.float32, np.float32]:
    """Cosine and sine of the direction across the domain's rivers."""
    turn = int(hash_at(make_key(seed, domain.key, "course"), 0)[0] % np.uint64(len(DIRECTIONS)))
    return DIRECTIONS[turn, 0], DIRECTIONS[turn, 1]


def _shape(
    u: Ints, v: Ints, domain: Domain, seed: int, main: Floats, steep: Floats,
    noise: Callable[[int, int], Floats],
) -> tuple[Floats, Floats]:  # fmt: skip
    """Altitude and distance to water from coordinates (cm) and noise on the same points."""
    cos, sin = (float(part) for part in _course(domain, seed))
    metre = 1 / METRE
    across = ((cos * u + sin * v) * metre).astype(np.float32) + np.float32(_MEANDER_M) * main
    along = ((cos * v - sin * u) * metre).astype(np.float32)
    spacing = np.float32(domain.valley_m)

    place = across / spacing
    river = np.rint(place)
    off = place - river
    # 0 at the river, 1 at the ridge.
    up = np.abs(off) * np.float32(2)
    first, last = int(river.min()), int(river.max())
    number = river.astype(np.int64) - first
    size = draw(hash_at(make_key(seed, domain.key, "rivers"), np.arange(first, last + 1)), 1)
    reach = np.float32(domain.river_m) * (np.float32(0.5) + np.float32(1.6) * size * size)
    middle = np.abs(off) * spacing
    river_bank = middle / steep - reach[number]

    sides = np.arange(2 * first, 2 * last + 2)
    shift = draw(hash_at(make_key(seed, domain.key, "brooks"), sides), 1)
    bends = np.float32(_BEND_M) * noise(_BEND_CELL, make_key(seed, domain.key, "bends"))
    apart = spacing * np.float32(_BROOKS)
    step = (along + bends) / apart + shift[2 * number + (off > 0)]
    away = np.abs(step - np.rint(step))
    width = np.float32(1.5) * (np.float32(1.1) - up)
    brook = np.where(up < _SPRING, away * apart - width, np.float32(1e6))
    bank = np.minimum(river_bank, brook)

    # At the ridge, where the brooks of the other side begin, a brook has cut nothing.
    side = up * up * (np.float32(3) - np.float32(2) * up)
    trough = up * up * up * (np.float32(10) + up * (np.float32(6) * up - np.float32(15)))
    hillside = side + np.float32(domain.trough) * (trough - side)
    gully = (1 - smoothstep(0.0, 0.5, away)) * (1 - up * up)
    relief = np.float32(domain.relief_m)
    cut = np.float32(_CUT * min(1.0, _DEEPEST_M / domain.relief_m))
    height = hillside * (1 - cut * gully)
    swell = np.float32(0.75) + np.float32(0.25) * noise(
        _SWELL_CELL, make_key(seed, domain.key, "swell")
    )
    altitude = (
        np.float32(domain.altitude_m)
        + np.float32(_FALL) * (along + _MOUTH_M)
        + relief * swell * height
    )
    rough = smoothstep(20.0, _OFF_CHANNEL_M + _FLOOR * domain.valley_m * domain.trough, middle) * (
        1 - gully
    )
    rough *= np.float32(min(domain.relief_m, _ROUGHEST_M))
    for octave, (cell, share) in enumerate(_HILLS):
        key = make_key(seed, domain.key, "relief", octave)
        altitude += rough * np.float32(share) * noise(cell, key)
    return altitude, bank
