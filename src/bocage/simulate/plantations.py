"""Ploughed and sown land with its wheel tracks, and plants in rows: vines, orchards, lavender.

No published model is followed: distances, sizes and heights are chosen, as they are usual.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.canvas import Canvas
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landuse import (
    BERRIES,
    FRUIT,
    LAVENDER,
    NUTS,
    OLIVES,
    OTHER_PERMANENT,
    VINEYARD,
    Kind,
    Owners,
)
from bocage.simulate.partition import Parcels
from bocage.simulate.surfaces import Surface

# Trees: row distance, distance in the row, crown radius and height, metres (chosen inside what is
# usual: hedged fruit trees 3 to 5 m between rows, walnuts 7 to 10, olives 5 to 7).
_ORCHARDS = {
    FRUIT: (4.2, 3.2, 1.5, 3.4, Surface.ORCHARD_TREE),
    NUTS: (8.5, 8.0, 3.2, 7.5, Surface.ORCHARD_TREE),
    OLIVES: (6.0, 6.0, 1.8, 3.6, Surface.OLIVE_TREE),
}
# Hedgerows of berries, and of nurseries and Christmas trees: row distance, half width, height,
# metres (chosen).
_BUSHES = {BERRIES: (3.0, 0.6, 1.5), OTHER_PERMANENT: (1.6, 0.4, 1.8)}
_HEADLAND_M = 3.0
_TRAMLINES_M, _WHEELS_M = 24.0, 0.95


def paint_fields(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Wheel tracks every 24 m in standing crops, furrows in ploughed land.

    Neither depends on the crop: on one photograph, the crops of the simulated land look alike.
    """
    kind = owner.kind[cut.index]
    field = np.flatnonzero(kind == Kind.FIELD)
    across = cut.across.reshape(-1)[field]
    track = np.mod(across, np.float32(_TRAMLINES_M)) - np.float32(_TRAMLINES_M / 2)
    wheel = np.abs(np.abs(track) - np.float32(_WHEELS_M)) < 0.22
    row = np.abs(np.mod(across, np.float32(1.5)) - np.float32(0.75)) - np.float32(0.375)
    canvas.tone.reshape(-1)[field] = np.where(wheel, np.float32(-0.16), row * np.float32(0.06))
    canvas.height.reshape(-1)[field] = 0.4

    plowed = np.flatnonzero(kind == Kind.PLOWED)
    across = cut.across.reshape(-1)[plowed]
    furrow = np.abs(np.mod(across, np.float32(1.8)) - np.float32(0.9)) - np.float32(0.45)
    canvas.tone.reshape(-1)[plowed] = furrow * np.float32(0.3)


def paint_plantations(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Rows of vines and lavender, grids of trees, each along its parcel's direction."""
    pixels = np.flatnonzero((owner.kind == Kind.PERMANENT)[cut.index].reshape(-1))
    if not len(pixels):
        return
    parcel = cut.index.reshape(-1)[pixels]
    crop = owner.crop[parcel]
    across = cut.across.reshape(-1)[pixels]
    along = cut.along.reshape(-1)[pixels]
    ends = np.minimum(cut.low_b, cut.high_b).reshape(-1)[pixels]
    planted = ends > _HEADLAND_M
    worn = draw(owner.hash, 50)[parcel] - np.float32(0.5)

    vines = crop == VINEYARD
    canvas.put(pixels[vines], Surface.VINE_FLOOR, 0, (worn * np.float32(0.5))[vines])
    row = vines & planted & (np.abs(np.mod(across, np.float32(2.2)) - np.float32(1.1)) < 0.42)
    canvas.put(pixels[row], Surface.VINE_ROW, 1.4)

    lavender = crop == LAVENDER
    canvas.put(pixels[lavender], Surface.LAVENDER_FLOOR, 0, (worn * np.float32(0.3))[lavender])
    row = lavender & planted & (np.abs(np.mod(across, np.float32(1.8)) - np.float32(0.9)) < 0.5)
    canvas.put(pixels[row], Surface.LAVENDER_ROW, 0.5)

    for bush, (between, half, height) in _BUSHES.items():
        middle = np.abs(np.mod(across, np.float32(between)) - np.float32(between / 2))
        row = (crop == bush) & planted & (middle < half)
        canvas.put(pixels[row], Surface.BUSH_ROW, height)

    for tree, (between, within, radius, height, surface) in _ORCHARDS.items():
        here = np.flatnonzero((crop == tree) & planted)
        if not len(here):
            continue
        share, tone = _tree_grid(across[here], along[here], owner, parcel[here], between, within)
        inside = 1 - share / np.float32(radius * radius) / (np.float32(0.75) + tone * 0.5)
        crown = (inside > 0) & (tone > 0.05)
        size = np.float32(height) * (np.float32(0.55) + np.float32(0.45) * inside[crown])
        canvas.put(pixels[here[crown]], surface, size, (tone[crown] - np.float32(0.5)) * 0.4)


def paint_young_trees(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Saplings in rows on rough grass: wood of no telling kind."""
    pixels = np.flatnonzero((owner.kind == Kind.YOUNG_TREES)[cut.index].reshape(-1))
    if not len(pixels):
        return
    parcel = cut.index.reshape(-1)[pixels]
    across = cut.across.reshape(-1)[pixels]
    along = cut.along.reshape(-1)[pixels]
    share, tone = _tree_grid(across, along, owner, parcel, 2.6, 1.6)
    crown = (share < 1.0) & (tone > 0.08)
    height = (np.float32(1.4) + np.float32(1.2) * tone) * (1 - np.float32(0.5) * share)
    canvas.put(
        pixels[crown], Surface.LIGNEOUS, height[crown], (tone[crown] - np.float32(0.5)) * 0.4
    )


def paint_clear_cuts(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Brash raked into lines, and stumps between them."""
    pixels = np.flatnonzero((owner.kind == Kind.CLEAR_CUT)[cut.index].reshape(-1))
    if not len(pixels):
        return
    parcel = cut.index.reshape(-1)[pixels]
    across = cut.across.reshape(-1)[pixels]
    along = cut.along.reshape(-1)[pixels]
    share, tone = _tree_grid(across, along, owner, parcel, 4.0, 4.5)
    stump = (share < 0.12) & (tone < 0.7)
    line = np.abs(np.mod(across, np.float32(14)) - np.float32(7)) < 1.3
    worn = np.where(line, np.float32(-0.25), np.float32(0.05))
    canvas.tone.reshape(-1)[pixels] = np.where(stump, np.float32(0.5), worn)
    canvas.height.reshape(-1)[pixels] = np.where(line, np.float32(0.9), np.float32(0.2))


def _tree_grid(
    across: Floats,
    along: Floats,
    owner: Owners,
    parcel: NDArray[np.int32],
    between: float,
    within: float,
) -> tuple[Floats, Floats]:
    """Squared distance to the nearest place of a planting grid, and that tree's own number."""
    a, b = across / np.float32(between), along / np.float32(within)
    column, place = np.floor(a), np.floor(b)
    da = (a - column - np.float32(0.5)) * np.float32(between)
    db = (b - place - np.float32(0.5)) * np.float32(within)
    tone = draw(hash_at(owner.hash[parcel], column.astype(np.int64), place.astype(np.int64)), 1)
    return da * da + db * db, tone
