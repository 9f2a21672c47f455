"""One picture of a class: the places where there is most of it, photograph beside label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from bocage.data.index import PatchIndex
from bocage.data.layouts import get_layout
from bocage.data.record import PatchRecord
from bocage.data.show.panels import display, new_figure, save
from bocage.data.split.space import roi_names
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.modalities import AERIAL_RGB, AERIAL_RGBI, AERIAL_RLT_PAN, SPOT_RGBI
from bocage.nomenclatures import CROPS, FLAIR_12, LAND_COVER, TASKS, LandClass, Task

_PHOTOGRAPHS = (AERIAL_RGBI, AERIAL_RGB, SPOT_RGBI, AERIAL_RLT_PAN)
_PAIRS_PER_ROW = 3
_PANEL_INCHES = 2.3
# Share of the patch's side around the densest place.
_WINDOW = 0.4


def find_class(name: str, own: Sequence[Task] = ()) -> tuple[Task, LandClass]:
    """The class of that English name: `greenhouse`, or `crops:vineyard` where several have it.

    Class lists of one's `own` come first, land cover and crops before the finer levels of crops.
    Raises `ConfigError` otherwise.
    """
    slug, _, class_name = name.rpartition(":")
    known_tasks = (*own, *TASKS.values())
    tasks = [t for t in known_tasks if t is not FLAIR_12 and slug in ("", t.slug, t.name)]
    if not tasks:
        raise ConfigError(unknown_name("task", slug, [t.slug for t in known_tasks]))
    found = [(t, c) for t in tasks for c in t.nomenclature if c.name == class_name]
    if not found:
        known = [c.name for t in tasks for c in t.nomenclature]
        raise ConfigError(unknown_name("class", class_name, set(known)))
    if found[0][0] not in own and {LAND_COVER, CROPS} <= {t for t, _ in found}:
        options = ", ".join(f"{t.slug}:{c.name}" for t, c in found)
        raise ConfigError(f"several class lists have '{class_name}': say one of {options}.")
    return found[0]


def show_class(
    root: Path, index: PatchIndex, class_name: str, out_png: Path, count: int = 12
) -> int:
    """Draw up to `count` examples of a class to `out_png`, atomically, and say how many.

    Taken are the patches with most of its pixels, one of each ROI before a second of any; of each,
    the window that holds most. In the right-hand pictures the class has its colour and an outline,
    all else is paled. Raises `DataError` when no patch of the index has the class.
    """
    task, land_class = find_class(class_name, get_layout(index.layout).own_tasks(root))
    place = task.nomenclature.classes.index(land_class)
    pixels = index.class_counts(task)[:, place]
    rows = _best(pixels, roi_names(index), count)
    if not len(rows):
        raise DataError(
            f"no patch of the index has '{land_class.name}' ({task.slug}). Look at the classes "
            "that it has with 'bocage data describe'."
        )
    height = -(-len(rows) // _PAIRS_PER_ROW)
    columns = 2 * min(_PAIRS_PER_ROW, len(rows))
    figure = new_figure(columns * _PANEL_INCHES, height * (_PANEL_INCHES + 0.35) + 0.5)
    for i, row in enumerate(rows.tolist()):
        number = (i // _PAIRS_PER_ROW) * columns + 2 * (i % _PAIRS_PER_ROW) + 1
        both = [figure.add_subplot(height, columns, number + k) for k in (0, 1)]
        _draw(root, index, index[row], task, place, both)
    share = pixels.sum() / max(int(index.class_counts(task).sum()), 1)
    figure.suptitle(
        f"{land_class.name} ({task.slug}): {pixels.sum():,} pixels, {share:.3%} of all, in "
        f"{(pixels > 0).sum():,} of {len(index):,} patches",
        fontsize=11,
    )
    save(figure, out_png)
    return len(rows)


def _best(pixels: NDArray[np.int64], rois: NDArray[np.str_], count: int) -> NDArray[np.int64]:
    """Rows with most pixels, the first of each ROI before the second of any."""
    order = np.argsort(-pixels, kind="stable")
    order = order[pixels[order] > 0]
    seen: dict[str, int] = {}
    turn = np.zeros(len(order), dtype=np.int64)
    for i, name in enumerate(rois[order].tolist()):
        turn[i] = seen[name] = seen.get(name, -1) + 1
    return order[np.argsort(turn, kind="stable")][:count]


def _draw(
    root: Path, index: PatchIndex, record: PatchRecord, task: Task, place: int, both: list[Axes]
) -> None:
    sensor = next((m for m in _PHOTOGRAPHS if m.name in record.paths), None)
    wanted = [sensor.name] if sensor is not None else []
    sample = get_layout(index.layout).read(root, record, wanted, [task], "ignore")
    label = sample.labels[task.name]
    rows, columns = _window(label == place)
    part = label[rows, columns]
    for axes in both:
        axes.set_xticks([])
        axes.set_yticks([])
    if sensor is not None and sensor.name in sample.images:
        image = display(sensor, sample.images[sensor.name], sample.valid.get(sensor.name))
        both[0].imshow(_same_ground(image, label.shape, rows, columns), cmap="gray")
    else:
        both[0].text(0.5, 0.5, "no photograph", ha="center", va="center", fontsize=7)
    colors = np.full((256, 3), 217, dtype=np.float64)
    for k, c in enumerate(task.nomenclature.classes):
        colors[k] = c.rgb if k == place else np.array(c.rgb) * 0.2 + 255 * 0.8
    both[1].imshow((colors[part] / 255).clip(0, 1), interpolation="nearest")
    here = part == place
    if not here.all():
        # Some classes are pale themselves.
        both[1].contour(here, levels=[0.5], colors="black", linewidths=0.8)
    size = part.shape
    both[1].add_patch(
        Rectangle((-0.5, -0.5), size[1], size[0], fill=False, edgecolor="#555555", linewidth=0.6)
    )
    both[0].set_title(record.patch_id, fontsize=6, loc="left")
    both[1].set_title(f"{(label == place).mean():.1%} of the patch", fontsize=6, loc="right")


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The window that holds most of `mask`; of several, the one in their middle."""
    sides = [max(1, round(_WINDOW * size)) for size in mask.shape]
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    table[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    height, width = sides
    held = table[height:, width:] - table[:-height, width:] - table[height:, :-width]
    held += table[:-height, :-width]
    best = np.argwhere(held == held.max())
    row, column = best[np.abs(best - best.mean(axis=0)).sum(axis=1).argmin()].tolist()
    return slice(row, row + height), slice(column, column + width)


def _same_ground(
    image: NDArray[np.float64], shape: tuple[int, ...], rows: slice, columns: slice
) -> NDArray[Any]:
    """The part of an image (H, W, C) under a window of the label grid, of whatever pixel size."""
    (top, bottom), (left, right) = (
        (round(part.start * size / whole), round(part.stop * size / whole))
        for part, size, whole in zip((rows, columns), image.shape[:2], shape, strict=True)
    )
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    return part[..., 0] if part.shape[-1] == 1 else part
