"""Zones on a map: polygons read, named, brought into the map's CRS, and drawn block by block.

A pixel belongs to a zone when its centre lies in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.windows import Window

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.rasters import Grid
from bocage.vectors import read_features

_CLIP_FROM_VERTICES = 500
"""Polygons with more vertices are cut to the block first: GDAL walks through all of them."""


@dataclass(frozen=True)
class Zones:
    """Named areas in a map's CRS; rows of the file with the same name are one zone.

    `shapes` are polygons or multipolygons. `field` is where the names come from, "" for numbers.
    """

    path: Path
    field: str
    names: tuple[str, ...]
    shapes: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.names)


def read_zones(path: Path, grid: Grid, field: str | None = None, layer: str | None = None) -> Zones:
    """Read polygons for a map on `grid`.

    Without `field`, zones are named by the first field whose values are all there and all
    different, or counted from 1. Raises `ConfigError` for a field or layer that the file does not
    have, `DataError` for a file that holds no polygons, no CRS, or zones without a name.
    """
    frame = read_features(
        path, layer, what="zones", kind="polygons", choose="Choose one with --zones-layer."
    )
    fields = [name for name in frame.columns if name != frame.geometry.name]
    if field is not None and field not in fields:
        raise ConfigError(f"{path}: {unknown_name('field', field, fields)}")
    name_field = field if field is not None else _telling_field(frame, fields)
    names = _names(path, frame, name_field)
    shapes = _polygons(path, frame, names, grid)
    groups: dict[str, list[Any]] = {}
    for name, shape in zip(names, shapes, strict=True):
        groups.setdefault(name, []).append(shape)
    merged = [same[0] if len(same) == 1 else shapely.union_all(same) for same in groups.values()]
    return Zones(path, name_field, tuple(groups), np.array(merged, dtype=object))


def moved(path: Path, frame: geopandas.GeoDataFrame, grid: Grid, what: str) -> NDArray[np.object_]:
    """The geometries in the grid's CRS; `DataError` where that is not defined for them."""
    assert grid.crs is not None
    try:
        series = frame.geometry.to_crs(pyproj.CRS.from_wkt(grid.crs.to_wkt()))
    except (CRSError, ProjError) as error:
        raise DataError(f"{path}: cannot be brought into the map's CRS ({error}).") from error
    shapes = np.array(series, dtype=object)
    if not np.isfinite(shapely.bounds(shapes)).all():
        raise DataError(f"{path}: some {what} lie where the map's CRS is not defined.")
    return shapes


def _telling_field(frame: pd.DataFrame, fields: list[str]) -> str:
    for name in fields:
        if frame[name].notna().all() and frame[name].is_unique:
            return name
    return ""


def _names(path: Path, frame: pd.DataFrame, field: str) -> list[str]:
    if not field:
        return [str(number) for number in range(1, len(frame) + 1)]
    lacking = int(frame[field].isna().sum())
    if lacking:
        raise DataError(
            f"{path}: {lacking} of {len(frame)} zones have no value in '{field}'. Fill it in, or "
            "name zones by another field."
        )
    return [str(value) for value in frame[field]]


def _polygons(
    path: Path, frame: geopandas.GeoDataFrame, names: list[str], grid: Grid
) -> NDArray[np.object_]:
    shapes = np.asarray(frame.geometry, dtype=object)
    empty = [n for n, shape in zip(names, shapes, strict=True) if shape is None or shape.is_empty]
    if empty:
        raise DataError(
            f"{path}: {len(empty)} zones have no geometry: {', '.join(empty[:8])}. Remove them or "
            "fill them in."
        )
    if (shapely.get_dimensions(shapes) != 2).any():
        kinds = sorted({shape.geom_type for shape in shapes})
        raise DataError(f"{path}: zones are polygons; found {', '.join(kinds)}.")
    shapes = moved(path, frame, grid, "zones")
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = [_surface(shape) for shape in shapely.make_valid(shapes[broken])]
    return shapes


def _surface(shape: Any) -> Any:
    """What of a repaired polygon is surface; a repair can leave lines behind."""
    parts = [part for part in shapely.get_parts(shape) if shapely.get_dimensions(part) == 2]
    return shapely.union_all(parts)


@dataclass(frozen=True)
class Painted:
    """Zones of one layer in one block: `index_HW` is 0 outside, else 1 + place in `zones`.

    None: the whole block lies in the only zone.
    """

    zones: NDArray[np.intp]
    index_HW: NDArray[np.uint32] | None


class ZonePainter:
    """Draws zones into blocks of a map. Zones that overlap go to different layers.

    Within a layer every pixel has at most one zone, so that neighbours share no pixel and leave
    none out; what overlaps is counted for each.
    """

    def __init__(self, zones: Zones, grid: Grid) -> None:
        self._shapes, self._grid = zones.shapes, grid
        shapely.prepare(self._shapes)
        self._tree = shapely.STRtree(self._shapes)
        self._layers = _layers(self._shapes, self._tree)
        self._long = shapely.get_num_coordinates(self._shapes) > _CLIP_FROM_VERTICES

    def paint(self, window: Window) -> list[Painted]:
        """The layers that have a zone in `window`."""
        transform = self._grid.transform @ Affine.translation(window.col_off, window.row_off)
        left, top = transform @ (0, 0)
        right, bottom = transform @ (window.width, window.height)
        box = shapely.box(left, bottom, right, top)
        found = np.sort(self._tree.query(box, predicate="intersects"))
        full = shapely.contains_properly(self._shapes[found], box)
        painted = []
        for layer in np.unique(self._layers[found]):
            here = self._layers[found] == layer
            members = found[here]
            if full[here].any():
                painted.append(Painted(members[full[here]], None))
                continue
            margin = abs(transform.a)
            around = (left - margin, bottom - margin, right + margin, top + margin)
            shapes = self._shapes[members].copy()
            long = self._long[members]
            shapes[long] = shapely.clip_by_rect(shapes[long], *around)
            inside = shapely.area(shapes) > 0
            if not inside.any():
                continue
            members, shapes = members[inside], shapes[inside]
            index_HW = rasterize(
                zip(shapes, range(1, len(shapes) + 1), strict=True),
                out_shape=(window.height, window.width),
                transform=transform,
                dtype="uint32",
            )
            painted.append(Painted(members, index_HW))
        return painted


def _layers(shapes: NDArray[np.object_], tree: shapely.STRtree) -> NDArray[np.intp]:
    """A layer for each shape, (Z,), so that no two of one layer have interior in common."""
    first, second = tree.query(shapes, predicate="intersects")
    later = second > first
    first, second = first[later], second[later]
    # Neighbours touch; only shared interior is overlap.
    overlap = shapely.relate_pattern(shapes[first], shapes[second], "T********")
    rivals: dict[int, list[int]] = {}
    for a, b in zip(first[overlap].tolist(), second[overlap].tolist(), strict=True):
        rivals.setdefault(b, []).append(a)
    layers = np.zeros(len(shapes), np.intp)
    for zone, earlier in sorted(rivals.items()):
        taken = {int(layers[other]) for other in earlier}
        layers[zone] = next(n for n in range(len(taken) + 1) if n not in taken)
    return layers
