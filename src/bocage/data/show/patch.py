"""One picture of a patch: every sensor, both labels, and the curves of its series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from numpy.typing import NDArray

from bocage.data.layouts import get_layout
from bocage.data.record import PatchRecord
from bocage.data.show.panels import (
    Panel,
    classes_panel,
    decibel,
    display,
    heights_panel,
    hillshade_panel,
    new_figure,
    picture_panel,
    save,
)
from bocage.errors import DataError
from bocage.modalities import MODALITIES, SENTINEL1_ASC_TS, SENTINEL1_DESC_TS, SENTINEL2_TS
from bocage.nomenclatures import CROPS, LAND_COVER, Task
from bocage.sample import Sample, Series
from bocage.series import SeriesConfig, clear_share

_COLUMNS = 4
_PANEL_INCHES = 3.3
_NDVI_COLOR = "#1a7f37"
_ORBITS = ((SENTINEL1_ASC_TS, "ascending", "#0072b2"), (SENTINEL1_DESC_TS, "descending", "#d55e00"))


def show_patch(root: Path, layout: str, record: PatchRecord, out_png: Path) -> None:
    """Draw a patch to `out_png`, atomically.

    Images are stretched between their 2nd and 98th percentile; of a series the clearest date
    nearest to midsummer is shown. Cloudy Sentinel-2 dates are drawn as crosses. Label values
    outside the nomenclature appear as ignored.
    """
    reader = get_layout(layout)
    tasks = (LAND_COVER, CROPS, *reader.own_tasks(root))
    sample = reader.read(root, record, list(MODALITIES), tasks, "ignore")
    panels = _panels(sample, tasks)
    curves = _curves(sample)
    if not panels and not curves:
        raise DataError(f"patch {record.patch_id}: nothing to show, the index lists no file of it.")
    rows = -(-len(panels) // _COLUMNS)
    # Labels stand last, above their legends.
    first_label_row = (len(panels) - len(sample.labels)) // _COLUMNS
    heights = [1.3 if sample.labels and row >= first_label_row else 1.1 for row in range(rows)]
    heights += [0.7] * len(curves)
    figure = new_figure(_COLUMNS * _PANEL_INCHES, sum(heights) * _PANEL_INCHES + 0.4)
    grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(grid[i // _COLUMNS, i % _COLUMNS])
        axes.set_xticks([])
        axes.set_yticks([])
        panel(axes)
    for i, curve in enumerate(curves):
        axes = figure.add_subplot(grid[rows + i, :])
        curve(axes)
        # matplotlib declares no types for its date tickers.
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(
            ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        )
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", fontsize=8, frameon=False, ncols=2)
    figure.suptitle(f"{sample.patch_id}  ({sample.domain}, {sample.crs or 'no CRS'})", fontsize=11)
    save(figure, out_png)


def _panels(sample: Sample, tasks: Sequence[Task]) -> list[Panel]:
    panels: list[Panel] = []
    for name, image in sample.images.items():
        modality = MODALITIES[name]
        if modality.quantity == "acquisition":
            continue
        hole = sample.valid.get(name)
        if modality.quantity == "elevation":
            panels += [heights_panel(modality, image, hole), hillshade_panel(modality, image, hole)]
        elif modality.quantity == "height":
            panels.append(heights_panel(modality, image, hole))
        else:
            panels.append(picture_panel(name, display(modality, image, hole)))
    for name, series in sample.series.items():
        if len(series):
            date = _best_date(series, sample.year)
            valid = None if series.valid is None else series.valid[date]
            picture = display(MODALITIES[name], series.values[date], valid)
            panels.append(picture_panel(f"{name}, {series.dates[date]}", picture))
    panels += [
        classes_panel(task, sample.labels[task.name])
        for task in tasks
        if task.name in sample.labels
    ]
    return panels


def _curves(sample: Sample) -> list[Panel]:
    curves: list[Panel] = []
    optical = sample.series.get(SENTINEL2_TS.name)
    if optical is not None and len(optical):
        curves.append(lambda axes: _draw_ndvi(axes, optical))
    radar = {
        label: (sample.series[m.name], color)
        for m, label, color in _ORBITS
        if m.name in sample.series and len(sample.series[m.name])
    }
    if radar:
        curves.append(lambda axes: _draw_backscatter(axes, radar))
    return curves


def _best_date(series: Series, year: int) -> int:
    """The clearest date; of equally clear ones the nearest to midsummer."""
    share = clear_share(series, SeriesConfig()).round(2)
    distance = np.abs((series.dates - np.datetime64(f"{year:04d}-07-01")).astype(np.int64))
    return int(np.lexsort((distance, -share))[0])


def _mean_over_valid(values: NDArray[np.float64], series: Series) -> NDArray[np.float64]:
    """(T,) mean of (T, H, W) over what was seen, NaN for a date that saw nothing."""
    seen = np.ones(values.shape, bool) if series.valid is None else series.valid
    count = seen.sum(axis=(1, 2))
    total = np.where(seen, values, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _draw_ndvi(axes: Axes, series: Series) -> None:
    red, nir = (
        series.values[:, i].astype(np.float64) for i in SENTINEL2_TS.band_indices(("B04", "B08"))
    )
    ndvi = _mean_over_valid((nir - red) / np.maximum(nir + red, 1.0), series)
    clear = clear_share(series, SeriesConfig()) >= SeriesConfig().min_clear
    days = series.dates.astype(object)
    axes.plot(days[clear], ndvi[clear], "-o", color=_NDVI_COLOR, markersize=4, label="NDVI, clear")
    axes.plot(days[~clear], ndvi[~clear], "x", color="#8c8c8c", markersize=5, label="NDVI, cloudy")
    axes.set_ylabel("NDVI, patch mean", fontsize=8)
    axes.set_title(f"{SENTINEL2_TS.name}: {clear.sum()} clear of {len(series)} dates", fontsize=8)


def _draw_backscatter(axes: Axes, radar: dict[str, tuple[Series, str]]) -> None:
    for label, (series, color) in radar.items():
        band = SENTINEL1_ASC_TS.band_indices(("VH",))[0]
        mean = _mean_over_valid(series.values[:, band].astype(np.float64), series)
        level = decibel(mean)
        axes.plot(
            series.dates.astype(object),
            level,
            "-o",
            color=color,
            markersize=3,
            linewidth=1,
            label=f"{label}, {len(series)} dates",
        )
    axes.set_ylabel("VH, patch mean (dB)", fontsize=8)
    axes.set_title("Sentinel-1 VH", fontsize=8)
