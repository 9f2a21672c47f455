"""`bocage data pack --verify`: every packed byte against the files that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.index import PatchIndex
from bocage.data.layouts import get_layout
from bocage.data.pack.jobs import run_jobs
from bocage.data.pack.part import Part, StoredPart, decode_parts
from bocage.data.pack.parts import read_parts
from bocage.data.pack.shard import PACKED, Location, read_directory, shard_name
from bocage.data.pack.source import byte_source
from bocage.data.pack.writer import Progress, plan_jobs, read_plan
from bocage.data.record import PatchRecord
from bocage.errors import DataError


@dataclass(frozen=True)
class _Check:
    """One shard to compare with the rows of the source's index that went into it."""

    root: Path
    out: Path
    number: int
    rows: PatchIndex


def verify_pack(
    root: Path,
    out: Path,
    index: PatchIndex,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[str]:
    """Differences between the source under `root` and the packed folder `out`, in sentences.

    Every array, mask, date, label, CRS and transform of every patch of `index` is read again from
    the source and compared bit for bit with what the shard holds, and the two indexes row by row.
    An empty list: they are the same.
    """
    plan = read_plan(out)
    jobs = plan_jobs(root, out, index, "small", int(plan["patches_per_shard"]))
    checks = [_Check(root, out, job.number, job.rows) for job in jobs]
    findings: list[str] = []
    done = 0
    for found, patches in run_jobs(_verify_shard, checks, workers):
        findings += found
        done += patches
        if progress is not None:
            progress(done, len(index))
    return sorted(findings)


def _verify_shard(check: _Check) -> tuple[list[str], int]:
    try:
        directory = read_directory(check.out / shard_name(check.number))
    except (DataError, OSError) as error:
        return [str(error)], len(check.rows)
    packed = {record.patch_id: record for record in PatchIndex(directory.table, PACKED)}
    findings: list[str] = []
    for record in check.rows:
        if record.patch_id not in packed:
            told = [text for text in directory.problems if record.patch_id in text]
            findings += told or [f"patch {record.patch_id}: not packed"]
            continue
        try:
            findings += _verify_patch(check, record, packed[record.patch_id])
        except DataError as error:
            findings.append(str(error))
    return findings, len(check.rows)


def _verify_patch(check: _Check, record: PatchRecord, packed: PatchRecord) -> list[str]:
    findings = [
        f"patch {record.patch_id}: {what} differs in the index"
        for what in ("domain", "roi", "year", "splits", "bounds", "epsg", "dates")
        if not _same(getattr(record, what), getattr(packed, what))
    ]
    originals = read_parts(get_layout(check.rows.layout), check.root, record)
    for part in originals:
        if part.name not in packed.paths:
            findings.append(f"patch {record.patch_id}: {part.name} is not packed")
            continue
        place = Location.parse(packed.paths[part.name])
        source = byte_source(check.out)
        (data,) = source.ranges(place.file, [(place.offset, place.length)])
        lying = StoredPart(data, record.patch_id, part.name, source.describe(place.file))
        (stored,) = decode_parts([lying], [None])
        findings += [
            f"patch {record.patch_id}: {part.name}, {what} differs from the source"
            for what in _differences(part, stored)
        ]
    return findings


def _differences(original: Part, stored: Part) -> list[str]:
    names = dict.fromkeys((*original.arrays, *stored.arrays))
    out = [
        name
        for name in names
        if name not in original.arrays
        or name not in stored.arrays
        or not _same_bits(original.arrays[name], stored.arrays[name])
    ]
    return out + [w for w in ("crs", "transform") if getattr(original, w) != getattr(stored, w)]


def _same_bits(first: NDArray[Any], second: NDArray[Any]) -> bool:
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return bool(np.array_equal(_bits(first), _bits(second)))


def _bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of an array: NaN equals NaN, and -0.0 differs from 0.0."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    return bool(np.array_equal(first, second)) if isinstance(first, np.ndarray) else first == second
