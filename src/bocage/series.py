"""Operations on a time series, as pure functions: the input is never changed.

Training and mapping use the same ones, so that a network sees at work what it has learnt from.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    min_dates: int = Field(default=0, ge=0)
    """Where fewer dates are clear, the clearest others are added up to this many. 0 adds none, and
    a series without a clear date is an absent sensor."""
    composite: Literal["none", "monthly", "semi-monthly"] = "none"
    """Average the used dates of each month, or of each half of a month (to the 15th, from the
    16th). A period without a used date has no frame."""
    max_dates: int | None = Field(default=None, ge=1)
    """Thin what is left evenly to at most this many dates. None: all."""

    @model_validator(mode="after")
    def _fewest_and_most(self) -> SeriesConfig:
        if self.max_dates is not None and self.min_dates > self.max_dates:
            raise ValueError(f"min_dates={self.min_dates} exceeds max_dates={self.max_dates}")
        return self


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

    Dates that saw nothing of the patch go first, then cloudy ones; what is left is averaged where
    that is asked for, and thinned.
    """
    if series.valid is not None:
        series = series.take(np.asarray(series.valid.any(axis=(1, 2))))
    series = average(select_clear(series, config), config)
    if config.max_dates is not None and len(series) > config.max_dates:
        places = np.linspace(0, len(series) - 1, config.max_dates)
        series = series.take(places.round().astype(np.int64))
    return series


def select_clear(series: Series, config: SeriesConfig) -> Series:
    """The dates that pass the filter of FLAIR-HUB's recipe.

    Unlike the published code a series without a clear date stays empty: cloudy dates are never
    let in by the back door, and an empty series is an absent sensor. Whoever wants some anyway asks
    for `min_dates`, and gets the clearest.
    """
    if not len(series):
        return series
    share = clear_share(series, config)
    chosen = share >= config.min_clear
    if chosen.sum() < config.min_dates:
        murk = np.zeros(len(series))
        if series.snow_cloud is not None:
            murk = series.snow_cloud.mean(axis=(1, 2, 3))
        # By share of clear pixels, then by how sure the clouds are.
        clearest = np.lexsort((murk, -share))[: config.min_dates]
        chosen[clearest] = True
    return series.take(chosen)


def average(series: Series, config: SeriesConfig) -> Series:
    """One frame per month or half month that has a date, each pixel the mean of those that saw it.

    A frame's day is the mean of its dates' days. Months are those of the calendar, each year's its
    own: the next January never falls into this one. Backscatter is averaged as it is stored, in
    linear power. Snow and cloud probabilities have done their work and are left out.
    """
    if config.composite == "none" or len(series) < 2:
        return series
    days = series.dates.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    period = 2 * months.astype(np.int64)
    if config.composite == "semi-monthly":
        period += (days - months.astype("datetime64[D]")).astype(np.int64) >= 15
    values, dates, valid = [], [], []
    for each in np.unique(period):
        here = period == each
        frames = series.values[here].astype(np.float64)
        seen = np.ones((len(frames), *frames.shape[2:]), bool)
        if series.valid is not None:
            seen = series.valid[here]
        times = seen.sum(axis=0)
        total = (frames * seen[:, None]).sum(axis=0)
        mean = total / np.maximum(times, 1)
        if series.values.dtype.kind == "u":
            mean = mean.round()
        values.append(mean.astype(series.values.dtype))
        valid.append(times > 0)
        middle = days[here].astype(np.int64).mean()
        dates.append(np.datetime64(round(float(middle)), "D"))
    known = np.stack(valid)
    return Series(np.stack(values), np.array(dates), None, None if known.all() else known)
