"""Neighbourhoods of pixels, by sums in a fixed order: a place comes out alike in every window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats


def smooth(image: Floats, weights: Sequence[float]) -> Floats:
    """Blur (..., H, W) along both axes by a symmetric kernel; `weights[k]` is for distance k.

    As many pixels at each side as `weights` reaches hold no full neighbourhood and stay as wrong as
    the border makes them: cut them off.
    """
    for axis in (-1, -2):
        total = image * np.float32(weights[0])
        for distance, weight in enumerate(weights[1:], start=1):
            both = _moved(image, distance, axis) + _moved(image, -distance, axis)
            total += both * np.float32(weight)
        image = total
    return image


def _moved(image: Floats, distance: int, axis: int) -> Floats:
    """Values from `distance` pixels on; the border wraps."""
    return np.roll(image, -distance, axis=axis)


def box_sum(image: NDArray[Any], radius: int) -> NDArray[np.int32]:
    """Sum over squares of 2 `radius` + 1 pixels of whole numbers (H, W); 0 within `radius` of the
    border."""
    side = 2 * radius + 1
    height, width = image.shape
    total = np.zeros((height + 1, width + 1), dtype=np.int32)
    np.cumsum(image, axis=0, dtype=np.int32, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], axis=1, out=total[1:, 1:])
    result = np.zeros((height, width), dtype=np.int32)
    result[radius : height - radius, radius : width - radius] = (
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )
    return result


def majority(classes: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """The class that most pixels of each square of 2 `radius` + 1 hold; of equals, the lowest."""
    present = np.flatnonzero(np.bincount(classes.reshape(-1)))
    best = np.full(classes.shape, -1, dtype=np.int32)
    winner = np.zeros(classes.shape, dtype=np.uint8)
    for each in present.tolist():
        votes = box_sum(classes == each, radius)
        more = votes > best
        winner[more] = each
        np.maximum(best, votes, out=best)
    return winner


def displaced(
    image: NDArray[Any], move_v: NDArray[np.intp], move_u: NDArray[np.intp]
) -> NDArray[Any]:
    """The image (H, W) as seen `move_v` rows and `move_u` columns on, (H, W) whole pixels each."""
    height, width = image.shape
    rows = np.clip(np.arange(height)[:, None] + move_v, 0, height - 1)
    cols = np.clip(np.arange(width)[None, :] + move_u, 0, width - 1)
    found: NDArray[Any] = image.reshape(-1)[rows * width + cols]
    return found
