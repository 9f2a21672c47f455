"""Everything that the windows of a block see: per sensor one read, mirrored beyond the border.

Legend: G groups (1 for an image, T dates for a series), C bands of a group, h x w pixels of the
sensor's own grid, H x W pixels of the block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.imagery import (
    SNOW_CLOUD,
    Found,
    Range,
    Sensor,
    SensorGrid,
    Target,
    read_raster,
    reading_of,
)
from bocage.mapping.plan import Block, Plan, mirrored
from bocage.sample import Series

_BITS = 8
"""Sensors that a coverage layer of uint8 can tell apart."""


@dataclass(frozen=True)
class BlockInputs:
    """Everything that the windows of one block see; windows are views into it, never changed.

    `images[m]` (C, h, w) stored type; `valid[m]` (h, w) bool for images with holes; `series[m]`
    over the same extent. `origin` is the row and column of the whole of the first pixel of all.
    `data_HW` is True where any source has data and the map is wanted, over the block itself; None
    where everywhere. `found` are sentences on what was met while reading: tiles that break,
    infinite values.
    """

    origin: tuple[int, int]
    grids: dict[str, SensorGrid]
    images: dict[str, NDArray[Any]]
    valid: dict[str, NDArray[np.bool_]]
    series: dict[str, Series]
    data_HW: NDArray[np.bool_] | None
    found: tuple[str, ...] = ()

    def cut(self, name: str, row: int, col: int, side_px: int) -> tuple[slice, slice]:
        """Where the window at (row, col) lies in the arrays of sensor `name`."""
        grid = self.grids[name]
        top, left = grid.to_own(row - self.origin[0]), grid.to_own(col - self.origin[1])
        side = grid.to_own(side_px)
        return slice(top, top + side), slice(left, left + side)


def read_block(
    sensors: Sequence[Sensor],
    grids: dict[str, SensorGrid],
    plan: Plan,
    block: Block,
    target: Target | None = None,
) -> BlockInputs:
    """Read, resample where needed, and mirror beyond the whole: a part of it sees what is around.

    `target` says what of the map is wanted, None: all. Raises `DataError` naming the file that
    cannot be read.
    """
    top, bottom, left, right = plan.halo(block)
    images: dict[str, NDArray[Any]] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    series: dict[str, Series] = {}
    found: Found = set()
    height, width = plan.ground_px
    for sensor in sensors:
        name = sensor.modality.name
        grid = grids[name]
        rows = mirrored(grid.to_own(top), grid.to_own(bottom), height, grid.ratio)
        cols = mirrored(grid.to_own(left), grid.to_own(right), width, grid.ratio)
        values, holes_free = _read_mirrored(sensor, grid, rows, cols, found)
        if sensor.dates is None:
            images[name] = values[0]
            if holes_free is not None:
                valid[name] = holes_free[0]
        else:
            mask = None if sensor.mask is None else _read_mask(sensor, grid, rows, cols, found)
            series[name] = Series(values, sensor.dates, mask, holes_free)
    inputs = BlockInputs((top, left), grids, images, valid, series, None, tuple(sorted(found)))
    data_HW = _data_anywhere(inputs, block)
    if target is not None:
        wanted_HW = target.wanted((block.row0, block.row1), (block.col0, block.col1))
        if wanted_HW is not None:
            data_HW = wanted_HW if data_HW is None else data_HW & wanted_HW
    return replace(inputs, data_HW=data_HW)


def block_coverage(inputs: BlockInputs, block: Block, names: Sequence[str]) -> NDArray[np.uint8]:
    """Which sensors have data at each pixel of the block, (H, W): bit k stands for `names[k]`.

    A series has data where any of its dates has, cloudy ones too: what the network leaves out of
    it is decided window by window. Where the map is not wanted no bit is set.
    """
    assert len(names) <= _BITS, "one bit per sensor"
    bits_HW = np.zeros(block.shape, np.uint8)
    for bit, name in enumerate(names):
        finer = _finer(inputs.grids[name]) if name in inputs.grids else 1
        known = _data_of(inputs, name, block, finer)
        if known is not None and finer > 1:
            parts = known.reshape(block.shape[0], finer, block.shape[1], finer)
            known = np.asarray(parts.any(axis=(1, 3)))
        if known is None:
            bits_HW |= np.uint8(1 << bit)
        else:
            bits_HW |= known.astype(np.uint8) << np.uint8(bit)
    if inputs.data_HW is not None:
        bits_HW[~inputs.data_HW] = 0
    return bits_HW


def windows_with_data(inputs: BlockInputs, plan: Plan, block: Block) -> list[tuple[int, int]]:
    """The block's windows that reach a pixel which is to be mapped; others change nothing."""
    windows, data_HW = plan.windows(block), inputs.data_HW
    if data_HW is None:
        return windows
    side = plan.lattice.window_px
    return [
        (row, col)
        for row, col in windows
        if data_HW[
            max(0, row - block.row0) : row + side - block.row0,
            max(0, col - block.col0) : col + side - block.col0,
        ].any()
    ]


