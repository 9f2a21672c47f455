"""What the pictures of patches, ROIs and classes are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bocage.files import atomic_path
from bocage.modalities import Modality
from bocage.nomenclatures import IGNORE, Task

STRETCH_PERCENT = (2.0, 98.0)
_IGNORED_GREY = "#d9d9d9"
# Light from the north-west at 45 degrees, as on printed maps.
_SUN_AZIMUTH_DEG, _SUN_ALTITUDE_DEG = 315.0, 45.0
_DPI = 110

Panel = Callable[[Axes], None]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that needs no screen; inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    return figure


def save(figure: Figure, out_png: Path) -> None:
    """Write a figure, atomically."""
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")


def display(
    modality: Modality, image: NDArray[Any], valid: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """(H, W, 1 or 3) between 0 and 1, holes at 1; `image` (C, H, W) as stored."""
    bands = image[list(modality.band_indices(modality.display))].astype(np.float64)
    if modality.quantity == "sigma0":
        bands = decibel(bands)
        bands = np.stack([bands[0], bands[1], bands[0] - bands[1]])
    seen = np.ones(image.shape[1:], dtype=bool) if valid is None else valid
    if not seen.any():
        return np.ones((*image.shape[1:], 1))
    low, high = np.percentile(bands[:, seen], STRETCH_PERCENT, axis=1)
    spread = np.maximum(high - low, 1e-6)[:, None, None]
    stretched = np.clip((bands - low[:, None, None]) / spread, 0.0, 1.0)
    stretched[:, ~seen] = 1.0
    return np.moveaxis(stretched[:3] if len(stretched) >= 3 else stretched[:1], 0, -1)


def decibel(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear power in decibel, from -50 up."""
    return np.asarray(10.0 * np.log10(np.maximum(linear, 1e-5)))


def picture_panel(title: str, picture: NDArray[np.float64]) -> Panel:
    """An image as `display` makes it."""

    def draw(axes: Axes) -> None:
        axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray")
        axes.set_title(title, fontsize=8)

    return draw


def heights_panel(
    modality: Modality, image: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Panel:
    """Height above ground with its scale, as it is stored or surface minus terrain."""
    if modality.quantity == "height":
        above = image[0] * modality.scale
    else:
        dsm, dtm = (image[i].astype(np.float64) for i in modality.band_indices(("dsm", "dtm")))
        above = dsm - dtm
    height = above if valid is None else np.where(valid, above, np.nan)

    def draw(axes: Axes) -> None:
        shown = axes.imshow(height, cmap="viridis")
        bar = axes.figure.colorbar(shown, ax=axes, shrink=0.7)
        bar.ax.tick_params(labelsize=7)
        axes.set_title(f"{modality.name}, height above ground (m)", fontsize=8)

    return draw


def hillshade_panel(
    modality: Modality, image: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Panel:
    """The surface in light from the north-west."""
    surface = image[modality.band_indices(("dsm",))[0]].astype(np.float64)
    if valid is not None:
        surface = np.where(valid, surface, surface[valid].mean() if valid.any() else 0.0)
    slope_y, slope_x = np.gradient(surface, modality.resolution_m)
    azimuth, altitude = np.radians(_SUN_AZIMUTH_DEG), np.radians(_SUN_ALTITUDE_DEG)
    # Rows run south: the slope towards the north is minus the slope along the rows.
    towards_sun = slope_x * np.sin(azimuth) - slope_y * np.cos(azimuth)
    shade = np.sin(altitude) - np.cos(altitude) * towards_sun
    shade /= np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return picture_panel(f"{modality.name}, hillshade", np.clip(shade, 0.0, 1.0)[..., None])


def classes_panel(
    task: Task, label: NDArray[np.uint8], covered: NDArray[np.bool_] | None = None
) -> Panel:
    """Targets (H, W) in their colours above a legend with shares; white where not `covered`."""
    inside = np.ones(label.shape, dtype=bool) if covered is None else covered
    targets = np.unique(label[(label != IGNORE) & inside])

    def draw(axes: Axes) -> None:
        position = np.searchsorted(targets, label).clip(0, len(targets))
        position[label == IGNORE] = len(targets)
        found = [task.nomenclature.classes[target] for target in targets]
        colors = [*(c.color for c in found), _IGNORED_GREY]
        axes.imshow(
            np.ma.masked_array(position, ~inside),
            cmap=ListedColormap(colors),
            vmin=0,
            vmax=len(targets),
            interpolation="nearest",
        )
        axes.set_title(f"{task.name}", fontsize=8)
        share = [(label[inside] == target).mean() for target in targets]
        handles = [
            Patch(facecolor=c.color, edgecolor="#555555", label=f"{c.name} {_percent(part)}")
            for c, part in sorted(zip(found, share, strict=True), key=lambda pair: -pair[1])
        ]
        if (label[inside] == IGNORE).any():
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
