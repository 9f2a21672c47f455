"""`bocage data pack`: from any layout's files to shards, resumable and in parallel.

Which patch goes into which shard follows from the index alone, so that several machines share the
work without talking to each other. A shard is written under a temporary name and renamed; one that
is there under its own name is complete. The index of the packed data comes when all shards are
there, the manifest last.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bocage.cluster import Engine, check_engine
from bocage.data.build import is_read_only
from bocage.data.config import index_path
from bocage.data.index import PatchIndex
from bocage.data.layouts import get_layout
from bocage.data.pack.codecs import Profile, get_profile
from bocage.data.pack.jobs import run_jobs, run_on_ray
from bocage.data.pack.part import to_bytes
from bocage.data.pack.parts import categorical, read_parts
from bocage.data.pack.shard import (
    CLASSES,
    FOLDER,
    FORMAT_VERSION,
    MANIFEST,
    PACKED,
    PLAN,
    Directory,
    ShardWriter,
    read_directory,
    read_fingerprint,
    shard_name,
)
from bocage.data.record import PatchRecord
from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path, write_json, write_text
from bocage.modalities import CLOUDY_SERIES, SENTINEL2_MASK

PATCHES_PER_SHARD = 128
"""Some 200 MB of FLAIR-HUB: large enough for any file system, small enough to be lost in a kill."""

Progress = Callable[[int, int | None], None]
# What a damaged file can set off in a reading library; the patch is listed, the rest goes on.
_READING_ERRORS = (OSError, ValueError, LookupError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class ShardJob:
    """One shard to write: the rows of the source's index that go into it."""

    root: Path
    out: Path
    number: int
    rows: PatchIndex
    codec: Profile

    @property
    def target(self) -> Path:
        """The shard's file."""
        return self.out / shard_name(self.number)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of all that decides the shard's bytes, but for the pixels themselves."""
        # Counts and shares of clear pixels follow from the pixels, as do footprints.
        derived = ("geometry", "counts:", "clear")
        names = self.rows.table.column_names
        columns = [name for name in names if not name.startswith(derived)]
        rows = self.rows.table.select(columns).to_pylist()
        text = json.dumps([FORMAT_VERSION, self.rows.layout, self.codec, rows])
        return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class PackReport:
    """What a run of `pack_dataset` did and found.

    `patches` and `size` (bytes) of the shards that are now there, of which `written` were made by
    this run. `problems`: patches that are not in them, in sentences. `complete`: index and manifest
    are written, the data can be read.
    """

    patches: int
    size: int
    shards: int
    written: int
    problems: tuple[str, ...]
    complete: bool


def pack_dataset(
    root: Path,
    out: Path,
    index: PatchIndex,
    *,
    codec: str = "fast",
    workers: int = 1,
    shard: tuple[int, int] | None = None,
    engine: Engine = "local",
    address: str | None = None,
    patches_per_shard: int = PATCHES_PER_SHARD,
    progress: Progress | None = None,
) -> PackReport:
    """Pack the patches of `index` under `root` into the folder `out`.

    `shard` (i, n), from 1, does every n-th shard and leaves index and manifest to a run without it,
    which finds the shards done. Whatever is done is kept: a run that was killed goes on, and shards
    with unreadable patches are tried again. With `engine` ray the cluster at `address` works (None:
    one started on this machine), whose machines see both folders under these paths.

    Raises `DataError` when `out` cannot be written, or holds other data or another format version,
    `ConfigError` for options that cannot be.
    """
    if index.layout == PACKED:
        raise ConfigError(f"{root}: is packed already. Pack from the original files.")
    if out.resolve() == root.resolve():
        raise ConfigError(f"{out}: the source itself. Pack into another folder.")
    check_engine(engine, address)
    profile = get_profile(codec)
    part, parts = shard or (1, 1)
    if not 1 <= part <= parts:
        raise ConfigError(f"--shard {part}/{parts}: expected i/n with i from 1 to n.")
    if engine == "ray":
        # Elsewhere on the cluster relative paths begin in another folder.
        root, out = root.resolve(), out.resolve()
    jobs = plan_jobs(root, out, index, profile, patches_per_shard)
    plan = _plan(index, profile, patches_per_shard, len(jobs))
    _claim(out, plan)
    own = jobs[part - 1 :: parts]
    patches, size, written = 0, 0, 0
    problems: list[str] = []
    total = sum(len(job.rows) for job in own)
    results = (
        run_on_ray(pack_shard, own, address)
        if engine == "ray"
        else run_jobs(pack_shard, own, workers)
    )
    for result in results:
        patches += result.patches
        size += result.size
        written += result.written
        problems += result.problems
        if progress is not None:
            progress(patches + len(problems), total)
    if shard is None:
        for task in get_layout(index.layout).own_tasks(root):
            # What the labels mean goes with them.
            write_text(out / CLASSES / f"{task.slug}.yaml", Path(task.source).read_text("utf-8"))
        _finish(out, plan)
    return PackReport(
        patches, size, len(own), written, tuple(sorted(problems)), complete=shard is None
    )


