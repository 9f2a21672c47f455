"""Simpler borders without gaps and overlaps.

Arcs are simplified, not polygons, so two neighbours keep one border. Each arc is first thinned
after Douglas and Peucker (1973): no point of the old border is farther than the tolerance from the
new one. A new segment lies in the convex hull of the points that it replaces. Where two hulls meet
anywhere but in the end that their segments share, both segments are split where their old border
is farthest away, until no hulls meet. Then every segment has a place of its own in which the old
border lies too: no borders cross, no ring collapses, no hole leaves its polygon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from bocage.mapping.polygons.graph import Ints, ranges
from bocage.mapping.polygons.topology import keys_of
from bocage.mapping.polygons.trace import Pieces

ANGLE_MARGIN = 1e-9
"""Radians; two borders along one direction shall count as meeting, whatever the rounding."""


def simplify(
    arcs: Pieces, tolerance: float, pixel: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which points of the arcs are kept.

    `tolerance` and `pixel`, width and height of a pixel, are in metres; `size` is width and height
    of the raster in pixels. Points on its edge all stay, so that it fits its neighbours and the
    map keeps its corners.
    """
    xy_N2 = arcs.points_N2 * np.asarray(pixel)
    starts, ends = arcs.starts_P, arcs.starts_P + arcs.counts_P - 1
    on_edge_N2 = (arcs.points_N2 == 0) | (arcs.points_N2 == np.asarray(size))
    keep_N: NDArray[np.bool_] = on_edge_N2.any(axis=1)
    keep_N[starts] = keep_N[ends] = True
    first, last = _between_kept(keep_N, ends)
    while len(first):
        long = last - first > 1
        first, last = first[long], last[long]
        far, distance = _farthest(xy_N2, first, last)
        far_enough = (distance > tolerance) | (xy_N2[first] == xy_N2[last]).all(axis=1)
        first, last, far = first[far_enough], last[far_enough], far[far_enough]
        keep_N[far] = True
        first, last = np.concatenate([first, far]), np.concatenate([far, last])

    key_N = keys_of(arcs.points_N2)
    segments = _Segments.of(xy_N2, key_N, *_between_kept(keep_N, ends))
    fresh = np.arange(len(segments.first))
    while len(fresh):
        split = segments.meeting(fresh, xy_N2) & (segments.last - segments.first > 1)
        far, _ = _farthest(xy_N2, segments.first[split], segments.last[split])
        keep_N[far] = True
        halves = _Segments.of(
            xy_N2,
            key_N,
            np.concatenate([segments.first[split], far]),
            np.concatenate([far, segments.last[split]]),
        )
        fresh = np.arange(len(halves.first)) + int(np.count_nonzero(~split))
        segments = segments.only(~split).and_(halves)
    return keep_N


def _between_kept(keep_N: NDArray[np.bool_], ends: Ints) -> tuple[Ints, Ints]:
    """First and last point of the segments between points that are kept."""
    kept = np.flatnonzero(keep_N)
    within = ~np.isin(kept[:-1], ends, assume_unique=True)
    return kept[:-1][within], kept[1:][within]


def _farthest(
    xy_N2: NDArray[np.float64], first: Ints, last: Ints
) -> tuple[Ints, NDArray[np.float64]]:
    """Of the points between `first` and `last`: the one farthest from the segment; its distance."""
    if not len(first):
        return first, np.zeros(0)
    counts = last - first - 1
    place = ranges(first + 1, counts)
    chord = xy_N2[last] - xy_N2[first]
    square = np.maximum((chord**2).sum(axis=1), np.finfo(float).tiny)
    from_first = xy_N2[place] - np.repeat(xy_N2[first], counts, axis=0)
    along = np.repeat(chord, counts, axis=0)
    share = np.clip((from_first * along).sum(axis=1) / np.repeat(square, counts), 0.0, 1.0)
    offset = from_first - share[:, None] * along
    distance = np.hypot(offset[:, 0], offset[:, 1])
    begins = np.cumsum(counts) - counts
    highest = np.maximum.reduceat(distance, begins)
    is_highest = np.flatnonzero(distance == np.repeat(highest, counts))
    # The first of equally far ones.
    return place[is_highest[np.searchsorted(is_highest, begins)]], highest


