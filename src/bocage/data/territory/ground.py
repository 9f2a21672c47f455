"""The patches of a territory: one grid for all sensors, and what lies in a square of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from bocage.data.territory.config import TerritoryConfig
from bocage.errors import ConfigError
from bocage.imagery import (
    SNOW_CLOUD,
    Range,
    Sensor,
    SensorGrid,
    approximate_resolution_m,
    bounds_in,
    check_cover,
    choose_reference,
    inspect,
    read_raster,
    reading_of,
)
from bocage.rasters import Grid, describe_crs, same_crs
from bocage.sample import Series


@dataclass(frozen=True)
class Territory:
    """Sensors on one grid of square patches. `tile_px` pixels of `grid` are a patch's side."""

    grid: Grid
    tile_px: int
    sensors: dict[str, Sensor]
    grids: dict[str, SensorGrid]
    reference: str
    year: int

    @property
    def rows(self) -> int:
        """Patches from north to south; the last may reach beyond the imagery."""
        return math.ceil(self.grid.height / self.tile_px)

    @property
    def cols(self) -> int:
        """Patches from west to east."""
        return math.ceil(self.grid.width / self.tile_px)

    def tile(self, row: int, col: int) -> Grid:
        """The label grid of one patch."""
        corner = Affine.translation(col * self.tile_px, row * self.tile_px)
        return Grid(self.grid.crs, self.grid.transform * corner, self.tile_px, self.tile_px)

    def pixels(self, name: str) -> int:
        """Side of a patch in pixels of one sensor."""
        return self.grids[name].to_own(self.tile_px)

    def resolution_m(self, name: str) -> float:
        """Pixel size of one sensor in patches, metres."""
        return self.tile_px * self.grid.resolution[0] / self.pixels(name)

    def read_image(
        self, name: str, row: int, col: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Stored numbers (C, h, w) of a patch, and validity (h, w), None where all is valid."""
        values, valid = self._read(name, row, col)
        return values[0], None if valid is None else valid[0]

    def read_series(self, name: str, row: int, col: int) -> Series:
        """All dates of a patch."""
        sensor = self.sensors[name]
        assert sensor.dates is not None
        values, valid = self._read(name, row, col)
        snow_cloud = None
        if sensor.mask is not None:
            rows, cols = self._ranges(name, row, col)
            snow_cloud, known = read_raster(sensor.mask, self.grids[name], rows, cols, SNOW_CLOUD)
            if known is not None:
                # Where it is unknown whether there are clouds, there are.
                snow_cloud[np.broadcast_to(~known[:, None], snow_cloud.shape)] = 100
        return Series(values, sensor.dates, snow_cloud, valid)

    def _read(self, name: str, row: int, col: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        sensor = self.sensors[name]
        rows, cols = self._ranges(name, row, col)
        return read_raster(sensor.raster, self.grids[name], rows, cols, reading_of(sensor.modality))

    def _ranges(self, name: str, row: int, col: int) -> tuple[Range, Range]:
        side = self.pixels(name)
        return (row * side, (row + 1) * side), (col * side, (col + 1) * side)


def survey(config: TerritoryConfig) -> Territory:
    """Open what the configuration names and lay the grid; reads no more than probes.

    Raises `ConfigError` and `DataError` as mapping does for sources that do not fit.
    """
    sensors = [inspect(source) for source in config.imagery()]
    finest = min(sensors, key=lambda s: approximate_resolution_m(s.raster.grid))
    grid = _label_grid(finest, config)
    anchor = replace(finest.raster, grid=grid)
    fitted = {}
    for sensor in sensors:
        raster = check_cover(sensor.raster, anchor)
        mask = sensor.mask and check_cover(sensor.mask, anchor)
        fitted[sensor.modality.name] = replace(sensor, raster=raster, mask=mask)
    side_m = config.tile_px * grid.resolution[0]
    grids = {}
    for name, sensor in fitted.items():
        own_m = approximate_resolution_m(sensor.raster.grid)
        own_px = min(config.tile_px, max(1, round(side_m / own_m)))
        if name == finest.modality.name:
            own_px = config.tile_px
        grids[name] = SensorGrid(grid, Fraction(config.tile_px, own_px))
    years = [s.dates.astype("datetime64[Y]").astype(int) + 1970 for s in sensors
             if s.dates is not None]  # fmt: skip
    year = config.year or (int(np.median(np.concatenate(years))) if years else 1970)
    return Territory(grid, config.tile_px, fitted, grids, finest.modality.name, year)


def _label_grid(finest: Sensor, config: TerritoryConfig) -> Grid:
    """The finest sensor's own grid unless another CRS or pixel size is asked for."""
    own = finest.raster.grid
    wanted = own.crs if config.crs is None else _parse_crs(config.crs)
    if config.crs is None and config.resolution_m is None:
        # Refuses grids that are rotated, in degrees or in feet, and says how to name another.
        choose_reference([finest], own.resolution[0])
        return own
    assert own.crs is not None
    assert wanted is not None
    if not wanted.is_projected or not math.isclose(wanted.linear_units_factor[1], 1.0):
        raise ConfigError(
            f"patches cannot lie in {describe_crs(wanted)}: name a projected CRS in metres, such "
            "as crs=EPSG:2154."
        )
    size = config.resolution_m or approximate_resolution_m(own)
    box = own.bounds if same_crs(own.crs, wanted) else bounds_in(own.bounds, own.crs, wanted)
    if box is None:
        raise ConfigError(f"{finest.raster.path}: cannot be brought to {describe_crs(wanted)}.")
    left, bottom, right, top = box
    # On whole multiples of the pixel, so that territories side by side share one grid.
    x, y = math.floor(left / size + 1e-6) * size, math.ceil(top / size - 1e-6) * size
    width, height = (max(1, math.ceil(d / size - 1e-6)) for d in (right - x, y - bottom))
    return Grid(wanted, Affine(size, 0, x, 0, -size, y), width, height)


def _parse_crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise ConfigError(f"crs={text}: not a CRS. Write it as EPSG:2154.") from error
