"""GeoTIFFs read fast: plain files through libtiff alone, everything else through GDAL.

A series holds hundreds of bands of a hundred pixels each; GDAL spends its time on the bands, where
libtiff decodes the block of bytes (one core, LZW: 600 bands of Sentinel-2 in 0.5 ms against 17 ms,
140 of radar in 0.15 against 3.8, a photograph in 6.3 against 8.7 ms). The fast way is taken only by
files that need no interpretation (one plain page, a north-up grid, a lossless codec, all bytes
there); any doubt goes to `bocage.rasters`, whose errors say what is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine

from bocage.data.tiff_header import NotPlainError, TiffHeader, parse_header
from bocage.rasters import Grid, grid_of, open_raster, read_bands, same_crs

_PIXEL_SCALE, _TIEPOINT, _TRANSFORM = 33550, 33922, 34264
_GEO_KEYS, _GEO_DOUBLES, _GEO_TEXT = 34735, 34736, 34737
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
# None, LZW, Deflate (two codes), Zstandard.
_PLAIN_CODECS = frozenset({1, 5, 8, 32946, 50000})
# Numbers as they are: dark to bright, red-green-blue, places in a colour table.
_PLAIN_MEANINGS = frozenset({1, 2, 3})
_MOST_TIMES, _SPARE_BYTES = 2, 256 * 1024
"""A file is read whole unless it has more bytes than twice its pixels and a quarter MiB."""

_ODD = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError)
"""What headers that make no sense set off here and in libtiff."""

_known_crs: dict[tuple[Any, ...], CRS | None] = {}


def read_geotiff(
    path: Path, *, count: int, dtype: str, size: tuple[int, int], what: str
) -> tuple[NDArray[Any], Grid]:
    """All bands (C, H, W) and the grid, after checking what the file declares.

    The same contract, and the same errors, as `bocage.rasters.read_bands`.
    """
    fast = _read_plain(path, (count, *size), np.dtype(dtype))
    if fast is not None:
        return fast
    return read_bands(path, count=count, dtype=dtype, size=size, what=what)


def _read_plain(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], Grid] | None:
    """The file as declared, or None when it is not exactly that or not plain."""
    most = _MOST_TIMES * int(np.prod(shape)) * dtype.itemsize + _SPARE_BYTES
    # Whatever is odd about the file, GDAL reads it or says in its own words why not.
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        header = parse_header(data)
        declared = (header.count, header.height, header.width)
        if declared != shape or header.dtype != dtype or not _is_plain(header, len(data)):
            return None
        grid = _grid(path, header)
        if grid is None or len(data) > most:
            return None
        array = imagecodecs.tiff_decode(data)
    except (*_ODD, NotPlainError):
        return None
    if array.dtype != dtype or array.size != np.prod(shape):
        return None
    if header.planar or shape[0] == 1:
        return array.reshape(shape), grid
    if array.shape != (*shape[1:], shape[0]):
        return None
    return np.ascontiguousarray(np.moveaxis(array, -1, 0)), grid


def _is_plain(header: TiffHeader, file_bytes: int) -> bool:
    offsets, sizes = header.offsets.astype(np.uint64), header.sizes.astype(np.uint64)
    return (
        header.compression in _PLAIN_CODECS
        and header.photometric in _PLAIN_MEANINGS
        and len(offsets) == len(sizes) > 0
        and bool(sizes.min() > 0)
        and bool(offsets.min() > 0)
        # A truncated file must not come back as zeros.
        and bool((offsets <= file_bytes).all())
        and bool((offsets + np.minimum(sizes, file_bytes + 1) <= file_bytes).all())
    )


def _grid(path: Path, header: TiffHeader) -> Grid | None:
    scale, tie = header.numbers(_PIXEL_SCALE), header.numbers(_TIEPOINT)
    if len(scale) < 2 or len(tie) != 6 or _TRANSFORM in header.tags:
        return None
    keys = header.numbers(_GEO_KEYS)
    for start in range(4, len(keys) - 3, 4):
        if keys[start] == _RASTER_TYPE and keys[start + 3] == _PIXEL_IS_POINT:
            return None
    width_m, height_m = float(scale[0]), float(scale[1])
    if width_m <= 0 or height_m <= 0:
        return None
    column, row, _, x, y, _ = tie
    transform = Affine(width_m, 0.0, x - column * width_m, 0.0, -height_m, y + row * height_m)
    definition = (keys, header.numbers(_GEO_DOUBLES), header.numbers(_GEO_TEXT))
    if definition not in _known_crs:
        # What the keys mean is GDAL's to say, once per distinct definition.
        with open_raster(path) as dataset:
            _known_crs[definition] = grid_of(dataset).crs
    return Grid(_known_crs[definition], transform, header.width, header.height)


def crs_agree(first: CRS | None, second: CRS | None) -> bool:
    """Whether two files can lie on one ground: same CRS however spelled, or one that says none."""
    if not first or not second or first is second:
        return True
    return _agree(first.to_wkt(), second.to_wkt())


@lru_cache(maxsize=256)
def _agree(first_wkt: str, second_wkt: str) -> bool:
    return same_crs(CRS.from_wkt(first_wkt), CRS.from_wkt(second_wkt))


@lru_cache(maxsize=64)
def _epsg(wkt: str) -> int | None:
    code = CRS.from_wkt(wkt).to_epsg()
    return None if code is None else int(code)


def epsg_of(crs: CRS | None) -> int | None:
    """The EPSG code of a CRS, None where it has none."""
    return _epsg(crs.to_wkt()) if crs else None
