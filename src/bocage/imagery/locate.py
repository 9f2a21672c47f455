"""What a source's text names: one raster, many tiles, or an item of a catalogue."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bocage.errors import DataError
from bocage.imagery.storage import list_storage, names_many

RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2"})
"""What is taken from a folder: other formats are named one by one."""
_CUBE_SUFFIXES = (".nc", ".nc4", ".cdf")
_ZARR_SUFFIX = ".zarr"
_ZARR_FILES = ("zarr.json", ".zgroup", ".zmetadata")
"""What the folder of a Zarr store of version 3 or 2 holds."""
_INSIDE = re.compile(r'(NETCDF|HDF5|ZARR):(?:"([^"]+)"|([^":]+))(?::(.*))?', re.IGNORECASE)
"""Something inside a file, as GDAL writes it: NETCDF:"cube.nc":B02."""
_CATALOGUE_SUFFIXES = (".json", ".geojson")
_SCHEMES = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "s3": "/vsis3/",
            "gs": "/vsigs/", "az": "/vsiaz/"}  # fmt: skip
_PATTERN = "*?["
_ENDLESS = 1_000_000
"""Lines of a list that are read: more are no list of tiles."""


@dataclass(frozen=True)
class OneRaster:
    """Anything that GDAL opens as one raster."""

    path: str


@dataclass(frozen=True)
class ManyTiles:
    """Files that are one raster together, in a stable order."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """STAC items in a JSON document; `asset` is the one to take, empty: by its bands."""

    path: str
    asset: str


@dataclass(frozen=True)
class Cube:
    """A NetCDF file or a Zarr store, or a variable of one: its time axis may date a series."""

    path: str


Location = OneRaster | ManyTiles | Catalogue | Cube


def locate(text: str) -> Location:
    """What `text` names.

    A folder, a pattern with `*` or `?`, or a text file of paths are tiles; `*.json` is a STAC item
    or a collection of items, `items.json#asset` one of their assets; `http(s)://`, `s3://`, `gs://`
    and `az://` are read where they lie, in storage also a prefix (`s3://bucket/tiles/`) or a
    pattern; `*.nc`, a Zarr store, `NETCDF:"FILE":VARIABLE` and
    `ZARR:"STORE":/VARIABLE` are cubes. Raises `DataError` for a folder, pattern or list without
    any raster, `ConfigError` for a prefix or pattern of storage without obstore.
    """
    plain, _, asset = text.partition("#")
    if _is_catalogue(plain):
        return Catalogue(plain, asset)
    local = Path(text)
    if _inside(text) is not None or zarr_parts(text) is not None:
        return Cube(text)
    if local.suffix.lower() in _CUBE_SUFFIXES and not is_remote(text):
        return Cube(text)
    if is_remote(text):
        return _remote(text)
    if local.is_file():
        if local.suffix.lower() == ".txt":
            return ManyTiles(_listed(local))
        return OneRaster(text)
    if local.is_dir():
        return ManyTiles(_in_folder(local))
    if any(sign in text for sign in _PATTERN):
        found = tuple(sorted(glob.glob(text, recursive=True)))  # noqa: PTH207 - absolute patterns
        if not found:
            raise DataError(f"{text}: no file matches this pattern. Check the path.")
        return ManyTiles(found)
    return OneRaster(text)


def is_remote(text: str) -> bool:
    """Whether the text is an address, or a path of GDAL's own file systems."""
    return text.startswith("/vsi") or urlsplit(text).scheme in _SCHEMES


def address(text: str) -> str:
    """An address as GDAL takes it; a path stays as it is."""
    parts = text.split("://", 1)
    return _SCHEMES[parts[0]] + parts[1] if len(parts) == 2 and parts[0] in _SCHEMES else text


def plain_address(text: str) -> str:
    """What `address` was made from: `/vsis3/bucket/cube.zarr` is `s3://bucket/cube.zarr`."""
    for scheme, system in _SCHEMES.items():
        if text.startswith(system):
            return f"{scheme}://{text.removeprefix(system)}"
    return text


def zarr_parts(text: str) -> tuple[str, str] | None:
    """A Zarr store and what of it is named, '' for all; None for anything else."""
    inside = _inside(text)
    if inside is not None:
        return (inside[1], inside[2].strip("/")) if inside[0] == "ZARR" else None
    folder = Path(text)
    known = folder.suffix.lower() == _ZARR_SUFFIX or (
        folder.is_dir() and any((folder / name).is_file() for name in _ZARR_FILES)
    )
    return (text, "") if known else None


def _inside(text: str) -> tuple[str, str, str] | None:
    """Format, file and variable of something inside a file; None for anything else."""
    match = _INSIDE.fullmatch(text)
    return match and (match[1].upper(), match[2] or match[3], match[4] or "")


def absolute(text: str) -> str:
    """The same source from any working folder: local paths and patterns become absolute."""
    inside = _inside(text)
    if inside is not None:
        variable = f":{inside[2]}" if inside[2] else ""
        return f'{inside[0]}:"{absolute(inside[1])}"{variable}'
    here = Path(text.partition("#")[0]).exists() or any(sign in text for sign in _PATTERN)
    return str(Path(text).resolve()) if here and not is_remote(text) else text


def _is_catalogue(text: str) -> bool:
    path = urlsplit(text).path if is_remote(text) else text
    if path.lower().endswith(_CATALOGUE_SUFFIXES):
        return True
    # How interfaces of catalogues name what they answer with JSON.
    return (
        text.startswith(("http://", "https://"))
        and ("/items/" in path or path.rstrip("/").endswith(("/items", "/search")))
        and Path(path).suffix.lower() not in RASTER_SUFFIXES
    )


def _remote(text: str) -> Location:
    place = address(text)
    if names_many(place):
        return ManyTiles(list_storage(place, RASTER_SUFFIXES))
    if Path(text).suffix.lower() == ".txt":
        raise DataError(
            f"{text}: a list of tiles is read from disk only. Fetch it; its lines may be addresses."
        )
    return OneRaster(place)


def _in_folder(folder: Path) -> tuple[str, ...]:
    found = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in RASTER_SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        endings = ", ".join(sorted(RASTER_SUFFIXES))
        raise DataError(f"{folder}: no raster in this folder or below it ({endings}).")
    return tuple(found)


def _listed(path: Path) -> tuple[str, ...]:
    """Paths of a text file, one per line, relative ones from the file's own folder."""
    try:
        with path.open(encoding="utf-8-sig") as handle:
            lines = [line.strip() for _, line in zip(range(_ENDLESS), handle, strict=False)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of tiles cannot be read ({error}).") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise DataError(f"{path}: lists no file. Write one path per line.")
    return tuple(address(line) if is_remote(line) else str(path.parent / line) for line in found)
