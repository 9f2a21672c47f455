"""How clear the dates of a cloudy series are: measured once, kept in the index.

A pixel is clear as `SeriesConfig` says by default. The index then knows how many dates a run will
use of a patch, and `bocage data describe` how cloudy each month is, without an image being opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bocage.data.index import CLEAR, CLEAR_DATES, PatchIndex
from bocage.data.layouts import get_layout
from bocage.data.pack.jobs import run_jobs
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import CLOUDY_SERIES, SENTINEL2_MASK
from bocage.sample import Series
from bocage.series import SeriesConfig, clear_share

Progress = Callable[[int, int | None], None]

_CHUNK = 128
# What a damaged file can set off in a reading library.
_READING_ERRORS = (OSError, ValueError, LookupError, RuntimeError, MemoryError)
_DEFAULT = SeriesConfig()


@dataclass(frozen=True)
class _Chunk:
    root: Path
    start: int
    rows: PatchIndex


def add_clear_dates(
    root: Path, index: PatchIndex, workers: int = 1, progress: Progress | None = None
) -> PatchIndex:
    """The index with the columns `clear:<NAME>` and `clear_dates:<NAME>` of its cloudy series.

    Reads every such series and its mask once. A patch that has none, or whose files cannot be
    read, has no value; the latter are told in `problems`.
    """
    names = sorted(name for name in CLOUDY_SERIES if index.available().get(name))
    if not names or SENTINEL2_MASK not in index.available():
        return index
    chunks = [
        _Chunk(root, start, index.part(start, start + _CHUNK))
        for start in range(0, len(index), _CHUNK)
    ]
    found: dict[str, list[bytes | None]] = {name: [None] * len(index) for name in names}
    problems: list[str] = []
    done = 0
    for start, shares, told in run_jobs(_measure, chunks, workers):
        for name, values in shares.items():
            found[name][start : start + len(values)] = values
            done += len(values)
        problems += told
        if progress is not None:
            progress(min(done // len(names), len(index)), len(index))
    out = PatchIndex(index.table, index.layout, (*index.problems, *sorted(problems)))
    enough = np.ceil(100 * _DEFAULT.min_clear)
    for name, values in found.items():
        counts = [None if v is None else int((percents(v) >= enough).sum()) for v in values]
        out = out.with_column(CLEAR + name, pa.array(values, pa.binary()))
        out = out.with_column(CLEAR_DATES + name, pa.array(counts, pa.int16()))
    return out


def percents(stored: bytes) -> NDArray[np.uint8]:
    """Clear pixels per date in percent, rounded down, (T,), out of a value of `clear:<NAME>`."""
    return np.frombuffer(stored, dtype=np.uint8)


def _measure(chunk: _Chunk) -> tuple[int, dict[str, list[bytes | None]], list[str]]:
    names = sorted(name for name in CLOUDY_SERIES if name in chunk.rows.available())
    layout = get_layout(chunk.rows.layout)
    shares: dict[str, list[bytes | None]] = {name: [] for name in names}
    problems: list[str] = []
    for record in chunk.rows:
        for name in names:
            shares[name].append(None)
            if not {name, SENTINEL2_MASK} <= record.paths.keys() or name not in record.dates:
                continue
            try:
                series = layout.read(chunk.root, record, [name], []).series.get(name)
            except (DataError, *_READING_ERRORS) as error:
                problems.append(f"patch {record.patch_id}: clear dates of {name} unknown: {error}")
                continue
            if series is not None and series.snow_cloud is not None:
                shares[name][-1] = _in_order_of(record, name, series).tobytes()
    return chunk.start, shares, problems


def _in_order_of(record: PatchRecord, name: str, series: Series) -> NDArray[np.uint8]:
    """Percent per date, in the order of the record's dates; the series is sorted by day."""
    # 0.29 * 100 is 28.999…: what is a whole number of percent must stay one.
    share = np.floor(100 * clear_share(series, _DEFAULT) + 1e-6).astype(np.uint8)
    dates = record.dates[name]
    if len(dates) == len(series):
        out = np.empty(len(dates), dtype=np.uint8)
        out[np.argsort(dates, kind="stable")] = share
        return out
    # Several frames of one day under one date: the clearest of them counts.
    return np.array([share[series.dates == day].max(initial=0) for day in dates], dtype=np.uint8)
