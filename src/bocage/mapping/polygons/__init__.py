"""Polygons of a class map: trace borders, absorb small patches, join, simplify, write."""

from bocage.mapping.polygons.run import PolygonConfig, PolygonReport, write_polygons

__all__ = ["PolygonConfig", "PolygonReport", "write_polygons"]
