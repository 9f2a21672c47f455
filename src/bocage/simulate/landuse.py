"""Who lives in a parcel: the use of each block, the kind of each parcel, and its crop.

Whether arable land is a standing crop, stubble or bare on the day of the photograph follows from
the calendar of its crop, the same that the series of satellites follow (`phenology`).

No published model of land use is followed: uses, kinds and crops are drawn from weights by the
domain's shares and by the ground, and the weights are chosen where no source stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import LPIS_3
from bocage.simulate.domains import SHARED_USES, Domain, Use
from bocage.simulate.hashing import Floats, Hashes, choose, choose_each, draw, hash_at, make_key
from bocage.simulate.noise import value_noise_at
from bocage.simulate.partition import Blocks, Parcels
from bocage.simulate.phenology import OF_CROP, growth, is_bare
from bocage.simulate.relief import Terrain, terrain_at
from bocage.simulate.surfaces import Surface

BACKGROUND = LPIS_3.names.index("background")
MEADOW_CROP = LPIS_3.names.index("grasses, mixture")
VINEYARD, OLIVES, FRUIT, NUTS, LAVENDER, BERRIES, OTHER_PERMANENT = (
    LPIS_3.names.index(name)
    for name in (
        "vineyard", "olive groves", "fruit orchards", "nut orchards", "lavandin", "berries",
        "other permanent crops",
    )
)  # fmt: skip
# Crops that keep to wet and to dry soils; the others grow on either.
_WET_CROPS = np.isin(
    LPIS_3.names, ("rice", "maize", "soy", "fruits and vegetables", "hemp, tobacco", "potatoes")
)
_DRY_CROPS = np.isin(
    LPIS_3.names,
    ("winter durum wheat", "sunflower", "aromatic and medicinal plants", "winter rye",
     "other fodder legumes", "other protein crops"),
)  # fmt: skip


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
    ROW_HOUSES = 16
    FARM = 17
    YARD = 18
    CLEAR_CUT = 19
    YOUNG_TREES = 20
    MINGLED = 21
    SOLAR = 22
    ALLOTMENTS = 23
    LAKE = 24


GROUND = np.array(
    [
        Surface.FIELD, Surface.PLOWED, Surface.MEADOW, Surface.ORCHARD_FLOOR, Surface.GRAVEL,
        Surface.DECIDUOUS, Surface.CONIFER, Surface.CONIFER, Surface.BRUSH, Surface.ROUGH_GRASS,
        Surface.BARE, Surface.LAWN, Surface.CONCRETE, Surface.LAWN, Surface.CONCRETE,
        Surface.ROUGH_GRASS, Surface.CONCRETE, Surface.MEADOW, Surface.GRAVEL, Surface.CLEAR_CUT,
        Surface.ROUGH_GRASS, Surface.MIXED_WOOD, Surface.ROUGH_GRASS, Surface.LAWN,
        Surface.ROUGH_GRASS,
    ],
    dtype=np.uint8,
)  # fmt: skip
"""The surface that a parcel of each kind starts from."""

# Per use: strip width and parcel length in metres (None: the domain's fields, at that scale), then
# shares of the kinds (sums are free). Chosen, after no published model of land use: so that classes
# come near FLAIR #1's shares, and rare kinds are as rare as their classes are there.
_PLAN: dict[Use, tuple[tuple[float, float] | float, dict[Kind, float]]] = {
    Use.ARABLE: (1.0, {Kind.FIELD: 93, Kind.MEADOW: 3, Kind.BARE: 1,
                       Kind.GREENHOUSES: 0.6, Kind.FARM: 2, Kind.SOLAR: 0.4}),
    Use.PERMANENT: ((54, 84), {Kind.PERMANENT: 90, Kind.FIELD: 8, Kind.FARM: 2}),
    Use.PASTURE: (0.8, {Kind.MEADOW: 85, Kind.BROADLEAF: 6, Kind.BRUSH: 6, Kind.FARM: 3}),
    Use.WOOD: ((85, 110), {Kind.BROADLEAF: 50, Kind.NEEDLE: 50, Kind.MIXED: 12, Kind.BRUSH: 10,
                           Kind.ROUGH: 3, Kind.CLEAR_CUT: 1.6, Kind.MINGLED: 0.8,
                           Kind.YOUNG_TREES: 0.5}),
    Use.TOWN: ((25, 31), {Kind.HOUSE: 70, Kind.LARGE_HOUSE: 9, Kind.PARK: 6, Kind.YARD: 9,
                          Kind.ALLOTMENTS: 3, Kind.BARE: 1, Kind.ROUGH: 2}),
    Use.WORKS: ((58, 70), {Kind.SHED: 66, Kind.YARD: 14, Kind.BARE: 10, Kind.ROUGH: 6,
                           Kind.GREENHOUSES: 4, Kind.SOLAR: 2}),
    Use.WILD: ((110, 120), {Kind.WILD: 66, Kind.BRUSH: 24, Kind.BARE: 8, Kind.SOLAR: 1,
                            Kind.YOUNG_TREES: 1}),
    Use.LAKE: ((400, 400), {Kind.LAKE: 1}),
    Use.CENTRE: ((29, 26), {Kind.ROW_HOUSES: 82, Kind.YARD: 8, Kind.PARK: 6, Kind.LARGE_HOUSE: 4}),
}  # fmt: skip

# How a block's use follows the ground: factors on the domain's shares on steep land (slope 0.25),
# on the valley floor, and on a slope that faces south; and the size of the use's neighbourhoods,
# cm. All chosen: only the directions of the factors are common knowledge.
_SITING: dict[Use, tuple[float, float, float, int]] = {
    Use.ARABLE: (0.15, 1.0, 1.0, 400_000),
    Use.PERMANENT: (1.2, 0.4, 1.6, 250_000),
    Use.PASTURE: (1.2, 1.5, 0.9, 300_000),
    Use.WOOD: (2.6, 0.6, 0.8, 250_000),
    Use.TOWN: (0.5, 0.9, 1.1, 140_000),
    Use.WORKS: (0.15, 1.2, 1.0, 140_000),
    Use.WILD: (2.4, 0.8, 1.2, 200_000),
    Use.LAKE: (0.05, 3.0, 1.0, 160_000),
}
_LIMITS: dict[Use, float] = {
    Use.ARABLE: 0.36, Use.TOWN: 0.36, Use.WORKS: 0.36, Use.PERMANENT: 0.55, Use.LAKE: 0.20,
}  # fmt: skip
"""Slope, metres per metre, from which a use is not found: beyond 20 degrees nobody ploughs or
builds a village, beyond 29 nobody plants vines (chosen). Woods, heath, rock and pasture know no
limit."""
_REACH_CM = 8_000
"""A block is as steep as the steepest of its middle and four places this far from it."""
_PONDS_SLOPE = np.float32(0.20)
_FALLOW = np.float32(0.12)
"""Share of arable parcels that lie fallow for the year, bare. No crop is declared on them: the
classes of LPIS name none (chosen; France sets aside some 2 to 5 %)."""
_LATE_PER_M = np.float32(0.028)
"""Days by which spring is later per metre above the domain's valleys: 2 to 3.4 per 100 m for trees
of the Pyrenees (Vitasse et al. 2009)."""
_OLD_FIELD_M = np.array([45, 90], dtype=np.float32)
"""Fields before land consolidation were half as wide and long, and no larger than this."""
_STEEP = 0.25
_FLOOR_M = 220.0
"""Width of the valley floor beside water."""
_CENTRE_LEVEL = 0.34
"""Blocks of a town are built wall to wall where its neighbourhood's noise is above this."""


