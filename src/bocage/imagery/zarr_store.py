"""Zarr stores, shown as GDAL shows NetCDF files: variables, layers and tags.

GDAL reads Zarr too, but the releases in rasterio's wheels refuse what zarr-python 3 writes (they
know its codec "bytes" from GDAL 3.11 on, shards from 3.13 on) and drop the unit of the time axis.
zarr-python reads versions 2 and 3, shards and every codec. A window costs the chunks it touches.
"""

from __future__ import annotations

import base64
import contextlib
import math
import os
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError
from rasterio.transform import Affine
from rasterio.windows import Window

from bocage.errors import BocageError, ConfigError, DataError
from bocage.imagery.connect import connect, in_words
from bocage.imagery.locate import is_remote, plain_address, zarr_parts
from bocage.rasters import open_raster

_EVEN = 1e-3
"""Share of a pixel by which coordinates may stray from even steps: writers round them."""
_CRS_KEYS = ("crs_wkt", "spatial_ref", "proj:wkt2", "proj:code")
_MAPPINGS = ("spatial_ref", "crs")
"""Names of grid mappings that writers leave unsaid."""
_FOREIGN = (LookupError, ValueError, TypeError, AttributeError)
"""What zarr-python raises for a node that is not there, or of a kind that it does not know."""
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


@contextlib.contextmanager
def open_source(path: str) -> Iterator[Any]:
    """Whatever a source names, open: through `bocage.rasters.open_raster`, or a Zarr store.

    Of a file on disk what stands in files beside it counts, as in GDAL and QGIS.
    Yields rasterio's `DatasetReader`, or a `ZarrRaster`, which has of it what is used here.
    """
    if zarr_parts(path) is None:
        with open_raster(path, beside=True) as dataset:
            yield dataset
    else:
        yield _opened(path, os.getpid(), _stamp(path))


