"""The grid that is asked for: the finest sensor's own, another one, or a part of either."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from bocage.errors import ConfigError, DataError
from bocage.imagery.area import Area, read_area
from bocage.imagery.grids import Bounds, bounds_in, say_bounds
from bocage.imagery.sources import SAME_SIZE, Sensor, choose_reference, finest_sensor
from bocage.rasters import Grid, describe_crs, same_crs

_SNAP_PX = 1e-6
"""Bounds that miss a pixel's edge by less than this, in pixels, are on it."""


_LOOKED_AT_PX = 2**22
"""Areas of up to so many pixels are looked at for one that is inside."""


@dataclass(frozen=True)
class Wanted:
    """What of the grid is asked for; all None: the finest sensor's own.

    `crs` such as EPSG:2154, `resolution_m` of a pixel, `bounds` in the grid's CRS, `aoi` a vector
    file and its layer.
    """

    crs: str | None = None
    resolution_m: float | None = None
    bounds: Bounds | None = None
    aoi: str | None = None


@dataclass(frozen=True)
class Extent:
    """Rows [row0, row1) and columns [col0, col1) of a grid, which may reach beyond it."""

    row0: int
    row1: int
    col0: int
    col1: int


@dataclass(frozen=True)
class Target:
    """The grid of the map.

    `reference` is the sensor that decided it, its raster's grid replaced by the map's. `imagery` is
    the rectangle of that sensor's ground in pixels of the grid: what lies beyond is not known and
    may be mirrored; `whole` is its grid, of which the map may be a part. `area` is what of the grid
    is wanted, None: all.
    """

    grid: Grid
    reference: Sensor
    imagery: Extent
    whole: Grid
    area: Area | None

    def wanted(self, rows: tuple[int, int], cols: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Pixels of a rectangle of the map that are wanted, (H, W); None where all are.

        The same for every map of a part of the same whole.
        """
        if self.area is None:
            return None
        down, across = self.imagery.row0, self.imagery.col0
        return self.area.mask(
            self.whole, (rows[0] - down, rows[1] - down), (cols[0] - across, cols[1] - across)
        )


def lay_target(
    sensors: Sequence[Sensor], output_resolution_m: float, wanted: Wanted, step_px: int
) -> Target:
    """The grid that `wanted` asks for, over the ground of the finest sensor.

    Without CRS and resolution it has the finest sensor's own pixels. Bounds are widened to whole
    pixels, and are the map's bounds even where imagery ends before them. An area crops the grid to
    the imagery of its polygons, beginning on a multiple of `step_px` pixels of the whole: windows
    laid every `step_px` pixels then are the whole's, and so is the result.

    Raises:
        ConfigError: a CRS, resolution or bounds that cannot be, or that leave nothing.
        DataError: a reference that has no grid to take over, an area that cannot be read or lies
            elsewhere.
    """
    if wanted.crs is None and wanted.resolution_m is None:
        reference = choose_reference(sensors, output_resolution_m)
        whole = reference.raster.grid
    else:
        reference = finest_sensor(sensors)
        whole = _other_grid(reference, output_resolution_m, wanted)
    assert whole.crs is not None
    area = None if wanted.aoi is None else read_area(wanted.aoi, whole.crs)
    place = Extent(0, whole.height, 0, whole.width)
    if wanted.bounds is not None:
        place = _bounds_place(whole, wanted.bounds, reference.raster.path)
    if area is not None:
        place = _area_place(whole, place, area, step_px, reference.raster.path)
    grid = Grid(
        whole.crs,
        whole.transform @ Affine.translation(place.col0, place.row0),
        place.col1 - place.col0,
        place.row1 - place.row0,
    )
    imagery = Extent(-place.row0, whole.height - place.row0, -place.col0, whole.width - place.col0)
    anchor = replace(reference, raster=replace(reference.raster, grid=grid))
    return Target(grid, anchor, imagery, whole, area)


def _other_grid(reference: Sensor, output_m: float, wanted: Wanted) -> Grid:
    """The ground of the reference in the CRS and with the pixels asked for."""
    own, path = reference.raster.grid, reference.raster.path
    assert own.crs is not None
    crs = own.crs if wanted.crs is None else parse_crs(wanted.crs)
    if not crs.is_projected or not math.isclose(crs.linear_units_factor[1], 1.0):
        where = "" if wanted.crs else f", the CRS of {path}"
        raise ConfigError(
            f"a map cannot lie in {describe_crs(crs)}{where}: name a projected CRS in metres, such "
            "as crs=EPSG:2154."
        )
    size = wanted.resolution_m or output_m
    if abs(size / output_m - 1) > SAME_SIZE:
        raise ConfigError(
            f"resolution_m={size:g}: this network maps at {output_m:g} m. Leave it out, and "
            "resample the map; or train a network at that resolution."
        )
    t = own.transform
    upright = not (t.b or t.d) and t.a > 0 and t.e < 0
    if same_crs(own.crs, crs):
        if upright and all(abs(side / size - 1) <= SAME_SIZE for side in own.resolution):
            return own
        box: Bounds | None = own.bounds
    else:
        box = bounds_in(own.bounds, own.crs, crs)
    if box is None:
        raise ConfigError(
            f"{path}: its ground, bounds {say_bounds(own.bounds)} in {describe_crs(own.crs)}, "
            f"cannot be shown in {describe_crs(crs)}. Name a CRS that is made for it."
        )
    left, bottom, right, top = box
    # On whole multiples of the pixel, so that maps side by side share one grid.
    x = math.floor(left / size + _SNAP_PX) * size
    y = math.ceil(top / size - _SNAP_PX) * size
    width, height = (max(1, math.ceil(d / size - _SNAP_PX)) for d in (right - x, y - bottom))
    return Grid(crs, Affine(size, 0, x, 0, -size, y), width, height)


def parse_crs(text: str) -> CRS:
    """A CRS by its code or definition; `ConfigError` if it is none."""
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise ConfigError(f"crs={text}: not a CRS. Write it as EPSG:2154.") from error


def _pixels(grid: Grid, bounds: Bounds) -> Extent:
    """The pixels that the bounds touch, beyond the grid's own too."""
    inverse = ~grid.transform
    left, top = inverse @ (bounds[0], bounds[3])
    right, bottom = inverse @ (bounds[2], bounds[1])
    return Extent(
        math.floor(top + _SNAP_PX),
        math.ceil(bottom - _SNAP_PX),
        math.floor(left + _SNAP_PX),
        math.ceil(right - _SNAP_PX),
    )


def _bounds_place(whole: Grid, bounds: Bounds, path: str) -> Extent:
    left, bottom, right, top = bounds
    if not all(map(math.isfinite, bounds)) or left >= right or bottom >= top:
        raise ConfigError(
            f"bounds={say_bounds(bounds)}: no area. Give left, bottom, right, top in "
            f"{describe_crs(whole.crs)}."
        )
    place = _pixels(whole, bounds)
    if not _meets(place, whole):
        raise ConfigError(
            f"bounds={say_bounds(bounds)}: none of the imagery lies there. {path} has bounds "
            f"{say_bounds(whole.bounds)} in {describe_crs(whole.crs)}."
        )
    return place


def _area_place(whole: Grid, place: Extent, area: Area, step_px: int, path: str) -> Extent:
    found = _pixels(whole, area.bounds)
    limits = Extent(
        max(place.row0, 0), min(place.row1, whole.height),
        max(place.col0, 0), min(place.col1, whole.width),
    )  # fmt: skip
    rows = max(found.row0, limits.row0), min(found.row1, limits.row1)
    cols = max(found.col0, limits.col0), min(found.col1, limits.col1)
    inside = rows[0] < rows[1] and cols[0] < cols[1] and area.touches(whole, rows, cols)
    if not inside and (limits.row0, limits.row1, limits.col0, limits.col1) != (
        0, whole.height, 0, whole.width,
    ):  # fmt: skip
        in_all = (0, whole.height), (0, whole.width)
        if area.touches(whole, *in_all):
            raise ConfigError(
                f"{area.path}: none of the area is within bounds=…, which the map is to have. "
                "Leave one of them out, or make them meet."
            )
    if not inside:
        raise DataError(
            f"{area.path}: bounds {say_bounds(area.bounds)} in {describe_crs(whole.crs)}, where "
            f"{path} has {say_bounds(whole.bounds)}: none of the area is in the imagery. Check "
            "that both state their true CRS."
        )
    small = (rows[1] - rows[0]) * (cols[1] - cols[0]) <= _LOOKED_AT_PX
    if small and (mask := area.mask(whole, rows, cols)) is not None and not mask.any():
        raise ConfigError(
            f"{area.path}: no pixel has its centre in the area, whose bounds are "
            f"{say_bounds(area.bounds)} in {describe_crs(whole.crs)}. Widen it."
        )
    return Extent(
        max(limits.row0, rows[0] // step_px * step_px), rows[1],
        max(limits.col0, cols[0] // step_px * step_px), cols[1],
    )  # fmt: skip


def _meets(place: Extent, grid: Grid) -> bool:
    return (
        place.row0 < grid.height and place.row1 > 0 and place.col0 < grid.width and place.col1 > 0
    )
