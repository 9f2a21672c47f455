"""Class maps of a few pixels of 1 m, for the tests of what is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

X, Y = 700_000.0, 6_600_000.0
NAMES = {0: "zero", 1: "one", 2: "two", 3: "three"}
COLORS = {0: (0, 0, 0, 255), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255)}


def save_map(
    path: Path,
    array: np.ndarray,
    *,
    pixel_m: float = 1.0,
    confidence: np.ndarray | None = None,
    named: bool = True,
    crs: str = "EPSG:2154",
) -> Path:
    """`array` (H, W) as `bocage map` writes it, with its confidence beside it if given."""
    beside = path.with_name(f"{path.stem}_confidence{path.suffix}")
    beside.unlink(missing_ok=True)
    for target, values in ((path, array), (beside, confidence)):
        if values is None:
            continue
        with rasterio.open(
            target, "w", driver="GTiff", count=1, dtype=values.dtype, height=values.shape[0],
            width=values.shape[1], crs=crs, transform=from_origin(X, Y, pixel_m, pixel_m),
            nodata=255,
        ) as dataset:  # fmt: skip
            dataset.write(values, 1)
            if target == path and named:
                dataset.update_tags(1, **{f"class_{i}": name for i, name in NAMES.items()})
                dataset.write_colormap(1, COLORS)
    return path