@dataclass(frozen=True)
class _Segments:
    """Segments between two kept points, and where the points lie that they replace.

    `ends_S2` are the keys of both ends, `boxes` the rectangles around the points; seen from an end
    the points lie within `half_S2` radians of the direction `middle_S2`.
    """

    first: Ints
    last: Ints
    ends_S2: Ints
    boxes: NDArray[Any]
    middle_S2: NDArray[np.float64]
    half_S2: NDArray[np.float64]

    @classmethod
    def of(cls, xy_N2: NDArray[np.float64], key_N: Ints, first: Ints, last: Ints) -> _Segments:
        counts = last - first + 1
        place, begins = ranges(first, counts), np.cumsum(counts) - counts
        x, y = xy_N2[place].T
        boxes = shapely.box(
            np.minimum.reduceat(x, begins),
            np.minimum.reduceat(y, begins),
            np.maximum.reduceat(x, begins),
            np.maximum.reduceat(y, begins),
        )
        openings = [_opening(xy_N2, first, last, end) for end in (first, last)]
        middle, half = (np.stack(values, axis=1) for values in zip(*openings, strict=True))
        ends_S2 = np.stack([key_N[first], key_N[last]], axis=1)
        return cls(first, last, ends_S2, boxes, middle, half)

    def only(self, chosen: NDArray[np.bool_]) -> _Segments:
        return _Segments(*(values[chosen] for values in self._values()))

    def and_(self, other: _Segments) -> _Segments:
        both = zip(self._values(), other._values(), strict=True)
        return _Segments(*(np.concatenate(values) for values in both))

    def _values(self) -> tuple[NDArray[Any], ...]:
        return (self.first, self.last, self.ends_S2, self.boxes, self.middle_S2, self.half_S2)

    def meeting(self, fresh: Ints, xy_N2: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Segments whose hull meets another's beyond a shared end, in pairs with a fresh one."""
        a, b = shapely.STRtree(self.boxes).query(self.boxes[fresh])
        a = fresh[a]
        other = a != b
        a, b = a[other], b[other]
        at_end = np.zeros(len(a), bool)
        meets = np.zeros(len(a), bool)
        for i in range(2):
            for j in range(2):
                shared = np.flatnonzero(self.ends_S2[a, i] == self.ends_S2[b, j])
                at_end[shared] = True
                angle = self.middle_S2[a[shared], i] - self.middle_S2[b[shared], j]
                apart = np.abs((angle + np.pi) % (2 * np.pi) - np.pi)
                room = self.half_S2[a[shared], i] + self.half_S2[b[shared], j]
                meets[shared] |= apart <= room + ANGLE_MARGIN
        away = np.flatnonzero(~at_end)
        near, pair = np.unique(np.stack([a[away], b[away]]), return_inverse=True)
        hulls = _hulls(xy_N2, self.first[near], self.last[near])
        of_a, of_b = pair.reshape(2, -1)
        meets[away] = shapely.intersects(hulls[of_a], hulls[of_b])
        found = np.zeros(len(self.first), bool)
        found[a[meets]] = found[b[meets]] = True
        return found


def _hulls(xy_N2: NDArray[np.float64], first: Ints, last: Ints) -> NDArray[Any]:
    """Convex hulls of the points from `first` to `last`."""
    counts = last - first + 1
    owner = np.repeat(np.arange(len(first)), counts)
    hulls = shapely.linestrings(xy_N2[ranges(first, counts)], indices=owner)
    bent = counts > 2
    hulls[bent] = shapely.convex_hull(hulls[bent])
    return np.asarray(hulls)


def _opening(
    xy_N2: NDArray[np.float64], first: Ints, last: Ints, end: Ints
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction and half width, radians, of the angle in which the points are seen from `end`."""
    counts = last - first
    # All points but the end itself: those after the first, or those before the last.
    place = ranges(np.where(end == first, first + 1, first), counts)
    chord = xy_N2[first + last - end] - xy_N2[end]
    x, y = (xy_N2[place] - np.repeat(xy_N2[end], counts, axis=0)).T
    along_x, along_y = np.repeat(chord, counts, axis=0).T
    angle = np.arctan2(along_x * y - along_y * x, along_x * x + along_y * y)
    begins = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(angle, begins), np.maximum.reduceat(angle, begins)
    half = (high - low) / 2
    # From half a turn on the end does not lie on the hull's corner: all directions are taken.
    half[half >= np.pi / 2 - ANGLE_MARGIN] = np.pi
    return np.arctan2(chord[:, 1], chord[:, 0]) + (high + low) / 2, half