@dataclass(frozen=True)
class Owners:
    """Tables (P,): `kind`, `crop` (level-3 id, `BACKGROUND` where none), `hash`, `direction`.

    `use`: of the parcel's block. `soil`: brightness of the bare soil, 0 (dark, wet valley soil) to
    1 (chalk). `late`: days by which the year is later there than in mid-France.
    """

    use: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    crop: NDArray[np.uint8]
    hash: Hashes
    direction: NDArray[np.int32]
    soil: Floats
    late: NDArray[np.int64]


@dataclass(frozen=True)
class Tenure:
    """Tables of the blocks (N,): `use`; `wet`, 0 on ridges to 1 on valley floors; `soil`,
    brightness of the bare soil; `level`, altitude of the block's middle in metres; `slope` of its
    steepest part, metres per metre; `pond`, whether still water lies in that middle. Lakes and
    ponds are as old as the land."""

    use: NDArray[np.uint8]
    wet: Floats
    soil: Floats
    level: Floats
    slope: Floats
    pond: NDArray[np.bool_]


def tenure(land: Blocks, domain: Domain, seed: int, past: bool) -> Tenure:
    """What every block is used for, by the ground that it lies on and by its neighbourhood.

    Sixty years ago towns were smaller and woods fewer.
    """
    u, v = land.site[:, 0].astype(np.int64), land.site[:, 1].astype(np.int64)
    terrain = terrain_at(u, v, domain, seed)
    floor = np.float32(_FLOOR_M)
    near = floor * floor / (floor * floor + np.maximum(terrain.bank, 0) ** 2)
    patch = value_noise_at(u, v, 330_000, make_key(seed, domain.key, "soil"))
    soil = np.float32(domain.chalk) + np.float32(0.35) * patch - np.float32(0.3) * near
    slope = _steepest(u, v, terrain, domain, seed)
    weights = _weights(u, v, terrain, slope, near, domain, seed)
    shared = np.array(SHARED_USES, dtype=np.uint8)
    use = shared[choose_each(draw(land.hash, 10), weights)]
    town = value_noise_at(u, v, _SITING[Use.TOWN][3], make_key(seed, domain.key, "use", Use.TOWN))
    ragged = np.float32(0.3) * (draw(land.hash, 15) - np.float32(0.5))
    use[(use == Use.TOWN) & (town + ragged > _CENTRE_LEVEL)] = Use.CENTRE
    often = np.where(near > np.float32(0.6), np.float32(0.3), np.float32(0.15))
    pond = np.isin(use, (Use.PASTURE, Use.WOOD, Use.WILD)) & (draw(land.hash, 13) < often)
    pond &= slope < _PONDS_SLOPE
    if past:
        change = draw(land.hash, 11)
        use[(use == Use.WORKS) | ((use == Use.TOWN) & (change < 0.6))] = Use.ARABLE
        use[(use == Use.CENTRE) & (change < 0.5)] = Use.TOWN
        use[(use == Use.WOOD) & (change < 0.35)] = Use.PASTURE
        use[(use == Use.WILD) & (change < 0.5)] = Use.PASTURE
    return Tenure(use, near, np.clip(soil, 0, 1), terrain.altitude, slope, pond)


