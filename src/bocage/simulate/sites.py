"""Where regions of interest lie in a domain: places that show what the country is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, unknown_name
from bocage.modalities import PATCH_SIZE_M
from bocage.nomenclatures import COSIA, LPIS_3
from bocage.simulate.domains import Domain, Use
from bocage.simulate.hashing import hash_at, make_key
from bocage.simulate.labels import named_crops
from bocage.simulate.landscape import Landscape
from bocage.simulate.landuse import BACKGROUND
from bocage.simulate.noise import METRE, Window
from bocage.simulate.surfaces import COVER, DECLARED

PATCH_CM = round(PATCH_SIZE_M * METRE)
"""Side of a patch in world units."""
_CELL_PATCHES = 10
"""Regions lie in cells of this many patches (1,024 m), one each: they never touch."""
_COLUMNS, _ROWS = 40, 48
MAX_REGIONS = _COLUMNS * _ROWS
"""A domain has room for this many regions: 41 km x 49 km of cells."""
_AREA_ROW_PATCHES = (_ROWS + 2) * _CELL_PATCHES
"""Territories for mapping begin this far south of a domain's anchor, where no region lies."""

_CELLS, _LATER_CELLS, _CAREFUL = 12, 3, 12
"""Cells searched for each of a domain's first `_CAREFUL` regions, and for each one after them."""
_CROPS_WEIGHT = 0.6
"""What needed land under a needed crop is worth more than other needed land."""
_RARITY = 0.08
"""What a class is worth that no region before had, against a share of needed land from 0 to 1."""
_PRESENT, _CROP_PRESENT = 0.01, 0.08
"""Share of a region from which land cover, and a crop, count as present: the overview has 100
pixels a patch, and what is declared of a sliver of a parcel may lie outside."""
_OVERVIEW_CM = 1_024
_SURVEYED = 0.8
"""Weight of FLAIR #1's shares in what a domain's regions should hold; the rest is the domain's."""
_HIGH_EVERY, _HIGH = 8, 2
"""Of so many regions one lies at the edge of the snow, where a domain reaches it."""

FLAIR1_SHARES: dict[str, float] = {
    "building": 8.14, "pervious surface": 8.25, "impervious surface": 13.72, "bare soil": 3.47,
    "water": 4.88, "coniferous": 2.74, "deciduous": 15.38, "brushwood": 6.95, "vineyard": 3.13,
    "herbaceous vegetation": 17.84, "agricultural land": 10.98, "plowed land": 3.88,
    "swimming pool": 0.03, "snow": 0.15, "clear cut": 0.15, "mixed": 0.05, "ligneous": 0.01,
    "greenhouse": 0.12, "undefined": 0.14,
}  # fmt: skip
"""Land cover of FLAIR #1's training patches, percent (Garioud et al. 2022, FLAIR #1 datapaper)."""

_NAMES = (*COSIA.names, *LPIS_3.names)
_CROP = len(COSIA)
_TARGET = np.array([FLAIR1_SHARES[name] for name in COSIA.names])
_TARGET = _TARGET / _TARGET.sum()
_LETTER = {
    Use.ARABLE: "A", Use.PERMANENT: "A", Use.PASTURE: "A", Use.WOOD: "F", Use.TOWN: "U",
    Use.CENTRE: "U", Use.WORKS: "U", Use.WILD: "N", Use.LAKE: "N",
}  # fmt: skip


@dataclass(frozen=True)
class Region:
    """A region of interest: its official-style name and its top-left corner (cm)."""

    name: str
    u: int
    v: int


def check_classes(names: Sequence[str]) -> None:
    """`ConfigError` for a name that is no class of land cover or crop (level 3)."""
    for name in names:
        if name not in _NAMES or name == LPIS_3.names[BACKGROUND]:
            valid = set(_NAMES) - {LPIS_3.names[BACKGROUND]}
            raise ConfigError(unknown_name("class", name, valid))


