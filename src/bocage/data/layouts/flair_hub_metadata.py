"""The GeoPackages of GLOBAL_ALL_MTD: acquisition dates and official splits.

They are read once, when an index is built; afterwards the index is the source of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
from numpy.typing import NDArray

from bocage.errors import DataError
from bocage.modalities import get_modality

FOLDER = "GLOBAL_ALL_MTD"
SPLITS = "GLOBAL_ALL_MTD_SPLIT.gpkg"
# The date file carries the sensor without its data type: SENTINEL2_TS -> SENTINEL2.
_SINGLE, _MANY = "date", "acquisition_dates"


def date_file(modality: str) -> str:
    """Name of the GeoPackage that dates `modality`; elevation has none."""
    return f"GLOBAL_{modality.rsplit('_', 1)[0]}_MTD_DATES.gpkg"


def metadata_folder(root: Path) -> Path | None:
    """GLOBAL_ALL_MTD under `root` (an unpacked archive may hold it twice), or None."""
    for folder in (root / FOLDER / FOLDER, root / FOLDER):
        if folder.is_dir():
            return folder
    return None


class DateTable:
    """Dates by patch, or by ROI where the table does not list the patch: they are shared."""

    def __init__(self, by_key: dict[str, NDArray[np.datetime64]]) -> None:
        self._by_key = by_key
        self._by_roi: dict[str, NDArray[np.datetime64]] = {}
        for key, dates in by_key.items():
            self._by_roi.setdefault(_roi_key(key), dates)

    def find(self, patch_id: str) -> NDArray[np.datetime64] | None:
        """Dates of a patch, (T,) datetime64[D] in the order of the file's frames, or None."""
        found = self._by_key.get(patch_id)
        return found if found is not None else self._by_roi.get(_roi_key(patch_id))


def read_dates(root: Path, modality: str) -> DateTable | None:
    """The dates of one sensor, or None where the dataset does not give them.

    A series cannot be used without its dates: there a missing file is a `DataError`.
    """
    name = date_file(modality)
    folder = metadata_folder(root)
    path = (folder or root / FOLDER) / name
    series = get_modality(modality).series
    if not path.is_file():
        if not series:
            return None
        raise DataError(
            f"{path}: missing, and {modality} has no dates without it. Unpack {FOLDER}.zip of the "
            f"dataset into {root}."
        )
    column = _MANY if series else _SINGLE
    rows = _read_table(path, ("patch_id", column))
    return DateTable(
        {
            str(key): _parse(value, path, str(key))
            for key, value in zip(rows["patch_id"], rows[column], strict=True)
            if value is not None and value == value  # NaN where a row has no date
        }
    )


def read_splits(root: Path) -> dict[str, dict[str, str]]:
    """Patch to {split column: split}; empty where the dataset comes without the table."""
    folder = metadata_folder(root)
    if folder is None or not (folder / SPLITS).is_file():
        return {}
    rows = _read_table(folder / SPLITS, ("patch_id",))
    columns = [c for c in rows if c.startswith("split")]
    out: dict[str, dict[str, str]] = {}
    for i, key in enumerate(rows["patch_id"]):
        values = {c: rows[c][i] for c in columns}
        out[str(key)] = {c: v for c, v in values.items() if isinstance(v, str) and v}
    return out


def _read_table(path: Path, needed: Iterable[str]) -> dict[str, list[Any]]:
    try:
        frame = pyogrio.read_dataframe(path, read_geometry=False)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(
            f"{path}: cannot be read as a GeoPackage ({error}). Fetch the file again."
        ) from error
    for column in needed:
        if column not in frame.columns:
            raise DataError(
                f"{path}: no column '{column}', only {', '.join(frame.columns)}. Check that this "
                f"is the file of {FOLDER}."
            )
    return {column: frame[column].tolist() for column in frame.columns}


def _roi_key(patch_id: str) -> str:
    return "_".join(patch_id.split("_")[:2])


def _parse(value: Any, path: Path, key: str) -> NDArray[np.datetime64]:
    try:
        return _parse_text(value if isinstance(value, str) else str(int(value)))
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: patch {key} has unreadable dates {str(value)[:60]!r} ({error}). Expected "
            'YYYYMMDD, or {"1": "YYYYMMDD", …} for a series. Fetch the file again.'
        ) from error


# The patches of an ROI repeat the same text.
@lru_cache(maxsize=4096)
def _parse_text(text: str) -> NDArray[np.datetime64]:
    days = [text]
    if text.lstrip().startswith("{"):
        table = json.loads(text)
        days = [str(table[number]) for number in sorted(table, key=int)]
    iso = []
    for day in days:
        digits = day.strip().replace("-", "")[:8]
        if len(digits) != 8 or not digits.isdigit():
            raise ValueError(f"'{day}' is not a day")
        iso.append(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}")
    dates = np.array(iso, dtype="datetime64[D]")
    dates.flags.writeable = False
    return dates
