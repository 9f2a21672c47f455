"""Minimum mapping unit: patches that are too small take a neighbour's class.

The smallest patch goes first (of equal ones the one whose first pixel comes first) and takes the
class with which it shares the longest border (of equal ones the smaller id). It thereby joins all
its neighbours of that class; what results is a patch like any other, and is absorbed in turn if it
is still too small. Nodata neither absorbs nor is absorbed, so a small patch between nodata stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.mapping.polygons.graph import Ints, components, first_of_each
from bocage.mapping.polygons.trace import VOID, Patches, Pieces


def absorb(patches: Patches, pieces: Pieces, minimum_px: float) -> tuple[Ints, Patches]:
    """Region of each patch, and the regions, none smaller than `minimum_px` that has a neighbour.

    Patches that are smaller than all their small neighbours do not touch each other, and what one
    of them does changes no other's choice; so they all have their turn at once, with the same
    result as one after the other.
    """
    region = np.arange(len(patches.classes))
    classes, pixels = patches.classes.copy(), patches.pixels
    inside = (pieces.left_P != VOID) & (pieces.right_P != VOID)
    first, second = pieces.left_P[inside], pieces.right_P[inside]
    length = pieces.lengths_P[inside]
    while True:
        small = pixels < minimum_px
        touched = small[first] | small[second]
        first, second, length = first[touched], second[touched], length[touched]
        if not len(first):
            break
        turn = _smallest_around(small, pixels, first, second)
        side = np.concatenate([first, second])
        other = np.concatenate([second, first])
        mine = turn[side]
        chosen, taken = _longest_border(
            side[mine], classes[other[mine]], np.concatenate([length, length])[mine]
        )
        classes[chosen] = taken
        same = classes[first] == classes[second]
        joined = components(len(classes), first[same], second[same])
        count = int(joined.max()) + 1
        merged = np.empty(count, np.uint8)
        merged[joined] = classes
        classes = merged
        pixels = np.bincount(joined, weights=pixels, minlength=count).astype(np.int64)
        region = joined[region]
        first, second = joined[first], joined[second]
        apart = first != second
        first, second, length = first[apart], second[apart], length[apart]
    confidence = np.bincount(region, weights=patches.confidence).astype(np.int64)
    return region, Patches(classes, pixels, confidence)


def _smallest_around(
    small: NDArray[np.bool_], pixels: Ints, first: Ints, second: Ints
) -> NDArray[np.bool_]:
    """Which small regions have a neighbour, and none that is smaller than they are."""
    turn = np.zeros(len(small), bool)
    turn[first] = small[first]
    turn[second] = small[second]
    both = small[first] & small[second]
    a, b = first[both], second[both]
    a_before_b = (pixels[a] < pixels[b]) | ((pixels[a] == pixels[b]) & (a < b))
    turn[np.where(a_before_b, b, a)] = False
    return turn


def _longest_border(
    region: Ints, neighbour_class: NDArray[np.uint8], length: Ints
) -> tuple[Ints, NDArray[np.uint8]]:
    """Each region once, and the class with which it shares the longest border."""
    keys, group = np.unique(region * 256 + neighbour_class, return_inverse=True)
    total = np.bincount(group, weights=length)
    region, neighbour_class = keys // 256, (keys % 256).astype(np.uint8)
    order = np.lexsort((neighbour_class, -total, region))
    best = order[first_of_each(region[order])]
    return region[best], neighbour_class[best]
