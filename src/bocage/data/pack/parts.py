"""A sample taken apart for storing, and put together again for a run.

Sensors and label sets that lie in one file are read together, everything else by itself, so that
each part knows its own place on Earth. Labels are kept as they are stored, band by band: any task
can be read from them, and a run's `data.unknown_labels` decides about odd values as it does for
GeoTIFFs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from bocage.data.geotiff import crs_agree
from bocage.data.layouts.base import Layout, label_tasks
from bocage.data.pack.part import Part
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import MODALITIES
from bocage.nomenclatures import get_task
from bocage.nomenclatures.task import Task, UnknownLabels
from bocage.sample import Sample, Series

VALUES, VALID, DATES = "values", "valid", "dates"
_SERIES_ARRAYS = tuple(f.name for f in dataclasses.fields(Series))


def categorical(part: Part) -> frozenset[str]:
    """Arrays of a part that hold classes, masks or percentages of a mask."""
    if part.name in MODALITIES:
        return frozenset((VALID, "snow_cloud"))
    return frozenset(part.arrays)


def read_parts(layout: Layout, root: Path, record: PatchRecord) -> list[Part]:
    """Everything that a patch has, labels first. Raises `DataError` as the layout does."""
    groups: dict[str, list[str]] = {}
    every = _one_task_per_band(label_tasks(layout, root))
    for name in (*dict.fromkeys(task.label_set for task in every), *MODALITIES):
        if name in record.paths:
            groups.setdefault(record.paths[name], []).append(name)
    parts: list[Part] = []
    for names in groups.values():
        sensors = [name for name in names if name in MODALITIES]
        tasks = [task for task in every if task.label_set in names]
        sample = layout.read(root, record, sensors, tasks, "keep")
        parts += split(sample, tasks)
    _need_one_crs(record.patch_id, parts)
    return parts


def split(sample: Sample, tasks: Sequence[Task]) -> list[Part]:
    """The parts of a sample: one per label set, one per sensor. Labels as stored (`keep`)."""
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    for task in tasks:
        if task.name in sample.labels:
            bands = arrays.setdefault(task.label_set, {})
            bands[_band(task)] = sample.labels[task.name]
    for name, image in sample.images.items():
        hole = sample.valid.get(name)
        arrays[name] = {VALUES: image} if hole is None else {VALUES: image, VALID: hole}
    for name, series in sample.series.items():
        found = {key: getattr(series, key) for key in _SERIES_ARRAYS}
        arrays[name] = {key: array for key, array in found.items() if array is not None}
    place = sample.crs, sample.transform
    return [Part(sample.patch_id, name, found, *place) for name, found in arrays.items()]


def join(
    record: PatchRecord,
    parts: Sequence[Part],
    tasks: Sequence[str | Task],
    unknown_labels: UnknownLabels,
    source: str,
) -> Sample:
    """The sample of `parts`, in their order; labels become the targets of `tasks`.

    Equal, bit for bit, to what the packed layout itself would read. `source` names the shard in
    messages about labels.
    """
    images: dict[str, NDArray[Any]] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    series: dict[str, Series] = {}
    labels: dict[str, NDArray[np.uint8]] = {}
    for part in parts:
        if part.name not in MODALITIES:
            for task in map(get_task, tasks):
                raw = part.arrays.get(_band(task)) if task.label_set == part.name else None
                if raw is not None:
                    what = f"{source}: patch {part.patch_id}"
                    labels[task.name] = task.to_target(raw, what, unknown_labels)
        elif DATES in part.arrays:
            found = {key: part.arrays[key] for key in _SERIES_ARRAYS if key in part.arrays}
            series[part.name] = Series(**found)
        else:
            images[part.name] = part.arrays[VALUES]
            if VALID in part.arrays:
                valid[part.name] = part.arrays[VALID]
    crs, transform = _place(parts)
    return Sample(
        patch_id=record.patch_id,
        year=record.year,
        images=images,
        valid=valid,
        series=series,
        labels=labels,
        domain=record.domain,
        crs=crs,
        transform=transform,
    )


def wanted_arrays(name: str, tasks: Sequence[str | Task]) -> frozenset[str] | None:
    """Arrays of a part that a run needs: all of a sensor, the tasks' bands of a label set."""
    if name in MODALITIES:
        return None
    return frozenset(_band(t) for t in map(get_task, tasks) if t.label_set == name)


def _one_task_per_band(tasks: Sequence[Task]) -> list[Task]:
    """Several tasks may read one band; kept is the band."""
    out: dict[tuple[str, int], Task] = {}
    for task in tasks:
        out.setdefault((task.label_set, task.band), task)
    return list(out.values())


def _band(task: Task) -> str:
    return f"band{task.band}"


def _place(parts: Sequence[Part]) -> tuple[str | None, Any]:
    """CRS and transform of parts together: the first's place, the first CRS with an EPSG code."""
    placed = [part for part in parts if part.transform is not None]
    if not placed:
        return None, None
    crs = placed[0].crs
    for part in placed[1:]:
        if part.crs is not None and not (crs or "").startswith("EPSG:"):
            crs = part.crs
    return crs, placed[0].transform


def _need_one_crs(patch_id: str, parts: Sequence[Part]) -> None:
    """Parts are read one by one; that they lie on one ground must be seen before they are kept."""
    stated = {part.crs: part.name for part in parts if part.crs is not None}
    first, *others = stated or [""]
    for text in others:
        if not crs_agree(CRS.from_user_input(first), CRS.from_user_input(text)):
            raise DataError(
                f"patch {patch_id}: {stated[text]} lies in {text[:60]} but {stated[first]} in "
                f"{first[:60]}. Warp one of them so that both share one CRS."
            )
