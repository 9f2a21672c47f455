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

    def scale(self, output_resolution_m: float) -> int:
        """How many of the network's pixels a pixel of the map has to a side.

        Raises `ConfigError` where the resolution that is asked for is no whole number of them.
        """
        if self.resolution_m is None:
            return 1
        times = self.resolution_m / output_resolution_m
        scale = max(1, round(times))
        if abs(times / scale - 1) > SAME_SIZE:
            fewer = max(1, math.floor(times))
            raise ConfigError(
                f"resolution_m={self.resolution_m:g}: this network maps at {output_resolution_m:g} "
                f"m, and at whole multiples of it, such as {fewer * output_resolution_m:g} or "
                f"{(fewer + 1) * output_resolution_m:g}."
            )
        return scale


@dataclass(frozen=True)
class Extent:
    """Rows [row0, row1) and columns [col0, col1) of a grid, which may reach beyond it."""

    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def rows(self) -> tuple[int, int]:
        """First row, and the one behind the last."""
        return self.row0, self.row1

    @property
    def cols(self) -> tuple[int, int]:
        """First column, and the one behind the last."""
        return self.col0, self.col1

    @property
    def empty(self) -> bool:
        """Whether it has no pixel."""
        return self.row0 >= self.row1 or self.col0 >= self.col1

    def common(self, other: Extent) -> Extent:
        """What lies in both; `empty` where nothing does."""
        return Extent(
            max(self.row0, other.row0), min(self.row1, other.row1),
            max(self.col0, other.col0), min(self.col1, other.col1),
        )  # fmt: skip


@dataclass(frozen=True)
class Target:
    """The map's `grid`, and the `whole` that it is a part of: all ground of the finest sensor.

    `reference` is that sensor, its raster's grid replaced by the map's. `place` is the map's
    rectangle in pixels of the whole, which it may reach beyond: there nothing is wanted. `area` is
    what else bounds the wanted ground, None: nothing.
    """

    grid: Grid
    reference: Sensor
    whole: Grid
    place: Extent
    area: Area | None

    def wanted(self, rows: tuple[int, int], cols: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Pixels of a rectangle of the whole that are wanted, (H, W); None where all are."""
        if self.area is not None:  # a map of an area ends with the whole
            return self.area.mask(self.whole, rows, cols)
        here = Extent(*rows, *cols)
        inside = here.common(_all_of(self.whole))
        if inside == here:
            return None
        mask_HW = np.zeros((rows[1] - rows[0], cols[1] - cols[0]), dtype=bool)
        if not inside.empty:
            down = slice(inside.row0 - rows[0], inside.row1 - rows[0])
            mask_HW[down, inside.col0 - cols[0] : inside.col1 - cols[0]] = True
        return mask_HW

    def wants(self, rows: tuple[int, int], cols: tuple[int, int]) -> bool:
        """Whether a rectangle of the whole has a pixel that is wanted."""
        if self.area is not None:
            return self.area.has_pixel(self.whole, rows, cols)
        return not Extent(*rows, *cols).common(_all_of(self.whole)).empty


def lay_target(sensors: Sequence[Sensor], output_resolution_m: float, wanted: Wanted) -> Target:
    """The grid that `wanted` asks for, over the ground of the finest sensor.

    Without CRS and resolution it has the finest sensor's own pixels. Bounds are widened to whole
    pixels, and are the map's bounds even where imagery ends before them. An area crops the grid to
    the pixels that its polygons' bounds touch, of the imagery and of the bounds.

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
    place = _all_of(whole)
    if wanted.bounds is not None:
        place = _bounds_place(whole, wanted.bounds, reference.raster.path)
    if area is not None:
        place = _area_place(whole, place, area, reference.raster.path)
    grid = Grid(
        whole.crs,
        whole.transform @ Affine.translation(place.col0, place.row0),
        place.col1 - place.col0,
        place.row1 - place.row0,
    )
    anchor = replace(reference, raster=replace(reference.raster, grid=grid))
    return Target(grid, anchor, whole, place, area)


def _all_of(grid: Grid) -> Extent:
    return Extent(0, grid.height, 0, grid.width)


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
    t = own.transform
    upright = not (t.b or t.d) and t.a > 0 and t.e < 0
    same = same_crs(own.crs, crs)
    if same:
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
    scale = wanted.scale(output_m)
    if same and upright and all(abs(s * scale / size - 1) <= SAME_SIZE for s in own.resolution):
        # And on whole pixels of the imagery, or the network would see it resampled.
        size = own.resolution[0] * scale
        x = left - round((left - x) / own.resolution[0]) % scale * own.resolution[0]
        y = top + round((y - top) / own.resolution[1]) % scale * own.resolution[1]
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
    if place.common(_all_of(whole)).empty:
        raise ConfigError(
            f"bounds={say_bounds(bounds)}: none of the imagery lies there. {path} has bounds "
            f"{say_bounds(whole.bounds)} in {describe_crs(whole.crs)}."
        )
    return place


def _area_place(whole: Grid, place: Extent, area: Area, path: str) -> Extent:
    ground = _all_of(whole)
    limits = place.common(ground)
    found = _pixels(whole, area.bounds).common(limits)
    if found.empty or not area.touches(whole, found.rows, found.cols):
        if limits != ground and area.touches(whole, ground.rows, ground.cols):
            raise ConfigError(
                f"{area.path}: none of the area is within bounds=…, which the map is to have. "
                "Leave one of them out, or make them meet."
            )
        raise DataError(
            f"{area.path}: bounds {say_bounds(area.bounds)} in {describe_crs(whole.crs)}, where "
            f"{path} has {say_bounds(whole.bounds)}: none of the area is in the imagery. Check "
            "that both state their true CRS."
        )
    if not area.has_pixel(whole, found.rows, found.cols):
        raise ConfigError(
            f"{area.path}: no pixel has its centre in the area, whose bounds are "
            f"{say_bounds(area.bounds)} in {describe_crs(whole.crs)}. Widen it."
        )
    return found
