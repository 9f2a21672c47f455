"""Operations on a time series, as pure functions: the input is never changed.

Training and mapping use the same ones, so that a network sees at work what it has learnt from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bocage.sample import Series


class SeriesConfig(BaseModel):
    """Which dates of a series are used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cloud: float = Field(default=1.0, ge=0, le=100)
    """A pixel is clear when its cloud probability is at most this, percent."""
    max_snow: float = Field(default=1.0, ge=0, le=100)
    """A pixel is clear when its snow probability is at most this, percent."""
    min_clear: float = Field(default=0.95, ge=0, le=1)
    """A date is used when at least this share of its pixels is clear. 0 uses every date."""
    max_dates: int | None = Field(default=None, ge=1)
    """Thin what is left evenly to at most this many dates. None: all."""


def clear_share(series: Series, config: SeriesConfig) -> NDArray[np.float64]:
    """Share of clear pixels per date, (T,), 0 to 1; all 1 for a sensor without a mask."""
    if series.snow_cloud is None:
        return np.ones(len(series))
    snow, cloud = series.snow_cloud[:, 0], series.snow_cloud[:, 1]
    clear = (snow <= config.max_snow) & (cloud <= config.max_cloud)
    if series.valid is not None:
        clear &= series.valid
    return np.asarray(clear.mean(axis=(1, 2)))


def usable_dates(series: Series, config: SeriesConfig) -> Series:
    """What a network gets of a patch's series, in training and in mapping alike.

    Dates that saw nothing of the patch go first, then cloudy ones, then the rest is thinned.
    """
    if series.valid is not None:
        series = series.take(np.asarray(series.valid.any(axis=(1, 2))))
    series = select_clear(series, config)
    if config.max_dates is not None and len(series) > config.max_dates:
        places = np.linspace(0, len(series) - 1, config.max_dates)
        series = series.take(places.round().astype(np.int64))
    return series


def select_clear(series: Series, config: SeriesConfig) -> Series:
    """The dates that pass the filter of FLAIR-HUB's recipe.

    Unlike the published code a series without a clear date stays empty: cloudy dates are never
    let in by the back door, and an empty series is an absent sensor.
    """
    if not len(series):
        return series
    return series.take(clear_share(series, config) >= config.min_clear)