def _steepest(
    u: NDArray[np.int64], v: NDArray[np.int64], terrain: Terrain, domain: Domain, seed: int
) -> Floats:
    """Largest slope at the blocks' middles and around them, (N,)."""
    around = np.array([[-1, 1, 0, 0], [0, 0, -1, 1]])[..., None] * _REACH_CM
    beside = terrain_at((u + around[0]).reshape(-1), (v + around[1]).reshape(-1), domain, seed)
    steepest: Floats = np.maximum(beside.slope.reshape(4, -1).max(axis=0), terrain.slope)
    return steepest


def _weights(
    u: NDArray[np.int64], v: NDArray[np.int64], terrain: Terrain, slope: Floats, near: Floats,
    domain: Domain, seed: int,
) -> Floats:  # fmt: skip
    """Weight of every shared use in every block, (N, 8)."""
    steep = np.minimum(terrain.slope / np.float32(_STEEP), 1)
    # Aspect counts as far as there is a slope.
    sunny = np.maximum(terrain.sunny, 0) * np.minimum(steep * np.float32(4), 1)
    columns = []
    for use, share in zip(SHARED_USES, domain.uses, strict=True):
        on_steep, on_floor, in_sun, cell = _SITING[use]
        weight = share * (1 + np.float32(on_steep - 1) * steep)
        weight = weight * (1 + np.float32(on_floor - 1) * near)
        weight = weight * (1 + np.float32(in_sun - 1) * sunny)
        # Neighbourhoods: likes stand together, so that houses make villages and trees forests.
        gathered = 1 + np.float32(1.5) * value_noise_at(
            u, v, cell, make_key(seed, domain.key, "use", use)
        )
        if use in _LIMITS:
            # Rarer shortly before the limit.
            limit = np.float32(_LIMITS[use])
            weight = weight * np.clip(8 - 8 * slope / limit, 0, 1)
        columns.append(weight * np.maximum(gathered, np.float32(0.06)) ** 2)
    return np.stack(columns, axis=1)


