"""The truth about a scene in the nomenclatures of FLAIR-HUB, and the labels that people make of it.

CoSIA is photo-interpreted: an operator generalises, and mistakes one cover for another. LPIS is
declared: a farmer draws parcels at 1:5000 on an orthophotograph and names what is sown for the
season; it is no land-cover map, nobody must declare, and hedges and trees on a parcel belong to it.
The two therefore disagree with the ground and with each other.

What the label sets are is described by FLAIR #1's datapaper (Garioud et al. 2022) and FLAIR-HUB's
paper. No published model of an operator's or a declarant's errors is followed: rates and distances
are chosen, so that they stay well below the errors that the best published networks make on the
same classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import COSIA, LEVEL_2_PARENTS, LEVEL_3_PARENTS, LPIS_3
from bocage.simulate.domains import Domain, Use
from bocage.simulate.filters import displaced, majority
from bocage.simulate.hashing import choose, draw
from bocage.simulate.landscape import Scene
from bocage.simulate.landuse import BACKGROUND, MEADOW_CROP, Kind, Owners
from bocage.simulate.light import View
from bocage.simulate.noise import METRE, value_noise
from bocage.simulate.surfaces import COVER, DECLARED, Surface

_TO_LEVEL_2 = np.array(LEVEL_3_PARENTS, dtype=np.uint8)
_TO_LEVEL_1 = np.array(LEVEL_2_PARENTS, dtype=np.uint8)

LABEL_MARGIN_PX = 24
"""Pixels of neighbourhood at 0.2 m that labels need, in whole pixels of SPOT."""
_HAND_CM, _FINE_PX, _COARSE_PX = 50, 3, 8
"""An operator's hand strays by 0.5 m; details of a metre and a half are smoothed, and of three
metres where the operator was in a hurry."""
_HAND_WAVES_CM = 1_200
_HURRY = np.float32(0.25)
"""Threshold on a noise in [-1, 1]: above it, about a quarter of the land is drawn in a hurry."""
# A whole parcel's cover taken for another: from, to, share of the parcels.
_PARCEL_CONFUSIONS = (
    ("herbaceous vegetation", "agricultural land", 0.06),
    ("agricultural land", "herbaceous vegetation", 0.04),
    ("agricultural land", "plowed land", 0.04),
    ("plowed land", "agricultural land", 0.10),
    ("plowed land", "bare soil", 0.05),
    ("bare soil", "pervious surface", 0.08),
    ("brushwood", "herbaceous vegetation", 0.08),
    ("brushwood", "deciduous", 0.07),
    ("coniferous", "deciduous", 0.03),
    ("deciduous", "coniferous", 0.02),
)
_GRASS_AS_HERB = 0.4
"""Share of fields of sown grass, agricultural by use, that an operator draws as herbaceous."""
# Confusions that do not keep to parcels: roads, yards and paths, stretch by stretch.
_STRETCH_CONFUSIONS = (
    ("pervious surface", "impervious surface", 0.14),
    ("impervious surface", "pervious surface", 0.06),
    ("pervious surface", "herbaceous vegetation", 0.06),
)
_STRETCH_CM = 6_000

_DECLARED_SHIFT_CM = 240
_EDGE_PX = 6
_UNDECLARED, _WRONG, _GRAZED, _DRAWN_INSIDE = 0.05, 0.04, 0.10, 0.5
"""Shares: parcels of crops that nobody declares; of common crops, declared as another crop of the
domain; rough land declared as grazed; parcels whose border is drawn inside, so that a strip stays
undeclared."""
_COMMON = 0.05
"""Share of a domain's arable land from which a crop is common. Rare ones are grown on contract and
named right: no crop leaves a data set by a mistake."""
_SETTLED = (Use.TOWN, Use.CENTRE, Use.WORKS)
_GRASSES = np.array(
    [LPIS_3.names.index(name) for name in ("grasses, monoculture", "grasses, mixture")]
)
_NEVER_DECLARED = [
    Surface.TILE_ROOF, Surface.SLATE_ROOF, Surface.METAL_ROOF, Surface.GREENHOUSE, Surface.POOL,
    Surface.ASPHALT, Surface.CONCRETE, Surface.GRAVEL, Surface.WATER, Surface.SNOW, Surface.SOLAR,
]  # fmt: skip


def land_cover(scene: Scene) -> NDArray[np.uint8]:
    """True CoSIA classes, (1, H, W)."""
    return COVER[scene.surface][None]


def crops(scene: Scene) -> NDArray[np.uint8]:
    """True crops at levels 1, 2 and 3, (3, H, W); background off the fields."""
    third = np.where(
        DECLARED[scene.surface], scene.owner.crop[scene.parcel], np.uint8(BACKGROUND)
    ).astype(np.uint8)
    return _levels(third)


def _levels(third: NDArray[np.uint8]) -> NDArray[np.uint8]:
    second = _TO_LEVEL_2[third]
    return np.stack([_TO_LEVEL_1[second], second, third])


def photo_interpreted(view: View) -> NDArray[np.uint8]:
    """CoSIA classes as an operator draws them, (1, H, W), from a view with `LABEL_MARGIN_PX`."""
    scene, land, window = view.scene, view.land, view.around
    cover = _mistaken(view, COVER[scene.surface])
    move = [
        np.rint(
            value_noise(window, _HAND_WAVES_CM, land.key("hand", axis))
            * np.float32(_HAND_CM / window.step_cm)
        ).astype(np.intp)
        for axis in (0, 1)
    ]
    drawn = majority(displaced(cover, move[0], move[1]), _FINE_PX)
    coarse = majority(cover[::2, ::2], _COARSE_PX // 2)
    hurry = value_noise(window, 2_500, land.key("hurry")) > _HURRY
    drawn = np.where(hurry, np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1), drawn)
    return np.ascontiguousarray(view.inner(drawn)[None])


def _mistaken(view: View, cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cover with whole parcels and stretches of roads taken for something else."""
    scene, owner = view.scene, view.scene.owner
    index = COSIA.names.index
    taken_for = np.tile(np.arange(len(COSIA), dtype=np.uint8), (len(owner.hash), 1))
    for number, (true, seen, share) in enumerate(_PARCEL_CONFUSIONS):
        taken_for[draw(owner.hash, 110 + number) < share, index(true)] = index(seen)
    grass = np.isin(owner.crop, _GRASSES) & (draw(owner.hash, 109) < _GRASS_AS_HERB)
    taken_for[grass, index("agricultural land")] = index("herbaceous vegetation")
    mistaken = taken_for[scene.parcel, cover]
    for number, (true, seen, share) in enumerate(_STRETCH_CONFUSIONS):
        here = cover == index(true)
        if here.any():
            stretch = value_noise(view.around, _STRETCH_CM, view.land.key("stretch", number))
            mistaken[here & (stretch < _quantile(share))] = index(seen)
    return mistaken


