"""Where data end within a window, the network looks at mirrored ground, as at a raster's end.

A country's imagery ends in nodata or in missing tiles, not at the rectangle around it. Beyond, the
network would see the mean of every channel: an edge that no ground has, and that spoils the classes
on this side of it. Two kinds of holes are told apart:

- ground of which no sensor has anything, and of which there will be no map. All sensors are
  mirrored together there, about the line where the data end: dates, clouds and each sensor's own
  holes with them. It is context, as deep as the window;
- a hole of one image in ground that others map. To show mirrored houses on it would invent a map,
  so the image is continued by `CONTINUED_PX` of its pixels only: that keeps the edge away from the
  ground where the image is known. A series' holes need nothing: its encoder knows them by pixel.

A sensor without a pixel in the window stays absent. The mirror knows the window alone, so it is
the same in whatever block the window is computed.

Legend: C bands, T dates, h x w pixels of a sensor, S the window's side in the network's pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from bocage.mapping.compiled import compiled
from bocage.sample import Series

CONTINUED_PX = 16
"""How far an image is continued over ground that other sensors map, in its own pixels."""


@dataclass(frozen=True)
class Views:
    """A window's share of every sensor's arrays.

    `images[m]` (C, h, w) with `valid[m]` (h, w) bool where it has holes; `series[m]`. `ratios` are
    pixel sizes in the network's pixels.
    """

    images: dict[str, NDArray[Any]]
    valid: dict[str, NDArray[np.bool_]]
    series: dict[str, Series]
    ratios: Mapping[str, Fraction]


def mirror_holes(views: Views, side_px: int) -> Views:
    """The same with mirrored ground in its holes; what is shown mirrored is valid.

    The arrays given are not changed. Takes up to 24 S² bytes meanwhile, beside what it returns.
    """
    data_SS = _data(views, side_px)
    if data_SS is not None and data_SS.any():
        views = _mirrored_together(views, mirror_of(data_SS))
    images, valid = dict(views.images), {}
    for name, mask in views.valid.items():
        if mask.any() and not mask.all():
            places = mirror_of(mask, CONTINUED_PX).ravel()
            holes = np.flatnonzero(places != np.arange(places.size, dtype=np.int32))
            images[name] = _moved(images[name], holes, places[holes])
            mask = _moved(mask, holes, places[holes])
        if not mask.all():
            valid[name] = mask
    return replace(views, images=images, valid=valid)


def mirror_of(data_HW: NDArray[np.bool_], reach_px: int | None = None) -> NDArray[np.int32]:
    """Per pixel the place, counted through the rows, of the pixel to show there, (H, W).

    A pixel with data shows itself. Another one lies (y, x) from the nearest that has data, and
    shows what lies as far on the other side of that one's edge; where that is without data too, it
    is mirrored again; where it is outside, the nearest pixel is shown. Beyond `reach_px` from the
    data, or without any, a pixel shows itself.
    """
    reach = sum(data_HW.shape) if reach_px is None else reach_px
    places: NDArray[np.int32] = _mirroring()(np.ascontiguousarray(data_HW), reach)
    return places


def _data(views: Views, side_px: int) -> NDArray[np.bool_] | None:
    """Where any sensor has data, (S, S) of the network's pixels; None where everywhere."""
    known = {name: views.valid.get(name) for name in views.images}
    for name, series in views.series.items():
        known[name] = None if series.valid is None else np.asarray(series.valid.any(axis=0))
    if any(mask is None or mask.all() for mask in known.values()):
        return None
    data_SS = np.zeros((side_px, side_px), bool)
    for name, mask in known.items():
        assert mask is not None
        own = ((np.arange(side_px) + 0.5) / float(views.ratios[name])).astype(np.int64)
        data_SS |= mask[own][:, own]
    return data_SS


def _mirrored_together(views: Views, places_SS: NDArray[np.int32]) -> Views:
    """All sensors as they are at `places_SS`, where they have nothing themselves."""
    images, valid, series = dict(views.images), dict(views.valid), dict(views.series)
    for name, mask in views.valid.items():
        holes, sources = _own_places(~mask, views.ratios[name], places_SS)
        images[name] = _moved(images[name], holes, sources)
        valid[name] = _moved(mask, holes, sources)
    for name, whole in views.series.items():
        assert whole.valid is not None, "or there were data everywhere"
        hidden_hw = ~np.asarray(whole.valid.any(axis=0))
        holes, sources = _own_places(hidden_hw, views.ratios[name], places_SS)
        series[name] = Series(
            _moved(whole.values, holes, sources),
            whole.dates,
            None if whole.snow_cloud is None else _moved(whole.snow_cloud, holes, sources),
            _moved(whole.valid, holes, sources),
        )
    return replace(views, images=images, valid=valid, series=series)


