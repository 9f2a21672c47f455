"""A patch of any layout as the rasters and date files that `bocage map` and GIS programs take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_bounds

from bocage.data.layouts import get_layout
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.files import atomic_path, write_text
from bocage.modalities import MODALITIES, get_modality


class Exported(NamedTuple):
    """The files of one sensor: its raster; of a series its dates, and its mask where it has one."""

    modality: str
    raster: Path
    dates: Path | None
    mask: Path | None


def export_patch(root: Path, layout: str, record: PatchRecord, folder: Path) -> list[Exported]:
    """Write every sensor of a patch to `folder` as GeoTIFFs with the bands of its modality.

    A series is one file, all bands of the first date first, and a text file with a date per line;
    snow and cloud probabilities stand in a file of their own. What is unknown is the modality's
    nodata, else 0, and the file says so. Labels are not written, nor what no map is made from: a
    superpatch, the metadata of the photograph.

    Raises:
        DataError: the index does not say where the patch lies, or lists no sensor of it.
    """
    if record.bounds is None or record.epsg is None:
        raise DataError(
            f"patch {record.patch_id}: its place is not known, so no raster can be written. "
            "Layouts whose files carry no coordinates cannot be exported."
        )
    sensors = [
        spec.name
        for spec in MODALITIES.values()
        if spec.quantity != "acquisition" and spec.extent_m is None and spec.name in record.sensors
    ]
    if not sensors:
        raise DataError(f"patch {record.patch_id}: the index lists no file of any sensor.")
    sample = get_layout(layout).read(root, record, sensors, ())
    exported = []
    for name, image in sample.images.items():
        path = folder / f"{get_modality(name).slug}.tif"
        valid = sample.valid.get(name)
        _write(path, record, name, image[None], None if valid is None else valid[None])
        exported.append(Exported(name, path, None, None))
    for name, series in sample.series.items():
        slug = get_modality(name).slug
        dates, mask = folder / f"{slug}-dates.txt", None
        _write(folder / f"{slug}.tif", record, name, series.values, series.valid)
        write_text(dates, "".join(f"{day}\n" for day in series.dates))
        if series.snow_cloud is not None:
            mask = folder / f"{slug}-mask.tif"
            _write_raster(mask, record, series.snow_cloud.astype(np.uint8), None)
        exported.append(Exported(name, folder / f"{slug}.tif", dates, mask))
    return exported


def _write(
    path: Path, record: PatchRecord, name: str, values_TCHW: NDArray[Any],
    valid_THW: NDArray[np.bool_] | None,
) -> None:  # fmt: skip
    nodata = get_modality(name).nodata
    if valid_THW is not None:
        nodata = 0.0 if nodata is None else nodata
        unknown = np.array(nodata, values_TCHW.dtype)
        values_TCHW = np.where(valid_THW[:, None], values_TCHW, unknown)
    _write_raster(path, record, values_TCHW, nodata)


def _write_raster(
    path: Path, record: PatchRecord, values_TCHW: NDArray[Any], nodata: float | None
) -> None:
    assert record.bounds is not None
    bands = values_TCHW.reshape(-1, *values_TCHW.shape[-2:])
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff", "count": count, "dtype": bands.dtype, "width": width, "height": height,
        "crs": f"EPSG:{record.epsg}", "transform": from_bounds(*record.bounds, width, height),
        "nodata": nodata, "compress": "deflate", "photometric": "MINISBLACK",
    }  # fmt: skip
    with atomic_path(path) as temporary, rasterio.open(temporary, "w", **profile) as dataset:
        dataset.write(bands)
