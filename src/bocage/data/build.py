"""Building an index: one pass over the folders, one read of every label."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from bocage.data.config import index_path
from bocage.data.index import PatchIndex
from bocage.data.layouts import Layout, get_layout
from bocage.data.layouts.base import label_tasks
from bocage.data.pack.source import remote_address
from bocage.data.record import PatchRecord
from bocage.errors import ConfigError, DataError
from bocage.modalities import get_modality
from bocage.nomenclatures import IGNORE
from bocage.sample import Sample

_log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
# Bounds what waits in the pool's queue; a dataset has hundreds of thousands of patches.
_CHUNK = 1024


def build_index(root: Path, layout: str, progress: Progress | None = None) -> PatchIndex:
    """Index the dataset of that `layout` under `root`.

    Reads every label once, for the footprint and the class counts; label values outside the
    nomenclature are not counted here and met by `data.unknown_labels` later. A patch that cannot
    be read is left out, and a series without dates is taken from its patch; both are logged and
    listed in `PatchIndex.problems`. `progress(done, total)` is called now and then.

    Raises `DataError` when `root` does not hold the layout, or not one patch can be read.
    """
    reader = get_layout(layout)
    scanned = []
    for record in reader.scan(root):
        scanned.append(record)
        if progress is not None and len(scanned) % _CHUNK == 0:
            progress(0, None)
    records: list[PatchRecord] = []
    problems: list[str] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(scanned), _CHUNK):
            chunk = scanned[start : start + _CHUNK]
            for full, findings in pool.map(lambda r: _complete(root, reader, r), chunk):
                problems += findings
                if full is not None:
                    records.append(full)
            if progress is not None:
                progress(start + len(chunk), len(scanned))
    for problem in problems:
        _log.warning("%s", problem)
    if not records:
        raise DataError(f"{root}: not one of {len(scanned)} patches can be read. {problems[0]}")
    return PatchIndex.from_records(records, layout, problems)


def open_index(
    root: Path,
    layout: str,
    path: Path | None = None,
    progress: Progress | None = None,
    names: Collection[str] | None = None,
) -> PatchIndex:
    """The index at `path` (default: `index.parquet` in `root`), built and kept there if missing.

    `names` limits what is held in memory, see `PatchIndex.read`.
    In a folder that is read-only the index serves this run and is built again by the next.
    """
    path = index_path(root) if path is None else path
    if remote_address(path) is None and not path.is_file():
        _log.info("no index at %s yet: reading %s once", path, root)
        index = build_index(root, layout, progress)
        if is_read_only(path.parent):
            _log.warning("the index is not kept: %s is read-only; see data.index", path.parent)
        else:
            index.write(path)
        return index if names is None else index.narrow(names)
    index = PatchIndex.read(path, names, counts=names is None)
    if index.layout != layout:
        raise ConfigError(
            f"{path}: an index of layout '{index.layout}', not '{layout}'. Correct the layout, or "
            "build the index again."
        )
    return index


def is_read_only(folder: Path) -> bool:
    """Whether a folder asks to be left as it is: by its mode, which even root respects here."""
    nobody_writes = not folder.stat().st_mode & 0o222
    return nobody_writes or not os.access(folder, os.W_OK)


def _complete(
    root: Path, layout: Layout, record: PatchRecord
) -> tuple[PatchRecord | None, list[str]]:
    """The record with footprint and class counts (None: unreadable), and what was wrong."""
    problems = []
    undated = [n for n in record.sensors if get_modality(n).series and n not in record.dates]
    if undated:
        problems.append(f"patch {record.patch_id}: no dates for {', '.join(undated)}, left out")
        paths = {n: p for n, p in record.paths.items() if n not in undated}
        record = replace(record, paths=paths)
    tasks = [task for task in label_tasks(layout, root) if task.label_set in record.paths]
    # Without a label the footprint is that of an image, or else of a series.
    sensors = sorted(record.sensors, key=lambda name: get_modality(name).series)[:1]
    try:
        sample = layout.read(root, record, () if tasks else sensors, tasks, "ignore")
        if not _has_code(sample) and tasks and sensors:
            # Some masks name their CRS in words only; the image beside them says which it is.
            sample = layout.read(root, record, sensors, tasks, "ignore")
    except DataError as error:
        return None, [*problems, f"patch {record.patch_id} left out: {error}"]
    labels = [(task, sample.labels[task.name]) for task in tasks if task.name in sample.labels]
    counts = {
        task.name: np.bincount(label[label != IGNORE], minlength=task.num_classes)
        for task, label in labels
    }
    epsg, bounds = _footprint(sample)
    return replace(record, epsg=epsg, bounds=bounds, class_counts=counts or None), problems


def _has_code(sample: Sample) -> bool:
    return (sample.crs or "").startswith("EPSG:")


def _footprint(
    sample: Sample,
) -> tuple[int | None, tuple[float, float, float, float] | None]:
    """EPSG code and (left, bottom, right, top) of a sample's reference grid, where known."""
    arrays = [*sample.labels.values(), *sample.images.values()]
    arrays += [series.values for series in sample.series.values()]
    if sample.transform is None or not arrays:
        return None, None
    height, width = arrays[0].shape[-2:]
    x, step_x, skew_x, y, skew_y, step_y = sample.transform
    xs = [x + i * width * step_x + j * height * skew_x for i in (0, 1) for j in (0, 1)]
    ys = [y + i * width * skew_y + j * height * step_y for i in (0, 1) for j in (0, 1)]
    code = int(str(sample.crs).removeprefix("EPSG:")) if _has_code(sample) else None
    return code, (min(xs), min(ys), max(xs), max(ys))
