"""How the land is divided: blocks between roads, and parcels inside blocks.

Blocks are the cells of a jittered Voronoi diagram on slightly warped ground, of which some centres
are missing, so that there are large and small ones: their borders meet like a network of roads.
Blocks that lie nearest to one place make a parish, and main roads run between parishes. Each block
is cut into strips along its own direction and each strip into parcels, with uneven cuts. Nothing
here knows what the land is used for, except the sizes.

Le Ber et al. 2009 ("Neutral modelling of agricultural landscapes by tessellation methods") compare
field patterns of Voronoi and of rectangular tessellations with real ones; here each serves where it
fits, the first for blocks, the second inside them. The nearest and second nearest of jittered
points, at most one per cell of a grid, are those of Worley 1996 ("A cellular texture basis
function"). Parishes, cuts and all numbers are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats, Hashes, draw, hash_at
from bocage.simulate.noise import METRE, Window, value_noise

_WARP_CELL, _WARP_CM = 15_000, 700
_MISSING = 0.5
"""Share of every second centre that is missing: its neighbours' blocks are larger."""
_DENSER = (1 - _MISSING / 2) ** 0.5
"""Lattice of the centres against their mean distance, which missing ones widen."""
_PARISH = 4.5
"""Distance of the middles of parishes, in those of blocks."""
_MARGIN_CM = 12_500
"""Built plots' middles are judged too, and lie up to this far outside the window; the middles of
large fields may lie farther, but nothing asks for their `inset_m`."""
_REACH = 24
"""Strips and parcels are numbered -24..24 from the block's centre; beyond, the last one grows."""
_SPAN = 2 * _REACH + 1

DIRECTIONS = np.array(
    [(round(float(np.cos(a)), 6), round(float(np.sin(a)), 6)) for a in np.arange(64) * np.pi / 64],
    dtype=np.float32,
)
"""Cosine and sine of 64 directions over half a turn, rounded so that every machine agrees."""

Index = NDArray[np.int32]


@dataclass(frozen=True)
class Blocks:
    """`nearest`, `second` (H, W): rows of the tables `site` (N, 2 cm) and `hash` (N,).

    `border_m` (H, W): distance to the border between the two blocks. `u`, `v` (H, W) int32: the
    warped coordinates in which blocks are straight. `parish` (N,): number of each block's parish.
    """

    nearest: Index
    second: Index
    border_m: Floats
    u: Index
    v: Index
    site: Index
    hash: Hashes
    parish: Hashes


def blocks(window: Window, key: int, spacing_cm: int) -> Blocks:
    """The two nearest block centres of every pixel and the distance to the border between them.

    `spacing_cm` is the mean distance of block centres.
    """
    warp_u = np.rint(value_noise(window, _WARP_CELL, key ^ 1) * _WARP_CM).astype(np.int32)
    warp_v = np.rint(value_noise(window, _WARP_CELL, key ^ 2) * _WARP_CM).astype(np.int32)
    u = window.u.astype(np.int32)[None, :] + warp_u
    v = window.v.astype(np.int32)[:, None] + warp_v
    box = (int(u.min()), int(u.max()), int(v.min()), int(v.max()))
    site, hashes, reached = _sites(key, round(spacing_cm * _DENSER), *box)

    far = np.float32(np.inf)
    best = np.full(window.shape, far, dtype=np.float32)
    runner = best.copy()
    nearest = np.zeros(window.shape, dtype=np.int32)
    second = np.zeros(window.shape, dtype=np.int32)
    for k in reached:
        site_u, site_v = site[k]
        # Integer differences are exact, so that float32 gives every window the same distance.
        du = (u - site_u).astype(np.float32)
        dv = (v - site_v).astype(np.float32)
        d = du * du + dv * dv
        closer = d < best
        second = np.where(closer, nearest, np.where(d < runner, np.int32(k), second))
        runner = np.where(closer, best, np.minimum(runner, d))
        nearest[closer] = k
        best = np.minimum(best, d)
    border = (runner - best) / _spacing(site)[nearest, second]
    parish = _parishes(site, key ^ 3, round(spacing_cm * _PARISH))
    return Blocks(nearest, second, border, u, v, site, hashes, parish)


def _parishes(site: Index, key: int, spacing: int) -> Hashes:
    """Number of the place, one in every cell of a lattice, that is nearest to each site, (N,)."""
    cells = np.array([(row, col) for row in (-1, 0, 1) for col in (-1, 0, 1)])
    rows = site[:, 1, None] // spacing + cells[:, 0]
    cols = site[:, 0, None] // spacing + cells[:, 1]
    hashes = hash_at(key, rows, cols)
    place_u = cols * spacing + np.rint((0.25 + 0.5 * draw(hashes, 1)) * spacing).astype(np.int64)
    place_v = rows * spacing + np.rint((0.25 + 0.5 * draw(hashes, 2)) * spacing).astype(np.int64)
    gap = (site[:, 0, None] - place_u) ** 2 + (site[:, 1, None] - place_v) ** 2
    return np.take_along_axis(hashes, gap.argmin(axis=1)[:, None], axis=1)[:, 0]


