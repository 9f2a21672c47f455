"""Packing on all cores, against the slower of two limits: the codecs, and the disk.

The codecs' limit is the same work without anything written: the layout's reading (LZW out of
GeoTIFFs) and our encoding, in the same processes. The disk's limit is writing the same bytes and
syncing them. All in seconds per gigabyte of GeoTIFF. Processes are started before; patches are
those of `full_patches`.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.fixtures import file_bytes, full_patches
from benchmarks.measure import Row, amounts, seconds
from bocage.data import PatchIndex, get_layout, pack_dataset
from bocage.data.pack.part import to_bytes
from bocage.data.pack.parts import categorical, read_parts
from bocage.data.pack.writer import ShardJob, pack_shard, plan_jobs

PATCHES, PATCHES_PER_SHARD = 16, 8
ROUNDS = 7


def run() -> list[Row]:
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("forkserver")
    with (
        full_patches(PATCHES) as (root, index),
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(cores, context) as pool,
    ):
        out = Path(folder)
        size = file_bytes(root, index) / 1e6
        rows = []
        for codec in ("fast", "small"):
            jobs = plan_jobs(root, out / codec, index, codec, PATCHES_PER_SHARD)
            rows.append(_speed(codec, jobs, size, pool.map, cores))
        for codec in ("fast", "small"):
            report = pack_dataset(root, out / f"{codec}-whole", index, codec=codec)
            name = f"size per patch, {codec}, of LZW GeoTIFF"
            rows.append(amounts(name, report.size / 1e6 / PATCHES, size / PATCHES, "MB"))
        return rows


def _speed(
    codec: str, jobs: list[ShardJob], size: float, run_all: Callable[..., object], cores: int
) -> Row:
    target = jobs[0].out

    def pack() -> None:
        list(run_all(pack_shard, jobs))

    def code() -> None:
        list(run_all(encode_only, jobs))

    pack()
    code()
    pairs = []
    for number in range(ROUNDS):
        shutil.rmtree(target)
        # Whoever comes second finds the sources in the caches: each in turn.
        steps = (pack, code) if number % 2 else (code, pack)
        times = {step: seconds(step) for step in steps}
        pairs.append((times[pack], times[code]))
    packed = b"".join(path.read_bytes() for path in sorted(target.rglob("*.bpk")))
    disk = statistics.median(seconds(lambda: _write(target / "plain", packed)) for _ in range(5))
    ours = statistics.median(first for first, _ in pairs)
    codecs = statistics.median(second for _, second in pairs)
    limit = max(codecs, disk)
    which = "codecs" if codecs >= disk else "disk"
    ratios = [max(second, disk) / first for first, second in pairs]
    name = f"pack {codec}, {cores} cores, of the limit ({which})"
    spread = (min(ratios), max(ratios))
    return Row(name, ours / size * 1000, limit / size * 1000, limit / ours, "s per GB", spread)


def encode_only(job: ShardJob) -> int:
    """Everything but the file: read each patch, encode each part."""
    layout = get_layout(job.rows.layout)
    return sum(
        len(to_bytes(part, categorical(part), job.codec))
        for record in PatchIndex(job.rows.table, job.rows.layout)
        for part in read_parts(layout, job.root, record)
    )


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
