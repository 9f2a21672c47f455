"""Rasters of a territory as one: what files declare, and their pixels on a common grid.

Mapping reads a territory through it block by block, cutting makes patches of it; both therefore
align, resample and find holes alike.
"""

from bocage.imagery.area import Area, read_area
from bocage.imagery.grids import approximate_resolution_m, bounds_in, goes_around
from bocage.imagery.headers import BrokenTileError, MissingTiles, RasterFile
from bocage.imagery.locate import absolute
from bocage.imagery.mosaic import Layers, Mosaic, Raster, Stack, declares_holes, files_of
from bocage.imagery.pixels import SNOW_CLOUD, Found, Reading, reading_of
from bocage.imagery.probe import AROUND, Square, doubts, spread, squares
from bocage.imagery.resample import Range, SensorGrid, read_raster
from bocage.imagery.scale import darkest, offset_doubt, without_offset
from bocage.imagery.sources import (
    Sensor,
    Source,
    check_cover,
    choose_reference,
    inspect,
    read_dates,
)
from bocage.imagery.target import Extent, Target, Wanted, lay_target
from bocage.imagery.zarr_store import open_source

__all__ = [
    "AROUND",
    "SNOW_CLOUD",
    "Area",
    "BrokenTileError",
    "Extent",
    "Found",
    "Layers",
    "MissingTiles",
    "Mosaic",
    "Range",
    "Raster",
    "RasterFile",
    "Reading",
    "Sensor",
    "SensorGrid",
    "Source",
    "Square",
    "Stack",
    "Target",
    "Wanted",
    "absolute",
    "approximate_resolution_m",
    "bounds_in",
    "check_cover",
    "choose_reference",
    "darkest",
    "declares_holes",
    "doubts",
    "files_of",
    "goes_around",
    "inspect",
    "lay_target",
    "offset_doubt",
    "open_source",
    "read_area",
    "read_dates",
    "read_raster",
    "reading_of",
    "spread",
    "squares",
    "without_offset",
]
