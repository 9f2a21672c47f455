"""What runs through the land: hedges and margins, water, roads, and the bare heights.

Where they run follows from the division of the land and from the relief. No published model is
followed: which borders carry a road, a track or a hedge, and all widths, are chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.canvas import Canvas
from bocage.simulate.domains import Use
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landuse import Tenure
from bocage.simulate.layout import Layout
from bocage.simulate.noise import Window, smoothstep, value_noise
from bocage.simulate.partition import Blocks
from bocage.simulate.surfaces import SOFT, Surface

_RURAL = (Use.ARABLE, Use.PASTURE, Use.PERMANENT)
_SETTLED = (Use.TOWN, Use.CENTRE, Use.WORKS)
_FAR = np.float32(1e6)
_OLD_SNOW_M = 60
"""How much lower the snow of summer ended sixty years ago (chosen)."""
_DITCH_AT_M, _DITCH_HALF_M, _DITCH_DEPTH_M = np.float32(1.4), np.float32(1.0), np.float32(0.6)
"""Ditches along roads: how far from the road's edge, half their width, their depth (chosen)."""
_LAKE_OFF_M, _BANK_M = 28.0, 70.0
"""How far lakes keep off the roads around their block, and how far off the ground is as it was."""


def waters(
    window: Window, land: Blocks, held: Tenure, altitude: Floats, bank: Floats, key: int,
    block_m: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Distance to the edge of any water, and the ground made level under still water, (H, W) each.

    Lakes lie in the middle of their block of about `block_m`, with coves, and keep off its borders;
    ponds lie in the middle of some blocks.
    """
    lake = held.use == Use.LAKE
    ragged = value_noise(window, 1_500, key)
    near = land.nearest
    still = np.full(window.shape, _FAR, dtype=np.float32)
    if held.pond.any() or lake.any():
        size = draw(land.hash, 14)
        radius = np.where(
            lake, block_m * (np.float32(0.18) + np.float32(0.14) * size), 12 + 26 * size
        )
        middle = land.site[near]
        du = (land.u - middle[..., 0]).astype(np.float32)
        dv = (land.v - middle[..., 1]).astype(np.float32)
        out = np.sqrt(du * du + dv * dv) * np.float32(0.01) - radius[near].astype(np.float32)
        coves = (
            out + 22 * value_noise(window, 9_000, key ^ 1) + 9 * value_noise(window, 4_000, key ^ 2)
        )
        bounded = np.maximum(coves, np.float32(_LAKE_OFF_M) - land.border_m)
        still = np.where(lake[near], bounded + 4 * ragged, still)
        still = np.where(held.pond[near], out + 4 * ragged, still)
    # 0 in still water to 1 some way off, at the latest at the block's border, where blocks meet.
    depth = np.maximum(still, 0)
    reach = np.minimum(np.float32(_BANK_M), depth + land.border_m) + np.float32(0.01)
    away = smoothstep(0.0, 1.0, depth / reach)
    level = held.level[near]
    return np.minimum(bank + np.float32(0.8) * ragged, still), level + (altitude - level) * away


def paint_borders(canvas: Canvas, layout: Layout) -> NDArray[np.bool_]:
    """Grass margins between fields, low garden hedges; returns where field hedges grow."""
    cut, land, uses = layout.cut, layout.land, layout.held.use
    use = uses[cut.block]
    rural = np.isin(use, _RURAL)
    chance = draw(cut.side_hash, 31)
    hedged = rural[:, None] & (chance < layout.domain.hedges)
    fenced = (use == Use.TOWN)[:, None] & (chance < 0.4)
    sides = (cut.low_a, cut.high_a, cut.low_b, cut.high_b)
    hedge_m = np.full(canvas.surface.shape, _FAR, dtype=np.float32)
    fence_m = hedge_m.copy()
    for k, side in enumerate(sides):
        hedge_m = np.minimum(hedge_m, np.where(hedged[cut.index, k], side, _FAR))
        fence_m = np.minimum(fence_m, np.where(fenced[cut.index, k], side, _FAR))
    nearest = np.minimum(np.minimum(sides[0], sides[1]), np.minimum(sides[2], sides[3]))
    nearest = np.minimum(nearest, land.border_m)
    margin = rural[cut.index] & (nearest < 0.7)
    canvas.put(np.flatnonzero(margin), Surface.MARGIN, 0)
    soft = SOFT[canvas.surface]
    canvas.put(np.flatnonzero(soft & (fence_m < 0.6)), Surface.BRUSH, 1.6)
    # A hedge along the road between two blocks of fields.
    pair = draw(hash_at(land.hash[:, None] ^ land.hash[None, :], 3), 1)
    lined = pair < np.float32(0.5 * layout.domain.hedges)
    country = np.isin(uses, _RURAL)
    lined &= country[:, None] & country[None, :]
    beside = lined[land.nearest, land.second] & (abs(land.border_m - 5.2) < 1.5)
    return np.asarray(soft & ((hedge_m < 1.9) | beside))


def paint_water(canvas: Canvas, layout: Layout) -> None:
    """Rivers, brooks, ponds and lakes, with a grassy edge and here and there a beach."""
    lower = canvas.height < 2
    edge = layout.shore
    canvas.put(np.flatnonzero((edge < 1.6) & lower), Surface.ROUGH_GRASS, 0)
    lake = (layout.held.use == Use.LAKE)[layout.land.nearest]
    if lake.any():
        dry = value_noise(layout.window, 5_000, layout.key("beach"))
        beach = lake & (edge < 7) & (dry > 0.25) & lower
        canvas.put(np.flatnonzero(beach), Surface.SAND, 0)
    canvas.put(np.flatnonzero(edge < 0), Surface.WATER, 0)


def paint_roads(canvas: Canvas, layout: Layout) -> Floats:
    """Roads and tracks between blocks, streets between every second strip of plots.

    Main roads between parishes are wide and marked; the others are as wide as they happen to be.
    Half of the country's roads without a hedge run between ditches. Returns their depth, (H, W)
    metres.
    """
    cut, land, uses = layout.cut, layout.land, layout.held.use
    settled = np.isin(uses[cut.block], _SETTLED)
    even = cut.strip % 2 == 0
    street_m = np.where((settled & even)[cut.index], cut.low_a, _FAR)
    street_m = np.where((settled & ~even)[cut.index], cut.high_a, street_m)
    canvas.put(np.flatnonzero(street_m < 4.0), Surface.CONCRETE, 0, -0.1)
    canvas.put(np.flatnonzero(street_m < 2.8), Surface.ASPHALT, 0)

    pair = hash_at(land.hash[:, None] ^ land.hash[None, :], 3)
    chance = draw(pair, 2)
    built = np.isin(uses, _SETTLED)
    main = land.parish[:, None] != land.parish[None, :]
    road = main | (chance < (0.05 if layout.past else 0.32))
    if not layout.past:
        road |= built[:, None] | built[None, :]
    track = ~road & (chance < 0.85)
    half = np.float32(2.1) + np.float32(1.1) * draw(pair, 4)
    half = np.where(track, np.float32(0.6) * half, np.where(main, np.float32(4.0), half))
    border = land.border_m
    width = half[land.nearest, land.second]
    on_main = main[land.nearest, land.second]
    on_road = road[land.nearest, land.second]
    on_track = track[land.nearest, land.second]
    # Tracks ford water, roads cross it on bridges, and neither grows grass there.
    dry = layout.shore >= 0
    on_track &= dry
    country = ~(built[:, None] | built[None, :])
    open_road = country & (draw(pair, 1) >= np.float32(0.5 * layout.domain.hedges))
    ditched = on_road & dry & (open_road & (draw(pair, 5) < 0.5))[land.nearest, land.second]
    beside = border - width
    verge = (on_road & dry & (border < 1.5 * width)) | (on_track & (border < width + 1))
    verge |= ditched & (beside < _DITCH_AT_M + _DITCH_HALF_M)
    canvas.put(np.flatnonzero(verge), Surface.MARGIN, 0)
    canvas.put(np.flatnonzero(on_track & (border < width)), Surface.GRAVEL, 0)
    canvas.put(np.flatnonzero(on_track & (border < 0.4)), Surface.MARGIN, 0)
    canvas.put(np.flatnonzero(on_road & (border < width)), Surface.ASPHALT, 0)
    canvas.tone[on_main & (border < 0.12)] = 0.9
    across = (beside - _DITCH_AT_M) / _DITCH_HALF_M
    depth: Floats = _DITCH_DEPTH_M * np.maximum(1 - across * across, 0) * ditched
    return depth


def paint_heights(canvas: Canvas, layout: Layout) -> None:
    """Above the trees: grass, then rock, then snow that stays over the summer."""
    line, altitude = layout.domain.snow_line_m, layout.altitude
    if line is None or float(altitude.max()) < line - 450:
        return
    window = layout.window
    # Sixty years ago another summer's snow lay, and lower.
    year = int(layout.past)
    patch = value_noise(window, 4_500, layout.key("snow", year)) + np.float32(0.5) * value_noise(
        window, 1_100, layout.key("snow", year, 2)
    )
    level = altitude + np.float32(70) * patch - np.float32(line - _OLD_SNOW_M * year)
    canvas.put(np.flatnonzero(level > -300), Surface.ROUGH_GRASS, 0)
    canvas.put(np.flatnonzero((level > -280) & (patch > 0.25)), Surface.BRUSH, 0.6)
    canvas.put(np.flatnonzero(level > -110), Surface.ROCK, 0.3)
    canvas.put(np.flatnonzero(level > 0), Surface.SNOW, 0)