def _data_anywhere(inputs: BlockInputs, block: Block) -> NDArray[np.bool_] | None:
    """Where any sensor has data, (H, W) of the block; None where everywhere.

    Where sensors have finer pixels than the map, at least half of a pixel's ground must be known.
    """
    names = (*inputs.images, *inputs.series)
    finer = max((_finer(inputs.grids[name]) for name in names), default=1)
    known = np.zeros((block.shape[0] * finer, block.shape[1] * finer), dtype=bool)
    for name in names:
        own = _data_of(inputs, name, block, finer)
        if own is None:
            return None
        known |= own
    if finer > 1:
        parts = known.reshape(block.shape[0], finer, block.shape[1], finer)
        known = 2 * parts.sum(axis=(1, 3), dtype=np.int64) >= finer**2
    return None if known.all() else known


def _finer(grid: SensorGrid) -> int:
    """How many pixels of a sensor, or a little more, make a side of the map's; 1 at least."""
    return math.ceil(1 / grid.ratio)


def _data_of(inputs: BlockInputs, name: str, block: Block, finer: int) -> NDArray[np.bool_] | None:
    """Where one sensor has data, at `finer` x `finer` places in each pixel of the block; None where
    everywhere."""
    shape = block.shape[0] * finer, block.shape[1] * finer
    if name in inputs.images:
        mask = inputs.valid.get(name)
    elif name in inputs.series:
        every_date = inputs.series[name].valid
        mask = None if every_date is None else np.asarray(every_date.any(axis=0))
    else:
        return np.zeros(shape, dtype=bool)
    if mask is None:
        return None
    starts = block.row0 - inputs.origin[0], block.col0 - inputs.origin[1]
    rows, cols = (
        (((np.arange(size) + 0.5) / finer + start) / float(inputs.grids[name].ratio)).astype(int)
        for size, start in zip(shape, starts, strict=True)
    )
    known: NDArray[np.bool_] = mask[rows][:, cols]
    return known


def _read_mirrored(
    sensor: Sensor,
    grid: SensorGrid,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    found: Found,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Values (G, C, h, w) in the modality's type and validity (G, h, w), None: no hole."""
    row_range, col_range = _range(rows), _range(cols)
    values, valid = read_raster(
        sensor.raster, grid, row_range, col_range, reading_of(sensor.modality), found
    )
    values = _take(values, rows - row_range[0], cols - col_range[0])
    if valid is not None:
        valid = _take(valid, rows - row_range[0], cols - col_range[0])
    return values, valid


def _read_mask(
    sensor: Sensor,
    grid: SensorGrid,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    found: Found,
) -> NDArray[Any]:
    """Snow and cloud probability (T, 2, h, w) uint16; where it is unknown, certainly cloudy."""
    assert sensor.mask is not None
    row_range, col_range = _range(rows), _range(cols)
    values, valid = read_raster(sensor.mask, grid, row_range, col_range, SNOW_CLOUD, found)
    if valid is not None:
        values[np.broadcast_to(~valid[:, None], values.shape)] = 100
    return _take(values, rows - row_range[0], cols - col_range[0])


def _range(indices: NDArray[np.int64]) -> Range:
    return int(indices.min()), int(indices.max()) + 1


def _take(array: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
    """`array[..., rows, cols]`, without a copy where nothing is mirrored.

    Mirrored is a margin; what lies between is copied as it lies, an index each would cost more
    than reading the file.
    """
    height, width = array.shape[-2:]
    down, across = _stretches(rows), _stretches(cols)
    if len(down) == len(across) == 1 and (len(rows), len(cols)) == (height, width):
        return array
    taken = np.empty((*array.shape[:-2], len(rows), len(cols)), array.dtype)
    for place_y, from_y in down:
        part = array[..., from_y, :]
        for place_x, from_x in across:
            taken[..., place_y, place_x] = part[..., from_x]
    return taken


def _stretches(
    indices: NDArray[np.int64],
) -> list[tuple[slice, slice | NDArray[np.int64]]]:
    """Places and what to put there: the longest stretch of successive indices as a slice, what is
    before and behind it one by one."""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    edges = np.concatenate([[0], breaks, [len(indices)]])
    longest = int(np.diff(edges).argmax())
    start, stop = int(edges[longest]), int(edges[longest + 1])
    first = int(indices[start])
    parts: list[tuple[slice, slice | NDArray[np.int64]]] = [
        (slice(0, start), indices[:start]),
        (slice(start, stop), slice(first, first + stop - start)),
        (slice(stop, len(indices)), indices[stop:]),
    ]
    return [(place, source) for place, source in parts if place.stop > place.start]
