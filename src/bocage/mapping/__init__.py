"""From rasters of any size to a georeferenced map: plan, read, predict, blend, write, resume."""

from bocage.imagery import Source
from bocage.mapping.config import MapConfig
from bocage.mapping.engine import map_area
from bocage.mapping.report import FailedBlock, MapReport

__all__ = ["FailedBlock", "MapConfig", "MapReport", "Source", "map_area"]
