"""A block with its smaller pictures, on one canvas.

The block stands at the top left, filled up with nodata to whole tiles; below it, from left to
right, its halves:

    +---------------+
    |               |
    |     block     |
    |               |
    +-------+---+-+-+
    |   2   | 4 |8| |
    |       +---+-+ |
    +-------+-------+

Made of each block by itself they cost time beside the network's, on every machine at once, and none
at the end. GDAL would do it several times slower, and let nobody else work meanwhile.

Legend: H x W pixels of the block, H' x W' of the canvas.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from bocage.mapping.compiled import compiled
from bocage.mapping.plan import BLOCK_STEP_PX


class Place(NamedTuple):
    """Where a picture lies on the canvas, and how large it is."""

    row: int
    col: int
    height: int
    width: int


def canvas_shape(shape: tuple[int, int], levels: int) -> tuple[int, int]:
    """Height and width of the canvas of a block of `shape` with so many smaller pictures."""
    height, width = (-(-side // BLOCK_STEP_PX) * BLOCK_STEP_PX for side in shape)
    return (height + height // 2 if levels else height), width


def places(shape: tuple[int, int], levels: int) -> Iterator[Place]:
    """Of the block itself and of its pictures, each half as large as the one before.

    They fit side by side as long as 2^levels is at most `BLOCK_STEP_PX`.
    """
    height, width = shape
    yield Place(0, 0, height, width)
    top, across = canvas_shape(shape, 0)
    left = 0
    for level in range(1, levels + 1):
        height, width = (-(-side // 2) for side in (height, width))
        yield Place(top, left, height, width)
        left += across >> level


def with_overviews(
    block_HW: NDArray[np.uint8], levels: int, nodata: int, average: bool
) -> NDArray[np.uint8]:
    """The canvas (H', W') of a block.

    A pixel of a smaller picture is the mean of the four before it, or the most frequent of them
    (of equally frequent ones the first in reading order); `nodata` counts only where all four are.
    """
    height, width = block_HW.shape
    canvas_HW = np.full(canvas_shape((height, width), levels), nodata, np.uint8)
    pictures = [
        canvas_HW[place.row : place.row + place.height, place.col : place.col + place.width]
        for place in places((height, width), levels)
    ]
    pictures[0][:] = block_HW
    for large, small in itertools.pairwise(pictures):
        _halving()(large, small, nodata, average)
    return canvas_HW


def halved(large_HW: NDArray[np.uint8], nodata: int, average: bool) -> NDArray[np.uint8]:
    """A picture of half the height and width, rounded up, as in `with_overviews`."""
    small_HW = np.empty([-(-side // 2) for side in large_HW.shape], np.uint8)
    _halving()(large_HW, small_HW, nodata, average)
    return small_HW


@functools.cache
def _halving() -> Any:
    """`_halve`, compiled."""
    plane = types.uint8[:, :]
    signature = types.void(plane, plane, types.uint8, types.boolean)
    return compiled(_halve, signature)


def _halve(large: Any, small: Any, nodata: Any, average: Any) -> None:
    height, width = large.shape
    for y in range(small.shape[0]):
        # Beyond the edge the last pixel counts again; twice or four times, it changes nothing.
        above, below = large[2 * y], large[min(2 * y + 1, height - 1)]
        for x in range(small.shape[1]):
            left, right = 2 * x, min(2 * x + 1, width - 1)
            a, b, c, d = above[left], above[right], below[left], below[right]
            if a == b and a == c and a == d:
                small[y, x] = a
            elif average:
                total, count = 0, 0
                for value in (a, b, c, d):
                    if value != nodata:
                        total += value
                        count += 1
                small[y, x] = (2 * total + count) // (2 * count)
            else:
                best, most = nodata, 0
                for value in (a, b, c, d):
                    if value != nodata:
                        votes = (value == a) + (value == b) + (value == c) + (value == d)
                        if votes > most:
                            best, most = value, votes
                small[y, x] = best
