"""One picture of an ROI: its photographs and labels side by side as they lie on the ground."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bocage.data.index import PatchIndex
from bocage.data.layouts import get_layout
from bocage.data.record import PatchRecord
from bocage.data.show.panels import (
    Panel,
    classes_panel,
    display,
    new_figure,
    picture_panel,
    save,
)
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.modalities import (
    AERIAL_RGB,
    AERIAL_RGBI,
    AERIAL_RLT_PAN,
    SPOT_RGBI,
    Modality,
    get_modality,
)
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER

_PHOTOGRAPHS = (AERIAL_RGBI, AERIAL_RGB, SPOT_RGBI, AERIAL_RLT_PAN)
_TASKS = (LAND_COVER, CROPS)
_LONGEST_SIDE_PX = 1200
_PANEL_INCHES = 6.0
_LEGEND_LINE_INCHES = 0.2


def show_roi(root: Path, index: PatchIndex, roi: str, out_png: Path) -> None:
    """Draw the patches of an ROI to `out_png`, atomically: photograph, land cover, crops.

    `roi` is its name, with the domain before it (`D004-2021_AA-S1-32`) where several domains have
    one of that name. The mosaic has at most 1200 pixels along a side, so that any ROI fits into
    memory; the photographs are stretched together. Patches that cannot be read stay white.
    """
    records = find_roi(index, roi)
    placed = [r for r in records if r.bounds is not None]
    if not placed:
        raise DataError(f"ROI {roi}: the index does not know where its patches lie.")
    mosaic = _Mosaic.around(placed)
    sensor = next((m for m in _PHOTOGRAPHS if any(m.name in r.paths for r in placed)), None)
    layout = get_layout(index.layout)
    tasks = (*_TASKS, *layout.own_tasks(root))
    labelled = [t for t in tasks if any(t.label_set in r.paths for r in placed)]
    unread = 0
    for record in placed:
        wanted = [sensor.name] if sensor is not None else []
        try:
            sample = layout.read(root, record, wanted, labelled, "ignore")
        except DataError:
            unread += 1
            continue
        for name, image in sample.images.items():
            mosaic.paste_image(get_modality(name), image, record)
        for name, label in sample.labels.items():
            mosaic.paste_label(name, label, record)
    panels: list[Panel] = []
    if sensor is not None and mosaic.image is not None:
        panels.append(picture_panel(sensor.name, mosaic.picture(sensor)))
    panels += [
        classes_panel(task, mosaic.labels[task.name], mosaic.covered[task.name])
        for task in labelled
        if task.name in mosaic.labels
    ]
    if not panels:
        raise DataError(f"ROI {roi}: not one of its {len(placed)} patches can be shown.")
    entries = max((len(np.unique(label)) for label in mosaic.labels.values()), default=0)
    height = _PANEL_INCHES * mosaic.shape[0] / mosaic.shape[1]
    height += 1.0 + _LEGEND_LINE_INCHES * -(-entries // 2)
    figure = new_figure(_PANEL_INCHES * len(panels), height)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_anchor("N")
        for spine in axes.spines.values():
            spine.set_visible(False)
        panel(axes)
    first = placed[0]
    missing = f", {unread} of them unreadable" if unread else ""
    size = f"{mosaic.ground[0]:,.0f} x {mosaic.ground[1]:,.0f} m"
    patches = "1 patch" if len(placed) == 1 else f"{len(placed)} patches"
    figure.suptitle(f"{first.domain} {first.roi}: {patches}{missing}, {size}", fontsize=11)
    save(figure, out_png)


def find_roi(index: PatchIndex, roi: str) -> list[PatchRecord]:
    """The patches of an ROI. Raises `ConfigError` for a name that is unknown or of several."""
    table = index.table
    domains, rois = (table.column(name).cast(pa.string()) for name in ("domain", "roi"))
    full = pc.binary_join_element_wise(domains, rois, "_")
    for names in (full, rois):
        rows = np.flatnonzero(pc.equal(names, roi).to_numpy())
        if len(rows):
            found = sorted(set(full.take(pa.array(rows)).to_pylist()))
            if len(found) > 1:
                raise ConfigError(f"several ROIs are named {roi}: say {', '.join(found)}.")
            return [index[int(row)] for row in rows]
    message = unknown_name("ROI", roi, pc.unique(full).to_pylist()[:1000])
    raise ConfigError(message if len(message) < 400 else message[:400] + " …")


@dataclass
class _Mosaic:
    """Pixels of an ROI at the resolution of the picture, filled patch by patch."""

    left: float
    top: float
    ground: tuple[float, float]
    step: float
    shape: tuple[int, int]
    image: NDArray[np.float32] | None = None
    seen: NDArray[np.bool_] | None = None
    labels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    covered: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def around(cls, records: list[PatchRecord]) -> _Mosaic:
        bounds = np.array([r.bounds for r in records])
        left, bottom = bounds[:, :2].min(axis=0)
        right, top = bounds[:, 2:].max(axis=0)
        width, height = float(right - left), float(top - bottom)
        step = max(width, height) / _LONGEST_SIDE_PX
        shape = (max(1, round(height / step)), max(1, round(width / step)))
        return cls(float(left), float(top), (width, height), step, shape)

    def _place(self, record: PatchRecord) -> tuple[slice, slice]:
        assert record.bounds is not None
        left, bottom, right, top = record.bounds
        rows = [round((self.top - y) / self.step) for y in (top, bottom)]
        columns = [round((x - self.left) / self.step) for x in (left, right)]
        return slice(rows[0], max(rows[1], rows[0] + 1)), slice(
            columns[0], max(columns[1], columns[0] + 1)
        )

    def paste_image(self, modality: Modality, image: NDArray[Any], record: PatchRecord) -> None:
        """Means of the pixels that fall into each pixel of the picture; `image` (C, H, W)."""
        bands = image[list(modality.band_indices(modality.display))].astype(np.float32)
        rows, columns = self._place(record)
        if self.image is None or self.seen is None:
            self.image = np.zeros((len(bands), *self.shape), dtype=np.float32)
            self.seen = np.zeros(self.shape, dtype=bool)
        target = self.image[:, rows, columns]
        target[:] = _resampled(bands, target.shape[1:])
        self.seen[rows, columns] = True

    def paste_label(self, name: str, label: NDArray[np.uint8], record: PatchRecord) -> None:
        """The class in the middle of each pixel of the picture."""
        rows, columns = self._place(record)
        if name not in self.labels:
            self.labels[name] = np.full(self.shape, IGNORE, dtype=np.uint8)
            self.covered[name] = np.zeros(self.shape, dtype=bool)
        target = self.labels[name][rows, columns]
        target[:] = label[np.ix_(*map(_middles, label.shape, target.shape))]
        self.covered[name][rows, columns] = True

    def picture(self, modality: Modality) -> NDArray[np.float64]:
        """The stretched photograph; white where there is none."""
        assert self.image is not None
        bands = np.zeros((len(modality.bands), *self.shape), dtype=np.float32)
        bands[list(modality.band_indices(modality.display))] = self.image
        return display(modality, bands, self.seen)


def _middles(size: int, wanted: int) -> NDArray[np.int64]:
    return ((np.arange(wanted) + 0.5) * size / wanted).astype(np.int64)


def _resampled(bands: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Box means where pixels become larger, else the nearest pixel."""
    for axis, wanted in ((1, shape[0]), (2, shape[1])):
        size = bands.shape[axis]
        if wanted >= size:
            bands = bands.take(_middles(size, wanted), axis=axis)
            continue
        edges = np.linspace(0, size, wanted + 1).round().astype(np.int64)
        lengths = np.diff(edges).astype(np.float32)
        sums: NDArray[np.float32] = np.add.reduceat(bands, edges[:-1], axis=axis)
        bands = sums / (lengths[:, None] if axis == 1 else lengths)
    return bands
