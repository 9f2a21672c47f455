"""What covers a point of the ground, and how each sensor's light or wave comes back from it.

Reflectances at 20 cm are chosen inside the ranges that spectral libraries give for such materials
(ECOSTRESS library, Meerdink et al. 2019). Backscatter is chosen around C-band means by cover.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from bocage.nomenclatures import COSIA
from bocage.simulate.hashing import Floats


class Surface(IntEnum):
    """Materials of the simulated ground."""

    TILE_ROOF = 0
    SLATE_ROOF = 1
    METAL_ROOF = 2
    GREENHOUSE = 3
    POOL = 4
    ASPHALT = 5
    CONCRETE = 6
    GRAVEL = 7
    BARE = 8
    WATER = 9
    SNOW = 10
    LAWN = 11
    MEADOW = 12
    ROUGH_GRASS = 13
    FIELD = 14
    PLOWED = 15
    VINE_ROW = 16
    VINE_FLOOR = 17
    DECIDUOUS = 18
    CONIFER = 19
    BRUSH = 20
    ORCHARD_TREE = 21
    OLIVE_TREE = 22
    ORCHARD_FLOOR = 23
    LAVENDER_ROW = 24
    LAVENDER_FLOOR = 25
    MARGIN = 26
    CLEAR_CUT = 27
    LIGNEOUS = 28
    MIXED_WOOD = 29
    SOLAR = 30
    BUSH_ROW = 31
    BED = 32
    SAND = 33
    ROCK = 34


# surface | land cover | red green blue nir (thousandths) | texture at 0.4, 2 and 12 m (thousandths)
# | Sentinel-2 and -1 behaviour: a calendar of `phenology` | a declared crop may stand on it
_TABLE = """
TILE_ROOF | building | 234 164 118 270 | 110 60 20 | roof | no
SLATE_ROOF | building | 124 130 120 140 | 110 60 20 | roof | no
METAL_ROOF | building | 405 418 368 400 | 80 50 20 | roof | no
GREENHOUSE | greenhouse | 430 455 420 440 | 60 40 20 | greenhouse | no
POOL | swimming pool | 90 310 390 50 | 40 30 0 | water | no
ASPHALT | impervious surface | 163 168 139 158 | 100 60 60 | paved | no
CONCRETE | impervious surface | 264 270 222 280 | 90 70 60 | paved | no
GRAVEL | pervious surface | 192 184 140 300 | 45 80 90 | gravel | no
BARE | bare soil | 270 250 178 340 | 270 140 120 | bare | no
WATER | water | 48 100 66 16 | 5 15 120 | water | no
SNOW | snow | 850 860 880 800 | 15 20 30 | snow | no
LAWN | herbaceous vegetation | 82 120 68 430 | 70 80 100 | lawn | no
MEADOW | herbaceous vegetation | 98 128 78 400 | 90 130 170 | grasses, mixture | yes
ROUGH_GRASS | herbaceous vegetation | 138 140 94 330 | 140 170 180 | rough grass | no
FIELD | agricultural land | 100 120 70 350 | 50 50 70 | field | yes
PLOWED | plowed land | 184 171 116 235 | 90 60 80 | field | yes
VINE_ROW | vineyard | 80 122 62 430 | 120 90 80 | vineyard | yes
VINE_FLOOR | vineyard | 195 177 126 290 | 80 80 100 | vineyard | yes
DECIDUOUS | deciduous | 84 117 71 540 | 145 120 100 | broad-leaved | no
CONIFER | coniferous | 74 98 70 350 | 190 120 80 | coniferous | no
BRUSH | brushwood | 84 104 66 360 | 90 110 130 | brush | no
ORCHARD_TREE | deciduous | 76 120 62 500 | 160 100 60 | fruit orchards | yes
OLIVE_TREE | deciduous | 92 106 82 290 | 150 90 60 | olive groves | yes
ORCHARD_FLOOR | herbaceous vegetation | 122 140 84 350 | 110 110 120 | fruit orchards | yes
LAVENDER_ROW | agricultural land | 120 104 150 300 | 110 60 60 | lavandin | yes
LAVENDER_FLOOR | agricultural land | 262 240 180 330 | 80 70 70 | lavandin | yes
MARGIN | herbaceous vegetation | 112 132 74 370 | 150 150 120 | rough grass | no
CLEAR_CUT | clear cut | 186 168 120 270 | 240 200 140 | brush | no
LIGNEOUS | ligneous | 100 122 76 400 | 190 140 110 | brush | no
MIXED_WOOD | mixed | 58 96 58 420 | 190 130 100 | broad-leaved | no
SOLAR | undefined | 62 68 92 95 | 30 40 20 | greenhouse | no
BUSH_ROW | agricultural land | 84 118 66 430 | 150 90 70 | field | yes
BED | bare soil | 176 160 104 250 | 130 110 60 | bare | no
SAND | bare soil | 380 350 262 420 | 60 80 100 | bare | no
ROCK | bare soil | 262 258 218 300 | 200 210 200 | bare | no
"""

_ROWS = [[cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines()]
assert [row[0] for row in _ROWS] == [surface.name for surface in Surface]


def _thousandths(column: int) -> Floats:
    return np.array([row[column].split() for row in _ROWS], dtype=np.float32) / np.float32(1000)


COVER = np.array([COSIA.names.index(row[1]) for row in _ROWS], dtype=np.uint8)
"""Land-cover id of each surface, (S,)."""
REFLECTANCE: Floats = _thousandths(2)
"""Red, green, blue and near-infrared reflectance of each surface, (S, 4), 0 to 1."""
TEXTURE: Floats = _thousandths(3)
"""Relative contrast of each surface's texture at 0.4, 2 and 12 m, (S, 3)."""
BEHAVIOUR: tuple[str, ...] = tuple(row[4] for row in _ROWS)
"""Name of each surface's course of the year; `field` means the course of the parcel's crop."""
DECLARED = np.array([row[5] == "yes" for row in _ROWS])
"""Surfaces that belong to a parcel's declared crop, (S,) bool."""
SOFT = np.isin(
    np.arange(len(Surface)),
    [
        Surface.LAWN, Surface.MEADOW, Surface.ROUGH_GRASS, Surface.MARGIN, Surface.DECIDUOUS,
        Surface.CONIFER, Surface.BRUSH, Surface.FIELD, Surface.PLOWED, Surface.BARE, Surface.BED,
        Surface.ORCHARD_FLOOR, Surface.VINE_FLOOR, Surface.VINE_ROW, Surface.LAVENDER_FLOOR,
        Surface.CLEAR_CUT,
    ],
)  # fmt: skip
"""Surfaces on which a tree may stand, (S,) bool."""
