"""What the index says of a dataset: classes, dates, clouds, domains, and how its splits differ.

Shapes: N patches, K classes of a task, 12 months.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bocage.data.clearness import percents
from bocage.data.describe.splits import SplitFacts, describe_split
from bocage.data.index import CLEAR, CLEAR_DATES, PatchIndex
from bocage.modalities import CLOUDY_SERIES
from bocage.nomenclatures import TASKS, Task
from bocage.series import SeriesConfig

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATES = "dates:"


@dataclass(frozen=True)
class ClassFacts:
    """One class of a task: labelled pixels, their share of all, and patches that hold it."""

    name: str
    color: str
    scored: bool
    pixels: int
    share: float
    patches: int


@dataclass(frozen=True)
class DateFacts:
    """The dates of one sensor: how many a patch has, and how they spread over the months.

    `per_month` are dates of all patches together, each patch's dates counted. `years` likewise.
    """

    patches: int
    fewest: int
    median: float
    most: int
    first: str
    last: str
    per_month: tuple[int, ...]
    years: dict[str, int]


@dataclass(frozen=True)
class CloudFacts:
    """Clear dates of a cloudy series, as `SeriesConfig` filters by default.

    `clear_per_month` is the share of dates that are clear, None in a month without a date.
    `without` patches have not one clear date.
    """

    patches: int
    clear: float
    clear_per_month: tuple[float | None, ...]
    fewest: int
    median: float
    most: int
    without: int


@dataclass(frozen=True)
class DomainFacts:
    """One domain: patches, ROIs, and labelled pixels by label set's first task."""

    name: str
    patches: int
    rois: int
    labelled_pixels: dict[str, int]
    splits: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Description:
    """All of it; every value can be written as JSON."""

    layout: str
    patches: int
    rois: int
    products: dict[str, int]
    years: dict[str, int]
    classes: dict[str, tuple[ClassFacts, ...]]
    dates: dict[str, DateFacts]
    clouds: dict[str, CloudFacts]
    domains: tuple[DomainFacts, ...]
    splits: dict[str, SplitFacts]


def describe_index(index: PatchIndex, own: Sequence[Task] = ()) -> Description:
    """Describe a dataset; no file of it is opened. Sensors without dates are left out.

    `own` are the tasks of the dataset's own class lists.

    So are tasks that read the labels of an earlier one: the challenges' class list is land cover's
    under other names.
    """
    years, counts = np.unique(index.table.column("year").to_numpy(), return_counts=True)
    firsts: dict[tuple[str, int], Task] = {}
    for task in (*TASKS.values(), *own):
        firsts.setdefault((task.label_set, task.band), task)
    classes = {t.name: facts for t in firsts.values() if (facts := _classes(index, t))}
    series = [c.removeprefix(_DATES) for c in index.table.column_names if c.startswith(_DATES)]
    dated = ((name, _dates(index, name)) for name in series)
    dates = {name: facts for name, facts in dated if facts is not None}
    cloudy = ((name, _clouds(index, name)) for name in sorted(CLOUDY_SERIES))
    clouds = {name: facts for name, facts in cloudy if facts is not None}
    domains = _domains(index, [task for task in firsts.values() if task.name in classes])
    return Description(
        layout=index.layout,
        patches=len(index),
        rois=sum(d.rois for d in domains),
        products=index.available(),
        years={str(y): int(n) for y, n in zip(years, counts, strict=True)},
        classes=classes,
        dates=dates,
        clouds=clouds,
        domains=domains,
        splits={name: describe_split(index, name, own) for name in index.split_columns},
    )


def slug_of(task_name: str) -> str:
    """What a task is called in commands; one's own is called by its name."""
    return TASKS[task_name].slug if task_name in TASKS else task_name


def _classes(index: PatchIndex, task: Task) -> tuple[ClassFacts, ...]:
    counts = index.class_counts(task)
    total = counts.sum(axis=0)
    if not total.any():
        return ()
    patches = (counts > 0).sum(axis=0)
    return tuple(
        ClassFacts(
            c.name, c.color, c.scored, int(total[k]), float(total[k] / total.sum()), int(patches[k])
        )
        for k, c in enumerate(task.nomenclature)
    )