def parcel_sizes(use: NDArray[np.uint8], domain: Domain, past: bool) -> tuple[Floats, Floats]:
    """Strip width and parcel length per block, metres."""
    sizes = np.zeros((len(Use), 2), dtype=np.float32)
    for each, (size, _) in _PLAN.items():
        width, length = domain.parcel_m
        sizes[each] = (size * width, size * length) if isinstance(size, float) else size
    if past:
        for each in (Use.ARABLE, Use.PASTURE, Use.PERMANENT):
            sizes[each] = np.minimum(sizes[each] * np.float32(0.5), _OLD_FIELD_M)
    return sizes[use, 0], sizes[use, 1]


def owners(
    cut: Parcels, land: Blocks, held: Tenure, domain: Domain, seed: int, past: bool
) -> Owners:
    """Kind and crop of every parcel, by the shares of its block's use and of the domain."""
    hashes = hash_at(make_key(seed, domain.key, "owner", int(past)), cut.hash)
    use = held.use[cut.block]
    kind = np.zeros(len(hashes), dtype=np.uint8)
    pick = draw(hashes, 1)
    for each, (_, shares) in _PLAN.items():
        here = use == each
        weights = np.array(list(shares.values()))
        if each is Use.WOOD:
            weights[:2] = 72 * (1 - domain.conifers), 72 * domain.conifers
        kinds = np.array(list(shares), dtype=np.uint8)
        kind[here] = kinds[choose(pick[here], weights)]
    if past:
        kind[(kind == Kind.HOUSE) & (draw(hashes, 2) < 0.5)] = Kind.MEADOW
        kind[np.isin(kind, (Kind.GREENHOUSES, Kind.SOLAR))] = Kind.FIELD
        kind[kind == Kind.YARD] = Kind.MEADOW

    steep = held.slope[cut.block] > np.float32(_LIMITS[Use.ARABLE])
    kind[steep & np.isin(kind, (Kind.FIELD, Kind.FARM))] = Kind.MEADOW

    crop = np.full(len(hashes), BACKGROUND, dtype=np.uint8)
    arable = (kind == Kind.FIELD) & (draw(hashes, 7) >= _FALLOW)
    ids, shares_of = domain.crop_table(permanent=False)
    wet = held.wet[cut.block[arable]][:, None]
    # From a third as often on the wrong soil to three times as often on the right one.
    liking = 1 + _WET_CROPS[ids] * (3 * wet - np.float32(0.5))
    liking = liking * (1 + _DRY_CROPS[ids] * (np.float32(0.4) - wet))
    crop[arable] = ids[choose_each(draw(hashes[arable], 3), shares_of * liking)]
    crop[(kind == Kind.MEADOW) | (kind == Kind.FARM)] = MEADOW_CROP
    permanent = kind == Kind.PERMANENT
    ids, shares_of = domain.crop_table(permanent=True)
    # Permanent crops stand together: most parcels of a block carry the block's own.
    alone = draw(hashes, 4) < 0.3
    lot = np.where(alone, draw(hashes, 5), draw(land.hash, 12)[cut.block])
    crop[permanent] = ids[choose(lot[permanent], shares_of)]
    spread = np.float32(0.3) * (draw(hashes, 6) - np.float32(0.5))
    soil = np.clip(held.soil[cut.block] + spread, 0, 1)
    above_m = np.maximum(held.level[cut.block] - np.float32(domain.altitude_m), 0)
    late = domain.season_days + np.rint(_LATE_PER_M * above_m).astype(np.int64)
    grown = growth(hashes, late)
    bare = is_bare(OF_CROP[crop], grown, domain.flight_day(past))
    kind[(kind == Kind.FIELD) & bare] = Kind.PLOWED
    return Owners(use, kind, crop, hashes, cut.direction, soil, late)
