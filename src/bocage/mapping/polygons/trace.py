"""From strips of a class map to patches and the borders between them.

A *patch* is a 4-connected set of pixels of one class. A *piece* is a run of border with one patch
on each side. Strips are traced one after another and only the last row of pixels is carried over,
so memory grows with the length of borders, not with pixels. Where a strip ends pieces end too;
`topology.join` makes them whole again, and nothing of the strips remains.

Positions are corners of pixels: (column, row) from the map's upper left corner, rows downwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bocage.mapping.outputs import NODATA
from bocage.mapping.polygons.graph import Ints, chains, components

VOID = 0
"""Label of nodata and of everything outside the map."""


@dataclass(frozen=True)
class Pieces:
    """Polylines of pixel corners, one after another in `points_N2` (int32).

    `counts_P` is the number of points of each; `left_P` and `right_P` say what lies beside it as
    seen along it.
    """

    points_N2: NDArray[np.int32]
    counts_P: Ints
    left_P: Ints
    right_P: Ints

    @property
    def starts_P(self) -> Ints:
        """Place of each polyline's first point."""
        return np.cumsum(self.counts_P) - self.counts_P

    @property
    def lengths_P(self) -> Ints:
        """Length of each polyline in pixel sides."""
        steps = np.abs(np.diff(self.points_N2.astype(np.int64), axis=0)).sum(axis=1)
        total = np.concatenate([[0], np.cumsum(steps)])
        starts = self.starts_P
        return np.asarray(total[starts + self.counts_P - 1] - total[starts])


@dataclass(frozen=True)
class Patches:
    """Class, pixels and sum of stored confidence of each patch; patch 0 is `VOID`.

    Numbered in the order of their first pixels, whatever the strips were.
    """

    classes: NDArray[np.uint8]
    pixels: Ints
    confidence: Ints


