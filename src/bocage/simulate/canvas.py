"""The sheet on which a landscape is painted, layer over layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats
from bocage.simulate.surfaces import Surface


@dataclass(frozen=True)
class Canvas:
    """`surface` (H, W) uint8, object `height` in metres, `tone` (relative brightness), and `crown`,
    uint8: a number of the single crown that a pixel belongs to, 0 for none."""

    surface: NDArray[np.uint8]
    height: Floats
    tone: Floats
    crown: NDArray[np.uint8]

    @classmethod
    def of(cls, surface: NDArray[np.uint8]) -> Canvas:
        """A canvas of flat objects of neutral tone."""
        flat = np.zeros(surface.shape, dtype=np.float32)
        return cls(surface, flat, flat.copy(), np.zeros(surface.shape, dtype=np.uint8))

    def put(
        self,
        pixels: NDArray[np.intp],
        surface: Surface,
        height: Floats | float,
        tone: Floats | float = 0.0,
        crown: NDArray[np.uint8] | int = 0,
    ) -> None:
        """Cover these pixels (flat indices, (N,)): what was there before is gone."""
        self.surface.reshape(-1)[pixels] = surface
        self.height.reshape(-1)[pixels] = height
        self.tone.reshape(-1)[pixels] = tone
        self.crown.reshape(-1)[pixels] = crown
