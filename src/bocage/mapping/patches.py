"""Connected patches of equal value in a raster, without labelling what is not asked for.

Patches hang together by sides and corners. Rows are cut into runs of one value, runs of
neighbouring rows that touch are joined: work grows with the runs, not with the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]


class Sides(NamedTuple):
    """Which sides of an array are not the end of the picture."""

    top: bool
    bottom: bool
    left: bool
    right: bool


@dataclass(frozen=True)
class Runs:
    """Runs of equal value in rows, (N,) each, with what is known of their patches.

    `left` is the first column, `right` the one behind the last. `size` is the pixels of the patch
    in the array; `goes_on` says that the patch reaches a side behind which it may have more.
    """

    row: Ints
    left: Ints
    right: Ints
    size: Ints
    goes_on: NDArray[np.bool_]

    def mask(self, chosen: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The pixels of the chosen runs, in an array of `shape`."""
        height, width = shape
        step = np.zeros(height * width + 1, np.int8)
        # Starts differ from each other, and so do ends; an end can be a start.
        step[(self.row * width + self.left)[chosen]] += 1
        step[(self.row * width + self.right)[chosen]] -= 1
        return (np.cumsum(step[:-1], dtype=np.int8) > 0).reshape(shape)


def find_patches(
    codes_HW: NDArray[np.generic], wanted_HW: NDArray[np.bool_], goes_on: Sides
) -> Runs:
    """Patches of equal code among the wanted pixels, as runs of their rows."""
    height, width = wanted_HW.shape
    starts, ends = _runs(codes_HW, wanted_HW)
    rows, lefts = np.divmod(starts, width)
    rights = ends - rows * width
    first, second = _touching(rows, lefts, rights, codes_HW[rows, lefts])
    patch = _joined(len(rows), first, second)
    size = np.bincount(patch, weights=rights - lefts, minlength=len(rows)).astype(np.intp)
    open_run = (rows == 0) & goes_on.top | (rows == height - 1) & goes_on.bottom
    open_run |= (lefts == 0) & goes_on.left | (rights == width) & goes_on.right
    open_patch = np.zeros(len(rows), bool)
    open_patch[patch[open_run]] = True
    return Runs(rows, lefts, rights, size[patch], open_patch[patch])


def _runs(codes_HW: NDArray[np.generic], wanted_HW: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """First pixel, and the one behind the last, of each run, counted through the whole array."""
    width = wanted_HW.shape[1]
    wanted, codes = wanted_HW.ravel(), codes_HW.ravel()
    new = np.ones(len(codes), bool)
    new[1:] = codes[1:] != codes[:-1]
    new[1:] |= ~wanted[:-1]
    new[::width] = True
    starts = np.flatnonzero(new & wanted)
    stop = np.ones(len(codes) + 1, bool)
    stop[:-1] = new | ~wanted
    ends = np.flatnonzero(stop)
    return starts, ends[np.searchsorted(ends, starts, side="right")]


def _touching(
    rows: Ints, lefts: Ints, rights: Ints, codes: NDArray[np.generic]
) -> tuple[Ints, Ints]:
    """Pairs of runs of one code in neighbouring rows that touch, corners included."""
    span = int(rights.max(initial=0)) + 2
    # Runs are sorted by row and column: those below that may touch are a range of them.
    low = np.searchsorted(rows * span + rights, (rows + 1) * span + lefts, side="left")
    high = np.searchsorted(rows * span + lefts, (rows + 1) * span + rights, side="right")
    count = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    second = np.repeat(low, count) + offset
    same = codes[first] == codes[second]
    return first[same], second[same]


def _joined(count: int, first: Ints, second: Ints) -> Ints:
    """A label per node, equal for all nodes that the pairs join: the lowest node among them."""
    label = np.arange(count)
    while True:
        a, b = label[first], label[second]
        if (a == b).all():
            return label
        low = np.minimum(a, b)
        np.minimum.at(label, a, low)
        np.minimum.at(label, b, low)
        while True:
            further = label[label]
            if (further == label).all():
                break
            label = further
