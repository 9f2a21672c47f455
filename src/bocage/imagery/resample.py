"""Pixels of a raster on a given grid: read as they are where the grids agree, else resampled.

Legend: G groups (1 for an image, T dates for a series), C bands of a group, h x w pixels of the
sensor's own grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what PROJ has no words of rasterio's for
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject
from rasterio.windows import Window

from bocage.errors import DataError
from bocage.imagery.grids import bounds_in, spans_dateline
from bocage.imagery.headers import RasterFile
from bocage.imagery.mosaic import ALIGNED_PX, Layers, Mosaic, Raster, Stack
from bocage.imagery.pixels import Found, Reading, read_pixels
from bocage.rasters import Grid, describe_crs

_WARP_BYTES = 256 * 2**20
"""Source numbers held at once while resampling."""
_MOST_WARP_BYTES = 4 * _WARP_BYTES
"""More than this for one strip is no resampling: a map over a pole sees whole parallels."""
_TURN = Affine.translation(360.0, 0.0)
"""Once around the Earth, for coordinates in degrees."""

Range = tuple[int, int]


@dataclass(frozen=True)
class SensorGrid:
    """The sensor's pixels over the reference: same origin, `ratio` reference pixels to a side."""

    reference: Grid
    ratio: Fraction

    @property
    def transform(self) -> Affine:
        """(column, row) of the sensor's grid to (x, y)."""
        return self.reference.transform * Affine.scale(float(self.ratio))

    def to_own(self, position_px: int) -> int:
        """A reference position on the lattice, in the sensor's pixels; exact by construction."""
        own = position_px / self.ratio
        assert own.denominator == 1, f"{position_px} px is not on the grid of ratio {self.ratio}"
        return int(own)


