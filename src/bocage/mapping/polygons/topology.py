"""From pieces of border to arcs that two polygons share, and from arcs to rings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from bocage.mapping.polygons.graph import Ints, chains, ranges
from bocage.mapping.polygons.trace import VOID, Pieces

KEY_STEP = 1 << 32
"""A corner's key is row times this plus column: keys sort in reading order."""


def keys_of(points_N2: NDArray[np.int32]) -> Ints:
    """One whole number for every corner of pixels."""
    return points_N2[:, 1].astype(np.int64) * KEY_STEP + points_N2[:, 0]


def join(pieces: Pieces, region: Ints) -> Pieces:
    """Borders between regions, from one junction to the next, or closed.

    `region` is the region of each patch. A junction is a corner where more than two borders meet.
    Every arc has the smaller region on its left; arcs come in the reading order of their first
    corners, and a closed one begins at a place that does not depend on strips.
    """
    left, right = region[pieces.left_P], region[pieces.right_P]
    apart = np.flatnonzero(left != right)
    left, right = left[apart], right[apart]
    turned = left > right
    counts = pieces.counts_P[apart]
    points_N2 = pieces.points_N2[_read(pieces.starts_P[apart], counts, turned)]
    arcs = Pieces(points_N2, counts, np.minimum(left, right), np.maximum(left, right))

    starts = arcs.starts_P
    key_N = keys_of(arcs.points_N2)
    order = np.lexsort((_directions(arcs.points_N2, starts), key_N[starts]))
    first_P, last_P = key_N[starts][order], key_N[starts + counts - 1][order]
    corners, degree = np.unique(np.concatenate([first_P, last_P]), return_counts=True)
    goes_on = degree[np.searchsorted(corners, last_P)] == 2
    following = np.where(goes_on, np.searchsorted(first_P, last_P), -1)
    members, begin, length = chains(following)
    members = order[members]

    # Each piece but a chain's last leaves its last corner to the next one's first.
    last = np.zeros(len(members), bool)
    last[begin + length - 1] = True
    given = counts[members] - ~last
    points_N2 = arcs.points_N2[ranges(starts[members], given)]
    lead = members[begin]
    total = np.add.reduceat(given, begin) if len(begin) else given
    return _straightened(Pieces(points_N2, total, arcs.left_P[lead], arcs.right_P[lead]))


def _straightened(arcs: Pieces) -> Pieces:
    """Without corners where the border goes straight on: junctions that are none any more."""
    points_N2, starts = arcs.points_N2.copy(), arcs.starts_P
    ends = starts + arcs.counts_P - 1
    upright = np.diff(points_N2[:, 0]) == 0
    keep = np.ones(len(points_N2), bool)
    keep[1:-1] = upright[1:] != upright[:-1]
    keep[starts] = keep[ends] = True
    closed = (points_N2[starts] == points_N2[ends]).all(axis=1)
    flat = np.flatnonzero(closed & (upright[starts] == upright[ends - 1]))
    # A closed arc that begins in the middle of a straight side begins at that side's end instead.
    keep[starts[flat]] = False
    second = starts[flat] + 1
    # The side's end is the next corner that is kept.
    kept = np.flatnonzero(keep)
    points_N2[ends[flat]] = points_N2[kept[np.searchsorted(kept, second)]]
    counts = np.add.reduceat(keep, starts, dtype=np.int64) if len(starts) else arcs.counts_P
    return Pieces(points_N2[keep], counts, arcs.left_P, arcs.right_P)


def _read(starts: Ints, counts: Ints, backwards: NDArray[np.bool_]) -> Ints:
    """Places of the points of polylines one after another, some read from their ends."""
    step = np.repeat(np.where(backwards, -1, 1), counts)
    from_ = np.repeat(np.where(backwards, starts + counts - 1, starts), counts)
    return np.asarray(from_ + step * ranges(np.zeros_like(counts), counts))


def _directions(points_N2: NDArray[np.int32], at: Ints) -> Ints:
    """Where polylines head from the points at `at`: east 0, south 1, west 2, north 3."""
    dx, dy = (points_N2[at + 1] - points_N2[at]).T
    return np.where(dy == 0, np.where(dx > 0, 0, 2), np.where(dy > 0, 1, 3))


