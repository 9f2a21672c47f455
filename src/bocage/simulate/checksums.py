"""Checksums of what a simulation wrote: of contents, so that they do not depend on a library.

The bytes of a GeoTIFF or a GeoPackage change with the versions of GDAL, zstd and SQLite, and some
hold the time of writing. What is hashed is what they hold: type, shape, place and pixels of a
raster, the rows of a table. These are the same on every machine: every random number is a hash of
integers, tables of logarithms and cosines are rounded, sums are of whole numbers, and all else is
addition, multiplication, division and square root of IEEE numbers, which are exact to the last bit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.errors import RasterioError

from bocage.errors import DataError
from bocage.files import write_text
from bocage.simulate import folder
from bocage.simulate.jobs import run_jobs

CHECKSUMS = "checksums.txt"
_SHOWN = 5


def write_checksums(
    out: Path, known: dict[str, str], workers: int, expected: str | None = None
) -> str:
    """Write `checksums.txt` (one `digest  path` per file, sorted) and return the total of it.

    Only files without a `known` digest are read. A list that is there already stays the judge of
    the files: `DataError` names those that differ from it, unless the new total is the `expected`
    one, which shows that the list was wrong.
    """
    listing = out / CHECKSUMS
    digests = _digests(out, workers, known)
    text = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    total = _total(text)
    if listing.is_file() and total != expected:
        _compare(out, _read_list(listing)[1], digests)
    with folder.writing(out):
        write_text(listing, text)
    return total


def verify(out: Path, workers: int) -> str:
    """Compare every file of `out` with its `checksums.txt`; returns the total.

    Raises `DataError` that names the files which differ, are missing or are too many.
    """
    text, wanted = _read_list(out / CHECKSUMS)
    _compare(out, wanted, _digests(out, workers, {}))
    return _total(text)


def _read_list(listing: Path) -> tuple[str, dict[str, str]]:
    """The text of `checksums.txt`, and digests by path."""
    try:
        text = listing.read_text(encoding="utf-8")
        lines = [line.split("  ", 1) for line in text.splitlines()]
        return text, {name: digest for digest, name in lines}
    except FileNotFoundError as error:
        raise DataError(
            f"{listing}: is missing. Only a complete benchmark has checksums; run `bocage simulate "
            "--benchmark` again to complete it."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{listing}: cannot be read ({error}). Delete it and run `bocage simulate --benchmark` "
            "again to have it written anew."
        ) from error


def _compare(out: Path, wanted: dict[str, str], found: dict[str, str]) -> None:
    """`DataError` that names the files of which the digests are not the wanted ones."""
    wrong = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"{out}: against {CHECKSUMS}, {len(wrong)} files are missing, foreign or not what was "
            f"written: {', '.join(wrong[:_SHOWN])}{more}. Delete them and run the same command "
            f"again; if they are named once more, {CHECKSUMS} itself was changed: delete it too."
        )


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


def _digests(out: Path, workers: int, known: dict[str, str]) -> dict[str, str]:
    """Digest of every raster and table below `out`, by path in sorted order."""
    files = {
        path.relative_to(out).as_posix(): path
        for path in out.rglob("*")
        if path.suffix in (".tif", ".gpkg") and not path.name.startswith(".")
    }
    unread = sorted(files.keys() - known.keys())
    found = run_jobs(file_digest, [files[name] for name in unread], workers)
    every = known | dict(zip(unread, found, strict=True))
    return {name: every[name] for name in sorted(files)}


def file_digest(path: Path) -> str:
    """SHA-256 of what a raster or a table holds."""
    try:
        if path.suffix == ".gpkg":
            return _table(path)
        with rasterio.open(path) as source:
            return image_digest(source.read(), source.transform)
    except (RasterioError, DataSourceError, DataLayerError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Delete it and run the same command again."
        ) from error


def image_digest(image: NDArray[Any], place: Affine) -> str:
    """SHA-256 of an image (C, H, W) and where it lies."""
    little = image.astype(image.dtype.newbyteorder("<"), copy=False)
    content = hashlib.sha256(repr((image.dtype.name, image.shape, tuple(place)[:6])).encode())
    content.update(np.ascontiguousarray(little).tobytes())
    return content.hexdigest()


def _table(path: Path) -> str:
    table = gpd.read_file(path)
    rows = table.drop(columns="geometry").to_csv(index=False, lineterminator="\n")
    shapes = "\n".join(table.geometry.bounds.map(lambda metres: f"{metres:.1f}").agg(",".join, 1))
    return hashlib.sha256(f"{table.crs}\n{rows}\n{shapes}".encode()).hexdigest()
