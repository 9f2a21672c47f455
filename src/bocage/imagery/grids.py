"""Bounds and pixel sizes across coordinate systems."""

from __future__ import annotations

import numpy as np
from rasterio._err import CPLE_BaseError  # what PROJ has no words of rasterio's for
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds

from bocage.rasters import Grid

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_METRES_PER_DEGREE = 111_320.0
_HALF_TURN = 180.0
"""Degrees from Greenwich to the dateline."""


def bounds_in(bounds: Bounds, crs: CRS, other: CRS) -> Bounds | None:
    """Bounds expressed in another CRS; None where the two cannot be related there.

    A rectangle that crosses the dateline of a geographic CRS ends beyond 180 degrees.
    """
    try:
        moved = bounds if crs == other else transform_bounds(crs, other, *bounds, densify_pts=21)
    except (CRSError, RasterioError, CPLE_BaseError):
        return None
    left, bottom, right, top = moved
    if left > right and other.is_geographic:
        right += 360.0
    sound = np.isfinite(moved).all() and left <= right and bottom <= top
    return (left, bottom, right, top) if sound else None


def spans_dateline(grid: Grid, crs: CRS | None) -> bool:
    """Whether the 180th meridian lies in the grid, and breaks the geographic `crs` there."""
    if grid.crs is None or crs is None or not crs.is_geographic:
        return False
    seen = bounds_in(grid.bounds, grid.crs, crs)
    return seen is not None and seen[2] > _HALF_TURN


def goes_around(grid: Grid) -> bool:
    """Whether a grid in degrees holds both sides of the 180th meridian, to half a pixel."""
    left, _, right, _ = grid.bounds
    slack = grid.resolution[0] / 2
    geographic = grid.crs is not None and grid.crs.is_geographic
    return geographic and left <= slack - _HALF_TURN and right >= _HALF_TURN - slack


def approximate_resolution_m(grid: Grid) -> float:
    """Pixel size in metres, good enough to rank sensors."""
    size = min(grid.resolution)
    if grid.crs is None or not grid.crs.is_projected:
        return size * _METRES_PER_DEGREE if grid.crs and grid.crs.is_geographic else size
    return size * float(grid.crs.linear_units_factor[1])


def say_bounds(bounds: Bounds) -> str:
    """Bounds as messages show them."""
    return "(" + ", ".join(f"{v:.10g}" for v in bounds) + ")"
