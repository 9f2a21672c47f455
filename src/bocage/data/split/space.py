"""Which patches lie together on the ground, so that a split must not part them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform

from bocage.data.index import PatchIndex
from bocage.errors import ConfigError

_SIDES = ("left", "bottom", "right", "top")
_CORNERS = [[0, 1], [2, 1], [2, 3], [0, 3]]
# Neighbouring patches share an edge up to rounding.
_TOUCH_M = 0.5


def roi_names(index: PatchIndex) -> NDArray[np.str_]:
    """`DOMAIN ROI` per patch: the names of ROIs repeat from domain to domain."""
    domain, roi = (_texts(index, name) for name in ("domain", "roi"))
    return np.char.add(np.char.add(domain, " "), roi)


def unit_names(index: PatchIndex, by: str) -> NDArray[np.str_]:
    """What is held out as a whole, per patch: its domain or its ROI."""
    if by not in ("roi", "domain"):
        raise ConfigError(f"--by {by}: expected roi or domain.")
    return _texts(index, "domain") if by == "domain" else roi_names(index)


def _texts(index: PatchIndex, column: str) -> NDArray[np.str_]:
    return np.asarray(index.table.column(column).cast(pa.string()).to_pylist(), dtype=np.str_)


def patch_boxes(index: PatchIndex) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Footprints in one CRS in metres, and the rows that they belong to.

    That of most patches where it is projected, else Web Mercator. Rows without bounds or EPSG code
    have none.
    """
    table = index.table
    bounds = np.column_stack([table.column(side).to_numpy() for side in _SIDES])
    codes = table.column("epsg").fill_null(-1).to_numpy()
    rows = np.flatnonzero((codes > 0) & np.isfinite(bounds).all(axis=1))
    if not len(rows):
        return np.zeros(0, dtype=object), rows
    kinds, times = np.unique(codes[rows], return_counts=True)
    common = int(kinds[times.argmax()])
    if not CRS.from_epsg(common).is_projected:
        common = 3857
    boxes = np.empty(len(rows), dtype=object)
    for code in kinds.tolist():
        here = codes[rows] == code
        if code == common:
            boxes[here] = shapely.box(*bounds[rows[here]].T)
            continue
        corners = bounds[rows[here]][:, _CORNERS].reshape(-1, 2)
        x, y = transform(f"EPSG:{code}", f"EPSG:{common}", corners[:, 0], corners[:, 1])
        boxes[here] = shapely.polygons(np.column_stack([x, y]).reshape(-1, 4, 2))
    return boxes, rows


def join_neighbours(index: PatchIndex, by: str, buffer_m: float) -> NDArray[np.int64]:
    """Group of each patch, (N,), numbered by their first patches.

    The patches of a unit (`by` roi or domain) are in one group, and so are units of which two ROIs
    touch, or lie within `buffer_m` of each other; an ROI is the rectangle around its patches. Of
    patches without footprints only the names count.
    """
    units, unit_of = np.unique(unit_names(index, by), return_inverse=True)
    parent = np.arange(len(units))

    def root(unit: int) -> int:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = int(parent[unit])
        return unit

    boxes, rows = patch_boxes(index)
    outlines, examples = _outlines(boxes, roi_names(index)[rows])
    owners = unit_of[rows[examples]]
    pairs = shapely.STRtree(outlines).query(
        outlines, predicate="dwithin", distance=buffer_m + _TOUCH_M
    )
    for a, b in owners[pairs].T.tolist():
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    roots = np.array([root(unit) for unit in range(len(units))], dtype=np.int64)[unit_of]
    _, first, group = np.unique(roots, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[group])


def touching(
    boxes: NDArray[np.object_], is_first: NDArray[np.bool_], is_second: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of the `is_first` boxes touch one of the `is_second` ones, in their order."""
    out = np.zeros(int(is_first.sum()), dtype=bool)
    if out.size and is_second.any():
        tree = shapely.STRtree(boxes[is_second])
        found = tree.query(boxes[is_first], predicate="dwithin", distance=_TOUCH_M)[0]
        out[found] = True
    return out


def _outlines(
    boxes: NDArray[np.object_], names: NDArray[np.str_]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The rectangle around the boxes of each name, and the place of one of them."""
    if not len(boxes):
        return boxes, np.zeros(0, dtype=np.int64)
    _, examples, group = np.unique(names, return_index=True, return_inverse=True)
    low = np.full((len(examples), 2), np.inf)
    high = -low
    bounds = shapely.bounds(boxes)
    np.minimum.at(low, group, bounds[:, :2])
    np.maximum.at(high, group, bounds[:, 2:])
    return shapely.box(*low.T, *high.T), examples