class ZarrRaster:
    """One variable of a store, everything before its rows and columns flattened into bands.

    What it has is called as in rasterio, from whose datasets it is not told. A group of several
    variables has no band and lists them as `subdatasets`; safe to read from several threads.
    """

    def __init__(self, path: str, group: Any, array: Any, variables: Sequence[str] = ()) -> None:
        self._path, self._group, self._array = path, group, array
        self._dimensions = () if array is None else _dimensions(array)
        shape = (0, 0) if array is None else tuple(array.shape)
        self.subdatasets = list(variables)
        self.height, self.width = shape[-2:]
        self.count = 0 if array is None else math.prod(shape[:-2])
        self.colorinterp = (ColorInterp.undefined,) * self.count
        self.mask_flag_enums = ((MaskFlags.all_valid,),) * self.count
        self.descriptions = (None,) * self.count

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Type of each band."""
        return (np.dtype(self._array.dtype).name,) * self.count

    @cached_property
    def nodatavals(self) -> tuple[float | None, ...]:
        """What the store says of no data: CF's attributes, or version 2's fill value."""
        for key in ("_FillValue", "missing_value"):
            if key in self._array.attrs:
                return (_number(self._array.attrs[key]),) * self.count
        # In version 3 the fill value is that of chunks never written, and says no more.
        filled = self._array.fill_value if self._array.metadata.zarr_format == 2 else None
        return (None if filled is None else _number(filled),) * self.count

    @property
    def scales(self) -> tuple[float, ...]:
        """CF's `scale_factor`. Raises `DataError` where it is no number."""
        return (self._stated("scale_factor", 1.0),) * self.count

    @property
    def offsets(self) -> tuple[float, ...]:
        """CF's `add_offset`. Raises `DataError` where it is no number."""
        return (self._stated("add_offset", 0.0),) * self.count

    @cached_property
    def crs(self) -> CRS | None:
        """From the grid mapping, or attributes of the variable or its group; None if nowhere."""
        for attributes in (self._mapping, self._array.attrs, self._group.attrs):
            stated = [attributes.get(key) for key in _CRS_KEYS]
            gdal = attributes.get("_CRS")
            if isinstance(gdal, dict):
                stated.append(gdal.get("wkt"))
            for text in filter(None, stated):
                with contextlib.suppress(CRSError, ValueError):
                    return CRS.from_user_input(text)
        return None

    @cached_property
    def transform(self) -> Affine:
        """(column, row) to (x, y), from the coordinates of the pixels' centres.

        Identity where there are none. Raises `DataError` where they are not evenly spaced.
        """
        y, x = (self._even(name) for name in self._dimensions[-2:])
        if x is None or y is None:
            stated = str(self._mapping.get("GeoTransform", "")).split()
            with contextlib.suppress(ValueError, TypeError):
                return Affine.from_gdal(*map(float, stated))
            return Affine.identity()
        (left, width), (top, height) = x, y
        if self._upside_down:
            top, height = top + (self.height - 1) * height, -height
        return Affine(width, 0, left - width / 2, 0, height, top - height / 2)

    def tags(self) -> dict[str, str]:
        """The further dimensions, as GDAL tells them of NetCDF: names, values, unit, calendar."""
        if self._array is None:
            return {}
        names = self._dimensions[:-2]
        tags = {"NETCDF_DIM_EXTRA": "{" + ",".join(names) + "}"}
        with _reading(self._path):
            for name in names:
                axis = _coordinate(self._group, name)
                if axis is not None:
                    values = ",".join(map(str, np.asarray(axis[...]).tolist()))
                    tags[f"NETCDF_DIM_{name}_VALUES"] = "{" + values + "}"
                    for key in ("units", "calendar"):
                        if key in axis.attrs:
                            tags[f"{name}#{key}"] = str(axis.attrs[key])
        return tags

    def read(self, bands: int | Sequence[int], window: Window) -> NDArray[Any]:
        """Pixels of the bands, from 1: (C, h, w), or (h, w) of one. Raises `DataError`."""
        rows = (int(window.row_off), int(window.row_off + window.height))
        cols = slice(int(window.col_off), int(window.col_off + window.width))
        if self._upside_down:
            rows = self.height - rows[1], self.height - rows[0]
        wanted = np.atleast_1d(bands) - 1
        places = np.unravel_index(wanted, self._array.shape[:-2]) if self._array.ndim > 2 else ()
        axes = [np.unique(place, return_inverse=True) for place in places]
        with _reading(self._path):
            block = self._array.oindex[(*(_span(own) for own, _ in axes), slice(*rows), cols)]
        found = np.asarray(block)[tuple(back for _, back in axes)] if axes else block[None]
        if self._upside_down:
            found = found[:, ::-1]
        return found[0] if np.ndim(bands) == 0 else found

    def _stated(self, key: str, default: float) -> float:
        """An attribute that is a number."""
        text = self._array.attrs.get(key, default)
        number = _number(text)
        if number is None:
            raise DataError(
                f"{self._path}: its attribute {key} is {text!r}, no number. Correct it."
            )
        return number

    @cached_property
    def _upside_down(self) -> bool:
        """Whether rows run northwards; they are turned, as GDAL does with NetCDF."""
        y = self._even(self._dimensions[-2])
        return y is not None and y[1] > 0

    @cached_property
    def _mapping(self) -> dict[str, Any]:
        """Attributes of the grid mapping's variable."""
        stated = str(self._array.attrs.get("grid_mapping", "")).split(":")[0].split()
        for name in (*stated[:1], *_MAPPINGS):
            with _reading(self._path):
                node = _member(self._group, name)
                if node is not None:
                    return dict(node.attrs)
        return {}

    def _even(self, name: str) -> tuple[float, float] | None:
        """First value and step of a dimension's coordinates; None if it has none, or only one."""
        with _reading(self._path):
            axis = _coordinate(self._group, name)
            if axis is None or axis.size < 2:
                return None
            stored = np.asarray(axis[...])
        values = stored.astype(np.float64)
        places = np.arange(len(values))
        first, step = values[0], (values[-1] - values[0]) / (len(values) - 1)
        # float32 holds half metres at 6,600 km: ends so rounded are no good for a fine grid.
        rounding = 0.0
        if stored.dtype.kind == "f":
            rounding = float(np.spacing(np.abs(stored).max()))
        if rounding > _EVEN * abs(step):
            step, first = np.polyfit(places, values, 1)
        even = first + step * places
        if not step or not (np.abs(values - even) <= _EVEN * abs(step) + rounding).all():
            raise DataError(
                f"{self._path}: its coordinate '{name}' is not evenly spaced. Bring it to a "
                "regular grid, such as with rioxarray's reproject."
            )
        return float(first), float(step)