def _quantile(share: float) -> np.float32:
    """Below which value smooth noise in [-1, 1] lies on that share of the land (about)."""
    return np.float32(-0.75 + 1.5 * share)


def named_crops(owner: Owners, domain: Domain) -> NDArray[np.uint8]:
    """What is declared to grow on every parcel, level-3 ids (P,); background where nothing is."""
    crop = owner.crop.copy()
    ids, weights = domain.crop_table(permanent=False)
    common = ids[weights >= np.float32(_COMMON) * weights.sum()]
    wrong = np.isin(crop, common) & (draw(owner.hash, 101) < _WRONG)
    crop[wrong] = ids[choose(draw(owner.hash[wrong], 102), weights)]
    crop[draw(owner.hash, 100) < _UNDECLARED] = BACKGROUND
    rough = np.isin(owner.kind, (Kind.WILD, Kind.ROUGH)) & ~np.isin(owner.use, _SETTLED)
    crop[rough & (draw(owner.hash, 103) < _GRAZED)] = MEADOW_CROP
    return crop


def declared(view: View) -> NDArray[np.uint8]:
    """Declared crops at levels 1, 2 and 3, (3, H, W), from a view with `LABEL_MARGIN_PX`."""
    scene, land, window = view.scene, view.land, view.around
    owner = scene.owner
    crop = named_crops(owner, land.domain)

    reach = np.float32(_DECLARED_SHIFT_CM / window.step_cm)
    move = [
        np.rint(reach * value_noise(window, 90 * METRE, land.key("drawn", axis))).astype(np.intp)
        for axis in (0, 1)
    ]
    parcel = displaced(scene.parcel, move[0], move[1])
    open_ground = ~np.isin(displaced(scene.surface, move[0], move[1]), _NEVER_DECLARED)
    edge = np.zeros(parcel.shape, dtype=bool)
    for axis in (0, 1):
        for step in (-_EDGE_PX, _EDGE_PX):
            edge |= np.roll(parcel, step, axis=axis) != parcel
    inside = (draw(owner.hash, 104) < _DRAWN_INSIDE)[parcel]
    third = np.where(open_ground & ~(edge & inside), crop[parcel], np.uint8(BACKGROUND))
    return _levels(np.ascontiguousarray(view.inner(third.astype(np.uint8))))