def _spacing(site: Index) -> Floats:
    """Twice the distance between every two centres, (N, N): squared cm to metres of border."""
    gap = np.hypot(*(site[:, None, :] - site[None, :, :]).astype(np.float64).transpose(2, 0, 1))
    spacing: Floats = 2 * METRE * np.maximum(np.rint(gap), 1)
    return spacing.astype(np.float32)


def _sites(
    key: int, spacing: int, u0: int, u1: int, v0: int, v1: int
) -> tuple[Index, Hashes, NDArray[np.intp]]:
    """Block centres in fixed order, and which of them count inside the rectangle.

    The tables hold every centre that can be first or second nearest to a point of the rectangle or
    within `_MARGIN_CM` of it; the third value lists those that can be so inside it.
    """
    reach = _MARGIN_CM + 3 * spacing
    cols = np.arange((u0 - reach) // spacing, (u1 + reach) // spacing + 1)
    rows = np.arange((v0 - reach) // spacing, (v1 + reach) // spacing + 1)
    hashes = hash_at(key, rows[:, None], cols[None, :])
    jitter, least = spacing * 0.7, spacing * 0.15
    site_u = cols[None, :] * spacing + np.rint(least + draw(hashes, 1) * jitter)
    site_v = rows[:, None] * spacing + np.rint(least + draw(hashes, 2) * jitter)
    there = ((rows[:, None] + cols[None, :]) % 2 == 0) | (draw(hashes, 3) >= _MISSING)
    sites = np.stack([site_u, site_v], axis=-1)[there].astype(np.int32)
    m = _MARGIN_CM
    keep = _within(sites, u0 - m, u1 + m, v0 - m, v1 + m)
    sites = sites[keep]
    return sites, hashes[there][keep], np.flatnonzero(_within(sites, u0, u1, v0, v1))


def _within(sites: Index, u0: int, u1: int, v0: int, v1: int) -> NDArray[np.bool_]:
    """Centres not farther from the rectangle than its farthest point from its second centre."""
    u, v = sites[:, 0].astype(np.float64), sites[:, 1].astype(np.float64)
    near = np.hypot(
        np.maximum(np.maximum(u0 - u, u - u1), 0), np.maximum(np.maximum(v0 - v, v - v1), 0)
    )
    farthest = np.hypot(np.maximum(abs(u - u0), abs(u - u1)), np.maximum(abs(v - v0), abs(v - v1)))
    return np.asarray(near <= np.sort(farthest)[1] + 1)


@dataclass(frozen=True)
class Parcels:
    """`index` (H, W): rows of the tables. All distances in metres.

    `low_a`, `high_a` (H, W): to the parcel's two sides across the block's direction; `low_b`,
    `high_b`: along it. Tables (P,): `hash`; `block`: row of the block tables; `strip`: number of
    the strip; `direction`: row of `DIRECTIONS`; `inset_m`: distance of the parcel's middle to the
    block's border, 0 when the middle lies in another block; and the hashes of the four sides,
    `side_hash` (P, 4) in the order low_a, high_a, low_b, high_b, equal for both neighbours.
    """

    index: Index
    low_a: Floats
    high_a: Floats
    low_b: Floats
    high_b: Floats
    hash: Hashes
    block: Index
    strip: Index
    direction: Index
    inset_m: Floats
    side_hash: Hashes

    @property
    def across(self) -> Floats:
        """Metres from the parcel's middle, across the block's direction, (H, W)."""
        return (self.low_a - self.high_a) * np.float32(0.5)

    @property
    def along(self) -> Floats:
        """Metres from the parcel's middle, along the block's direction, (H, W)."""
        return (self.low_b - self.high_b) * np.float32(0.5)


def parcels(land: Blocks, width_m: Floats, length_m: Floats, key: int) -> Parcels:
    """Cut every block into parcels of about the given sizes (N,), one per row of the blocks."""
    base = hash_at(key, land.hash)
    turn = (draw(base, 1) * 64).astype(np.int32)
    width = width_m * (np.float32(0.85) + np.float32(0.3) * draw(base, 2))
    cos, sin = DIRECTIONS[turn, 0], DIRECTIONS[turn, 1]
    numbers = np.arange(-_REACH, _REACH + 2)

    block = land.nearest
    centimetre = np.float32(1 / METRE)
    du = (land.u - land.site[:, 0][block]).astype(np.float32) * centimetre
    dv = (land.v - land.site[:, 1][block]).astype(np.float32) * centimetre
    c, s = cos[block], sin[block]

    cut_hash = hash_at(base[:, None], numbers[None, :])
    cut = (draw(cut_hash, 3) - np.float32(0.5)) * np.float32(0.5)
    w = width[block]
    strip, low_a, high_a = _divide((c * du + s * dv) / w, block, cut)
    low_a, high_a = low_a * w, high_a * w

    # Only strips and parcels that the window shows get numbers of their own.
    line, lines = _renumber(block * _SPAN + strip, len(base) * _SPAN)
    strip_hash = cut_hash[:, :-1].reshape(-1)[lines]
    length = length_m[lines // _SPAN] * (np.float32(0.7) + np.float32(0.6) * draw(strip_hash, 4))
    phase = draw(strip_hash, 5)
    end_hash = hash_at(strip_hash[:, None], numbers[None, :])
    end = (draw(end_hash, 6) - np.float32(0.5)) * np.float32(0.5)
    length_hw = length[line]
    cell, low_b, high_b = _divide((c * dv - s * du) / length_hw + phase[line], line, end)
    low_b, high_b = low_b * length_hw, high_b * length_hw

    index, codes = _renumber(line * _SPAN + cell, len(lines) * _SPAN)
    rows, cells = codes // _SPAN, codes % _SPAN
    blocks_, strips = lines[rows] // _SPAN, lines[rows] % _SPAN
    sides = np.stack(
        [
            cut_hash[blocks_, strips],
            cut_hash[blocks_, strips + 1],
            end_hash[rows, cells],
            end_hash[rows, cells + 1],
        ],
        axis=1,
    )
    half = np.float32(0.5)
    middle_a = (strips - _REACH + half * (1 + cut[blocks_, strips] + cut[blocks_, strips + 1])) * (
        width[blocks_]
    )
    middle_b = (
        cells - _REACH + half * (1 + end[rows, cells] + end[rows, cells + 1]) - phase[rows]
    ) * length[rows]
    return Parcels(
        index,
        low_a,
        high_a,
        low_b,
        high_b,
        hash_at(end_hash[rows, cells], 17),
        blocks_.astype(np.int32),
        (strips - _REACH).astype(np.int32),
        turn[blocks_],
        _inset(land, blocks_, turn[blocks_], middle_a, middle_b),
        sides,
    )


def _renumber(code: Index, count: int) -> tuple[Index, NDArray[np.intp]]:
    """Each code's row among the codes that occur, and these in order; codes are below `count`."""
    used = np.zeros(count, dtype=bool)
    used[code.reshape(-1)] = True
    codes = np.flatnonzero(used)
    number = np.zeros(count, dtype=np.int32)
    number[codes] = np.arange(len(codes), dtype=np.int32)
    return number[code], codes


def _inset(land: Blocks, block: NDArray[np.intp], turn: Index, a: Floats, b: Floats) -> Floats:
    """Distance of points, given in their block's directions (m), to the block's border, (P,)."""
    cos, sin = DIRECTIONS[turn, 0], DIRECTIONS[turn, 1]
    u = land.site[block, 0] + np.rint((cos * a - sin * b) * METRE).astype(np.int32)
    v = land.site[block, 1] + np.rint((sin * a + cos * b) * METRE).astype(np.int32)
    du = (u[:, None] - land.site[None, :, 0]).astype(np.float32)
    dv = (v[:, None] - land.site[None, :, 1]).astype(np.float32)
    squared = du * du + dv * dv
    every = np.arange(len(block))
    own = squared[every, block]
    squared[every, block] = np.inf
    # The nearest other centre, as for pixels: the tables are sure to hold that one.
    other = squared.argmin(axis=1)
    border: Floats = (squared[every, other] - own) / _spacing(land.site)[block, other]
    return np.maximum(border, 0)


def _divide(position: Floats, row: Index, cut: Floats) -> tuple[Index, Floats, Floats]:
    """Which interval each position falls in (0.._SPAN-1), and its distance to both ends.

    `cut[row, k]` in (-0.5, 0.5) moves the border between intervals k-1 and k off its place.
    """
    whole = np.clip(np.floor(position), -_REACH, _REACH)
    number = whole.astype(np.int32) + np.int32(_REACH)
    flat, stride = cut.reshape(-1), np.int32(cut.shape[1])
    inside = position - whole
    first = row * stride
    low = flat[first + number]
    high = flat[first + number + 1]
    number += (inside >= 1 + high).astype(np.int32) - (inside < low).astype(np.int32)
    number = np.clip(number, 0, _SPAN - 1)
    inside = position - (number - _REACH).astype(np.float32)
    return number, inside - flat[first + number], 1 + flat[first + number + 1] - inside
