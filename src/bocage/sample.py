"""A patch in memory (`Sample`) and a batch of them (`Batch`).

Shapes: B samples, T dates, C bands, H x W pixels of the modality's own grid.
Values keep the type they are stored in; normalisation happens on the device, in the network.
Absence is a mask, never a value: a sensor that is missing, a date that is padding and a pixel that
is nodata are said to be so beside the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bocage.errors import DataError
from bocage.modalities import SENTINEL2_MASK_BANDS, Modality, get_modality

if TYPE_CHECKING:
    import torch
    from torch import Tensor

REFERENCE_MONTH_DAY = (5, 15)
"""Dates enter the network as days since 15 May of the sample's year (FLAIR-HUB's reference)."""


@dataclass(frozen=True)
class Series:
    """Images of one place on several dates, oldest first.

    `values` (T, C, H, W) as stored; `dates` (T,) datetime64[D]; `snow_cloud` (T, 2, H, W) snow and
    cloud probability in percent, or None where the sensor has no such mask; `valid` (T, H, W)
    bool, False where nodata, or None when every pixel counts. T may be 0.
    """

    values: NDArray[Any]
    dates: NDArray[np.datetime64]
    snow_cloud: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.dates)

    def take(self, keep: NDArray[Any]) -> Series:
        """A new series of the dates at `keep` (indices or mask); this one is left as it is."""
        return Series(
            self.values[keep],
            self.dates[keep],
            None if self.snow_cloud is None else self.snow_cloud[keep],
            None if self.valid is None else self.valid[keep],
        )


@dataclass(frozen=True)
class Sample:
    """One patch: what each sensor saw, and its labels. A sensor not in `images`/`series` is absent.

    `images`: modality name to (C, H, W); `valid`: modality name to (H, W) bool for images with
    holes (absent key: no hole); `series`: modality name to `Series`; `labels`: task name to (H, W)
    uint8 targets, 255 = ignored. `year` is the campaign's, the origin of the day offsets.
    `crs` and `transform` (GDAL affine, six numbers) place the label grid on Earth where known.
    """

    patch_id: str
    year: int
    images: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    valid: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    domain: str = ""
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None

    def __post_init__(self) -> None:
        for name, image in self.images.items():
            self._check(get_modality(name), image, "(C, H, W)", 3)
            hole = self.valid.get(name)
            if hole is not None and hole.shape != image.shape[1:]:
                self._fail(name, f"validity mask of shape {hole.shape} for image {image.shape}")
        for name, series in self.series.items():
            self._check(get_modality(name), series.values, "(T, C, H, W)", 4)
            frames = series.values.shape[0]
            if len(series.dates) != frames:
                self._fail(name, f"{frames} frames but {len(series.dates)} dates")
            mask = series.snow_cloud
            wanted = (frames, len(SENTINEL2_MASK_BANDS), *series.values.shape[2:])
            if mask is not None and mask.shape != wanted:
                self._fail(name, f"snow and cloud mask of shape {mask.shape}, expected {wanted}")
        shapes = {name: label.shape for name, label in self.labels.items()}
        if len(set(shapes.values())) > 1 or any(len(s) != 2 for s in shapes.values()):
            self._fail("labels", f"expected one common (H, W), found {shapes}")

    def _check(self, modality: Modality, array: NDArray[Any], legend: str, ndim: int) -> None:
        bands = array.shape[-3] if array.ndim == ndim else None
        if bands != len(modality.bands) or modality.series != (ndim == 4):
            self._fail(
                modality.name,
                f"array of shape {array.shape}, expected {legend} with "
                f"{len(modality.bands)} bands ({', '.join(modality.bands)})",
            )

    def _fail(self, part: str, finding: str) -> None:
        raise DataError(f"patch {self.patch_id}, {part}: {finding}")

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the sensors that this patch has, series without a single date excluded."""
        return (*self.images, *(name for name, series in self.series.items() if len(series)))


@dataclass(frozen=True)
class Batch:
    """Samples side by side, with what is missing marked.

    For a modality that no sample has, only `present` has an entry. Numbers under a False mask are
    zero and mean nothing.

    - `images[m]` (B, C, H, W), stored type; `valid[m]` (B, H, W) bool.
    - `series[m]` (B, T, C, H, W), stored type; `series_valid[m]` (B, T, H, W) bool;
      `days[m]` (B, T) int64, days since 15 May of the sample's year;
      `dates_present[m]` (B, T) bool, False for padding.
    - `present[m]` (B,) bool, for every modality that was asked for.
    - `labels[t]` (B, H, W) uint8, 255 = ignored.
    """

    patch_ids: tuple[str, ...]
    domains: tuple[str, ...]
    images: dict[str, Tensor]
    valid: dict[str, Tensor]
    series: dict[str, Tensor]
    series_valid: dict[str, Tensor]
    days: dict[str, Tensor]
    dates_present: dict[str, Tensor]
    present: dict[str, Tensor]
    labels: dict[str, Tensor]
    output_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.patch_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        moved = {
            name: {k: t.to(device, non_blocking=non_blocking) for k, t in part.items()}
            for name, part in self._tensor_parts().items()
        }
        return replace(self, **moved)  # type: ignore[arg-type]

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for asynchronous copies to a GPU."""
        pinned = {
            name: {k: t.pin_memory() for k, t in part.items()}
            for name, part in self._tensor_parts().items()
        }
        return replace(self, **pinned)  # type: ignore[arg-type]

    def network_inputs(self) -> dict[str, Any]:
        """The keyword arguments of `bocage.models.Network.forward`."""
        parts = self._tensor_parts()
        parts.pop("labels")
        return {**parts, "output_hw": self.output_hw}

    def _tensor_parts(self) -> dict[str, dict[str, Tensor]]:
        return {
            "images": self.images,
            "valid": self.valid,
            "series": self.series,
            "series_valid": self.series_valid,
            "days": self.days,
            "dates_present": self.dates_present,
            "present": self.present,
            "labels": self.labels,
        }


def day_offsets(dates: NDArray[np.datetime64], year: int) -> NDArray[np.int64]:
    """Days from 15 May of `year` to each date, (T,) int64; negative before it.

    The year is the sample's, not the date's: a series that runs over New Year keeps its order.
    """
    month, day = REFERENCE_MONTH_DAY
    origin = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "D")
    return (dates.astype("datetime64[D]") - origin).astype(np.int64)
