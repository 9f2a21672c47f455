"""Checksums of what a simulation wrote: of contents, so that they do not depend on a library.

The bytes of a GeoTIFF or a GeoPackage change with the versions of GDAL, zstd and SQLite, and some
hold the time of writing. What is hashed is what they hold: type, shape, place and pixels of a
raster, the rows of a table. These are the same on every machine: every random number is a hash of
integers, tables of logarithms and cosines are rounded, sums are of whole numbers, and all else is
addition, multiplication, division and square root of IEEE numbers, which are exact to the last bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from bocage.errors import DataError
from bocage.files import write_text
from bocage.simulate import folder
from bocage.simulate.jobs import Progress, run_jobs

CHECKSUMS = "checksums.txt"
_SHOWN = 5
_CRS = CRS.from_string(folder.CRS)


@dataclass(frozen=True)
class _Found:
    """What a file turned out to hold: its digest, or why it has none."""

    digest: str = ""
    unreadable: str = ""


def write_checksums(
    out: Path, known: dict[str, str], workers: int, again: str, expected: str | None = None
) -> str:
    """Write `checksums.txt` (one `digest  path` per file, sorted) and return the total of it.

    Only files without a `known` digest are read. A list that is there already stays the judge of
    the files: `DataError` names those that differ from it, unless the new total is the `expected`
    one, which shows that the list was wrong. `again` is the command that writes what is missing.
    """
    listing = out / CHECKSUMS
    found = _look(out, workers, known)
    text = "".join(f"{one.digest}  {name}\n" for name, one in found.items())
    total = _total(text)
    wanted = {name: one.digest for name, one in found.items()}
    if listing.is_file() and total != expected:
        wanted = _read_list(listing, again)[1]
    _compare(out, wanted, found, again)
    with folder.writing(out):
        write_text(listing, text)
    return total


def verify(out: Path, workers: int, again: str, progress: Progress | None = None) -> str:
    """Compare every file of `out` with its `checksums.txt`; returns the total.

    `progress` is called with files checked and their number. Raises `DataError` that names the
    files which are missing, changed, unreadable or foreign, and `again`, the command that mends it.
    """
    text, wanted = _read_list(out / CHECKSUMS, again)
    _compare(out, wanted, _look(out, workers, {}, progress), again)
    return _total(text)


def _read_list(listing: Path, again: str) -> tuple[str, dict[str, str]]:
    """The text of `checksums.txt`, and digests by path."""
    try:
        text = listing.read_text(encoding="utf-8")
        lines = [line.split("  ", 1) for line in text.splitlines()]
        return text, {name: digest for digest, name in lines}
    except FileNotFoundError as error:
        raise DataError(f"{listing}: is missing. Run `{again}` to have it written anew.") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{listing}: cannot be read ({error}). Delete it and run `{again}` to have it written "
            "anew."
        ) from error


def _compare(out: Path, wanted: dict[str, str], found: dict[str, _Found], again: str) -> None:
    """`DataError` that names, by kind, the files of which the digests are not the wanted ones."""
    kinds: dict[str, list[str]] = {
        "missing": sorted(wanted.keys() - found.keys()), "changed": [], "unreadable": [],
        "not in the list": sorted(found.keys() - wanted.keys()),
    }  # fmt: skip
    for name in sorted(wanted.keys() & found.keys()):
        if found[name].unreadable:
            kinds["unreadable"].append(f"{name} ({found[name].unreadable})")
        elif found[name].digest != wanted[name]:
            kinds["changed"].append(name)
    if not any(kinds.values()):
        return
    told = "; ".join(
        f"{len(names)} {kind}: {_few(names)}" for kind, names in kinds.items() if names
    )
    present = any(names for kind, names in kinds.items() if kind != "missing")
    delete = "Delete those that are there and run" if present else "Run"
    doubt = (
        f"; if files are named once more, {CHECKSUMS} itself was changed: delete it too"
        if (out / CHECKSUMS).is_file()
        else ""
    )
    raise DataError(f"{out}: {told}. {delete} `{again}`, which writes what is missing{doubt}.")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def check_total(out: Path, total: str, expected: str | None) -> str:
    """The total, or a `DataError` where it is not the expected one."""
    if expected is not None and total != expected:
        raise DataError(
            f"{out}: the total is {total}, that of this version of Bocage is {expected}. The files "
            "are whole but not the benchmark's; please report the machine and its numpy."
        )
    return total


def _total(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _look(
    out: Path, workers: int, known: dict[str, str], progress: Progress | None = None
) -> dict[str, _Found]:
    """What every raster and table below `out` holds, by path in sorted order."""
    files = {
        path.relative_to(out).as_posix(): path
        for path in out.rglob("*")
        if path.suffix in (".tif", ".gpkg") and not path.name.startswith(".")
    }
    unread = sorted(files.keys() - known.keys())
    every = {name: _Found(known[name]) for name in files.keys() & known.keys()}
    looked = run_jobs(_find, [files[name] for name in unread], workers)
    for number, (name, one) in enumerate(zip(unread, looked, strict=True), start=1):
        every[name] = one
        if progress is not None:
            progress(number, len(unread))
    return {name: every[name] for name in sorted(files)}


def file_digest(path: Path) -> str:
    """SHA-256 of what a raster or a table holds; `DataError` for one that tells none."""
    found = _find(path)
    if found.unreadable:
        raise DataError(
            f"{path}: cannot be read ({found.unreadable}). Delete it and run the same command "
            "again."
        )
    return found.digest


def _find(path: Path) -> _Found:
    try:
        if path.suffix == ".gpkg":
            return _Found(_table(path))
        with rasterio.open(path) as source:
            # Not part of the digest: it is the same in every file, or the file is none of ours.
            if source.crs != _CRS:
                return _Found(unreadable=f"lies in {source.crs}, not in {folder.CRS}")
            return _Found(image_digest(source.read(), source.transform))
    except (RasterioError, DataSourceError, DataLayerError, OSError) as error:
        return _Found(unreadable=_reason(error))


def _reason(error: Exception) -> str:
    """One line of what a library says; rasterio keeps what GDAL said in the cause."""
    return " ".join(str(error.__cause__ or error).split())


def image_digest(image: NDArray[Any], place: Affine) -> str:
    """SHA-256 of an image (C, H, W) and where it lies."""
    little = image.astype(image.dtype.newbyteorder("<"), copy=False)
    content = hashlib.sha256(repr((image.dtype.name, image.shape, tuple(place)[:6])).encode())
    content.update(np.ascontiguousarray(little).tobytes())
    return content.hexdigest()


def _table(path: Path) -> str:
    table = gpd.read_file(path)
    if not isinstance(table, gpd.GeoDataFrame):
        raise DataSourceError("has no footprints")
    rows = table.drop(columns="geometry").to_csv(index=False, lineterminator="\n")
    shapes = "\n".join(table.geometry.bounds.map(lambda metres: f"{metres:.1f}").agg(",".join, 1))
    return hashlib.sha256(f"{table.crs}\n{rows}\n{shapes}".encode()).hexdigest()
