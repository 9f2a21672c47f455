"""The truth about a scene, in the nomenclatures of FLAIR-HUB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import LEVEL_2_PARENTS, LEVEL_3_PARENTS
from bocage.simulate.landscape import Scene
from bocage.simulate.landuse import BACKGROUND
from bocage.simulate.surfaces import COVER, DECLARED

_TO_LEVEL_2 = np.array(LEVEL_3_PARENTS, dtype=np.uint8)
_TO_LEVEL_1 = np.array(LEVEL_2_PARENTS, dtype=np.uint8)


def land_cover(scene: Scene) -> NDArray[np.uint8]:
    """CoSIA classes, (1, H, W)."""
    return COVER[scene.surface][None]


def crops(scene: Scene) -> NDArray[np.uint8]:
    """Declared crops at levels 1, 2 and 3, (3, H, W); background off the declared parcels."""
    third = np.where(
        DECLARED[scene.surface], scene.owner.crop[scene.parcel], np.uint8(BACKGROUND)
    ).astype(np.uint8)
    second = _TO_LEVEL_2[third]
    return np.stack([_TO_LEVEL_1[second], second, third])