def regions(
    domain: Domain, seed: int, count: int, side_patches: int, wanted: Sequence[str] = ()
) -> list[Region]:
    """`count` regions of `side_patches` squared, each the best place of some hashed cells.

    Zones of a survey are no random sample of the country: towns are sought. The best place holds
    the land that the regions before it lack against a mean of FLAIR #1's shares and the domain's
    own, and against the domain's crops, and classes that none of them has; or `wanted` classes, as
    many times as they are named. Crops count as they are declared, because labels say no more.

    Names follow FLAIR-HUB: letters of the two chief kinds of land (Urban, Natural, Agricultural,
    Forest), then `S1`, then a number.
    """
    land = Landscape(domain, seed)
    key = make_key(seed, domain.key, "regions")
    order = np.argsort(hash_at(key, np.arange(MAX_REGIONS)), kind="stable").tolist()
    times = np.array([wanted.count(name) for name in _NAMES])
    least = np.full(len(_NAMES), _PRESENT)
    least[_CROP:] = _CROP_PRESENT
    seen = np.zeros(len(_NAMES))
    held = np.zeros(len(_NAMES))
    target = np.zeros(len(_NAMES))
    # Scarce land counts for more, or the common kinds would fill every region.
    scarce = np.clip(np.sqrt(0.1 / _TARGET), 0.7, 1.8)
    weight = np.concatenate([scarce, np.full(len(LPIS_3), _CROPS_WEIGHT)])
    # Fallow and undeclared land is no crop to look for.
    weight[_CROP + BACKGROUND] = 0
    least[_CROP + BACKGROUND] = np.inf
    found: list[Region] = []
    for number in range(count):
        searched = _CELLS if number < _CAREFUL else _LATER_CELLS
        cells = order[: max(1, min(searched, len(order) // (count - number)))]
        order = order[len(cells) :]
        places = [_places(land, cell, side_patches) for cell in cells]
        u, v = (np.concatenate([getattr(place, axis) for place in places]) for axis in "uv")
        shares = np.concatenate([place.shares for place in places])
        present = shares >= least
        if number == 0:
            # The first cells are a random sample of the domain: its natural shares.
            target = shares.mean(axis=0)
            target[:_CROP] += _SURVEYED * (_TARGET - target[:_CROP])
        lacking = np.maximum(target * (number + 1) - held, 0)
        scores = np.minimum(shares, lacking) @ weight
        scores += present @ (_RARITY / (1 + seen) ** 2 + np.clip(times - seen, 0, 1))
        if domain.snow_line_m is not None:
            altitude = np.concatenate([place.altitude for place in places])
            high = number % _HIGH_EVERY == _HIGH
            scores -= abs(altitude - domain.snow_line_m) / 50 if high else altitude / 3_000
        # Rounded, so that the order of a sum on another machine cannot change the choice.
        best = int(np.argmax(np.round(scores, 6)))
        seen += present[best]
        held += shares[best]
        corner = int(u[best]) * PATCH_CM, int(v[best]) * PATCH_CM
        uses = land.uses_at(_overview(*corner, side_patches * PATCH_CM))
        found.append(Region(f"{_letters(uses)}-S1-{number + 1}", *corner))
    return found


@dataclass(frozen=True)
class _Places:
    """Every place for a region in a cell: corner `u`, `v` (N,) in patches, class `shares` (N, C),
    and mean `altitude` (N,) in whole metres."""

    u: NDArray[np.int64]
    v: NDArray[np.int64]
    shares: NDArray[np.float64]
    altitude: NDArray[np.float64]


def _places(land: Landscape, cell: int, side: int) -> _Places:
    left, top = (cell % _COLUMNS) * _CELL_PATCHES, (cell // _COLUMNS) * _CELL_PATCHES
    view = land.scene(_overview(left * PATCH_CM, top * PATCH_CM, _CELL_PATCHES * PATCH_CM))
    # Counts per patch of the cell, then sums over the patches of a region at each place.
    pixels = PATCH_CM // _OVERVIEW_CM
    patch = np.arange(_CELL_PATCHES * pixels) // pixels
    number = (patch[:, None] * _CELL_PATCHES + patch[None, :]) * len(_NAMES)
    shape = (_CELL_PATCHES, _CELL_PATCHES, len(_NAMES))
    cover = np.bincount((number + COVER[view.surface]).reshape(-1), minlength=np.prod(shape))
    declared = DECLARED[view.surface]
    crop = named_crops(view.owner, land.domain)[view.parcel][declared]
    crops = np.bincount(number[declared] + _CROP + crop, minlength=np.prod(shape))
    counts = (cover + crops).reshape(shape)
    metres = np.rint(view.ground).astype(np.int64).reshape(_CELL_PATCHES, pixels, -1, pixels)
    height = metres.sum(axis=(1, 3))
    room = _CELL_PATCHES - side
    rows, cols = (axis.reshape(-1) for axis in np.indices((room, room)))
    shares, altitude = np.zeros((len(rows), len(_NAMES))), np.zeros(len(rows))
    for row, col in np.ndindex(side, side):
        shares += counts[rows + row, cols + col]
        altitude += height[rows + row, cols + col]
    size = (side * pixels) ** 2
    return _Places(left + cols, top + rows, shares / size, altitude / size)


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


def _overview(u: int, v: int, side_cm: int) -> Window:
    """A coarse window over a square, about 5 m per pixel."""
    steps = side_cm // _OVERVIEW_CM
    return Window(u, v, side_cm // steps, steps, steps)


def _letters(uses: NDArray[np.uint8]) -> str:
    """The two chief kinds of land, the first twice when it fills four fifths."""
    totals = dict.fromkeys("UNAF", 0)
    for use, count in enumerate(np.bincount(uses.reshape(-1), minlength=len(Use)).tolist()):
        totals[_LETTER[Use(use)]] += count
    ranked = sorted(totals, key=lambda letter: (-totals[letter], letter))
    filled = totals[ranked[0]] >= 0.8 * uses.size
    return ranked[0] * 2 if filled else "".join(ranked[:2])