def _own_places(
    hidden_hw: NDArray[np.bool_], ratio: Fraction, places_SS: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]]:
    """Of a sensor's pixels those to be shown mirrored, and what to show there, counted through.

    A pixel goes as far as the network's pixel at its centre.
    """
    if ratio == 1:
        holes = np.flatnonzero(hidden_hw)
        return holes, places_SS.ravel()[holes]
    rows, cols = np.nonzero(hidden_hw)
    size = float(ratio)
    y, x = (rows + 0.5) * size, (cols + 0.5) * size
    seen_y, seen_x = y.astype(np.int64), x.astype(np.int64)
    there_y, there_x = np.divmod(places_SS[seen_y, seen_x], places_SS.shape[1])
    own_y = ((y + (there_y - seen_y)) / size).astype(np.int64)
    own_x = ((x + (there_x - seen_x)) / size).astype(np.int64)
    width = hidden_hw.shape[1]
    return rows * width + cols, own_y * width + own_x


def _moved(
    array: NDArray[Any], holes: NDArray[np.int64], sources: NDArray[np.integer[Any]]
) -> NDArray[Any]:
    """A copy of `array` (..., h, w) that has at `holes` what lies at `sources`."""
    moved = np.array(array, order="C")
    for plane in moved.reshape(-1, moved.shape[-2] * moved.shape[-1]):
        plane[holes] = plane[sources]
    return moved


@functools.cache
def _mirroring() -> Any:
    """`_mirror`, compiled."""
    signature = types.int32[:, ::1](types.boolean[:, ::1], types.int64)
    return compiled(_mirror, signature)


def _mirror(data_HW: NDArray[np.bool_], reach: int) -> NDArray[np.int32]:
    """`mirror_of`: exact distances, first along the columns, then along the rows by the lower
    envelope of parabolas (Felzenszwalb and Huttenlocher 2012, "Distance Transforms of Sampled
    Functions", in whole numbers)."""
    height, width = data_HW.shape
    near_HW = np.empty((height, width), np.int32)  # row of the nearest data in the column, or -1
    last_W = np.full(width, -1, np.int32)
    for i in range(height):
        for j in range(width):
            if data_HW[i, j]:
                last_W[j] = i
            near_HW[i, j] = last_W[j]
    last_W[:] = -1
    for i in range(height - 1, -1, -1):
        for j in range(width):
            if data_HW[i, j]:
                last_W[j] = i
            elif last_W[j] >= 0 and (near_HW[i, j] < 0 or last_W[j] - i < i - near_HW[i, j]):
                near_HW[i, j] = last_W[j]

    places_HW = np.empty((height, width), np.int32)
    column_W = np.empty(width, np.int64)  # whose parabola is lowest
    start_W = np.empty(width, np.int64)  # from where on
    for i in range(height):
        if data_HW[i].all():
            for j in range(width):
                places_HW[i, j] = i * width + j
            continue
        count = 0
        for u in range(width):
            if near_HW[i, u] < 0:
                continue
            start = 0
            while count:
                v = column_W[count - 1]
                above = (near_HW[i, u] - i) ** 2 - (near_HW[i, v] - i) ** 2
                start = (u * u - v * v + above) // (2 * (u - v)) + 1
                if start > start_W[count - 1]:
                    break
                count -= 1
                start = 0
            if start < width:
                column_W[count] = u
                start_W[count] = start
                count += 1
        k = 0
        for j in range(width):
            places_HW[i, j] = i * width + j
            if data_HW[i, j] or not count:
                continue
            while k + 1 < count and start_W[k + 1] <= j:
                k += 1
            col = column_W[k]
            row = near_HW[i, col]
            down, right = i - row, j - col
            if down * down + right * right > reach * reach:
                continue
            # The line of the mirror is the edge of the nearest pixel, not its centre.
            y = row - down + (down > 0) - (down < 0)
            x = col - right + (right > 0) - (right < 0)
            if y < 0 or y >= height or x < 0 or x >= width:
                y, x = row, col
            places_HW[i, j] = y * width + x

    # Every step leads to a pixel that is nearer to the data, so this ends; what it passes on the
    # way is told the end too.
    data, places = data_HW.ravel(), places_HW.ravel()
    for first in range(data.size):
        if data[first] or places[first] == first:
            continue
        end = places[first]
        while not data[end]:
            end = places[end]
        at = first
        while not data[at]:
            following = places[at]
            places[at] = end
            at = following
    return places_HW
