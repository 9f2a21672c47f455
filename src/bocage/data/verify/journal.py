"""What has been checked, kept so that a run that was killed goes on.

`patches.parquet` holds one row per patch of earlier runs; `parts/` holds what the present run has
done, a few hundred patches to a file that appears under its name when it is complete. The last word
on a patch counts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bocage.data.verify.finding import SCHEMA, Finding, from_row
from bocage.data.verify.patch import PatchReport
from bocage.errors import DataError
from bocage.files import atomic_path

PARTS, PATCHES = "parts", "patches.parquet"
_PATCHES_PER_PART = 512
_SECONDS_PER_PART = 10.0

_ROWS = pa.schema(
    [
        ("patch_id", pa.string()),
        ("signature", pa.string()),
        ("findings", pa.list_(pa.struct(list(SCHEMA)))),
        ("crs", pa.string()),
        ("bounds", pa.list_(pa.float64())),
        ("pixel_m", pa.float64()),
        ("cells", pa.list_(pa.int32())),
        ("pixels", pa.list_(pa.int64())),
    ]
)


class Journal:
    """The rows of a folder. One process at a time writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: list[dict[str, Any]] = []
        self._since = time.monotonic()
        self._number = max((int(p.stem) for p in self._parts()), default=-1) + 1

    def known(self) -> dict[str, str]:
        """Patch id to the signature under which it was last checked."""
        out: dict[str, str] = {}
        for path in self._files():
            table = _read(path, ["patch_id", "signature"])
            names = (table.column(name).to_pylist() for name in ("patch_id", "signature"))
            out.update(zip(*names, strict=True))
        return out

    def add(self, patch_id: str, signature: str, report: PatchReport) -> None:
        """Note a patch; it is on disk after a few seconds, or with `flush`."""
        place = report.place
        self._pending.append(
            {
                "patch_id": patch_id,
                "signature": signature,
                "findings": [asdict(finding) for finding in report.findings],
                "crs": None if place is None else place.crs,
                "bounds": None if place is None else list(place.bounds),
                "pixel_m": None if place is None else place.pixel_m,
                "cells": list(report.levels),
                "pixels": list(report.levels.values()),
            }
        )
        late = time.monotonic() - self._since > _SECONDS_PER_PART
        if late or len(self._pending) >= _PATCHES_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Put on disk what is noted."""
        if self._pending:
            table = pa.Table.from_pylist(self._pending, _ROWS)
            with atomic_path(self._folder / PARTS / f"{self._number:08d}.parquet") as temporary:
                pq.write_table(table, temporary)
            self._pending = []
            self._number += 1
        self._since = time.monotonic()

    def forget(self) -> None:
        """Remove every row."""
        for path in self._files():
            path.unlink()
        self._number = 0

    def settle(self, patch_ids: Collection[str]) -> pa.Table:
        """The last row of each of these patches, in their order, kept in one file from now on."""
        self.flush()
        table = pa.concat_tables([_read(path, _ROWS.names) for path in self._files()])
        last = {key: row for row, key in enumerate(table.column("patch_id").to_pylist())}
        rows = [last[key] for key in patch_ids]
        table = table.take(pa.array(rows, pa.int64())).combine_chunks()
        with atomic_path(self._folder / PATCHES) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        for path in self._parts():
            path.unlink()
        return table

    def _parts(self) -> list[Path]:
        return sorted((self._folder / PARTS).glob("[0-9]*.parquet"))

    def _files(self) -> list[Path]:
        settled = self._folder / PATCHES
        return [*([settled] if settled.is_file() else []), *self._parts()]


def findings_of(table: pa.Table) -> Iterator[Finding]:
    """The findings of the rows of `Journal.settle`."""
    for chunk in table.column("findings").chunks:
        yield from map(from_row, chunk.flatten().to_pylist())


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"{path}: notes of an earlier check that cannot be read ({error}). Run again with "
            "--again, or choose another folder with -o."
        ) from error
