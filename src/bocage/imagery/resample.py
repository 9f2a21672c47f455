"""Pixels of one file on a given grid: read as they are where the grids agree, else resampled.

Legend: G groups (1 for an image, T dates for a series), C bands of a group, h x w pixels of the
sensor's own grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.warp import reproject
from rasterio.windows import Window

from bocage.errors import DataError
from bocage.imagery.sources import RasterFile, bounds_in
from bocage.modalities import COMMON_NODATA, SENTINEL2_MASK_BANDS, Modality
from bocage.rasters import Grid, open_raster

ALIGNED_PX = 0.05
"""Grids that stray from each other by less than this, in pixels, over the area are one."""
_WARP_BYTES = 256 * 2**20
"""Source numbers held at once while resampling."""

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


@dataclass(frozen=True)
class Reading:
    """What a file's numbers become: groups of `bands` bands of `dtype`, and which are holes.

    `nodata` holds values that are nodata even if the file does not say so. `positive`: a number
    of zero or less is no measurement.
    """

    bands: int
    dtype: np.dtype[Any]
    nodata: tuple[float, ...] = ()
    positive: bool = False
    resampling: Literal["bilinear", "nearest"] = "bilinear"


def reading_of(modality: Modality) -> Reading:
    """The same rules for holes as training has: zero backscatter has no decibel value, an optical
    series holds 0 in all bands where it saw nothing, and -9999 is nodata in any float raster."""
    nodata = [] if modality.nodata is None else [modality.nodata]
    if modality.dtype == "float32":
        nodata.append(COMMON_NODATA)
    if modality.series and modality.quantity == "reflectance":
        nodata.append(0.0)
    return Reading(
        len(modality.bands),
        np.dtype(modality.dtype),
        tuple(nodata),
        positive=modality.quantity == "sigma0",
    )


SNOW_CLOUD = Reading(len(SENTINEL2_MASK_BANDS), np.dtype("uint16"), resampling="nearest")


def read_raster(
    raster: RasterFile, grid: SensorGrid, rows: Range, cols: Range, reading: Reading
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The pixels [rows) x [cols) of `grid`, resampled only if the file lies on another grid.

    Returns values (G, C, h, w), zero where invalid, and validity (G, h, w), None when every pixel
    is valid. Raises `DataError` when the file cannot be read.
    """
    with open_raster(raster.path) as dataset:
        offset = _aligned_offset(raster.grid, grid)
        if offset is not None:
            return _read_aligned(dataset, raster, offset, rows, cols, reading)
        return _read_warped(dataset, raster, grid, rows, cols, reading)


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
    dataset: DatasetReader,
    raster: RasterFile,
    offset: Range,
    rows: Range,
    cols: Range,
    reading: Reading,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    top, left = rows[0] + offset[0], cols[0] + offset[1]
    y0, y1 = max(top, 0), min(top + height, dataset.height)
    x0, x1 = max(left, 0), min(left + width, dataset.width)
    group, dtype = reading.bands, reading.dtype
    groups = len(raster.bands) // group
    if y0 >= y1 or x0 >= x1:
        return _nothing(groups, group, height, width, dtype)
    inside, holes = _read_window(dataset, raster, Window(x0, y0, x1 - x0, y1 - y0), reading)
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
    dataset: DatasetReader,
    raster: RasterFile,
    grid: SensorGrid,
    rows: Range,
    cols: Range,
    reading: Reading,
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
        found, holes = _read_window(dataset, raster, window, reading)
        numbers = found.reshape(-1, *found.shape[2:]).astype(np.float32)
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
        except RasterioError as error:
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


def _read_window(
    dataset: DatasetReader,
    raster: RasterFile,
    window: Window,
    reading: Reading,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Numbers (G, C, h, w) as stored and holes (G, h, w), None when there is none.

    A nodata value of 0 is also a legitimate number of a single band, so a pixel of it is a hole
    only when all bands hold it; for any other nodata value one band is enough.
    """
    raw = dataset.read(list(raster.bands), window=window)
    shaped = raw.reshape(-1, reading.bands, *raw.shape[1:])
    holes: NDArray[np.bool_] = np.zeros((shaped.shape[0], *raw.shape[1:]), dtype=bool)
    for value in {*raster.nodata, *reading.nodata}:
        number = None if value is None else _as_stored(value, raw.dtype)
        if number is not None:
            hit = shaped == number
            holes |= hit.all(axis=1) if number == 0 else hit.any(axis=1)
    if raw.dtype.kind == "f":
        holes |= ~np.isfinite(shaped).all(axis=1)
    if reading.positive:
        holes |= (shaped <= 0).any(axis=1)
    if raster.alpha is not None:
        holes |= dataset.read(raster.alpha, window=window) == 0
    if raster.masked:
        holes |= dataset.read_masks(raster.bands[0], window=window) == 0
    return shaped, holes if holes.any() else None


def _as_stored(value: float, dtype: np.dtype[Any]) -> float | int | None:
    """A nodata value as the type can hold it; None where no pixel can equal it."""
    if dtype.kind not in "iu":
        return None if math.isnan(value) else value
    limits = np.iinfo(dtype)
    fits = math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
    return int(value) if fits else None


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
