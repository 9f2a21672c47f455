"""What a split column does: how large its parts are, what they share, and how they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bocage.data.index import CLEAR_DATES, PatchIndex
from bocage.data.split.space import patch_boxes, roi_names, touching
from bocage.modalities import CLOUDY_SERIES, MODALITIES
from bocage.nomenclatures import CROPS, LAND_COVER, Task

TRAIN = "train"
_TASKS = (LAND_COVER, CROPS)
"""Whose shift is told, beside that of class lists of one's own."""
_MOST_SHIFTED = 5


@dataclass(frozen=True)
class PartFacts:
    """One part of a split, such as train.

    `same_roi` is the share of its patches whose ROI also has training patches, `beside` the share
    that overlaps or touches one (None where footprints are unknown): what is scored there has
    partly been learnt. `divergence` by task: Jensen-Shannon divergence, 0 to 1, of its scored class
    shares from those of the training part; `shifted` the classes that differ most, with their
    shares (training, here). `dates` by series: mean number per patch, `clear_dates` likewise.
    """

    patches: int
    share: float
    rois: int
    domains: int
    years: dict[str, int]
    same_roi: float
    beside: float | None
    divergence: dict[str, float]
    shifted: dict[str, dict[str, tuple[float, float]]]
    dates: dict[str, float]
    clear_dates: dict[str, float]


@dataclass(frozen=True)
class SplitFacts:
    """The parts of a split column by name, training first; `unused` patches are in none."""

    parts: dict[str, PartFacts]
    unused: int
    class_shares: dict[str, dict[str, tuple[float, ...]]]

    @property
    def leaks(self) -> bool:
        """Whether a part shares ROIs with, or touches, the training part."""
        others = [part for name, part in self.parts.items() if name != TRAIN]
        return any(part.same_roi > 0 or (part.beside or 0) > 0 for part in others)


def describe_split(index: PatchIndex, column: str, own: Sequence[Task] = ()) -> SplitFacts:
    """Sizes, leakage and shift of one split column; `own` are tasks of the dataset's own lists."""
    tasks = (*_TASKS, *own)
    values = np.asarray(
        [value or "" for value in index.table.column(column).cast(pa.string()).to_pylist()]
    )
    names = sorted(set(values.tolist()) - {""}, key=lambda n: (n != TRAIN, n != "valid", n))
    rois = roi_names(index)
    domains = np.asarray(index.table.column("domain").cast(pa.string()).to_pylist())
    years = index.table.column("year").to_numpy()
    shares = {
        task.name: found
        for task in tasks
        if (found := _class_shares(index, task, values, names)) is not None
    }
    learnt = values == TRAIN
    learnt_rois = np.unique(rois[learnt])
    boxes, placed = patch_boxes(index)
    numbers = _dates_per_patch(index)
    clear = {
        name: index.clear_dates(name)
        for name in sorted(CLOUDY_SERIES)
        if CLEAR_DATES + name in index.table.column_names
    }
    parts = {}
    for name in names:
        here = values == name
        year, times = np.unique(years[here], return_counts=True)
        divergence, shifted = _shift(shares, name, tasks)
        other = name != TRAIN
        parts[name] = PartFacts(
            patches=int(here.sum()),
            share=float(here.mean()),
            rois=len(np.unique(rois[here])),
            domains=len(np.unique(domains[here])),
            years={str(y): int(n) for y, n in zip(year, times, strict=True)},
            same_roi=float(np.isin(rois[here], learnt_rois).mean()) if other else 0.0,
            beside=_beside(boxes, here[placed], learnt[placed]) if other else 0.0,
            divergence=divergence,
            shifted=shifted,
            dates={n: _mean(number[here]) for n, number in numbers.items()},
            clear_dates={n: _mean(number[here]) for n, number in clear.items()},
        )
    listed = {
        task: {name: tuple(s.tolist()) for name, s in by_part.items()}
        for task, by_part in shares.items()
    }
    return SplitFacts(parts, int((values == "").sum()), listed)


def divergence(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence of two shares that sum to 1, in bits: 0 equal, 1 disjoint."""
    middle = (first + second) / 2

    def from_middle(shares: NDArray[np.float64]) -> float:
        there = shares > 0
        return float((shares[there] * np.log2(shares[there] / middle[there])).sum())

    return max(0.0, (from_middle(first) + from_middle(second)) / 2)


def _class_shares(
    index: PatchIndex, task: Task, values: NDArray[np.str_], names: list[str]
) -> dict[str, NDArray[np.float64]] | None:
    """Shares of the scored classes among the scored pixels of each part that has any."""
    counts = index.class_counts(task)[:, task.scored]
    out = {}
    for name in names:
        total = counts[values == name].sum(axis=0)
        if total.any():
            out[name] = total / total.sum()
    return out or None


def _shift(
    shares: dict[str, dict[str, NDArray[np.float64]]], part: str, tasks: Sequence[Task]
) -> tuple[dict[str, float], dict[str, dict[str, tuple[float, float]]]]:
    apart: dict[str, float] = {}
    shifted: dict[str, dict[str, tuple[float, float]]] = {}
    for task in tasks:
        found = shares.get(task.name, {})
        if part == TRAIN or not {part, TRAIN} <= found.keys():
            continue
        learnt, here = found[TRAIN], found[part]
        apart[task.name] = divergence(learnt, here)
        classes = [c.name for c in task.nomenclature if c.scored]
        order = np.argsort(-np.abs(here - learnt), kind="stable")[:_MOST_SHIFTED]
        shifted[task.name] = {
            classes[k]: (float(learnt[k]), float(here[k])) for k in order.tolist()
        }
    return apart, shifted


def _beside(
    boxes: NDArray[np.object_], here: NDArray[np.bool_], learnt: NDArray[np.bool_]
) -> float | None:
    return float(touching(boxes, here, learnt).mean()) if here.any() else None


def _dates_per_patch(index: PatchIndex) -> dict[str, NDArray[np.int64]]:
    """Dates of each series, (N,); -1 where a patch has none."""
    out = {}
    for name, modality in MODALITIES.items():
        if not modality.series or f"dates:{name}" not in index.table.column_names:
            continue
        values = index.table.column(f"dates:{name}").combine_chunks()
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        lengths = [len(text.split()) for text in values.dictionary.to_pylist()]
        out[name] = np.array([*lengths, -1])[values.indices.fill_null(-1).to_numpy()]
    return out


def _mean(numbers: NDArray[np.int64]) -> float:
    known = numbers[numbers >= 0]
    return float(known.mean()) if len(known) else 0.0
