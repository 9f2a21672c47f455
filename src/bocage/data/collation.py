"""Samples of any sensors and any number of dates, side by side in one `Batch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bocage.errors import DataError
from bocage.modalities import get_modality
from bocage.nomenclatures import IGNORE, Task, get_task
from bocage.sample import Batch, Sample, day_offsets


def collate(
    samples: Sequence[Sample],
    inputs: Sequence[str],
    tasks: Sequence[str | Task],
    output_hw: tuple[int, int] | None = None,
) -> Batch:
    """One batch of `samples` with the modalities `inputs` and the labels of `tasks`.

    A sensor that a sample lacks, or of which it has no date, is False in `present`; numbers under
    a False mask are zero. A label that a sample lacks is 255 everywhere. `output_hw` is the size
    of the labels; without any label, the argument's, or else that of the finest sensor there is.
    Raises `DataError` naming two patches when a sensor differs in size or type between them.
    """
    names = [get_modality(name).name for name in inputs]
    images: dict[str, Tensor] = {}
    valid: dict[str, Tensor] = {}
    series: dict[str, Tensor] = {}
    series_valid: dict[str, Tensor] = {}
    days: dict[str, Tensor] = {}
    dates_present: dict[str, Tensor] = {}
    present: dict[str, Tensor] = {}
    for name in names:
        have = [name in sample.present for sample in samples]
        present[name] = torch.tensor(have, dtype=torch.bool)
        if not any(have):
            continue
        rows = [(i, sample) for i, sample in enumerate(samples) if have[i]]
        if get_modality(name).series:
            parts = _stack_series(name, len(samples), rows)
            series[name], series_valid[name], days[name], dates_present[name] = parts
        else:
            images[name], valid[name] = _stack_images(name, len(samples), rows)
    wanted = [get_task(task).name for task in tasks]
    size = _label_size(samples, wanted) or output_hw or _finest(images, series)
    return Batch(
        patch_ids=tuple(sample.patch_id for sample in samples),
        domains=tuple(sample.domain for sample in samples),
        images=images,
        valid=valid,
        series=series,
        series_valid=series_valid,
        days=days,
        dates_present=dates_present,
        present=present,
        labels={task: _stack_labels(task, samples, size) for task in wanted},
        output_hw=size,
    )


def _stack_images(name: str, length: int, rows: list[tuple[int, Sample]]) -> tuple[Tensor, Tensor]:
    first = _common(name, [(sample, sample.images[name]) for _, sample in rows])
    # Where every sample has the sensor every number is written below.
    allocate = np.empty if len(rows) == length else np.zeros
    images_BCHW = allocate((length, *first.shape), dtype=first.dtype)
    valid_BHW = allocate((length, *first.shape[1:]), dtype=bool)
    for i, sample in rows:
        images_BCHW[i] = sample.images[name]
        hole = sample.valid.get(name)
        valid_BHW[i] = True if hole is None else hole
        if hole is not None:
            images_BCHW[i][:, ~hole] = 0
    return torch.from_numpy(images_BCHW), torch.from_numpy(valid_BHW)


def _stack_series(
    name: str, length: int, rows: list[tuple[int, Sample]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    frames = [(sample, sample.series[name].values[0]) for _, sample in rows]
    first = _common(name, frames)
    most = max(len(sample.series[name]) for _, sample in rows)
    values_BTCHW = np.zeros((length, most, *first.shape), dtype=first.dtype)
    valid_BTHW = np.zeros((length, most, *first.shape[1:]), dtype=bool)
    days_BT = np.zeros((length, most), dtype=np.int64)
    dates_present_BT = np.zeros((length, most), dtype=bool)
    for i, sample in rows:
        one = sample.series[name]
        count = len(one)
        values_BTCHW[i, :count] = one.values
        valid_BTHW[i, :count] = True if one.valid is None else one.valid
        if one.valid is not None:
            values_BTCHW[i, :count].swapaxes(1, 2).swapaxes(2, 3)[~one.valid] = 0
        days_BT[i, :count] = day_offsets(one.dates, sample.year)
        dates_present_BT[i, :count] = True
    return (
        torch.from_numpy(values_BTCHW),
        torch.from_numpy(valid_BTHW),
        torch.from_numpy(days_BT),
        torch.from_numpy(dates_present_BT),
    )


def _stack_labels(task: str, samples: Sequence[Sample], size: tuple[int, int]) -> Tensor:
    labels_BHW = np.full((len(samples), *size), IGNORE, dtype=np.uint8)
    for i, sample in enumerate(samples):
        if task in sample.labels:
            labels_BHW[i] = sample.labels[task]
    return torch.from_numpy(labels_BHW)


def _common(name: str, arrays: list[tuple[Sample, NDArray[Any]]]) -> NDArray[Any]:
    """The first array, once all the others are of its shape and type."""
    sample, first = arrays[0]
    for other, array in arrays[1:]:
        if array.shape != first.shape or array.dtype != first.dtype:
            raise DataError(
                f"{name} is {_describe(first)} in patch {sample.patch_id} but {_describe(array)} "
                f"in patch {other.patch_id}. Patches of one batch must have one size: cut them "
                "alike, or set data.batch_size=1."
            )
    return first


def _describe(array: NDArray[Any]) -> str:
    return f"{array.shape[-2]} x {array.shape[-1]} pixels of {array.dtype}"


def _label_size(samples: Sequence[Sample], tasks: list[str]) -> tuple[int, int] | None:
    sizes = {s.patch_id: s.labels[t].shape for s in samples for t in tasks if t in s.labels}
    if not sizes:
        return None
    first_id, first = next(iter(sizes.items()))
    for patch_id, size in sizes.items():
        if size != first:
            raise DataError(
                f"labels are {first[0]} x {first[1]} pixels in patch {first_id} but {size[0]} x "
                f"{size[1]} in patch {patch_id}. Patches of one batch must have one size: cut "
                "them alike, or set data.batch_size=1."
            )
    return first[0], first[1]


def _finest(images: dict[str, Tensor], series: dict[str, Tensor]) -> tuple[int, int]:
    sizes = [t.shape[-2:] for t in (*images.values(), *series.values())]
    if not sizes:
        raise DataError(
            "a batch without labels and without a single sensor has no size. Leave such patches "
            "out with data.without_sensors=refuse, or give the labels."
        )
    height, width = max(sizes, key=lambda s: s[0] * s[1])
    return int(height), int(width)
