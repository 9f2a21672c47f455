"""Everything that can be said of one patch: each of its files read, its labels and places compared.

Products are read one file at a time, as the layout reads them, so that each knows its own place and
one broken file hides no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from bocage import __version__
from bocage.data.layouts.base import Layout, label_tasks
from bocage.data.record import PatchRecord
from bocage.data.verify.finding import Finding, Severity, named
from bocage.data.verify.ground import Ground, Place, check_grounds, parse_crs
from bocage.data.verify.levels import count_levels
from bocage.errors import BocageError, DataError
from bocage.imagery import darkest, offset_doubt
from bocage.modalities import CLOUDY_SERIES, MODALITIES, SENTINEL2_MASK, get_modality
from bocage.nomenclatures import Task
from bocage.nomenclatures.task import UnknownLabels
from bocage.rasters import Grid, grid_of, open_raster
from bocage.sample import Sample, Series
from bocage.series import SeriesConfig, clear_share

# What a damaged file can set off in a reading library.
_READING_ERRORS = (OSError, ValueError, LookupError, RuntimeError, ArithmeticError, MemoryError)
_MAX_PERCENT = 100
# A campaign's series may begin in the year before and end in the year after.
_YEARS_AROUND = 1
# Dates from which the offset of a series is told, where clouds are known.
_CLEAR = 0.5


@dataclass(frozen=True)
class PatchReport:
    """What was found in one patch. `levels`: see `count_levels`."""

    findings: tuple[Finding, ...]
    place: Place | None = None
    levels: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PatchJob:
    """A patch to check, unless its signature is the `known` one.

    `stopped` are products that must not be tried again, and why.
    """

    record: PatchRecord
    known: str = ""
    stopped: Mapping[str, str] = field(default_factory=dict)


def run_job(
    root: Path, layout: Layout, job: PatchJob, begin: Callable[[str], None]
) -> tuple[str, PatchReport] | None:
    """Signature and report of a patch; None where nothing has changed."""
    # In this process only: the findings tell more of a broken file than a reader's log.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    stamp = signature(root, job.record)
    if stamp == job.known:
        return None
    return stamp, check_patch(root, layout, job.record, begin, job.stopped)


def signature(root: Path, record: PatchRecord) -> str:
    """A short text that changes when a file of the patch does, what is known of it, or the code."""
    files = []
    for name in sorted(record.paths):
        try:
            status = record.path(root, name).stat()
            files.append((name, record.paths[name], status.st_size, status.st_mtime_ns))
        except OSError:
            files.append((name, record.paths[name], -1, -1))
    dates = [(name, record.dates[name].astype(str).tolist()) for name in sorted(record.dates)]
    text = json.dumps([__version__, record.patch_id, record.year, record.window, files, dates])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_patch(
    root: Path,
    layout: Layout,
    record: PatchRecord,
    begin: Callable[[str], None],
    stopped: Mapping[str, str],
) -> PatchReport:
    """Read and compare all products of a patch.

    `begin` is told what is read next, for whoever watches the clock; `stopped` are products that
    must not be tried again, and why.
    """
    check = _Check(root, layout, record, begin)
    for path, names in check.files().items():
        kept = [name for name in names if name not in stopped]
        for name in names:
            if name in stopped:
                check.add("error", "stuck", f"{path}: {stopped[name]}", name)
        if kept:
            check.read(kept)
    check.read_mask_grid(stopped)
    place, wrong = check_grounds(check.grounds)
    for kind, ground, text in wrong:
        check.add("error", kind, f"{ground.path}: {ground.product} {text}", ground.product)
    return PatchReport(tuple(check.findings), place, count_levels(check.labels))


def _one_per_band(tasks: Sequence[Task]) -> list[Task]:
    """Several tasks may read one band of a label set; the first stands for the band."""
    bands: dict[tuple[str, int], Task] = {}
    for task in tasks:
        bands.setdefault((task.label_set, task.band), task)
    return list(bands.values())


class _Check:
    """One patch under examination."""

    def __init__(
        self, root: Path, layout: Layout, record: PatchRecord, begin: Callable[[str], None]
    ) -> None:
        self.root, self.layout, self.record, self.begin = root, layout, record, begin
        self.findings: list[Finding] = []
        self.grounds: list[Ground] = []
        self.labels: dict[str, NDArray[np.uint8]] = {}
        self._bands = _one_per_band(label_tasks(layout, root))
        self._official = layout.has_official_pixels(root)

    def files(self) -> dict[str, list[str]]:
        """Path to the products in it. The cloud mask is read with its series."""
        out: dict[str, list[str]] = {}
        known = {*MODALITIES, *(task.label_set for task in self._bands)}
        for name, path in self.record.paths.items():
            if name in known:
                out.setdefault(path, []).append(name)
        return out

    def add(self, severity: Severity, kind: str, text: str, product: str = "") -> None:
        record = self.record
        self.findings.append(
            Finding(
                severity,
                kind,
                named(record.patch_id, text),
                record.patch_id,
                record.domain,
                record.roi,
                product,
                record.paths.get(product, ""),
            )
        )

    def read(self, names: Sequence[str]) -> None:
        """Read the products of one file: together, or each by itself where that fails."""
        tasks = [task for task in self._bands if task.label_set in names]
        self.begin("\n".join(names))
        try:
            sample = self._layout_read(names, tasks, "refuse")
        except (BocageError, *_READING_ERRORS) as error:
            if len(names) > 1:
                for name in names:
                    self.read([name])
            elif tasks:
                self._read_odd_labels(names[0], tasks)
            else:
                self._unreadable(names[0], error)
            return
        self._examine(sample, names)

    def _layout_read(
        self, names: Sequence[str], tasks: Sequence[Task], unknown: UnknownLabels
    ) -> Sample:
        sensors = [name for name in names if name in MODALITIES]
        return self.layout.read(self.root, self.record, sensors, tasks, unknown)

    def _read_odd_labels(self, name: str, tasks: Sequence[Task]) -> None:
        """A label that was refused: for its values, which are told band by band, or as a file."""
        try:
            sample = self._layout_read([name], tasks, "keep")
        except (BocageError, *_READING_ERRORS) as error:
            self._unreadable(name, error)
            return
        for task in tasks:
            try:
                self._layout_read([name], [task], "refuse")
            except DataError as error:
                self.add("error", "labels", str(error), name)
        self._examine(sample, [name])

    def _unreadable(self, name: str, error: Exception) -> None:
        text = str(error) if isinstance(error, BocageError) else f"{type(error).__name__}: {error}"
        path = self.record.paths[name]
        if Path(path).name.split("@")[0] not in text and str(self.root) not in text:
            text = f"{path}: {text}"
        self.add("error", "file", text, name)

    def _examine(self, sample: Sample, names: Sequence[str]) -> None:
        self.labels.update(sample.labels)
        for name, image in sample.images.items():
            valid = sample.valid.get(name)
            if valid is not None and not valid.any():
                self.add("note", "values", f"{name} holds no measurement, only nodata", name)
            elif image.size > image.shape[0] and (image == image.flat[0]).all():
                self.add("note", "values", f"{name} is {image.flat[0]:g} everywhere", name)
        for name, series in sample.series.items():
            for severity, kind, text in _odd_series(name, series, self.record.year):
                self.add(severity, kind, text, name)
        shape = _shape(sample)
        if sample.transform is not None and shape is not None:
            grid = Grid(parse_crs(sample.crs), Affine.from_gdal(*sample.transform), *shape)
            # A file of several sensors has one grid; where it holds many patches, its own pixels.
            own_pixels = self.record.window is None and self._official
            self.grounds.append(Ground(names[0], self.record.paths[names[0]], grid, own_pixels))

    def read_mask_grid(self, stopped: Mapping[str, str]) -> None:
        """The cloud mask's place, of which a series that is read with it says nothing."""
        path = self.record.paths.get(SENTINEL2_MASK, "")
        if not path.lower().endswith((".tif", ".tiff")):
            return
        if SENTINEL2_MASK in stopped:
            self.add("error", "stuck", f"{path}: {stopped[SENTINEL2_MASK]}", SENTINEL2_MASK)
            return
        self.begin(SENTINEL2_MASK)
        try:
            with open_raster(self.root / path) as dataset:
                self.grounds.append(Ground(SENTINEL2_MASK, path, grid_of(dataset)))
        except (BocageError, *_READING_ERRORS) as error:
            # Reading the series has said so already, unless there is none.
            if not any(path in f.text for f in self.findings):
                self._unreadable(SENTINEL2_MASK, error)