def _encoded(index: PatchIndex, column: str) -> tuple[list[str], NDArray[np.int64]]:
    """The different texts of a column, and the place of each row's among them; -1 for none."""
    values = index.table.column(column).combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    places = values.indices.fill_null(-1).to_numpy().astype(np.int64)
    return values.dictionary.to_pylist(), places


def _dates(index: PatchIndex, name: str) -> DateFacts | None:
    texts, places = _encoded(index, _DATES + name)
    used = np.bincount(places[places >= 0], minlength=len(texts))
    lists = [np.array(text.split(), "datetime64[D]") for text in texts]
    rows = [(days, int(times)) for days, times in zip(lists, used, strict=True) if times]
    if not rows or not any(len(days) for days, _ in rows):
        return None
    lengths = np.repeat([len(days) for days, _ in rows], [times for _, times in rows])
    days = np.concatenate([days for days, _ in rows])
    weight = np.repeat([times for _, times in rows], [len(days) for days, _ in rows])
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    return DateFacts(
        patches=len(lengths),
        fewest=int(lengths.min()),
        median=float(np.median(lengths)),
        most=int(lengths.max()),
        first=str(days.min()),
        last=str(days.max()),
        per_month=tuple(_by_month(days, weight).tolist()),
        years={str(y): int(weight[years == y].sum()) for y in np.unique(years).tolist()},
    )


def _by_month(
    days: NDArray[np.datetime64], weight: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    months = days.astype("datetime64[M]").astype(np.int64) % 12
    return np.bincount(months, weight, minlength=12).astype(np.int64)


def _clouds(index: PatchIndex, name: str) -> CloudFacts | None:
    if not {CLEAR + name, CLEAR_DATES + name, _DATES + name} <= set(index.table.column_names):
        return None
    counts = index.clear_dates(name)
    known = np.flatnonzero(counts >= 0)
    if not len(known):
        return None
    texts, places = _encoded(index, _DATES + name)
    shares = index.table.column(CLEAR + name)
    enough = np.ceil(100 * SeriesConfig().min_clear)
    seen, clear = np.zeros(12, dtype=np.int64), np.zeros(12, dtype=np.int64)
    # Patches that share their dates share their months: one look at the dates for all of them.
    order = known[np.argsort(places[known], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
        days = np.array(texts[places[rows[0]]].split(), "datetime64[D]")
        if not len(days):
            continue
        stored = b"".join(shares.take(pa.array(rows)).to_pylist())
        is_clear = (percents(stored).reshape(len(rows), len(days)) >= enough).sum(axis=0)
        seen += len(rows) * _by_month(days)
        clear += _by_month(days, is_clear)
    total = int(seen.sum())
    return CloudFacts(
        patches=len(known),
        clear=float(clear.sum() / total) if total else 0.0,
        clear_per_month=tuple(
            float(c / s) if s else None for c, s in zip(clear, seen, strict=True)
        ),
        fewest=int(counts[known].min()),
        median=float(np.median(counts[known])),
        most=int(counts[known].max()),
        without=int((counts[known] == 0).sum()),
    )


def _domains(index: PatchIndex, tasks: Sequence[Task]) -> tuple[DomainFacts, ...]:
    names, domain = _encoded(index, "domain")
    _, roi = _encoded(index, "roi")
    pairs = np.unique(np.column_stack([domain, roi]), axis=0)
    patches, rois = np.bincount(domain), np.bincount(pairs[:, 0])
    first: dict[str, NDArray[np.int64]] = {}
    for task in tasks:
        label_set = task.label_set
        if label_set not in first:
            pixels = index.class_counts(task).sum(axis=1)
            first[label_set] = np.bincount(domain, pixels, minlength=len(names)).astype(np.int64)
    parts: dict[str, dict[str, NDArray[np.int64]]] = {}
    for column in index.split_columns:
        values, place = _encoded(index, column)
        parts[column] = {
            value: np.bincount(domain[place == k], minlength=len(names))
            for k, value in enumerate(values)
        }
    order = sorted((k for k in range(len(names)) if patches[k]), key=lambda k: names[k])
    return tuple(
        DomainFacts(
            names[k],
            int(patches[k]),
            int(rois[k]),
            {label_set: int(pixels[k]) for label_set, pixels in first.items()},
            {
                column: {value: int(n[k]) for value, n in by_value.items() if n[k]}
                for column, by_value in parts.items()
            },
        )
        for k in order
    )
