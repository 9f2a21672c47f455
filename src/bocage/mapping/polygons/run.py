"""A finished class map as one layer of polygons."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rasterio.transform import Affine
from rasterio.windows import Window

from bocage.errors import ConfigError, unknown_name
from bocage.mapping.areas import check_confidence
from bocage.mapping.maps import ClassMap, check_min_area, check_not_input, open_map
from bocage.mapping.outputs import CONFIDENCE_STEPS, NODATA
from bocage.mapping.polygons.sieve import absorb
from bocage.mapping.polygons.simplify import simplify
from bocage.mapping.polygons.topology import join, polygons
from bocage.mapping.polygons.trace import VOID, Patches, Pieces, Tracer
from bocage.mapping.vectors import Batch, check_target, write_features
from bocage.rasters import open_raster

STRIP_PX = 1 << 22
"""Pixels that are traced at once; sets memory, never the result."""
WHOLE_PX = 1 << 30
"""Pixels of a map that is worked as a whole unless it is told otherwise: some 5 GB of borders."""
TILE_PX = 1 << 15
"""Side of the squares that a larger one is cut into."""
BATCH = 16_384
"""Polygons that are written at once."""

Progress = Callable[[int, int | None], None]


class PolygonConfig(BaseModel):
    """What becomes of the patches of a class map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_area_m2: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Smallest patch that stays a polygon of its own, m²; smaller ones take the class with which
    they share the longest border. None: every patch stays."""
    simplify_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How far a simplified border may lie from the pixels' border, metres. None: the polygons
    follow the pixels."""
    classes: tuple[str, ...] | None = None
    """Names, or ids, of the classes to write; the borders are the same as with all. None: all."""
    tile_km: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Side of squares that are each worked like a map of its own, kilometres; polygons are cut
    along their sides. Bounds memory by the square. None: the whole map at once up to a gigapixel,
    beyond that squares of 32 768 pixels; a square larger than the map is the whole map."""


@dataclass(frozen=True)
class PolygonReport:
    """What was written."""

    polygons: int
    absorbed: int
    """Patches that were smaller than the minimum and took a neighbour's class."""
    cut_km: float | None = None
    """Side of the squares along which polygons were cut though nobody asked for it, kilometres."""


def write_polygons(
    map_path: Path,
    target: Path,
    config: PolygonConfig | None = None,
    *,
    strip_px: int = STRIP_PX,
    progress: Progress = lambda done, total: None,
) -> PolygonReport:
    """Write the polygons of a class map as GeoPackage or GeoParquet, by the target's suffix.

    `progress` is called with the pixels done and all. Raises `ConfigError` where the request does
    not suit the map, `DataError` where the map cannot be read or the file not be written.
    """
    config = config or PolygonConfig()
    check_target(target)
    class_map = open_map(map_path)
    check_not_input([target], class_map.files)
    job = _Job(class_map, config, strip_px, progress)
    count = write_features(target, job.columns, job.batches(), class_map.grid.crs, "Polygon")
    return PolygonReport(count, job.absorbed, job.cut_km)


