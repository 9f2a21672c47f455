"""Where regions of interest lie in a domain: places that show what the country is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.modalities import PATCH_SIZE_M
from bocage.nomenclatures import COSIA, LPIS_3
from bocage.simulate import labels
from bocage.simulate.domains import Domain, Use
from bocage.simulate.hashing import draw, hash_at, make_key
from bocage.simulate.landscape import Landscape, Scene
from bocage.simulate.noise import METRE, Window

PATCH_CM = round(PATCH_SIZE_M * METRE)
"""Side of a patch in world units."""
_CELL_PATCHES = 10
"""Regions lie in cells of this many patches (1,024 m), one each: they never touch."""
_COLUMNS, _ROWS = 40, 48
MAX_REGIONS = _COLUMNS * _ROWS
"""A domain has room for this many regions: 41 km x 49 km of cells."""
_CANDIDATES = 24
_RARITY = 0.35
"""Weight of classes not yet seen against the region's wish."""
_AREA_ROW_PATCHES = (_ROWS + 2) * _CELL_PATCHES
"""Territories for mapping begin this far south of a domain's anchor, where no region lies."""

_LETTER = {
    Use.ARABLE: "A", Use.PERMANENT: "A", Use.PASTURE: "A", Use.WOOD: "F", Use.TOWN: "U",
    Use.WORKS: "U", Use.WILD: "N",
}  # fmt: skip
# What each region in turn should hold most of; the last entry is the high ground of a domain that
# reaches the snow. Farmland comes most often, as it does in France.
_WISHES: tuple[tuple[Use, ...], ...] = (
    (Use.ARABLE, Use.PERMANENT), (Use.ARABLE, Use.TOWN), (Use.ARABLE, Use.WOOD),
    (Use.TOWN, Use.ARABLE, Use.WORKS), (Use.ARABLE, Use.PASTURE, Use.WILD),
    (Use.ARABLE, Use.PERMANENT, Use.WOOD), (Use.ARABLE, Use.WILD), (Use.ARABLE, Use.WORKS),
)  # fmt: skip


@dataclass(frozen=True)
class Region:
    """A region of interest: its official-style name and its top-left corner (cm)."""

    name: str
    u: int
    v: int


def regions(domain: Domain, seed: int, count: int, side_patches: int) -> list[Region]:
    """`count` regions of `side_patches` squared, each the best of hashed candidates.

    The best has the land that the region's wish names, and classes of cover and crops that the
    regions before it lack: a small set then holds most of what a domain has.

    Names follow FLAIR-HUB: letters of the two chief kinds of land (Urban, Natural, Agricultural,
    Forest), then `S1`, then a number.
    """
    land = Landscape(domain, seed)
    key = make_key(seed, domain.key, "regions")
    order = np.argsort(hash_at(key, np.arange(MAX_REGIONS)), kind="stable")
    choices = max(1, min(_CANDIDATES, MAX_REGIONS // count))
    room = _CELL_PATCHES - side_patches
    seen = np.zeros(len(COSIA) + len(LPIS_3))
    found = []
    for number in range(count):
        cell = order[number * choices : (number + 1) * choices]
        offset = hash_at(key, cell, 1)
        u = (cell % _COLUMNS) * _CELL_PATCHES + (draw(offset, 1) * room).astype(np.int64)
        v = (cell // _COLUMNS) * _CELL_PATCHES + (draw(offset, 2) * room).astype(np.int64)
        wish = _WISHES[number % len(_WISHES)]
        high = domain.snow_line_m is not None and number % 5 == 2
        shares, presences, scores = [], [], []
        for at_u, at_v in zip(u.tolist(), v.tolist(), strict=True):
            window = _overview(at_u * PATCH_CM, at_v * PATCH_CM, side_patches * PATCH_CM)
            share = np.bincount(land.uses_at(window).reshape(-1), minlength=len(Use)) / (
                window.width * window.height
            )
            scene = land.scene(window)
            present = _present(scene)
            score = sum(float(np.sqrt(share[use])) for use in wish)
            score += _RARITY * float((present / (1 + seen) ** 2).sum())
            if domain.snow_line_m is not None:
                # One region in five lies at the edge of the snow, the others in the valleys.
                altitude = np.rint(scene.ground).astype(np.int64).sum() / scene.ground.size
                score -= abs(altitude - domain.snow_line_m) if high else 0.02 * altitude
            shares.append(share)
            presences.append(present)
            # Rounded, so that the order of a sum on another machine cannot change the choice.
            scores.append(round(float(score), 6))
        best = int(np.argmax(scores))
        seen += presences[best]
        name = f"{_letters(shares[best])}-S1-{number + 1}"
        found.append(Region(name, int(u[best]) * PATCH_CM, int(v[best]) * PATCH_CM))
    return found


def area_corner(domain: Domain, seed: int, side_cm: int) -> tuple[int, int]:
    """Top-left corner (cm) of the territory for mapping: of several, the most varied."""
    land = Landscape(domain, seed)
    best, corner = -1.0, (0, 0)
    for number in range(8):
        u = number * _CELL_PATCHES * PATCH_CM
        v = _AREA_ROW_PATCHES * PATCH_CM
        side = min(side_cm, 20 * PATCH_CM)
        uses = land.uses_at(_overview(u, v, side))
        share = np.bincount(uses.reshape(-1), minlength=len(Use)) / uses.size
        score = round(float(np.sqrt(share).sum()), 6)
        if score > best:
            best, corner = score, (u, v)
    return corner


def _present(scene: Scene) -> NDArray[np.float64]:
    """1 for every class of cover and of crops that fills 0.4 % of a scene."""
    pixels = scene.surface.size
    cover = np.bincount(labels.land_cover(scene).reshape(-1), minlength=len(COSIA))
    crop = np.bincount(labels.crops(scene)[2].reshape(-1), minlength=len(LPIS_3))
    return (np.concatenate([cover, crop]) >= 0.004 * pixels).astype(np.float64)


def _overview(u: int, v: int, side_cm: int) -> Window:
    """A coarse window over a square, about 5 m per pixel."""
    steps = side_cm // 512
    return Window(u, v, side_cm // steps, steps, steps)


def _letters(share: NDArray[np.float64]) -> str:
    """The two chief kinds of land, the first twice when it fills four fifths."""
    totals = dict.fromkeys("UNAF", 0.0)
    for use, count in enumerate(share.tolist()):
        totals[_LETTER[Use(use)]] += count
    ranked = sorted(totals, key=lambda letter: (-totals[letter], letter))
    filled = totals[ranked[0]] >= 0.8 * sum(totals.values())
    return ranked[0] * 2 if filled else "".join(ranked[:2])
