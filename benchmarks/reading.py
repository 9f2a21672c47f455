"""From the files of a patch to tensors ready for the device: GeoTIFFs, and packed.

Ours keeps the stored types (the device normalises); the baseline opens every GeoTIFF with rasterio,
normalises in float64 and makes one-hot float labels. Patches are those of `full_patches`, all seven
sensors and two label sets unless a row says otherwise. Rows in "CPU ms" are of one process each way
with a warm cache, where all time is the processor's: others on the machine then disturb least. The
cold row drops the files from the kernel's cache before each round, which leaves a host's cache
below a virtual machine as it is.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch.utils.data import DataLoader, Dataset

from benchmarks import naive
from benchmarks.fixtures import full_patches
from benchmarks.measure import Row, amounts, compare, seconds
from bocage.data import DataConfig, PatchDataset, PatchIndex, collate, open_index, pack_dataset
from bocage.modalities import AERIAL_RGBI, FLAIR_HUB_INPUTS
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.sample import Batch, Sample

PATCHES = 4
ALL_PATCHES, ALL_ROIS = 241_100, 2_822
START_LIMIT_MS = 2000.0
ROUNDS = 9
# Patches of an epoch that is read by several processes or threads.
EPOCH = 32

INPUTS = [modality.name for modality in FLAIR_HUB_INPUTS]
TASKS = [LAND_COVER.name, CROPS.name]
CLASSES = {task.label_set: task.num_classes for task in (LAND_COVER, CROPS)}


class Naive(Dataset[dict[str, object]]):
    """The baseline as a dataset, for loaders with processes."""

    def __init__(self, files: list[dict[str, Path]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> dict[str, object]:
        return dict(naive.read_patch(self.files[position], CLASSES))


def run() -> list[Row]:
    with full_patches(PATCHES) as (root, index), tempfile.TemporaryDirectory() as folder:
        files = [{name: root / path for name, path in r.paths.items()} for r in index.records]
        fast, small = Path(folder) / "fast", Path(folder) / "small"
        for out in (fast, small):
            pack_dataset(root, out, index, codec=out.name)
        packed, every = dataset(fast, "packed"), Naive(files)
        ways = {
            "GeoTIFF": dataset(root, "flair-hub"),
            "packed fast": packed,
            "packed small": dataset(small, "packed"),
        }
        rows = [_alone(f"read, {name}", ours, every) for name, ours in ways.items()]
        few = ([AERIAL_RGBI.name], [LAND_COVER.name])
        names = {AERIAL_RGBI.name, LAND_COVER.label_set}
        plain = Naive([{name: paths[name] for name in names} for paths in files])
        subset = dataset(fast, "packed", *few)
        rows.append(_alone("read, packed fast, photograph and land cover", subset, plain))
        rows.append(_alone("read, packed fast, cold", packed, every, (fast, root)))
        rows += [
            _threads(f"read, {name}, two threads", ways[name], every)
            for name in ("GeoTIFF", "packed fast")
        ]
        rows.append(_processes(packed, every))
        rows.append(_device_bytes(packed, every))
        rows.append(_first_sample(fast))
        return rows


def dataset(
    root: Path, layout: str, inputs: Sequence[str] = INPUTS, tasks: Sequence[str] = TASKS
) -> PatchDataset:
    # Every date is used, as by the baseline, so that only the ways of reading differ.
    config = DataConfig(root=root, layout=layout, series={"min_clear": 0})
    names = {*inputs, *tasks, "SENTINEL2_MSK-SC"}
    return PatchDataset(open_index(root, layout, names=names), config, inputs, tasks)


def batch(data: PatchDataset, position: int) -> Batch:
    return collate([data[position]], data.inputs, data.tasks)


class Process:
    """A process of its own that reads all patches of one dataset, again and again."""

    def __init__(self, data: Dataset[object]) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pool = ProcessPoolExecutor(1, context, initializer=hold, initargs=(data,))

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def measure(self) -> tuple[float, float]:
        """Seconds of one pass: the processor's, and the clock's."""
        return self._pool.submit(read_all).result()


_held: list[Dataset[object]] = []


def hold(data: Dataset[object]) -> None:
    _held[:] = [data]


def read_all() -> tuple[float, float]:
    """Every patch, each dropped before the next, as a loop of training steps does."""
    (data,) = _held
    start, begin = time.process_time(), time.perf_counter()
    for position in range(PATCHES):
        if isinstance(data, PatchDataset):
            batch(data, position)
        else:
            data[position]
    return time.process_time() - start, time.perf_counter() - begin


def _alone(
    name: str, ours: PatchDataset, baseline: Naive, cold: tuple[Path, Path] | None = None
) -> Row:
    """Each in a process of its own, in turn; `cold`, the folders to forget before each pass."""
    pairs = []
    with Process(ours) as first, Process(baseline) as second:
        for number in range(ROUNDS + 2):
            times = []
            for i, process in enumerate((first, second)):
                if cold is not None:
                    drop_cache(cold[i])
                processor, clock = process.measure()
                times.append(processor if cold is None else clock)
            if number >= 2:
                pairs.append(times)
    ratios = [slow / fast for fast, slow in pairs]
    fast, slow = (statistics.median(t) * 1000 / PATCHES for t in zip(*pairs, strict=True))
    unit = "CPU ms" if cold is None else "ms"
    return Row(name, fast, slow, slow / fast, unit, (min(ratios), max(ratios)))


def _threads(name: str, ours: PatchDataset, baseline: Naive) -> Row:
    places = [i % PATCHES for i in range(EPOCH)]
    with ThreadPoolExecutor(2) as pool:
        return compare(
            name,
            lambda: list(pool.map(lambda i: batch(ours, i), places)),
            lambda: list(pool.map(baseline.__getitem__, places)),
            rounds=3,
            items=EPOCH,
        )


def _processes(ours: PatchDataset, baseline: Naive) -> Row:
    """Two loader processes on each side; one epoch starts them, the next ones are measured."""
    places = [i % PATCHES for i in range(EPOCH)]
    loaders: list[DataLoader[object]] = [
        DataLoader(
            data,
            sampler=places,
            batch_size=None if data is baseline else 1,
            collate_fn=None if data is baseline else collate_all,
            num_workers=2,
            persistent_workers=True,
            multiprocessing_context="forkserver",
        )
        for data in (ours, baseline)
    ]
    first, second = loaders
    name = "read, packed fast, two processes"
    return compare(name, lambda: list(first), lambda: list(second), rounds=3, items=EPOCH)


def collate_all(samples: list[Sample]) -> Batch:
    """`collate` of all sensors, for loader processes."""
    return collate(samples, INPUTS, TASKS)


def _device_bytes(ours: PatchDataset, baseline: Naive) -> Row:
    held, plain = batch(ours, 0), baseline[0]
    parts = (held.images, held.series, held.labels, held.valid, held.series_valid)
    kept = sum(t.numel() * t.element_size() for part in parts for t in part.values())
    floats = sum(t.numel() * t.element_size() for t in plain.values())
    return amounts("bytes per patch for the device", kept / 1e6, floats / 1e6, "MB")


def _first_sample(out: Path) -> Row:
    """From opening an index of all of FLAIR-HUB to the first batch of one patch.

    The baseline is what is allowed. Every ROI has dates of its own, in the index.
    """
    index = PatchIndex.read(out / "index.parquet")
    rows = np.arange(ALL_PATCHES)
    table = index.table.take(pa.array(rows % len(index)))
    days = np.arange("2021-01-01", "2021-12-31", dtype="datetime64[D]")
    rng = np.random.default_rng(0)
    columns = {"patch_id": pa.array([f"D000-2021_AA-S1-{i // 85}_{i % 85}" for i in rows])}
    for name in table.column_names:
        if name.startswith("dates:"):
            count = len(str(index.table.column(name)[0]).split())
            texts = [
                " ".join(np.sort(rng.choice(days, count, replace=False)).astype(str).tolist())
                for _ in range(ALL_ROIS)
            ]
            columns[name] = pa.array(texts).take(pa.array(rows * ALL_ROIS // ALL_PATCHES))
    # The first row stays the patch that is read.
    columns["patch_id"] = pa.concat_arrays(
        [index.table.column("patch_id").chunk(0).slice(0, 1), columns["patch_id"].slice(1)]
    )
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "shards").symlink_to(out / "shards")
        PatchIndex(table, index.layout).write(root / "index.parquet")
        times = [seconds(lambda: batch(dataset(root, "packed"), 0)) for _ in range(ROUNDS)]
    median = statistics.median(times) * 1000
    spread = (START_LIMIT_MS / 1000 / max(times), START_LIMIT_MS / 1000 / min(times))
    name = f"first sample of {ALL_PATCHES:,} patches (of 2 s allowed)"
    return Row(name, median, START_LIMIT_MS, START_LIMIT_MS / median, "ms", spread)


def drop_cache(folder: Path) -> None:
    """Make the kernel forget the pages of every file below a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
