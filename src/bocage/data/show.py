"""One picture of a patch: every sensor, both labels, and the curves of its series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bocage.data.layouts import get_layout
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.files import atomic_path
from bocage.modalities import (
    MODALITIES,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_TS,
    Modality,
)
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER, Task
from bocage.sample import Sample, Series
from bocage.series import SeriesConfig, clear_share

_COLUMNS = 4
_PANEL_INCHES = 3.3
_STRETCH_PERCENT = (2.0, 98.0)
_IGNORED_GREY = "#d9d9d9"
# Light from the north-west at 45 degrees, as on printed maps.
_SUN_AZIMUTH_DEG, _SUN_ALTITUDE_DEG = 315.0, 45.0
_NDVI_COLOR = "#1a7f37"
_ORBITS = ((SENTINEL1_ASC_TS, "ascending", "#0072b2"), (SENTINEL1_DESC_TS, "descending", "#d55e00"))

_Panel = Callable[[Axes], None]


def show_patch(root: Path, layout: str, record: PatchRecord, out_png: Path) -> None:
    """Draw a patch to `out_png`, atomically.

    Images are stretched between their 2nd and 98th percentile; of a series the clearest date
    nearest to midsummer is shown. Cloudy Sentinel-2 dates are drawn as crosses. Label values
    outside the nomenclature appear as ignored.
    """
    sample = get_layout(layout).read(
        root, record, list(MODALITIES), [LAND_COVER.name, CROPS.name], "ignore"
    )
    panels = _panels(sample)
    curves = _curves(sample)
    if not panels and not curves:
        raise DataError(f"patch {record.patch_id}: nothing to show, the index lists no file of it.")
    rows = -(-len(panels) // _COLUMNS)
    # Labels stand last, above their legends.
    first_label_row = (len(panels) - len(sample.labels)) // _COLUMNS
    heights = [1.3 if sample.labels and row >= first_label_row else 1.1 for row in range(rows)]
    heights += [0.7] * len(curves)
    figure = Figure(figsize=(_COLUMNS * _PANEL_INCHES, sum(heights) * _PANEL_INCHES + 0.4))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
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
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _panels(sample: Sample) -> list[_Panel]:
    panels: list[_Panel] = []
    for name, image in sample.images.items():
        modality = MODALITIES[name]
        if modality.quantity == "acquisition":
            continue
        hole = sample.valid.get(name)
        if modality.quantity == "elevation":
            panels += [_heights(modality, image, hole), _hillshade(modality, image, hole)]
        else:
            panels.append(_picture(name, _display(modality, image, hole)))
    for name, series in sample.series.items():
        if len(series):
            date = _best_date(series, sample.year)
            valid = None if series.valid is None else series.valid[date]
            picture = _display(MODALITIES[name], series.values[date], valid)
            panels.append(_picture(f"{name}, {series.dates[date]}", picture))
    panels += [
        _classes(task, sample.labels[task.name])
        for task in (LAND_COVER, CROPS)
        if task.name in sample.labels
    ]
    return panels


def _curves(sample: Sample) -> list[_Panel]:
    curves: list[_Panel] = []
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


def _display(
    modality: Modality, image: NDArray[Any], valid: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """(H, W, 1 or 3) between 0 and 1, holes at 1; `image` (C, H, W) as stored."""
    bands = image[list(modality.band_indices(modality.display))].astype(np.float64)
    if modality.quantity == "sigma0":
        bands = _decibel(bands)
        bands = np.stack([bands[0], bands[1], bands[0] - bands[1]])
    seen = np.ones(image.shape[1:], dtype=bool) if valid is None else valid
    if not seen.any():
        return np.ones((*image.shape[1:], 1))
    low, high = np.percentile(bands[:, seen], _STRETCH_PERCENT, axis=1)
    spread = np.maximum(high - low, 1e-6)[:, None, None]
    stretched = np.clip((bands - low[:, None, None]) / spread, 0.0, 1.0)
    stretched[:, ~seen] = 1.0
    return np.moveaxis(stretched[:3] if len(stretched) >= 3 else stretched[:1], 0, -1)


def _decibel(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10.0 * np.log10(np.maximum(linear, 1e-5)))


def _picture(title: str, picture: NDArray[np.float64]) -> _Panel:
    def draw(axes: Axes) -> None:
        axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray")
        axes.set_title(title, fontsize=8)

    return draw


def _heights(modality: Modality, image: NDArray[Any], valid: NDArray[np.bool_] | None) -> _Panel:
    dsm, dtm = (image[i].astype(np.float64) for i in modality.band_indices(("dsm", "dtm")))
    height = np.where(np.ones(dsm.shape, bool) if valid is None else valid, dsm - dtm, np.nan)

    def draw(axes: Axes) -> None:
        shown = axes.imshow(height, cmap="viridis")
        bar = axes.figure.colorbar(shown, ax=axes, shrink=0.7)
        bar.ax.tick_params(labelsize=7)
        axes.set_title(f"{modality.name}, height above ground (m)", fontsize=8)

    return draw


def _hillshade(modality: Modality, image: NDArray[Any], valid: NDArray[np.bool_] | None) -> _Panel:
    surface = image[modality.band_indices(("dsm",))[0]].astype(np.float64)
    if valid is not None:
        surface = np.where(valid, surface, surface[valid].mean() if valid.any() else 0.0)
    slope_y, slope_x = np.gradient(surface, modality.resolution_m)
    azimuth, altitude = np.radians(_SUN_AZIMUTH_DEG), np.radians(_SUN_ALTITUDE_DEG)
    # Rows run south: the slope towards the north is minus the slope along the rows.
    towards_sun = slope_x * np.sin(azimuth) - slope_y * np.cos(azimuth)
    shade = np.sin(altitude) - np.cos(altitude) * towards_sun
    shade /= np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return _picture(f"{modality.name}, hillshade", np.clip(shade, 0.0, 1.0)[..., None])


def _classes(task: Task, label: NDArray[np.uint8]) -> _Panel:
    targets = np.unique(label[label != IGNORE])

    def draw(axes: Axes) -> None:
        position = np.searchsorted(targets, label).clip(0, len(targets))
        position[label == IGNORE] = len(targets)
        found = [task.nomenclature.classes[target] for target in targets]
        colors = [*(c.color for c in found), _IGNORED_GREY]
        axes.imshow(
            position,
            cmap=ListedColormap(colors),
            vmin=0,
            vmax=len(targets),
            interpolation="nearest",
        )
        axes.set_title(f"{task.name}", fontsize=8)
        share = [(label == target).mean() for target in targets]
        handles = [
            Patch(facecolor=c.color, edgecolor="#555555", label=f"{c.name} {_percent(part)}")
            for c, part in sorted(zip(found, share, strict=True), key=lambda pair: -pair[1])
        ]
        if (label == IGNORE).any():
            handles.append(Patch(facecolor=_IGNORED_GREY, edgecolor="#555555", label="ignored"))
        axes.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.02),
            fontsize=6,
            frameon=False,
            ncols=2,
        )

    return draw


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "<1%"


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
        level = _decibel(mean)
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
