"""Digital surface and terrain models."""

from __future__ import annotations

import numpy as np

from bocage.simulate.hashing import Floats
from bocage.simulate.landscape import Scene


def elevation(scene: Scene) -> Floats:
    """Surface and terrain altitude (2, H, W) float32, metres, in whole centimetres."""
    stacked = np.stack([scene.ground + scene.height, scene.ground]).astype(np.float64)
    return (np.rint(stacked * 100) / 100).astype(np.float32)
