"""FLAIR #1's and #2's tables by image: acquisition metadata, and places in the super-areas.

`flair-1_metadata_aerial.json` or `flair_aerial_metadata.json`: `{"IMG_000717": {"patch_centroid_x":
924009.6, "patch_centroid_y": …, "patch_centroid_z": …, "date": "2021-05-28", "time": "08h06",
"camera": "UCE-M3-f120-s07", "domain": …, "zone": …}, …}`.
`flair-2_centroids_sp_to_patch.json`: `{"IMG_000717.tif": [row, column], …}`.
Each is read once per process, not once per patch.
"""

from __future__ import annotations

import json
import math
import re
import sys
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.errors import DataError
from bocage.modalities import ACQUISITION_YEARS

_METADATA = ("*metadata*aerial*.json", "*aerial*metadata*.json")
_CENTROIDS = ("*centroids_sp_to_patch*.json",)
_NUMBERS = ("patch_centroid_x", "patch_centroid_y", "patch_centroid_z")
_TEXTS = ("date", "time", "camera")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"(\d{1,2})h(\d{2})")
_CAMERAS = ("UCE", "CAMERA")
"""Beginnings of the cameras' names; their places are the codes of `AERIAL_METADATA`."""


def metadata_tables(root: Path) -> tuple[Path, ...]:
    """Acquisition metadata under `root`: in it, or in the folder of an archive; may be none."""
    return _find(root, _METADATA)


def centroid_tables(root: Path) -> tuple[Path, ...]:
    """Tables of the patches' places in the super-areas, likewise."""
    return _find(root, _CENTROIDS)


def table_of(tables: tuple[Path, ...], image: str) -> Path:
    """The table that lists `image` (such as `IMG_000717`); the first when none does."""
    for path in tables[1:]:
        if image in _load(path):
            return path
    return tables[0]


def read_acquisition(path: Path, image: str) -> NDArray[np.float32]:
    """The bands of `AERIAL_METADATA` of one image, (8, 1, 1) float32.

    Raises `DataError` for an image that the table does not list, and for a value that is missing,
    of another form, or outside what the challenges' photographs have.
    """
    entry = _entry(path, image)
    if not isinstance(entry, tuple):
        raise _wrong(path, image, f"holds {entry!r}", f"an object with {', '.join(_NUMBERS)}, …")
    numbers, (day, time, camera) = entry[: len(_NUMBERS)], entry[len(_NUMBERS) :]
    for name, number in zip(_NUMBERS, numbers, strict=True):
        if not _is_number(number):
            raise _wrong(path, image, f"{name} is {number!r}", "a number of metres (Lambert 93)")
    code = next((i for i, c in enumerate(_CAMERAS) if str(camera).startswith(c)), None)
    if code is None:
        raise _wrong(path, image, f"camera is {camera!r}", "a name such as UCE-M3 or CAMERA#030")
    when = _parse_date(day)
    if when is None or when.year not in ACQUISITION_YEARS:
        years = f"{ACQUISITION_YEARS[0]} to {ACQUISITION_YEARS[-1]}"
        raise _wrong(path, image, f"date is {day!r}", f"a day of {years} such as 2021-05-28")
    clock = _TIME.fullmatch(str(time))
    if clock is None or int(clock[1]) > 23 or int(clock[2]) > 59:
        raise _wrong(path, image, f"time is {time!r}", "a time of day such as 08h06")
    minute = 60 * int(clock[1]) + int(clock[2])
    values = (*numbers, code, when.year, when.month, when.day, minute)
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def read_centroid(tables: tuple[Path, ...], image: str) -> tuple[int, int]:
    """Row and column of an image's centre in its super-area; `DataError` if not told."""
    path = table_of(tables, image)
    place = _entry(path, image)
    if (
        not isinstance(place, list)
        or len(place) != 2
        or not all(_is_number(x) and float(x).is_integer() for x in place)
    ):
        raise _wrong(path, image, f"holds {place!r}", "a row and a column, such as [56, 85]")
    return int(place[0]), int(place[1])


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _parse_date(text: Any) -> date | None:
    if _DATE.fullmatch(str(text)) is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _wrong(path: Path, image: str, finding: str, expected: str) -> DataError:
    return DataError(
        f"{path}: {image}: {finding}, expected {expected}. Correct the entry, or fetch the file "
        "again."
    )


def _entry(path: Path, image: str) -> Any:
    table = _load(path)
    if image not in table:
        raise DataError(
            f"{path}: {image} is not among its {len(table)} entries. The file is of another "
            "version of the dataset, or of one of its parts: fetch the one that belongs to these "
            "images."
        )
    return table[image]


def _find(root: Path, patterns: tuple[str, ...]) -> tuple[Path, ...]:
    found = {path for p in patterns for where in (p, f"*/{p}") for path in root.glob(where)}
    return tuple(sorted(found))


def _load(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Put it back.") from error
    return _parse(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _parse(path: Path, changed_ns: int, size_bytes: int) -> dict[str, Any]:
    """Image to its entry; what a metadata entry says in the order of `_NUMBERS` and `_TEXTS`."""
    try:
        with path.open(encoding="utf-8") as handle:
            table = json.load(handle, object_hook=_slim)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}). Fetch the file again.") from error
    if not isinstance(table, dict):
        raise DataError(
            f'{path}: holds no table of images, expected {{"IMG_000717": …}}. Fetch the file again.'
        )
    return {name.removesuffix(".tif"): entry for name, entry in table.items()}


def _slim(values: dict[str, Any]) -> Any:
    """A metadata entry as a tuple: 77,000 dictionaries would fill every reading process."""
    fields = (*_NUMBERS, *_TEXTS)
    if not any(field in values for field in fields):
        return values
    found = (values.get(field) for field in fields)
    return tuple(sys.intern(value) if isinstance(value, str) else value for value in found)