@dataclass
class Tracer:
    """Traces one raster of `width` columns, strip after strip from above."""

    width: int
    _pieces: list[Pieces] = field(default_factory=list)
    _row: int = 0
    _labels: int = 1
    _same: list[tuple[Ints, Ints]] = field(default_factory=list)
    _classes: list[NDArray[np.uint8]] = field(default_factory=list)
    _pixels: list[Ints] = field(default_factory=list)
    _confidence: list[Ints] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._last_row = np.full(self.width, NODATA, np.uint8)
        self._last_labels = np.zeros(1, np.int64)

    def add(
        self, classes_HW: NDArray[np.uint8], confidence_HW: NDArray[np.uint8] | None = None
    ) -> None:
        """Trace the next strip."""
        height = len(classes_HW)
        # One column of nothing on either side: then the map's edges are borders like all others.
        rows = np.full((height + 1, self.width + 2), NODATA, np.uint8)
        rows[0, 1:-1], rows[1:, 1:-1] = self._last_row, classes_HW
        starts = np.ones(rows.shape, bool)
        np.not_equal(rows[:, 1:], rows[:, :-1], out=starts[:, 1:])
        first_R = np.flatnonzero(starts)
        class_R = rows.ravel()[first_R]
        carried = int(np.count_nonzero(starts[0]))

        # On the line between two rows runs of the upper and the lower row overlap in intervals,
        # which begin where a run of either begins.
        begin_I = np.flatnonzero(starts[1:] | starts[:-1])
        below_I, above_I = starts[1:].ravel()[begin_I], starts[:-1].ravel()[begin_I]
        upper_I = np.cumsum(above_I) - 1
        lower_I = np.cumsum(below_I) - 1 + carried
        border_I = class_R[upper_I] != class_R[lower_I]

        joined = np.flatnonzero(~border_I & (class_R[lower_I] != NODATA))
        label_R = self._label(class_R, carried, upper_I[joined], lower_I[joined])
        self._measure(rows, first_R, label_R, class_R, carried, confidence_HW)

        # Corners: one for each interval's left end, then the lower ends of the last row's sides.
        wide = rows.shape[1]
        tail = np.flatnonzero(starts[-1])
        x_C = np.concatenate([begin_I % wide, tail]) - 1
        y_C = np.concatenate([begin_I // wide, np.full(len(tail), height)]) + self._row
        degree_I = below_I.astype(np.int8) + above_I + border_I
        degree_I[1:] += border_I[:-1]
        through_C = np.zeros(len(x_C), bool)
        through_C[: len(begin_I)] = degree_I == 2
        # What comes from above the strip was traced with the strip before.
        through_C[: np.searchsorted(begin_I, wide)] &= ~above_I[: np.searchsorted(begin_I, wide)]
        # A border from whose both ends one goes down: every closed border has one, its top. Cutting
        # there leaves no circles, and makes the top's left corner a piece's end in every strip.
        turn_I = through_C[: len(begin_I)] & below_I & ~above_I
        top_I = np.flatnonzero(border_I[:-1] & turn_I[:-1] & turn_I[1:])
        through_C[top_I] = False

        # Sides of pixels, each directed so that the smaller class lies on the left.
        flat = np.flatnonzero(border_I)
        east = class_R[upper_I[flat]] < class_R[lower_I[flat]]
        steep = carried + np.flatnonzero(first_R[carried:] % wide != 0)
        top_C = np.flatnonzero(below_I)[steep - carried]
        bottom_R = np.concatenate([np.flatnonzero(above_I), len(begin_I) + np.arange(len(tail))])
        down = class_R[steep] < class_R[steep - 1]
        from_E = np.concatenate(
            [np.where(east, flat, flat + 1), np.where(down, top_C, bottom_R[steep])]
        )
        to_E = np.concatenate(
            [np.where(east, flat + 1, flat), np.where(down, bottom_R[steep], top_C)]
        )
        left_E = np.concatenate(
            [np.where(east, upper_I[flat], lower_I[flat]), np.where(down, steep, steep - 1)]
        )
        right_E = np.concatenate(
            [np.where(east, lower_I[flat], upper_I[flat]), np.where(down, steep - 1, steep)]
        )
        leaving_C = np.full(len(x_C), -1)
        leaving_C[from_E] = np.arange(len(from_E))
        following_E = np.where(through_C[to_E], leaving_C[to_E], -1)
        order, begin_P, count_P = chains(following_E)

        # Corners where a border goes straight on are dropped.
        is_steep = order >= len(flat)
        keep = np.ones(len(order), bool)
        keep[1:] = is_steep[1:] != is_steep[:-1]
        keep[begin_P] = True
        piece = np.repeat(np.arange(len(begin_P)), count_P)
        kept_P = np.bincount(piece[keep], minlength=len(begin_P))
        corner_N = np.empty(len(kept_P) + int(kept_P.sum()), np.int64)
        corner_N[np.cumsum(keep)[keep] - 1 + piece[keep]] = from_E[order[keep]]
        corner_N[np.cumsum(kept_P + 1) - 1] = to_E[order[begin_P + count_P - 1]]
        self._pieces.append(
            Pieces(
                np.stack([x_C[corner_N], y_C[corner_N]], axis=1).astype(np.int32),
                kept_P + 1,
                label_R[left_E[order[begin_P]]],
                label_R[right_E[order[begin_P]]],
            )
        )
        self._last_row = rows[-1, 1:-1].copy()
        self._last_labels = label_R[-len(tail) :]
        self._row += height

    def _label(self, class_R: NDArray[np.uint8], carried: int, upper: Ints, lower: Ints) -> Ints:
        """Labels of runs: the old ones of the carried row, new ones for all others."""
        part_R = components(len(class_R), upper, lower)
        new = np.flatnonzero(class_R[carried:] != NODATA) + carried
        parts, first = np.unique(part_R[new], return_index=True)
        label_of_part = np.full(len(class_R), -1)
        label_of_part[parts] = self._labels + np.arange(len(parts))
        label_R = np.zeros(len(class_R), np.int64)
        label_R[:carried] = self._last_labels
        label_R[new] = label_of_part[part_R[new]]
        goes_on = np.flatnonzero(
            (class_R[:carried] != NODATA) & (label_of_part[part_R[:carried]] >= 0)
        )
        self._same.append((label_R[goes_on], label_of_part[part_R[goes_on]]))
        self._classes.append(class_R[new[first]])
        return label_R

    def _measure(
        self,
        rows: NDArray[np.uint8],
        first_R: Ints,
        label_R: Ints,
        class_R: NDArray[np.uint8],
        carried: int,
        confidence_HW: NDArray[np.uint8] | None,
    ) -> None:
        """Pixels and confidence of the strip's labels, which follow those of the strip before."""
        count = len(self._classes[-1])
        new = np.flatnonzero(class_R[carried:] != NODATA) + carried
        label = label_R[new] - self._labels
        length_R = np.diff(first_R, append=rows.size)
        self._pixels.append(_total(label, length_R[new], count))
        if confidence_HW is not None:
            padded = np.zeros((len(rows) - 1, rows.shape[1]), np.uint8)
            padded[:, 1:-1] = confidence_HW
            sums = np.add.reduceat(
                padded.ravel(), first_R[carried:] - rows.shape[1], dtype=np.int64
            )
            self._confidence.append(_total(label, sums[new - carried], count))
        else:
            self._confidence.append(np.zeros(count, np.int64))
        self._labels += count

    def finish(self) -> tuple[Patches, Pieces]:
        """Close the map's lower edge and number the patches."""
        self.add(np.full((1, self.width), NODATA, np.uint8))
        first, second = (np.concatenate(labels) for labels in zip(*self._same, strict=True))
        patch = components(self._labels, first, second)
        count = int(patch.max()) + 1
        classes = np.full(count, NODATA, np.uint8)
        classes[patch[1:]] = np.concatenate(self._classes)
        patches = Patches(
            classes,
            _total(patch[1:], np.concatenate(self._pixels), count),
            _total(patch[1:], np.concatenate(self._confidence), count),
        )
        pieces = Pieces(
            np.concatenate([p.points_N2 for p in self._pieces]),
            np.concatenate([p.counts_P for p in self._pieces]),
            patch[np.concatenate([p.left_P for p in self._pieces])],
            patch[np.concatenate([p.right_P for p in self._pieces])],
        )
        self._pieces.clear()
        return patches, pieces


def _total(group: Ints, amount: Ints, count: int) -> Ints:
    # Weights are summed as float64, exact up to 2**53.
    return np.bincount(group, weights=amount, minlength=count).astype(np.int64)