class _Job:
    def __init__(
        self, class_map: ClassMap, config: PolygonConfig, strip_px: int, progress: Progress
    ) -> None:
        self.map, self.config, self.progress = class_map, config, progress
        self.strip_px = strip_px
        self.absorbed = 0
        self.done_px = 0
        grid = class_map.grid
        by_default = config.tile_km is None and grid.width * grid.height > WHOLE_PX
        self.cut_km = TILE_PX * grid.resolution[0] / 1000 if by_default else None
        self.wanted = _wanted(class_map, config.classes)
        check_min_area(class_map, config.min_area_m2)
        fields = [("class_id", pa.int16()), ("class", pa.string()), ("color", pa.string())]
        fields.append(("area_m2", pa.float64()))
        if class_map.confidence is not None:
            fields.append(("confidence", pa.float32()))
        self.columns = pa.schema(fields)
        self.names = np.array([class_map.name(i) for i in range(NODATA + 1)], object)
        self.colors = np.array([class_map.colors.get(i) for i in range(NODATA + 1)], object)

    def batches(self) -> Iterator[Batch]:
        """The layer's features, tile after tile."""
        grid = self.map.grid
        for window in _tiles(grid.width, grid.height, self._tile_px()):
            yield from self._tile(window)

    def _tile_px(self) -> tuple[int, int]:
        if self.cut_km is not None:
            return TILE_PX, TILE_PX
        if self.config.tile_km is None:
            return self.map.grid.width, self.map.grid.height
        columns, rows = (
            round(self.config.tile_km * 1000 / side) for side in self.map.grid.resolution
        )
        return max(1, columns), max(1, rows)

    def _tile(self, tile: Window) -> Iterator[Batch]:
        patches, pieces = self._trace(tile)
        region = np.arange(len(patches.classes))
        if self.config.min_area_m2 is not None:
            count = len(patches.classes)
            minimum_px = self.config.min_area_m2 / self.map.pixel_m2
            region, patches = absorb(patches, pieces, minimum_px)
            self.absorbed += count - len(patches.classes)
        arcs = join(pieces, region)
        del pieces, region
        keep = np.ones(len(arcs.points_N2), bool)
        if self.config.simplify_m is not None and len(arcs.counts_P):
            size = tile.width, tile.height
            keep = simplify(arcs, self.config.simplify_m, self.map.grid.resolution, size)
        transform = self.map.grid.transform @ Affine.translation(tile.col_off, tile.row_off)
        wanted = self.wanted[patches.classes]
        wanted[VOID] = False
        for numbers, geometries in polygons(arcs, keep, transform, wanted, BATCH):
            yield self._attributes(patches, numbers), geometries

    def _trace(self, tile: Window) -> tuple[Patches, Pieces]:
        tracer = Tracer(tile.width)
        rows = max(1, self.strip_px // tile.width)
        total = self.map.grid.width * self.map.grid.height
        with contextlib.ExitStack() as stack:
            classes = stack.enter_context(open_raster(self.map.path))
            confidence = None
            if self.map.confidence is not None:
                confidence = stack.enter_context(open_raster(self.map.confidence))
                check_confidence(self.map, confidence)
            for row in range(0, tile.height, rows):
                height = min(rows, tile.height - row)
                window = Window(tile.col_off, tile.row_off + row, tile.width, height)
                values = classes.read(1, window=window)
                sure = confidence.read(1, window=window) if confidence is not None else None
                tracer.add(values, sure)
                self.done_px += values.size
                self.progress(self.done_px, total)
        return tracer.finish()

    def _attributes(self, patches: Patches, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        ids, pixels = patches.classes[numbers], patches.pixels[numbers]
        columns = {
            "class_id": ids,
            "class": self.names[ids],
            "color": self.colors[ids],
            "area_m2": pixels * self.map.pixel_m2,
        }
        if self.map.confidence is not None:
            columns["confidence"] = patches.confidence[numbers] / (pixels * CONFIDENCE_STEPS)
        return columns


def _tiles(width: int, height: int, tile_px: tuple[int, int]) -> Iterator[Window]:
    columns, rows = tile_px
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield Window(column, row, min(columns, width - column), min(rows, height - row))


def _wanted(class_map: ClassMap, names: tuple[str, ...] | None) -> NDArray[np.bool_]:
    """Which class ids are written."""
    wanted = np.zeros(NODATA + 1, bool)
    if names is None:
        wanted[:NODATA] = True
        return wanted
    ids = {name: class_id for class_id, name in class_map.classes.items()}
    for name in names:
        if name in ids:
            wanted[ids[name]] = True
        elif name.isdigit() and int(name) < NODATA and (not ids or int(name) in ids.values()):
            wanted[int(name)] = True
        else:
            raise ConfigError(f"{class_map.path}: {unknown_name('class', name, ids)}")
    return wanted
