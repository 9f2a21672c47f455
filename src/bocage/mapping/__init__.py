"""From rasters of any size to a georeferenced map: plan, read, predict, blend, write, resume."""

from bocage.imagery import Source
from bocage.mapping.config import MapConfig
from bocage.mapping.engine import map_area
from bocage.mapping.estimate import Estimate, estimate_map
from bocage.mapping.finish import merge_shares
from bocage.mapping.report import FailedBlock, MapReport

__all__ = [
    "Estimate",
    "FailedBlock",
    "MapConfig",
    "MapReport",
    "Source",
    "estimate_map",
    "map_area",
    "merge_shares",
]
