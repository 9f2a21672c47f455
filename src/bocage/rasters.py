"""Opening GeoTIFFs: every failure names the file, the finding and the remedy.

Sizes, band counts and types are compared before a pixel is decoded, so that a file that declares
gigabytes in a few bytes costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.transform import Affine

from bocage.errors import DataError

# A raster without georeference is a finding for the caller, who sees the grid. Said once for the
# process: `catch_warnings` around an open call is not safe in the threads that read.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

# Patches lie in folders of thousands of files: never list them, never look for files beside them.
GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    # Over HTTP: a server that hangs is an error, one that is busy is asked again.
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    # Bytes. Left alone, GDAL keeps decoded tiles of up to a twentieth of the machine's memory.
    "GDAL_CACHEMAX": 128 * 2**20,
}

_BESIDE = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE", "GDAL_PAM_ENABLED": "YES"}
"""Masks, nodata, scales and georeference in files beside the raster (`.msk`, `.aux.xml`, `.tfw`)
count. They are asked for by name: listing a folder of 500 tiles for each takes half as long again
as opening it."""

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Where Amazon's own tools, and obstore, look for storage other than Amazon's."""

_INSIDE = re.compile(r'(?:NETCDF|HDF5):"?([^"]+?)"?:[^:]+', re.IGNORECASE)
"""A variable of a file, as GDAL writes it: NETCDF:"cube.nc":B02."""


@dataclass(frozen=True)
class Grid:
    """The pixels of a raster on Earth; `transform` maps (column, row) to (x, y)."""

    crs: CRS | None
    transform: Affine
    width: int
    height: int

    @property
    def resolution(self) -> tuple[float, float]:
        """Pixel width and height, in units of the CRS, positive."""
        t = self.transform
        return float(np.hypot(t.a, t.d)), float(np.hypot(t.b, t.e))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the rectangle around the raster."""
        corners = [self.transform @ (x, y) for x in (0.0, self.width) for y in (0.0, self.height)]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def grid_of(dataset: DatasetReader) -> Grid:
    """The grid of an open raster."""
    return Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)


@contextlib.contextmanager
def open_raster(path: Path | str, *, beside: bool = False) -> Iterator[DatasetReader]:
    """Open a raster for reading; reading errors inside the block become `DataError` too.

    With `beside`, what stands in files beside one on disk counts. None is written, but by
    `dataset.statistics`, which GDAL keeps there: take numbers from pixels.
    """
    location = str(path)
    inside = _INSIDE.fullmatch(location)
    local = Path(inside[1] if inside else location)
    is_local = not str(local).startswith(("/vsi", "http:/", "https:/", "s3:/"))
    if is_local and not local.is_file():
        raise DataError(f"{path}: no such file. Check the path: it may have been moved or deleted.")
    if is_local and local.stat().st_size < 1024:
        head = local.read_bytes()[:64]
        if head.startswith(b"version https://git-lfs"):
            raise DataError(
                f"{path}: this is a Git LFS pointer, not an image. Fetch the content with "
                "'git lfs pull'."
            )
    options = GDAL_OPTIONS | (_BESIDE if beside and is_local else {})
    with rasterio.Env(**options, **_endpoint()):
        try:
            with rasterio.open(location) as dataset:
                yield dataset
        except (RasterioIOError, RasterioError) as error:
            # rasterio keeps GDAL's own words in the cause; they say what is broken.
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            remedy = "The file may be truncated or corrupt: fetch or write it again."
            if not is_local:
                remedy = (
                    "Check the address and the connection; in storage also the credentials (for "
                    "S3 AWS_…, or AWS_NO_SIGN_REQUEST=YES where everybody may read)."
                )
            raise DataError(f"{path}: cannot be read as a raster ({reason}). {remedy}") from error


def _endpoint() -> dict[str, str]:
    """In GDAL's words what other tools take from `_ENDPOINTS`, unless it is told itself."""
    named = next((url for name in _ENDPOINTS if (url := os.environ.get(name, "").strip())), "")
    if not named or os.environ.get("AWS_S3_ENDPOINT", "").strip():
        return {}
    scheme, _, host = named.rpartition("://")
    secure = {"http": "NO", "https": "YES"}.get(scheme) or os.environ.get("AWS_HTTPS", "YES")
    return {
        "AWS_S3_ENDPOINT": host.rstrip("/"),
        "AWS_HTTPS": secure,
        "AWS_VIRTUAL_HOSTING": os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE"),
    }


def read_bands(
    path: Path | str,
    *,
    bands: Sequence[int] | None = None,
    count: int | None = None,
    dtype: str | None = None,
    size: tuple[int, int] | None = None,
    what: str = "raster",
) -> tuple[NDArray[Any], Grid]:
    """Read (C, H, W) after checking what the file declares.

    `bands` are 1-based (default: all); `count`, `dtype` and `size` (height, width) are what the
    file must have. Raises `DataError` that says what was found and what `what` should be.
    """
    with open_raster(path) as dataset:
        if count is not None and dataset.count != count:
            raise DataError(
                f"{path}: {dataset.count} bands where {what} has {count}. "
                "Check that this is the right product."
            )
        if dtype is not None and set(dataset.dtypes) != {dtype}:
            raise DataError(
                f"{path}: pixels of type {dataset.dtypes[0]} where {what} has {dtype}. "
                "Convert the file, or check that this is the right product."
            )
        if size is not None and (dataset.height, dataset.width) != tuple(size):
            raise DataError(
                f"{path}: {dataset.height} x {dataset.width} pixels where {what} has "
                f"{size[0]} x {size[1]}."
            )
        array = dataset.read(list(bands) if bands is not None else None)
        return array, grid_of(dataset)


def same_crs(first: CRS | None, second: CRS | None) -> bool:
    """Whether two coordinate systems are one, however each file spells it.

    Equal definitions and equal EPSG codes are the same. A file written without its datum or
    projection (a "local" or "unknown" CRS) is the same when it still carries the other's name or
    its EPSG code in the text. A missing CRS is the same as nothing but another missing one.
    """
    if first is None or second is None or not first or not second:
        return not first and not second
    if bool(first == second):
        return True
    codes = (first.to_epsg(), second.to_epsg())
    if None not in codes:
        return bool(codes[0] == codes[1])
    names = {_crs_name(first), _crs_name(second)}
    if len(names) == 1 and "unknown" not in names:
        return True
    labels = {f"epsg{code}" for code in codes if code is not None}
    return bool(labels & names)


def _crs_name(crs: CRS) -> str:
    """The name in the WKT, folded: `LOCAL_CS["RGF93 v1 / Lambert-93",…` to `rgf93v1lambert93`."""
    match = re.match(r'\s*\w+\s*\[\s*"([^"]*)"', crs.to_wkt())
    return re.sub(r"[^a-z0-9]", "", match.group(1).lower()) if match else "unknown"


def describe_crs(crs: CRS | None) -> str:
    """A CRS in a few words for messages: its EPSG code, else its name."""
    if not crs:
        return "no CRS"
    code = crs.to_epsg()
    match = re.match(r'\s*\w+\s*\[\s*"([^"]*)"', crs.to_wkt())
    name = match.group(1) if match else "unnamed CRS"
    return f"EPSG:{code} ({name})" if code is not None else f"'{name}'"
