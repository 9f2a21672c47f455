"""Rasters of a territory as one: what files declare, and their pixels on a common grid.

Mapping reads a territory through it block by block, cutting makes patches of it; both therefore
align, resample and find holes alike.
"""

from bocage.imagery.resample import SNOW_CLOUD, Range, SensorGrid, read_raster, reading_of
from bocage.imagery.sources import (
    RasterFile,
    Sensor,
    Source,
    bounds_in,
    check_cover,
    choose_reference,
    inspect,
    read_dates,
)

__all__ = [
    "SNOW_CLOUD",
    "Range",
    "RasterFile",
    "Sensor",
    "SensorGrid",
    "Source",
    "bounds_in",
    "check_cover",
    "choose_reference",
    "inspect",
    "read_dates",
    "read_raster",
    "reading_of",
]