# The process is part of the key: a forked child must not use its parent's connections.
@lru_cache(maxsize=256)
def _opened(path: str, process: int, stamp: tuple[object, ...]) -> ZarrRaster:
    """A variable or a group of a store; it and its metadata are kept, no pixel is."""
    parts = zarr_parts(path)
    assert parts is not None
    store, inner = parts
    try:
        import zarr
    except ImportError as error:
        raise ConfigError(f"{path}: Zarr needs zarr: pip install 'bocage[zarr]'.") from error
    if not is_remote(store) and not Path(store).is_dir():
        raise DataError(f"{path}: no such folder. Check the path.")
    with _reading(path):
        root = zarr.open_group(_address(store), mode="r")
        node = root[inner] if inner else root
        above = inner.rpartition("/")[0]
        if isinstance(node, zarr.Array):
            if node.ndim < 2:
                raise DataError(
                    f"{path}: has {node.ndim} of the two dimensions that a raster has. Name "
                    "another variable."
                )
            return ZarrRaster(path, root[above] if above else root, node)
        arrays = {name: array for name, array in node.arrays() if array.ndim >= 2}
        # Beside the imagery may lie bounds of the time axis, or a table of wavelengths.
        placed = {
            name: array
            for name, array in arrays.items()
            if all(_coordinate(node, axis) is not None for axis in _dimensions(array)[-2:])
        }
    names = sorted(placed or arrays)
    if len(names) == 1:
        return ZarrRaster(path, node, arrays[names[0]])
    above = inner and f"{inner}/"
    return ZarrRaster(path, node, None, [f'ZARR:"{store}":/{above}{name}' for name in names])


def _stamp(path: str) -> tuple[object, ...]:
    """When the metadata of a store on disk were written, and their sizes: it may be replaced."""
    store, inner = zarr_parts(path) or ("", "")
    if is_remote(store):
        return ()
    found: list[tuple[int, int] | None] = []
    parts = inner.split("/") if inner else []
    for depth in range(len(parts) + 1):
        folder = os.path.join(store, *parts[:depth])  # noqa: PTH118 - asked for with every window
        for name in _METADATA:
            try:
                stat = os.stat(f"{folder}/{name}")  # noqa: PTH116
            except OSError:
                found.append(None)
            else:
                found.append((stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _address(store: str) -> Any:
    """What zarr-python opens: a folder, or an object store's or web server's connection."""
    if not is_remote(store):
        return store
    plain = plain_address(store)
    if plain.startswith("/vsi"):
        raise ConfigError(
            f"{store}: Zarr is read from folders, https://, s3://, gs:// and az://, not from this "
            "file system of GDAL's. Unpack or copy the store."
        )
    connection = connect(plain)
    from zarr.storage import ObjectStore

    return ObjectStore(connection, read_only=True)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Whatever zarr-python, a codec or a connection raises becomes `DataError`.

    Codecs are plug-ins over libraries of their own: zlib's error, LZMA's and EOFError have no
    ancestor but `Exception`, as have obstore's.
    """
    try:
        yield
    except BocageError:
        raise
    except Exception as error:
        remedy = "The store may be incomplete: copy or write it again."
        if is_remote((zarr_parts(path) or (path, ""))[0]):
            remedy = (
                "Check the address, the connection and the credentials. If they are right, the "
                "store is incomplete; one on a web server needs consolidated metadata."
            )
        reason = in_words(error)
        raise DataError(f"{path}: cannot be read as Zarr ({reason}). {remedy}") from error


def _dimensions(array: Any) -> tuple[str, ...]:
    """Names of an array's dimensions, '' where it gives none."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS") or [""] * array.ndim
    return tuple(name or "" for name in names)


def _coordinate(group: Any, name: str) -> Any:
    """The array of numbers along a dimension, None if there is none."""
    array: Any = _member(group, name) if name else None
    numbers = getattr(array, "ndim", 0) == 1 and np.dtype(array.dtype).kind in "iuf"
    return array if numbers else None


def _member(group: Any, name: str) -> Any:
    """A node of a group, None if there is none that zarr-python knows."""
    with contextlib.suppress(*_FOREIGN):
        return group[name]
    return None


def _number(stated: Any) -> float | None:
    """A fill value as xarray writes it: a number, or a float's eight bytes in base64."""
    with contextlib.suppress(ValueError, TypeError, struct.error):
        return float(stated)
    with contextlib.suppress(ValueError, TypeError, struct.error):
        return float(struct.unpack("<d", base64.b64decode(stated, validate=True))[0])
    return None


def _span(places: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Sorted places as a slice where they are without gap, which is read at less cost."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places
