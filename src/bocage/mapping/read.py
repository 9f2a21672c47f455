"""Everything that the windows of a block see: per sensor one read, mirrored beyond the border.

Legend: G groups (1 for an image, T dates for a series), C bands of a group, h x w pixels of the
sensor's own grid, H x W pixels of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.imagery import SNOW_CLOUD, Range, Sensor, SensorGrid, read_raster, reading_of
from bocage.mapping.plan import Block, Plan, mirrored
from bocage.sample import Series


@dataclass(frozen=True)
class BlockInputs:
    """Everything that the windows of one block see; windows are views into it, never changed.

    `images[m]` (C, h, w) stored type; `valid[m]` (h, w) bool for images with holes; `series[m]`
    over the same extent. `origin` is the reference row and column of the first pixel of all.
    `data_HW` is True where any source has data, over the block itself; None where everywhere.
    """

    origin: tuple[int, int]
    grids: dict[str, SensorGrid]
    images: dict[str, NDArray[Any]]
    valid: dict[str, NDArray[np.bool_]]
    series: dict[str, Series]
    data_HW: NDArray[np.bool_] | None

    def cut(self, name: str, row: int, col: int, side_px: int) -> tuple[slice, slice]:
        """Where the window at (row, col) lies in the arrays of sensor `name`."""
        grid = self.grids[name]
        top, left = grid.to_own(row - self.origin[0]), grid.to_own(col - self.origin[1])
        side = grid.to_own(side_px)
        return slice(top, top + side), slice(left, left + side)


def read_block(
    sensors: Sequence[Sensor], grids: dict[str, SensorGrid], plan: Plan, block: Block
) -> BlockInputs:
    """Read, resample where needed, and mirror beyond the reference's border.

    Raises `DataError` naming the file that cannot be read.
    """
    top, bottom, left, right = plan.halo(block)
    images: dict[str, NDArray[Any]] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    series: dict[str, Series] = {}
    for sensor in sensors:
        name = sensor.modality.name
        grid = grids[name]
        rows = mirrored(grid.to_own(top), grid.to_own(bottom), plan.height, grid.ratio)
        cols = mirrored(grid.to_own(left), grid.to_own(right), plan.width, grid.ratio)
        values, holes_free = _read_mirrored(sensor, grid, rows, cols)
        if sensor.dates is None:
            images[name] = values[0]
            if holes_free is not None:
                valid[name] = holes_free[0]
        else:
            mask = None if sensor.mask is None else _read_mask(sensor, grid, rows, cols)
            series[name] = Series(values, sensor.dates, mask, holes_free)
    inputs = BlockInputs((top, left), grids, images, valid, series, None)
    return BlockInputs(
        inputs.origin, grids, images, valid, series, _data_anywhere(inputs, sensors, block)
    )


def _data_anywhere(
    inputs: BlockInputs, sensors: Sequence[Sensor], block: Block
) -> NDArray[np.bool_] | None:
    """Where any sensor has data, (H, W) of the block; None where everywhere."""
    result = np.zeros(block.shape, dtype=bool)
    for sensor in sensors:
        name = sensor.modality.name
        if sensor.dates is None:
            mask = inputs.valid.get(name)
        else:
            every_date = inputs.series[name].valid
            mask = None if every_date is None else np.asarray(every_date.any(axis=0))
        if mask is None:
            return None
        ratio = float(inputs.grids[name].ratio)
        rows = (np.arange(block.row0, block.row1) - inputs.origin[0] + 0.5) / ratio
        cols = (np.arange(block.col0, block.col1) - inputs.origin[1] + 0.5) / ratio
        result |= mask[rows.astype(np.int64)][:, cols.astype(np.int64)]
    return None if result.all() else result


def _read_mirrored(
    sensor: Sensor, grid: SensorGrid, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Values (G, C, h, w) in the modality's type and validity (G, h, w), None: no hole."""
    row_range, col_range = _range(rows), _range(cols)
    values, valid = read_raster(
        sensor.raster, grid, row_range, col_range, reading_of(sensor.modality)
    )
    values = _take(values, rows - row_range[0], cols - col_range[0])
    if valid is not None:
        valid = _take(valid, rows - row_range[0], cols - col_range[0])
    return values, valid


def _read_mask(
    sensor: Sensor, grid: SensorGrid, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[Any]:
    """Snow and cloud probability (T, 2, h, w) uint16; where it is unknown, certainly cloudy."""
    assert sensor.mask is not None
    row_range, col_range = _range(rows), _range(cols)
    values, valid = read_raster(sensor.mask, grid, row_range, col_range, SNOW_CLOUD)
    if valid is not None:
        values[np.broadcast_to(~valid[:, None], values.shape)] = 100
    return _take(values, rows - row_range[0], cols - col_range[0])


def _range(indices: NDArray[np.int64]) -> Range:
    return int(indices.min()), int(indices.max()) + 1


def _take(array: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
    """`array[..., rows, cols]`, without a copy where nothing is mirrored."""
    height, width = array.shape[-2:]
    if len(rows) != height or (np.diff(rows) != 1).any():
        array = np.take(array, rows, axis=-2)
    if len(cols) != width or (np.diff(cols) != 1).any():
        array = np.take(array, cols, axis=-1)
    return array
