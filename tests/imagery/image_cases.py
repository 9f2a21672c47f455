"""Small images, virtual mosaics of them, and all of a source read on its own pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from bocage.imagery import SensorGrid, Source, inspect, read_raster, reading_of

X, Y, PIXEL_M = 700_000.0, 6_600_000.0, 0.2
CRS = "EPSG:2154"


def photograph(height: int, width: int, low: int = 1, high: int = 200) -> NDArray[np.uint8]:
    """Random red, green, blue and infrared, (4, H, W)."""
    shape = (4, height, width)
    return np.random.default_rng(height).integers(low, high, shape, dtype=np.uint8)


def save(
    path: Path, image: NDArray[Any], *, crs: str | None = CRS, row: int = 0, col: int = 0,
    placed: bool = True, **options: Any,
) -> Path:  # fmt: skip
    """`image` (C, H, W) as a GeoTIFF, so many pixels down and across from the corner."""
    place = from_origin(X + col * PIXEL_M, Y - row * PIXEL_M, PIXEL_M, PIXEL_M)
    with rasterio.open(
        path, "w", driver="GTiff", count=image.shape[0], height=image.shape[1],
        width=image.shape[2], dtype=image.dtype, crs=crs if placed else None,
        transform=place if placed else None, **options,
    ) as dataset:  # fmt: skip
        dataset.write(image)
    return path


def read_all(source: Source) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values (C, H, W) and holes (H, W) of an image that is no series."""
    sensor = inspect(source, "report")
    grid = sensor.raster.grid
    values, valid = read_raster(
        sensor.raster,
        SensorGrid(grid, Fraction(1)),
        (0, grid.height),
        (0, grid.width),
        reading_of(sensor.modality),
    )
    holes = np.zeros(values.shape[2:], bool) if valid is None else ~valid[0]
    return values[0], holes
