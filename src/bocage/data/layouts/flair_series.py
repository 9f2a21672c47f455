"""FLAIR #2's Sentinel-2: arrays of a whole area, of which a patch needs a piece.

`SEN2_sp_D004_2021-Z10_AU_data.npy` (T x 10 x H x W), `…_masks.npy` (T x 2 x H x W, snow and cloud
probability) and `…_products.txt`, one product name per date. Arrays are mapped into memory, so that
only the piece is read.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.layouts.base import make_series
from bocage.errors import DataError
from bocage.modalities import SENTINEL2_MASK_BANDS, SENTINEL2_SUPERPATCH
from bocage.sample import Series

_SENSED = re.compile(r"S2[A-Z]_MSIL2A_(\d{4})(\d{2})(\d{2})T")
_BANDS = len(SENTINEL2_SUPERPATCH.bands)
# The largest number that is a measurement: the one above it means nodata.
_LARGEST = 65534


def read_products(path: Path) -> NDArray[np.datetime64]:
    """The date of every product of a list, (T,) datetime64[D], in its order."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Fetch the archive again.") from error
    return np.array([_sensed(path, line) for line in lines], dtype="datetime64[D]")


def _sensed(path: Path, product: str) -> date:
    match = _SENSED.match(product)
    try:
        if match is not None:
            return date(*map(int, match.groups()))
    except ValueError:
        pass
    raise DataError(
        f"{path}: '{product[:60]}' names no product with a date, such as "
        "S2A_MSIL2A_20210312T105031_…. Correct the line, or fetch the archive again."
    )


def read_superpatch(
    data_path: Path,
    mask_path: Path | None,
    dates: NDArray[np.datetime64],
    centroid: tuple[int, int],
    image: str,
) -> Series:
    """The series around one patch: 40 x 40 pixels, its centre at their centre.

    `centroid` (row, column) is the pixel below and right of that centre. Pixels beyond the area are
    not valid. Raises `DataError` for arrays that cannot be read, of another shape or type, or whose
    number of dates differs, and for a centroid outside the area.
    """
    data = _open(data_path, _BANDS, len(dates), "iu")
    area = (data.shape[2], data.shape[3])
    if not all(0 <= place < side for place, side in zip(centroid, area, strict=True)):
        raise DataError(
            f"{data_path}: the centre of {image} is said to be at row {centroid[0]}, column "
            f"{centroid[1]}, outside the area of {area[0]} x {area[1]} pixels. Arrays and "
            "centroids are of different versions: fetch both again."
        )
    values, inside = _around(data, centroid)
    values = np.clip(values, 0, _LARGEST).astype(np.uint16)
    snow_cloud = None
    if mask_path is not None:
        mask = _open(mask_path, len(SENTINEL2_MASK_BANDS), len(dates), "iuf")
        if mask.shape[2:] != data.shape[2:]:
            raise DataError(
                f"{mask_path}: {mask.shape[2]} x {mask.shape[3]} pixels, but {data_path.name} has "
                f"{area[0]} x {area[1]}. Fetch the archive again."
            )
        snow_cloud = _around(mask, centroid)[0].astype(np.uint16)
    valid = None if inside.all() else np.broadcast_to(inside, (len(dates), *inside.shape))
    return make_series(SENTINEL2_SUPERPATCH, values, dates, snow_cloud, valid)


def _open(path: Path, bands: int, dates: int, kinds: str) -> NDArray[Any]:
    """An array on disk, (T, bands, H, W), none of it read yet."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: cannot be read as a NumPy array, truncated or of another format ({error}). "
            "Fetch the archive again."
        ) from error
    if (
        not isinstance(array, np.ndarray)
        or array.ndim != 4
        or array.shape[1] != bands
        or array.dtype.kind not in kinds
    ):
        found = f"{array.shape} of {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(
            f"{path}: holds {found}, expected (dates, {bands}, rows, columns) of integers. Fetch "
            "the archive again."
        )
    if len(array) != dates:
        raise DataError(
            f"{path}: holds {len(array)} dates, but the list of products beside it {dates}. They "
            "are of different versions: fetch both again and rebuild the index."
        )
    return array


def _around(
    area_TCHW: NDArray[Any], centroid: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A copy of the piece around a place, (T, C, 40, 40), and which pixels lie in the area."""
    side = SENTINEL2_SUPERPATCH.size_px
    piece = np.zeros((*area_TCHW.shape[:2], side, side), dtype=area_TCHW.dtype)
    inside = np.zeros((side, side), dtype=bool)
    starts = [place - side // 2 for place in centroid]
    own, there = [], []
    for start, extent in zip(starts, area_TCHW.shape[2:], strict=True):
        first, last = max(start, 0), min(start + side, extent)
        own.append(slice(first - start, last - start))
        there.append(slice(first, last))
    piece[:, :, own[0], own[1]] = area_TCHW[:, :, there[0], there[1]]
    inside[own[0], own[1]] = True
    return piece, inside
