"""Pictures of a map beside what was really there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from rasterio.enums import Resampling

from bocage.files import atomic_path
from bocage.nomenclatures import Task

SIDE_PX = 900
"""Longest side of a panel, pixels."""


def read_small(path: Path, bands: list[int], method: Resampling) -> NDArray[Any]:
    """Bands of a raster, (C, h, w), decimated to at most `SIDE_PX`; classes want `nearest`."""
    with rasterio.open(path) as dataset:
        scale = max(1.0, max(dataset.width, dataset.height) / SIDE_PX)
        shape = (len(bands), round(dataset.height / scale), round(dataset.width / scale))
        pixels: NDArray[Any] = dataset.read(bands, out_shape=shape, resampling=method)
        return pixels


def colorize(classes_HW: NDArray[Any], task: Task) -> NDArray[np.uint8]:
    """Class ids, (H, W), to colours, (H, W, 3) uint8; nodata is light grey."""
    table = np.full((256, 3), 225, dtype=np.uint8)
    for land_class in task.nomenclature:
        table[land_class.id] = land_class.rgb
    return np.asarray(table[classes_HW])


def draw_maps(area: Path, maps: Path, task: Task, target: Path) -> None:
    """Photograph, truth, map and confidence of one task side by side, with a legend."""
    truth_file = area / ("land_cover.tif" if task.slug == "land-cover" else "crops.tif")
    truth = read_small(truth_file, [task.band], Resampling.nearest)[0]
    mapped = read_small(maps / f"{task.slug}.tif", [1], Resampling.nearest)[0]
    sure = read_small(maps / f"{task.slug}_confidence.tif", [1], Resampling.nearest)[0]
    confidence = sure.astype(np.float32)
    confidence[confidence == 255] = np.nan

    figure = Figure(figsize=(15, 5.2), layout="constrained")
    panels = figure.subplots(1, 4)
    photograph = read_small(area / "aerial.tif", [1, 2, 3], Resampling.average).transpose(1, 2, 0)
    for axes, picture, title in zip(
        panels,
        (photograph, colorize(truth, task), colorize(mapped, task)),
        ("photograph", "truth", f"map of {task.slug.replace('-', ' ')}"),
        strict=False,
    ):
        axes.imshow(picture)
        axes.set_title(title)
    panels[3].imshow(confidence, cmap="magma", vmin=0, vmax=254)
    panels[3].set_title("confidence (dark: unsure)")
    for axes in panels:
        axes.set_axis_off()
    present = np.union1d(np.unique(truth), np.unique(mapped))
    handles = [
        Patch(facecolor=c.color, edgecolor="0.5", label=c.name)
        for c in task.nomenclature
        if c.id in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=8, frameon=False)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=100)
