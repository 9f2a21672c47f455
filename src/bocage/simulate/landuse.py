"""Who lives in a parcel: the use of each block, the kind of each parcel, and its crop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import LPIS_3
from bocage.simulate.domains import Domain, Use
from bocage.simulate.hashing import Floats, Hashes, choose, draw, hash_at, make_key
from bocage.simulate.partition import Blocks, Parcels
from bocage.simulate.surfaces import Surface

BACKGROUND = LPIS_3.names.index("background")
MEADOW_CROP = LPIS_3.names.index("grasses, mixture")
VINEYARD, OLIVES, FRUIT, NUTS, LAVENDER = (
    LPIS_3.names.index(name)
    for name in ("vineyard", "olive groves", "fruit orchards", "nut orchards", "lavandin")
)


class Kind(IntEnum):
    """What a parcel is."""

    FIELD = 0
    PLOWED = 1
    MEADOW = 2
    PERMANENT = 3
    GREENHOUSES = 4
    BROADLEAF = 5
    NEEDLE = 6
    MIXED = 7
    BRUSH = 8
    ROUGH = 9
    BARE = 10
    HOUSE = 11
    LARGE_HOUSE = 12
    PARK = 13
    SHED = 14
    WILD = 15


GROUND = np.array(
    [
        Surface.FIELD, Surface.PLOWED, Surface.MEADOW, Surface.ORCHARD_FLOOR, Surface.GRAVEL,
        Surface.DECIDUOUS, Surface.CONIFER, Surface.CONIFER, Surface.BRUSH, Surface.ROUGH_GRASS,
        Surface.BARE, Surface.LAWN, Surface.CONCRETE, Surface.LAWN, Surface.CONCRETE,
        Surface.ROUGH_GRASS,
    ],
    dtype=np.uint8,
)  # fmt: skip
"""The surface that a parcel of each kind starts from."""

# Per use: strip width and parcel length in metres, then shares of the kinds (sums are free).
_PLAN: dict[Use, tuple[float, float, dict[Kind, float]]] = {
    Use.ARABLE: (68, 92, {Kind.FIELD: 80, Kind.PLOWED: 14, Kind.MEADOW: 3, Kind.BARE: 1.5,
                          Kind.GREENHOUSES: 1.5}),
    Use.PERMANENT: (52, 78, {Kind.PERMANENT: 91, Kind.FIELD: 5, Kind.PLOWED: 4}),
    Use.PASTURE: (62, 84, {Kind.MEADOW: 88, Kind.BROADLEAF: 6, Kind.BRUSH: 6}),
    Use.WOOD: (85, 110, {Kind.BROADLEAF: 50, Kind.NEEDLE: 50, Kind.MIXED: 14, Kind.BRUSH: 10,
                         Kind.ROUGH: 4}),
    Use.TOWN: (25, 31, {Kind.HOUSE: 80, Kind.LARGE_HOUSE: 7, Kind.PARK: 8, Kind.BARE: 2,
                        Kind.ROUGH: 3}),
    Use.WORKS: (58, 70, {Kind.SHED: 70, Kind.GREENHOUSES: 18, Kind.BARE: 12}),
    Use.WILD: (110, 120, {Kind.WILD: 66, Kind.BRUSH: 22, Kind.BARE: 12}),
}  # fmt: skip


@dataclass(frozen=True)
class Owners:
    """Tables (P,): `kind`, `crop` (level-3 id, `BACKGROUND` where none), `hash`, `direction`."""

    kind: NDArray[np.uint8]
    crop: NDArray[np.uint8]
    hash: Hashes
    direction: NDArray[np.int32]


def block_uses(land: Blocks, domain: Domain, past: bool) -> NDArray[np.uint8]:
    """The `Use` of every block, (N,). Sixty years ago towns were smaller and woods fewer."""
    use = choose(draw(land.hash, 10), domain.uses).astype(np.uint8)
    if past:
        change = draw(land.hash, 11)
        use[(use == Use.WORKS) | ((use == Use.TOWN) & (change < 0.45))] = Use.ARABLE
        use[(use == Use.WOOD) & (change < 0.35)] = Use.PASTURE
        use[(use == Use.WILD) & (change < 0.5)] = Use.PASTURE
    return use


def parcel_sizes(uses: NDArray[np.uint8], past: bool) -> tuple[Floats, Floats]:
    """Strip width and parcel length per block, metres; before land consolidation half as wide."""
    width = np.array([_PLAN[Use(use)][0] for use in uses], dtype=np.float32)
    length = np.array([_PLAN[Use(use)][1] for use in uses], dtype=np.float32)
    if past:
        rural = (uses == Use.ARABLE) | (uses == Use.PASTURE) | (uses == Use.PERMANENT)
        width = np.where(rural, width * np.float32(0.5), width)
    return width, length


def owners(
    cut: Parcels, land: Blocks, uses: NDArray[np.uint8], domain: Domain, seed: int, past: bool
) -> Owners:
    """Kind and crop of every parcel, by the shares of its block's use and of the domain."""
    hashes = hash_at(make_key(seed, domain.key, "owner", int(past)), cut.hash)
    use = uses[cut.block]
    kind = np.zeros(len(hashes), dtype=np.uint8)
    pick = draw(hashes, 1)
    for each, (_, _, shares) in _PLAN.items():
        here = use == each
        weights = np.array(list(shares.values()))
        if each is Use.WOOD:
            weights[:2] = 72 * (1 - domain.conifers), 72 * domain.conifers
        kinds = np.array(list(shares), dtype=np.uint8)
        kind[here] = kinds[choose(pick[here], weights)]
    if past:
        kind[(kind == Kind.HOUSE) & (draw(hashes, 2) < 0.4)] = Kind.MEADOW
        kind[(kind == Kind.GREENHOUSES)] = Kind.FIELD

    crop = np.full(len(hashes), BACKGROUND, dtype=np.uint8)
    arable = (kind == Kind.FIELD) | (kind == Kind.PLOWED)
    ids, weights = domain.crop_table(permanent=False)
    crop[arable] = ids[choose(draw(hashes[arable], 3), weights)]
    crop[kind == Kind.MEADOW] = MEADOW_CROP
    permanent = kind == Kind.PERMANENT
    ids, weights = domain.crop_table(permanent=True)
    # Permanent crops stand together: most parcels of a block carry the block's own.
    alone = draw(hashes, 4) < 0.3
    lot = np.where(alone, draw(hashes, 5), draw(land.hash, 12)[cut.block])
    crop[permanent] = ids[choose(lot[permanent], weights)]
    return Owners(kind, crop, hashes, cut.direction)
