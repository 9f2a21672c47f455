"""What grows by itself or stands for decades: heath, conifers, woods, and trees anywhere else.

No published stand model is followed: crowns stand on a jittered lattice (`vegetation`), and their
heights, densities and shapes are chosen; the calibration compares the heights with real ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.simulate import vegetation
from bocage.simulate.canvas import Canvas
from bocage.simulate.hashing import draw
from bocage.simulate.landuse import Kind
from bocage.simulate.layout import Layout
from bocage.simulate.noise import value_noise
from bocage.simulate.surfaces import SOFT, Surface

# Per kind: share of crown sites with a broad-leaved tree, and the range of tree heights, metres.
_TREES: dict[Kind, tuple[float, float, float]] = {
    Kind.BROADLEAF: (0.97, 11, 19),
    Kind.MIXED: (0.45, 12, 18),
    Kind.PARK: (0.45, 8, 16),
    Kind.HOUSE: (0.16, 4, 9),
    Kind.LARGE_HOUSE: (0.25, 5, 10),
    Kind.ROW_HOUSES: (0.10, 4, 8),
    Kind.MEADOW: (0.02, 6, 12),
    Kind.ROUGH: (0.10, 4, 9),
    Kind.WILD: (0.05, 3, 7),
    Kind.CLEAR_CUT: (0.02, 10, 16),
    Kind.FARM: (0.06, 7, 13),
    Kind.ALLOTMENTS: (0.06, 3, 6),
    Kind.LAKE: (0.30, 7, 14),
}


def paint_heath(canvas: Canvas, layout: Layout) -> None:
    """Heath of bushes, grass and bare patches; thickets where a parcel is all bushes."""
    wild = (layout.owner.kind == Kind.WILD)[layout.cut.index]
    window = layout.window
    if wild.any():
        patch = value_noise(window, 2_600, layout.key("heath")) + np.float32(0.6) * value_noise(
            window, 700, layout.key("heath", 2)
        )
        canvas.put(np.flatnonzero(wild & (patch > 0.12)), Surface.BRUSH, 0.4)
        canvas.put(np.flatnonzero(wild & (patch < -0.62)), Surface.BARE, 0)
    pixels = np.flatnonzero(canvas.surface == Surface.BRUSH)
    if not len(pixels):
        return
    density = np.full(len(pixels), 0.8, dtype=np.float32)
    inside, tone = vegetation.crowns(window, 260, layout.key("bushes"), pixels, density)
    canvas.height.reshape(-1)[pixels] = 0.4 + (0.6 + 1.8 * tone) * inside
    canvas.tone.reshape(-1)[pixels] = np.where(inside > 0, (tone - 0.5) * 0.5, -0.15)
    canvas.crown.reshape(-1)[pixels] = vegetation.crown_numbers(inside, tone)


def paint_conifers(canvas: Canvas, layout: Layout) -> None:
    """Narrow cones, close together; in mingled stands half of the crowns are broad and light."""
    for surface, cell, key in (
        (Surface.CONIFER, 470, "conifers"), (Surface.MIXED_WOOD, 560, "mingled"),
    ):  # fmt: skip
        pixels = np.flatnonzero(canvas.surface == surface)
        if not len(pixels):
            continue
        density = np.full(len(pixels), 0.97, dtype=np.float32)
        inside, tone = vegetation.crowns(layout.window, cell, layout.key(key), pixels, density)
        stand = np.float32(9) + np.float32(9) * draw(layout.owner.hash, 40)
        tall = stand[layout.cut.index.reshape(-1)[pixels]]
        dome = 1 - np.sqrt(1 - inside)
        contrast = 0.45
        if surface is Surface.MIXED_WOOD:
            dome = np.where(tone < 0.5, dome, inside)
            contrast = 0.9
        canvas.height.reshape(-1)[pixels] = 1.0 + tall * (0.75 + 0.25 * tone) * (
            0.3 * (inside > 0) + 0.7 * dome
        )
        canvas.tone.reshape(-1)[pixels] = np.where(inside > 0, (tone - 0.5) * contrast, -0.35)
        canvas.crown.reshape(-1)[pixels] = vegetation.crown_numbers(inside, tone)


def paint_trees(canvas: Canvas, layout: Layout, hedge: NDArray[np.bool_]) -> None:
    """Broad-leaved crowns of woods, hedges, gardens, meadows and river banks."""
    owner, index = layout.owner, layout.cut.index
    chances = np.zeros(len(Kind), dtype=np.float32)
    low, high = chances.copy(), chances.copy()
    for kind, (chance, shortest, tallest) in _TREES.items():
        chances[kind], low[kind], high[kind] = chance, shortest, tallest
    kinds = owner.kind
    tall = low[kinds] + (high - low)[kinds] * draw(owner.hash, 41)
    density = chances[kinds][index]
    banked = (layout.bank > 0.5) & (layout.bank < 6.5)
    density[hedge] = 1.0
    density[banked] = np.maximum(density[banked], np.float32(0.6))
    density[~SOFT[canvas.surface]] = 0
    size = tall[index]
    size[hedge] = 7.0
    size[banked] = 11.0

    stand = (kinds == Kind.BROADLEAF)[index] | hedge
    stand &= density > 0
    canvas.put(np.flatnonzero(stand), Surface.DECIDUOUS, 1.5, -0.3)
    pixels = np.flatnonzero(density > 0)
    if not len(pixels):
        return
    inside, tone = vegetation.crowns(
        layout.window, 720, layout.key("trees"), pixels, density.reshape(-1)[pixels]
    )
    crown = inside > 0
    pixels, inside, tone = pixels[crown], inside[crown], tone[crown]
    height = size.reshape(-1)[pixels] * (0.7 + 0.3 * tone) * (0.5 + 0.5 * inside)
    numbers = vegetation.crown_numbers(inside, tone)
    canvas.put(pixels, Surface.DECIDUOUS, height, (tone - 0.5) * 0.5, numbers)