def read_raster(
    raster: Raster,
    grid: SensorGrid,
    rows: Range,
    cols: Range,
    reading: Reading,
    found: Found | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The pixels [rows) x [cols) of `grid`, resampled only if the file lies on another grid.

    Returns values (G, C, h, w), zero where invalid, and validity (G, h, w), None when every pixel
    is valid. What is met on the way and should be told (tiles that break, infinite values) is put
    into `found`. Raises `DataError` when a file cannot be read.
    """
    if isinstance(raster, Stack):
        return _read_stack(raster, grid, rows, cols, reading, found)
    if isinstance(raster, Layers):
        return _read_layers(raster, grid, rows, cols, reading, found)
    offset = _aligned_offset(raster.grid, grid)
    if offset is not None:
        return _read_aligned(raster, offset, rows, cols, reading, found)
    values, valid = _read_warped(raster, grid, rows, cols, reading, found)
    if valid is not None and spans_dateline(grid.reference, raster.grid.crs):
        # Its columns begin anew at 180 degrees: once more, as they go on behind it.
        east = replace(raster.grid, transform=_TURN @ raster.grid.transform)
        behind, there = _read_warped(replace(raster, grid=east), grid, rows, cols, reading, found)
        new = ~valid if there is None else ~valid & there
        np.copyto(values, behind, where=new[:, None])
        valid |= new
    return values, None if valid is None or valid.all() else valid


def _read_stack(
    stack: Stack,
    grid: SensorGrid,
    rows: Range,
    cols: Range,
    reading: Reading,
    found: Found | None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Date by date; of a day's items the first that has data, with all bands from one item."""
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    values, valid = _nothing(len(stack.dates), reading.bands, height, width, reading.dtype)
    for date, items in enumerate(stack.dates):
        for files in items:
            lacking = ~valid[date]
            if not lacking.any():
                break
            parts = [
                read_raster(f, grid, rows, cols, replace(reading, bands=len(f.bands)), found)
                for f in files
            ]
            here = lacking
            for _, known in parts:
                here = here if known is None else here & known[0]
            item = np.concatenate([part[0] for part, _ in parts])
            values[date][:, here] = item[:, here]
            valid[date] |= here
    return values, None if valid.all() else valid


def _read_layers(
    layers: Layers,
    grid: SensorGrid,
    rows: Range,
    cols: Range,
    reading: Reading,
    found: Found | None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Band by band, all dates of each at once. A hole of one band is a hole."""
    one = replace(reading, bands=1)
    parts = [read_raster(part, grid, rows, cols, one, found) for part in layers.parts]
    values = np.concatenate([part for part, _ in parts], axis=1)
    known = [valid for _, valid in parts if valid is not None]
    return values, np.logical_and.reduce(known) if known else None


def _aligned_offset(file: Grid, grid: SensorGrid) -> Range | None:
    """Row and column of the file at the origin of `grid`; None if the two are not one grid.

    Decided for the whole area, so that all blocks agree.
    """
    if file.crs != grid.reference.crs:
        return None
    # A pixel of `grid` in the file's pixels: must be a whole shift and nothing else.
    move = ~file.transform * grid.transform
    row, col = round(move.f), round(move.c)
    for r in (0.0, grid.reference.height / float(grid.ratio)):
        for c in (0.0, grid.reference.width / float(grid.ratio)):
            x, y = move @ (c, r)
            if abs(x - c - col) > ALIGNED_PX or abs(y - r - row) > ALIGNED_PX:
                return None
    return row, col


def _read_aligned(
    raster: RasterFile | Mosaic,
    offset: Range,
    rows: Range,
    cols: Range,
    reading: Reading,
    found: Found | None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    top, left = rows[0] + offset[0], cols[0] + offset[1]
    y0, y1 = max(top, 0), min(top + height, raster.grid.height)
    x0, x1 = max(left, 0), min(left + width, raster.grid.width)
    group, dtype = reading.bands, reading.dtype
    groups = len(raster.bands) // group
    if y0 >= y1 or x0 >= x1:
        return _nothing(groups, group, height, width, dtype)
    inside, holes = read_pixels(raster, Window(x0, y0, x1 - x0, y1 - y0), reading, found)
    whole = (y1 - y0, x1 - x0) == (height, width)
    if holes is None and whole:
        return inside.astype(dtype, copy=False), None
    if holes is not None:
        inside[np.broadcast_to(holes[:, None], inside.shape)] = 0
    values = np.zeros((groups, group, height, width), dtype)
    valid = np.zeros((groups, height, width), dtype=bool)
    here = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    values[(..., *here)] = inside
    valid[(..., *here)] = True if holes is None else ~holes
    return values, None if valid.all() else valid


def _read_warped(
    raster: RasterFile | Mosaic,
    grid: SensorGrid,
    rows: Range,
    cols: Range,
    reading: Reading,
    found: Found | None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Resample strip by strip, so that a source much finer than the grid fits in memory.

    Numbers travel as float32 with NaN in holes, which the resampling leaves out of its means.
    """
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    group, dtype = reading.bands, reading.dtype
    groups = len(raster.bands) // group
    values = np.zeros((groups, group, height, width), dtype)
    valid = np.zeros((groups, height, width), dtype=bool)
    steps = _pixels_per_step(raster.grid, grid)
    row_bytes = 4 * len(raster.bands) * width * max(1.0, steps[0]) * max(1.0, steps[1])
    strip = max(1, min(height, int(_WARP_BYTES / row_bytes)))
    for start in range(0, height, strip):
        stop = min(start + strip, height)
        transform = grid.transform * Affine.translation(cols[0], rows[0] + start)
        window = _source_window(raster.grid, grid, transform, (stop - start, width), steps)
        if window is None:
            continue
        size = 4 * len(raster.bands) * window.width * window.height
        if size > _MOST_WARP_BYTES:
            raise DataError(
                f"{raster.path}: {stop - start} rows of the map lie on {window.height} x "
                f"{window.width} of its pixels: the map reaches a pole, or the rim of its CRS. "
                f"Reproject it with 'gdalwarp -t_srs' to {describe_crs(grid.reference.crs)}."
            )
        raw, holes = read_pixels(raster, window, reading, found)
        numbers = raw.reshape(-1, *raw.shape[2:]).astype(np.float32)
        if holes is not None:
            spread = np.repeat(holes, group, axis=0)
            numbers[spread] = np.nan
            # How much of a new pixel is measured travels along as one more band per group.
            numbers = np.concatenate([numbers, ~holes])
        warped = np.full((len(numbers), stop - start, width), np.nan, np.float32)
        try:
            # The scale is fixed and the transformer exact: GDAL would choose both from the extent
            # of the request, and a pixel's number would depend on how the area was cut.
            reproject(
                numbers,
                warped,
                src_transform=raster.grid.transform
                * Affine.translation(window.col_off, window.row_off),
                src_crs=raster.grid.crs,
                src_nodata=np.nan,
                dst_transform=transform,
                dst_crs=grid.reference.crs,
                dst_nodata=np.nan,
                resampling=Resampling[reading.resampling],
                tolerance=0,
                UNIFIED_SRC_NODATA="NO",
                XSCALE=min(1.0, 1 / steps[0]),
                YSCALE=min(1.0, 1 / steps[1]),
            )
        except (RasterioError, CPLE_BaseError) as error:
            raise DataError(
                f"{raster.path}: cannot be resampled to the reference's grid ({error})."
            ) from error
        shaped = warped[: groups * group].reshape(groups, group, stop - start, width)
        good = np.asarray(np.isfinite(shaped).all(axis=1))
        if holes is not None:
            good &= warped[groups * group :] >= 0.5
        shaped[np.broadcast_to(~good[:, None], shaped.shape)] = 0
        if dtype.kind == "u":
            shaped = np.rint(shaped).clip(0, np.iinfo(dtype).max)
        values[:, :, start:stop] = shaped.astype(dtype)
        valid[:, start:stop] = good
    return values, None if valid.all() else valid


def _nothing(
    groups: int, group: int, height: int, width: int, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return np.zeros((groups, group, height, width), dtype), np.zeros((groups, height, width), bool)


def _pixels_per_step(file: Grid, grid: SensorGrid) -> tuple[float, float]:
    """Pixels of the file per pixel of `grid`, across and down, at the middle of the reference."""
    reference = grid.reference
    x, y = reference.transform @ (reference.width / 2, reference.height / 2)
    half = [size * float(grid.ratio) / 2 for size in reference.resolution]
    box = bounds_in((x - half[0], y - half[1], x + half[0], y + half[1]), reference.crs, file.crs)
    if box is None:
        return 1.0, 1.0
    width, height = file.resolution
    return max((box[2] - box[0]) / width, 1e-9), max((box[3] - box[1]) / height, 1e-9)


def _source_window(
    file: Grid,
    grid: SensorGrid,
    transform: Affine,
    shape: tuple[int, int],
    steps: tuple[float, float],
) -> Window | None:
    """The part of the file that the resampling of a rectangle can look at; None if outside."""
    height, width = shape
    left, top = transform @ (0, 0)
    right, bottom = transform @ (width, height)
    box = bounds_in((left, bottom, right, top), grid.reference.crs, file.crs)
    if box is None:
        return None
    inverse = ~file.transform
    corners = [inverse @ (x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
    columns, lines = zip(*corners, strict=True)
    margin_x, margin_y = (2 + math.ceil(2 * step) for step in steps)
    x0 = max(0, math.floor(min(columns)) - margin_x)
    x1 = min(file.width, math.ceil(max(columns)) + margin_x)
    y0 = max(0, math.floor(min(lines)) - margin_y)
    y1 = min(file.height, math.ceil(max(lines)) + margin_y)
    return Window(x0, y0, x1 - x0, y1 - y0) if x0 < x1 and y0 < y1 else None
