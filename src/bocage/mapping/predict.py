"""Windows of a block as what the network takes."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bocage.errors import ConfigError
from bocage.mapping.config import MapConfig
from bocage.mapping.holes import Views, mirror_holes
from bocage.mapping.plan import Lattice
from bocage.mapping.read import BlockInputs
from bocage.sample import Series, day_offsets
from bocage.series import SeriesConfig, usable_dates


@dataclass(frozen=True)
class WindowInputs:
    """What the network sees of one window. A sensor that is not in it is absent there.

    `images[m]` (C, h, w) with `valid[m]` (h, w) or no key for no hole; `series[m]` with its clear
    dates only. What `bocage.mapping.holes` shows mirrored counts as valid here, not in the map.
    """

    row: int
    col: int
    images: dict[str, NDArray[Any]]
    valid: dict[str, NDArray[np.bool_]]
    series: dict[str, Series]

    def shows(self, name: str) -> bool:
        """Whether a sensor has anything here."""
        return name in self.images or name in self.series

    @property
    def empty(self) -> bool:
        """Whether no sensor has anything here."""
        return not self.images and not self.series

    def detached(self) -> WindowInputs:
        """The same in memory of its own: a window is a view of all that its block sees."""
        return copy.deepcopy(self)


def window_inputs(
    inputs: BlockInputs, row: int, col: int, lattice: Lattice, config: SeriesConfig
) -> WindowInputs:
    """Cut one window out of the block, mirror the ground about the edges of its data, and choose
    its dates, as training does for a patch.

    The block's arrays and date lists are left as they are, so that every window chooses from all
    dates.
    """
    images: dict[str, NDArray[Any]] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    series: dict[str, Series] = {}
    for name, image in inputs.images.items():
        here = inputs.cut(name, row, col, lattice.window_px)
        mask = inputs.valid.get(name)
        if mask is None or mask[here].all():
            images[name] = image[(slice(None), *here)]
        elif mask[here].any():
            images[name] = image[(slice(None), *here)]
            valid[name] = mask[here]
    for name, whole in inputs.series.items():
        rows, cols = inputs.cut(name, row, col, lattice.window_px)
        series[name] = Series(
            whole.values[..., rows, cols],
            whole.dates,
            None if whole.snow_cloud is None else whole.snow_cloud[..., rows, cols],
            None if whole.valid is None else whole.valid[:, rows, cols],
        )
    ratios = {name: grid.ratio * lattice.scale for name, grid in inputs.grids.items()}
    seen = mirror_holes(Views(images, valid, series, ratios), lattice.seen_px)
    usable = {name: usable_dates(part, config) for name, part in seen.series.items()}
    series = {name: part for name, part in usable.items() if len(part)}
    return WindowInputs(row, col, seen.images, seen.valid, series)


def network_inputs(
    windows: Sequence[WindowInputs], modalities: Sequence[str], year: int, side_px: int
) -> dict[str, Any]:
    """The keyword arguments of `Network.forward` for a batch of windows, on the CPU.

    `side_px` is a window's side in the network's own pixels.
    What is missing is marked as in `bocage.sample.Batch`: windows may differ in their sensors and
    in the number of their dates.
    """
    parts: dict[str, dict[str, Tensor]] = {
        key: {}
        for key in ("images", "valid", "series", "series_valid", "days", "dates_present", "present")
    }
    for name in modalities:
        has = [name in window.images or name in window.series for window in windows]
        parts["present"][name] = torch.tensor(has)
        if any(name in window.images for window in windows):
            parts["images"][name], parts["valid"][name] = _stack_images(windows, name)
        elif any(has):
            stacked = _stack_series(windows, name, year)
            for key, array in stacked.items():
                parts[key][name] = torch.from_numpy(array)
    return {**parts, "output_hw": (side_px, side_px)}


def _stack_images(windows: Sequence[WindowInputs], name: str) -> tuple[Tensor, Tensor]:
    first = next(window.images[name] for window in windows if name in window.images)
    image_BCHW = np.zeros((len(windows), *first.shape), first.dtype)
    valid_BHW = np.zeros((len(windows), *first.shape[1:]), bool)
    for i, window in enumerate(windows):
        if name in window.images:
            image_BCHW[i] = window.images[name]
            valid_BHW[i] = window.valid.get(name, np.True_)
    return torch.from_numpy(image_BCHW), torch.from_numpy(valid_BHW)


def _stack_series(windows: Sequence[WindowInputs], name: str, year: int) -> dict[str, NDArray[Any]]:
    found = [window.series.get(name) for window in windows]
    first = next(series for series in found if series is not None)
    dates = max(len(series) for series in found if series is not None)
    channels, height, width = first.values.shape[1:]
    batch = len(windows)
    stacked: dict[str, NDArray[Any]] = {
        "series": np.zeros((batch, dates, channels, height, width), first.values.dtype),
        "series_valid": np.zeros((batch, dates, height, width), bool),
        "days": np.zeros((batch, dates), np.int64),
        "dates_present": np.zeros((batch, dates), bool),
    }
    for i, series in enumerate(found):
        if series is not None:
            count = len(series)
            stacked["series"][i, :count] = series.values
            stacked["series_valid"][i, :count] = True if series.valid is None else series.valid
            stacked["days"][i, :count] = day_offsets(series.dates, year)
            stacked["dates_present"][i, :count] = True
    return stacked


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` takes a GPU if there is one.

    Raises `ConfigError` for an unknown name, and for a GPU where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name}: not a device. Use auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: this machine has no usable GPU. Use device=cpu.")
    return device


GPU_BATCH = 8
"""Windows per pass on a GPU, unless the configuration says otherwise."""


def windows_together(config: MapConfig, device: torch.device) -> int:
    """Windows per pass through the network."""
    return config.batch_size or (1 if device.type == "cpu" else GPU_BATCH)


SPATIAL = ("images", "valid", "series", "series_valid")
"""Of a network's inputs what is large, and turned with the window: it goes to the device once,
however many answers it gets. Which sensors are there stays on the processor: looking at it there
makes nobody wait for the device."""


def to_device(
    inputs: dict[str, Any], device: torch.device, parts: Collection[str] | None = None
) -> dict[str, Any]:
    """The same inputs with their tensors on `device`, of `parts` only unless that is None.

    What lies there already is not copied.
    """
    return {
        key: {name: t.to(device, non_blocking=True) for name, t in part.items()}
        if isinstance(part, dict) and (parts is None or key in parts)
        else part
        for key, part in inputs.items()
    }


class Predictor(Protocol):
    """What answers batches of windows with logits; `bocage.mapping.backends` holds them."""

    @property
    def device(self) -> torch.device:
        """Where logits arrive, and where they are blended."""

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) float32 per task from `network_inputs`, S as these say, or in larger
        pixels (`bocage.mapping.coarse`)."""
