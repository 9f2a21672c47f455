"""A sample of reference points on a map: read, brought onto its pixels, counted by zone.

The points are a probability sample: drawn at random within each mapped class, or simply at random
over the map. Both are the same here, because a unit of map class h stands for the area of h over
the number of units there, known to be so many (post-stratification: Särndal, Swensson and Wretman
1992, "Model Assisted Survey Sampling", 7.6). Points that were chosen for being easy to reach, or
near each other, are no such sample, and no formula makes them one.

Shapes: N units, Z zones, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.mapping.areas import blocks
from bocage.mapping.maps import ClassMap
from bocage.mapping.outputs import NODATA
from bocage.mapping.validation import Places, Validation, check_named, class_ids_by_name
from bocage.mapping.zones import ZonePainter, Zones, moved
from bocage.rasters import Grid, open_raster
from bocage.vectors import read_features

_TILE_PX = 512
"""Points are looked up tile by tile of the map, so that each tile is decoded once."""


def read_samples(path: Path, source: ClassMap, field: str | None = None) -> Validation:
    """Read points with a reference class each, and look up what the map says there.

    `field` holds names or ids of the map's classes; it may be left out where the file has one field
    only. Points outside the map and on its nodata are left out, and points of one class in one
    pixel count once; `Validation.notes` say how many.

    Raises `ConfigError` for a field that the file does not have, `DataError` for a file that holds
    no points, no CRS, a class that the map does not have, two classes in one pixel, or no point on
    the map.
    """
    check_named(source)
    frame = read_features(path, what="points", kind="points")
    fields = [name for name in frame.columns if name != frame.geometry.name]
    if field is None and len(fields) != 1:
        raise ConfigError(
            f"{path}: say which field holds the reference class, as in {path.name}:class. "
            f"Fields: {', '.join(fields) or 'none'}."
        )
    name = field if field is not None else fields[0]
    if name not in fields:
        raise ConfigError(f"{path}: {unknown_name('field', name, fields)}")
    reference_N = _classes(path, frame[name], source)
    shapes = np.asarray(frame.geometry, dtype=object)
    lacking = int((shapely.is_missing(shapes) | shapely.is_empty(shapes)).sum())
    if lacking:
        raise DataError(f"{path}: {lacking} of {len(shapes)} points have no place. Remove them.")
    # What QGIS and shapefiles write as the multipoint of one point is a point.
    single = shapely.get_num_geometries(shapes) == 1
    multiple = shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOINT
    if (multiple & ~single).any():
        raise DataError(
            f"{path}: {int((multiple & ~single).sum())} of {len(shapes)} features hold several "
            "points. Split them ('Multipart to singleparts' in QGIS)."
        )
    if not (multiple | (shapely.get_type_id(shapes) == shapely.GeometryType.POINT)).all():
        kinds = sorted({shape.geom_type for shape in shapes})
        raise DataError(f"{path}: a sample is of points; found {', '.join(kinds)}.")
    points = moved(path, frame, source.grid, "points")
    return _on_pixels(path, shapely.get_coordinates(points), reference_N, source)


def count_by_zone(validation: Validation, zones: Zones, grid: Grid) -> NDArray[np.int64]:
    """Units of each zone by map class and reference class, (Z, K, K).

    A unit is in the zone that its pixel is counted in: zones are drawn as `count_areas` draws them,
    in the blocks that have units. `grid` is the map's.
    """
    places, classes = validation.places, len(validation.class_ids)
    assert places is not None
    counts_ZKK = np.zeros((len(zones), classes, classes), np.int64)
    painter = ZonePainter(zones, grid)
    for window in blocks(grid):
        row_N, col_N = places.row_N - window.row_off, places.col_N - window.col_off
        here = (row_N >= 0) & (row_N < window.height) & (col_N >= 0) & (col_N < window.width)
        unit = np.flatnonzero(here)
        for layer in painter.paint(window) if len(unit) else ():
            if layer.index_HW is None:
                zone, inside = np.repeat(layer.zones, len(unit)), unit
            else:
                index = layer.index_HW[row_N[unit], col_N[unit]]
                zone, inside = layer.zones[index[index > 0] - 1], unit[index > 0]
            np.add.at(counts_ZKK, (zone, places.mapped_N[inside], places.reference_N[inside]), 1)
    return counts_ZKK


def _classes(path: Path, column: pd.Series[Any], source: ClassMap) -> NDArray[np.intp]:
    """Class ids of a column of names or numbers, (N,)."""
    lacking = int(column.isna().sum())
    if lacking:
        raise DataError(
            f"{path}: {lacking} of {len(column)} points have no value in '{column.name}'. Fill it "
            "in, or remove them."
        )
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        column = column.astype(np.int64)  # a column of numbers that once had gaps
    by_name = class_ids_by_name(source)
    words = column.astype(str).str.strip().str.casefold()
    strange = sorted(set(words) - set(by_name))
    if strange:
        count = int(words.isin(strange).sum())
        raise DataError(
            f"{path}: {count} of {len(column)} points have a class that the map does not: "
            f"{unknown_name('class', strange[0], source.classes.values())}"
        )
    found: NDArray[np.intp] = words.map(by_name).to_numpy(np.intp)
    return found


def _on_pixels(
    path: Path, xy_N2: NDArray[np.float64], reference_N: NDArray[np.intp], source: ClassMap
) -> Validation:
    grid, total = source.grid, len(xy_N2)
    cols, rows = (
        np.floor(place).astype(np.int64) for place in ~grid.transform @ (xy_N2[:, 0], xy_N2[:, 1])
    )
    inside = (cols >= 0) & (rows >= 0) & (cols < grid.width) & (rows < grid.height)
    found = np.stack([rows[inside], cols[inside], reference_N[inside]], axis=1)
    units = np.unique(found, axis=0)
    pixels, times = np.unique(units[:, :2], axis=0, return_counts=True)
    if (times > 1).any():
        row, col = pixels[times.argmax()]
        x, y = grid.transform @ (col + 0.5, row + 0.5)
        raise DataError(
            f"{path}: points of different classes in one pixel, {int((times > 1).sum())} times, "
            f"first at ({x:.1f}, {y:.1f}). Decide on one class for each."
        )
    mapped = _look_up(source, units[:, 0], units[:, 1])
    known = mapped != NODATA
    notes = tuple(
        f"{count} of {total} points {what}"
        for count, what in (
            (total - int(inside.sum()), "lie outside the map and are left out"),
            (int((~known).sum()), "lie where the map has no data and are left out"),
            (len(found) - len(units), "lie in the pixel of another one and count once with it"),
        )
        if count
    )
    if not known.any():
        raise DataError(f"{path}: no point lies on the map; {'; '.join(notes)}.")
    ids = tuple(sorted(source.classes))
    strange = sorted(set(mapped[known].tolist()) - set(ids))
    if strange:
        raise DataError(f"{source.path}: holds class ids {strange[:8]} that it does not name.")
    place = np.zeros(256, np.intp)
    place[list(ids)] = np.arange(len(ids))
    row, col, reference = units[known].T
    places = Places(row, col, place[mapped[known]], place[reference])
    counts = np.zeros((1, len(ids), len(ids)), np.int64)
    np.add.at(counts[0], (places.mapped_N, places.reference_N), 1)
    return Validation(path, ids, counts, (), places, notes)


def _look_up(
    source: ClassMap, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """The map's class ids at pixels, (N,)."""
    found = np.zeros(len(rows), np.uint8)
    with open_raster(source.path) as dataset:
        for n in np.lexsort((cols // _TILE_PX, rows // _TILE_PX)):
            window = Window(int(cols[n]), int(rows[n]), 1, 1)
            found[n] = dataset.read(1, window=window)[0, 0]
    return found