def _shape(sample: Sample) -> tuple[int, int] | None:
    """Width and height of what the sample's transform belongs to."""
    arrays = [*sample.labels.values(), *sample.images.values()]
    arrays += [series.values for series in sample.series.values()]
    return (arrays[0].shape[-1], arrays[0].shape[-2]) if arrays else None


def _odd_series(name: str, series: Series, year: int) -> Iterator[tuple[Severity, str, str]]:
    if not len(series):
        yield "note", "dates", f"{name} has no date"
        return
    if series.valid is not None and not series.valid.any():
        extra = ""
        if get_modality(name).quantity == "sigma0":
            extra = "; backscatter is expected in linear power, and decibel are below zero"
        yield "note", "values", f"{name} holds no measurement on any of its dates{extra}"
    if series.snow_cloud is not None and series.snow_cloud.max() > _MAX_PERCENT:
        yield (
            "error",
            "values",
            f"{SENTINEL2_MASK} of {name} holds {series.snow_cloud.max():g}, but probabilities of "
            f"snow and cloud reach from 0 to {_MAX_PERCENT}. Check that it is the right product.",
        )
    if name in CLOUDY_SERIES:
        clear = series.take(clear_share(series, SeriesConfig()) >= _CLEAR)
        doubt = offset_doubt(clear.dates, darkest(clear.values, clear.valid))
        if doubt is not None:
            text = f"{name}: {doubt}. If so, set data.sentinel2_offset_from to the first of them"
            yield "note", "values", text
    days, times = np.unique(series.dates, return_counts=True)
    if (times > 1).any():
        again = ", ".join(str(day) for day in days[times > 1][:3])
        yield "note", "dates", f"{name} has {int((times > 1).sum())} dates more than once: {again}"
    years = days.astype("datetime64[Y]").astype(int) + 1970
    outside = int((np.abs(years - year) > _YEARS_AROUND).sum())
    if outside:
        yield (
            "note",
            "dates",
            f"{name}: {outside} of {len(days)} dates are not of {year} or the years beside it, "
            f"{days[0]} to {days[-1]}",
        )