def plan_jobs(
    root: Path, out: Path, index: PatchIndex, codec: Profile, patches_per_shard: int
) -> list[ShardJob]:
    """Every shard of a packing, in order: consecutive patches of the index."""
    return [
        ShardJob(root, out, number, index.part(start, start + patches_per_shard), codec)
        for number, start in enumerate(range(0, len(index), patches_per_shard))
    ]


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard; `written` is False for one that was there."""

    patches: int
    size: int
    problems: tuple[str, ...] = field(default=())
    written: bool = True


def pack_shard(job: ShardJob) -> ShardResult:
    """Write one shard, unless it is there and complete."""
    fingerprint = job.fingerprint
    done = _finished(job.target, fingerprint)
    if done is not None and not done.problems:
        return ShardResult(done.table.num_rows, done.size, written=False)
    kept: list[int] = []
    places: list[dict[str, str]] = []
    problems: list[str] = []
    with atomic_path(job.target) as temporary:
        with temporary.open("wb") as file:
            writer = ShardWriter(file, job.number, fingerprint)
            for row, record in enumerate(job.rows):
                try:
                    parts = _encode(job, record)
                except DataError as error:
                    problems.append(_named(record, str(error)))
                    continue
                except _READING_ERRORS as error:
                    problems.append(_named(record, f"{type(error).__name__}: {error}"))
                    continue
                kept.append(row)
                places.append({name: str(writer.add(data)) for name, data in parts.items()})
                if SENTINEL2_MASK in record.paths:
                    _place_mask(places[-1])
            writer.finish(job.rows.moved(kept, places, PACKED).table, problems)
        size = temporary.stat().st_size
    return ShardResult(len(kept), size, tuple(problems))


def _encode(job: ShardJob, record: PatchRecord) -> dict[str, bytes]:
    parts = read_parts(get_layout(job.rows.layout), job.root, record)
    return {part.name: to_bytes(part, categorical(part), job.codec) for part in parts}


def _place_mask(places: dict[str, str]) -> None:
    """Snow and cloud lie in the part of their series; the index names them as its layout did."""
    for name in CLOUDY_SERIES & places.keys():
        places[SENTINEL2_MASK] = places[name]


def _named(record: PatchRecord, text: str) -> str:
    return text if record.patch_id in text else f"patch {record.patch_id}: {text}"


def _finished(target: Path, fingerprint: bytes) -> Directory | None:
    """The directory of a shard that is complete, None for one that must be written (again)."""
    if not target.is_file():
        return None
    if read_fingerprint(target) != fingerprint:
        raise DataError(
            f"{target}: made from other patches, another index or with another codec. Pack into "
            "an empty folder, or remove this one."
        )
    try:
        return read_directory(target)
    except DataError:
        # Not our doing, for shards are renamed when they are complete: made again, from the source.
        return None


def _plan(index: PatchIndex, codec: Profile, patches_per_shard: int, shards: int) -> dict[str, Any]:
    ids = "\n".join(index.table.column("patch_id").to_pylist())
    return {
        "format": "bocage-pack",
        "version": FORMAT_VERSION,
        "layout": index.layout,
        "codec": codec,
        "patches": len(index),
        "patches_per_shard": patches_per_shard,
        "shards": shards,
        "patch_ids": hashlib.sha256(ids.encode()).hexdigest(),
    }


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Say what the folder is for, or see that it is for the same."""
    path = out / PLAN
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file. Pack into a folder.")
    if out.is_dir() and is_read_only(out):
        raise DataError(f"{out}: is read-only. Choose another folder, or change its permissions.")
    if not path.exists():
        if index_path(out).exists() or (out / FOLDER).exists():
            raise DataError(
                f"{out}: holds data, but no {PLAN}: not a folder that was packed into. Choose an "
                "empty one."
            )
        write_json(path, plan)
        return
    found = read_plan(out)
    wrong = [key for key in plan if found.get(key) != plan[key]]
    if wrong:
        what = "; ".join(f"{key} {found.get(key)} instead of {plan[key]}" for key in wrong)
        raise DataError(
            f"{out}: already holds another packing ({what}). Choose an empty folder, or run with "
            "the data and options that it was begun with."
        )


def read_plan(out: Path) -> dict[str, Any]:
    """What a folder was begun to be packed for. Raises `DataError` when it says nothing."""
    try:
        plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{out / PLAN}: cannot be read ({error}). Point at a folder that 'bocage data pack' "
            "has written."
        ) from error
    if not isinstance(plan, dict):
        raise DataError(f"{out / PLAN}: not the plan of a packing. Remove it and pack again.")
    return plan


def _finish(out: Path, plan: dict[str, Any]) -> None:
    """Index and manifest, from what the shards say of themselves."""
    shards = [out / shard_name(number) for number in range(plan["shards"])]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_directory, shards))
    PatchIndex.joined([PatchIndex(part.table, PACKED) for part in found]).write(index_path(out))
    for leftover in (out / FOLDER).glob(".*.bpk"):
        # Of runs that were killed; every shard is there, so nobody writes any more.
        with contextlib.suppress(OSError):
            leftover.unlink()
    manifest = {
        **plan,
        "packed_patches": sum(part.table.num_rows for part in found),
        "problems": [problem for part in found for problem in part.problems],
        "files": {shard_name(k): part.size for k, part in enumerate(found)},
        "software": {n: importlib.metadata.version(n) for n in ("bocage", "imagecodecs")},
    }
    write_json(out / MANIFEST, manifest)
