"""A patch of any layout as the files that `bocage map` takes."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_bounds

from bocage.data import PatchIndex
from bocage.data.layouts import get_layout
from bocage.mapping import Source
from bocage.modalities import SENTINEL2_TS


def write_sources(index: PatchIndex, root: Path, row: int, sensors, folder: Path) -> list[Source]:
    """GeoTIFFs and date files of one patch's sensors, over the patch's footprint."""
    record = index[row]
    assert record.bounds is not None
    sample = get_layout(index.layout).read(root, record, sensors, ())
    folder.mkdir(parents=True)

    def write(name: str, values: np.ndarray, nodata: float | None = None) -> Path:
        bands = values.reshape(-1, *values.shape[-2:])
        height, width = bands.shape[1:]
        path = folder / f"{name}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=len(bands), dtype=bands.dtype, width=width,
            height=height, crs=f"EPSG:{record.epsg}", nodata=nodata,
            transform=from_bounds(*record.bounds, width, height), photometric="MINISBLACK",
        ) as dataset:  # fmt: skip
            dataset.write(bands)
        return path

    sources = [Source(name, write(name, image)) for name, image in sample.images.items()]
    for name, series in sample.series.items():
        dates = folder / f"{name}.txt"
        dates.write_text("\n".join(str(day) for day in series.dates))
        mask = None
        if name == SENTINEL2_TS.name and series.snow_cloud is not None:
            mask = write(f"{name}_mask", series.snow_cloud.astype(np.uint8))
        values = series.values
        if series.valid is not None:
            values = np.where(series.valid[:, None], values, np.array(0, values.dtype))
        sources.append(Source(name, write(name, values, nodata=0), dates, mask))
    return sources