def polygons(
    arcs: Pieces, keep_N: NDArray[np.bool_], transform: Any, wanted: NDArray[np.bool_], batch: int
) -> Iterator[tuple[Ints, NDArray[Any]]]:
    """Numbers of regions and their polygons, `batch` at a time.

    `keep_N` are the points of the arcs that simplification has left; `wanted` says of each region
    whether to build it; `transform` maps (column, row) to (x, y), north up.
    """
    arc, backwards, rings, lengths = _rings(arcs)
    kept_counts = np.add.reduceat(keep_N, arcs.starts_P, dtype=np.int64) if len(arc) else lengths
    kept_starts = np.cumsum(kept_counts) - kept_counts
    points_N2 = arcs.points_N2[keep_N]
    region_of_ring = np.where(backwards, arcs.right_P[arc], arcs.left_P[arc])[rings]
    # An arc gives all points but its last, which the next one begins with.
    size = kept_counts[arc] - 1
    size_of_ring = np.add.reduceat(size, rings) if len(rings) else size
    hole = ~_encloses(points_N2, _ring_points(kept_starts, arc, backwards, size), size_of_ring)
    order = np.lexsort((hole, region_of_ring))
    order = order[wanted[region_of_ring[order]]]
    regions, first_ring = np.unique(region_of_ring[order], return_index=True)
    first_ring = np.append(first_ring, len(order))
    for at in range(0, len(regions), batch):
        upto = min(at + batch, len(regions))
        chosen = order[first_ring[at] : first_ring[upto]]
        half = ranges(rings[chosen], lengths[chosen])
        place = _ring_points(kept_starts, arc[half], backwards[half], size[half])
        # Every ring ends with the point that it began with.
        open_sizes = size_of_ring[chosen]
        begins = np.cumsum(open_sizes) - open_sizes
        place = np.insert(place, begins + open_sizes, place[begins])
        xy_N2 = points_N2[place].astype(np.float64)
        xy_N2[:, 0] = transform.c + transform.a * xy_N2[:, 0]
        xy_N2[:, 1] = transform.f + transform.e * xy_N2[:, 1]
        ring_ends = np.concatenate([[0], np.cumsum(open_sizes + 1)])
        offsets = (ring_ends, first_ring[at : upto + 1] - first_ring[at])
        yield (
            regions[at:upto],
            shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy_N2, offsets),
        )


def _rings(arcs: Pieces) -> tuple[Ints, NDArray[np.bool_], Ints, Ints]:
    """Arcs in the order of the rings that they form: arc, whether backwards; rings' starts, sizes.

    An arc is part of two rings: forwards of the region on its left, backwards of the one on its
    right. So a region lies on the left of its rings, and its outer ring runs anti-clockwise.
    """
    starts = arcs.starts_P
    ends = starts + arcs.counts_P - 1
    key_N = keys_of(arcs.points_N2)
    first, last = key_N[starts], key_N[ends]
    out = _directions(arcs.points_N2, starts)
    into = _directions(arcs.points_N2, ends - 1)
    count = len(starts)
    region = np.concatenate([arcs.left_P, arcs.right_P])
    use = np.flatnonzero(region != VOID)
    arc, backwards = use % count if count else use, use >= count
    region = region[use]
    begin = np.where(backwards, last[arc], first[arc])
    end = np.where(backwards, first[arc], last[arc])
    leaves = np.where(backwards, (into[arc] + 2) % 4, out[arc])
    arrives = np.where(backwards, (out[arc] + 2) % 4, into[arc])
    # Where a region meets itself across a corner two of its borders arrive and two leave. Each goes
    # on with the one to its right, away from the region: rings then touch, and none touches itself.
    following = np.empty(len(use), np.int64)
    following[np.lexsort(((arrives + 1) % 4, end, region))] = np.lexsort((leaves, begin, region))
    members, rings, lengths = chains(following)
    return arc[members], backwards[members], rings, lengths


def _ring_points(starts: Ints, arc: Ints, backwards: NDArray[np.bool_], size: Ints) -> Ints:
    """Places of the points of arcs one after another, without the last of each."""
    # Backwards, what is left out is the arc's first point.
    return _read(starts[arc] + backwards, size, backwards)


def _encloses(points_N2: NDArray[np.int32], place: Ints, sizes: Ints) -> NDArray[np.bool_]:
    """Whether rings run anti-clockwise on the ground: outer rings."""
    if not len(sizes):
        return np.zeros(0, bool)
    starts = np.cumsum(sizes) - sizes
    after = np.arange(1, len(place) + 1)
    after[starts + sizes - 1] = starts
    x, y = points_N2[place].T.astype(np.int64)
    return np.asarray(np.add.reduceat(y * x[after] - x * y[after], starts) > 0)
