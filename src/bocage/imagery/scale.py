"""What stored numbers mean: the scale and offset of a band, and when to doubt them.

A sensor's numbers here are those of `bocage.modalities`: reflectance of Sentinel-2 and SPOT is
10,000 times the physical one, from 0. Since processing baseline 04.00 ESA stores Sentinel-2 with
1000 added, so that reflectance below zero can be told; a network that has learnt from one kind sees
haze in the other. Whatever a file holds is therefore brought to the sensor's numbers as it is read,
in cutting and in mapping alike, before anything is resampled, averaged or normalised. Zero stays
"no data".

Legend: G groups (dates) of C bands.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bocage.modalities import Modality
from bocage.sample import Series

BASELINE_04_DAY = datetime.date(2022, 1, 25)
"""First day of processing baseline 04.00; days before it have the offset where ESA has processed
them again (Collection 1)."""
BASELINE_04_OFFSET = -1000.0
"""What is to be added to numbers of that baseline and later ones."""
_REFLECTANCE_UNIT = 10_000.0

_DARK_PERCENTILE = 2.0
_NOT_ALL_CLOUD = 2000.0
"""A darkest number beyond this is a cloud's, and says nothing of the offset."""
_SHIFT = (700.0, 1300.0)
_FEWEST_DATES = 3
_MOST_AT_FLOOR = 0.05


class Scale(NamedTuple):
    """Stored number times `factor` plus `offset` is the sensor's number."""

    factor: float = 1.0
    offset: float = 0.0


AS_STORED = Scale()


def converts(modality: Modality) -> bool:
    """Whether numbers of this sensor have a unit that scale and offset can lead to."""
    return modality.quantity in ("reflectance", "elevation", "sigma0")


def physical(factor: float, offset: float, modality: Modality) -> Scale:
    """The scale of a band whose file or document declares how its numbers become physical ones.

    Reflectance is declared from 0 to 1, except where only an offset is: that counts stored numbers.
    """
    if modality.quantity == "reflectance" and factor != 1:
        return Scale(_whole(factor * _REFLECTANCE_UNIT), _whole(offset * _REFLECTANCE_UNIT))
    return Scale(factor, offset)


def _whole(value: float) -> float:
    """0.0001 times 10,000 is one, whatever the last digits say."""
    return float(round(value)) if abs(value - round(value)) < 1e-6 else value


def rescale(
    values_GCHW: NDArray[Any], scales: Sequence[Scale], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The sensor's numbers, of its `dtype`; `scales` one per group and band, groups first.

    Where the type is unsigned, what would fall below 1 becomes 1 and what would reach the largest
    number the one below it: both ends mean "no data". Zero stays zero, and what is not a number
    becomes zero; both are holes, which who calls knows from the stored numbers.
    """
    shape = (*values_GCHW.shape[:2], 1, 1)
    factors, offsets = np.array(scales, np.float32).T.reshape(2, *shape)
    numbers = values_GCHW.astype(np.float32) * factors + offsets
    if dtype.kind == "u":
        known = np.isfinite(numbers) & (values_GCHW != 0)
        numbers[~known] = 0
        np.clip(np.rint(numbers), 1, np.iinfo(dtype).max - 1, out=numbers, where=known)
    converted: NDArray[Any] = numbers.astype(dtype)
    return converted


def without_offset(series: Series, since: datetime.date) -> Series:
    """The series with the offset of baseline 04.00 taken from every date from `since` on.

    Pixels without data keep their numbers.
    """
    late = series.dates >= np.datetime64(since)
    if not late.any():
        return series
    stored = series.values[late]
    scales = [Scale(1.0, BASELINE_04_OFFSET)] * (stored.shape[0] * stored.shape[1])
    shifted = rescale(stored, scales, stored.dtype)
    if series.valid is not None:
        shifted = np.where(series.valid[late][:, None], shifted, stored)
    values = series.values.copy()
    values[late] = shifted
    return Series(values, series.dates, series.snow_cloud, series.valid)


def darkest(values_TCHW: NDArray[Any], valid_THW: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """The number below which 2 % of each date's lie, (T,), NaN for dates that saw nothing."""
    out = np.full(len(values_TCHW), np.nan)
    for date, values_CHW in enumerate(values_TCHW):
        seen = values_CHW if valid_THW is None else values_CHW[:, valid_THW[date]]
        if seen.size:
            out[date] = np.percentile(seen, _DARK_PERCENTILE)
    return out


def offset_doubt(dates_T: NDArray[np.datetime64], darkest_T: NDArray[np.float64]) -> str | None:
    """What is odd about the darkest numbers of a Sentinel-2 series' dates; None if nothing is.

    Somewhere on some day there is water, a wood or a shadow: without offset its number is a few
    hundred. Needs three dates to say anything.
    """
    seen = np.isfinite(darkest_T)
    dates, numbers = dates_T[seen], darkest_T[seen]
    if len(numbers) < _FEWEST_DATES:
        return None
    least = float(numbers.min())
    if -BASELINE_04_OFFSET <= least <= _NOT_ALL_CLOUD:
        return (
            f"the darkest numbers of its {len(numbers)} dates are never below {least:.0f}, as if "
            f"all had the offset of {-BASELINE_04_OFFSET:.0f} of Sentinel-2's processing baseline "
            "04.00"
        )
    late = dates >= np.datetime64(BASELINE_04_DAY)
    if late.sum() < _FEWEST_DATES or late.all():
        return None
    before, after = float(numbers[~late].min()), float(numbers[late].min())
    if after >= -BASELINE_04_OFFSET and _SHIFT[0] <= after - before <= _SHIFT[1]:
        return (
            f"the darkest numbers reach {before:.0f} before {BASELINE_04_DAY} and {after:.0f} "
            f"from then on, as if these {int(late.sum())} dates had the offset of "
            f"{-BASELINE_04_OFFSET:.0f} of Sentinel-2's processing baseline 04.00"
        )
    return None


def floor_doubt(values_CHW: NDArray[Any], valid_HW: NDArray[np.bool_] | None) -> str | None:
    """Whether taking the offset away left suspiciously many numbers at the bottom."""
    seen = values_CHW if valid_HW is None else values_CHW[:, valid_HW]
    share = float((seen <= 1).mean()) if seen.size else 0.0
    if share < _MOST_AT_FLOOR:
        return None
    return (
        f"with its offset taken away {share:.0%} of the numbers looked at fall to zero or below, "
        "as if it had been taken away before: some catalogues declare an offset that their files "
        "no longer have"
    )
