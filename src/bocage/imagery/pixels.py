"""Pixels of a file, or of many tiles, in the sensor's numbers, and which of them are holes.

Legend: G groups (1 for an image, T dates for a series), C bands of a group, h x w pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from bocage.errors import DataError
from bocage.imagery.headers import BrokenTileError, RasterFile
from bocage.imagery.mosaic import Mosaic
from bocage.imagery.scale import rescale
from bocage.imagery.zarr_store import open_source
from bocage.modalities import COMMON_NODATA, SENTINEL2_MASK_BANDS, Modality

Found = set[str]
"""What is met while reading and should be told; sentences for the user."""


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


def read_pixels(
    raster: RasterFile | Mosaic, window: Window, reading: Reading, found: Found | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The sensor's numbers (G, C, h, w) and holes (G, h, w), None when there is none."""
    if isinstance(raster, RasterFile):
        return _read_file(raster, window, reading, found)
    row, col, height, width = window.row_off, window.col_off, window.height, window.width
    values: NDArray[Any] | None = None
    groups = len(raster.bands) // reading.bands
    holes = np.ones((groups, height, width), dtype=bool)
    for index in raster.touching((row, row + height), (col, col + width)):
        top, bottom, left, right = (int(v) for v in raster.places_N4[index])
        y0, y1 = max(top, row), min(bottom, row + height)
        x0, x1 = max(left, col), min(right, col + width)
        here = (slice(y0 - row, y1 - row), slice(x0 - col, x1 - col))
        lacking = holes[(slice(None), *here)]
        if not lacking.any():
            continue
        part = Window(x0 - left, y0 - top, x1 - x0, y1 - y0)
        tile, missing = _read_file(raster.tiles[index], part, reading, found)
        if values is None:
            if missing is None and tile.shape[2:] == (height, width):
                return tile, None
            dtype = np.result_type(tile.dtype, reading.dtype)
            values = np.zeros((groups, reading.bands, height, width), dtype)
        take = lacking if missing is None else lacking & ~missing
        target = values[(..., *here)]
        np.copyto(target, tile, where=take[:, None])
        lacking &= ~take
    if values is None:
        values = np.zeros((groups, reading.bands, height, width), reading.dtype)
    return values, holes if holes.any() else None


def _read_file(
    raster: RasterFile, window: Window, reading: Reading, found: Found | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """`_read_pixels` of one file. A tile that breaks is a hole, or a `BrokenTileError`."""
    try:
        with open_source(raster.path) as dataset:
            return _read_window(dataset, raster, window, reading, found)
    except DataError as error:
        if raster.tile is None:
            raise
        if raster.tile == "stop":
            raise BrokenTileError(
                f"{error} To map without it, set missing_tiles=report."
            ) from error
        if found is not None:
            found.add(f"a tile is left out where it breaks: {error}")
    groups = len(raster.bands) // reading.bands
    shape = (groups, reading.bands, window.height, window.width)
    return np.zeros(shape, raster.dtype), np.ones((groups, *shape[2:]), dtype=bool)


def _read_window(
    dataset: DatasetReader,
    raster: RasterFile,
    window: Window,
    reading: Reading,
    found: Found | None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The sensor's numbers (G, C, h, w) and holes (G, h, w), None when there is none.

    Holes are told by the stored numbers. A nodata value of 0, and any of a sensor of 8 bits such as
    255 of a saturated roof, is also a legitimate number of a single band, so a pixel of it is a
    hole only when all bands hold it; for any other nodata value one band is enough.
    """
    raw = dataset.read(list(raster.bands), window=window)
    shaped = raw.reshape(-1, reading.bands, *raw.shape[1:])
    holes: NDArray[np.bool_] = np.zeros((shaped.shape[0], *raw.shape[1:]), dtype=bool)
    for value in {*raster.nodata, *reading.nodata}:
        number = None if value is None else _as_stored(value, raw.dtype)
        if number is not None:
            hit = shaped == number
            common = number == 0 or reading.dtype == np.uint8
            holes |= hit.all(axis=1) if common else hit.any(axis=1)
    if raw.dtype.kind == "f":
        odd = ~np.isfinite(shaped)
        if odd.any():
            holes |= odd.any(axis=1)
            if found is not None and not _declared(raster, shaped[odd]):
                found.add(f"{raster.path}: holds NaN or infinite values; they count as no data.")
    if reading.positive:
        holes |= (shaped <= 0).any(axis=1)
    if raster.alpha is not None:
        holes |= dataset.read(raster.alpha, window=window) == 0
    if raster.masked:
        holes |= dataset.read_masks(raster.bands[0], window=window) == 0
    if raster.scales:
        shaped = rescale(shaped, raster.scales, reading.dtype)
    return shaped, holes if holes.any() else None


def _declared(raster: RasterFile, odd: NDArray[Any]) -> bool:
    """Whether the file itself says that these values, none of them finite, are nodata."""
    stated = [value for value in raster.nodata if value is not None and not math.isfinite(value)]
    rest = ~np.isin(odd, stated)
    if any(math.isnan(value) for value in stated):
        rest &= ~np.isnan(odd)
    return not rest.any()


def _as_stored(value: float, dtype: np.dtype[Any]) -> float | int | None:
    """A nodata value as the type can hold it; None where no pixel can equal it."""
    if dtype.kind not in "iu":
        return None if math.isnan(value) else value
    limits = np.iinfo(dtype)
    fits = math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
    return int(value) if fits else None
