"""NetCDF and Zarr cubes of a series: their days, their bands as variables or along a dimension.

A variable is opened as a raster, and what its further dimensions are stands in tags, by GDAL for
NetCDF and by `bocage.imagery.zarr_store` for Zarr. The time axis is CF's ("days since 2021-01-01").
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bocage.errors import DataError
from bocage.imagery.headers import Expected, RasterFile, read_header
from bocage.imagery.mosaic import Layers
from bocage.imagery.stac import find_band
from bocage.imagery.zarr_store import open_source

_SECONDS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1,
            "millisecond": 1e-3, "microsecond": 1e-6, "nanosecond": 1e-9}  # fmt: skip
"""In one of each unit; parts of seconds are not CF's, but xarray's for the times of scenes."""
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_TIME = re.compile(r"NETCDF_DIM_(time|t|date)_VALUES", re.IGNORECASE)


def read_cube(path: str, expected: Expected) -> tuple[RasterFile | Layers, NDArray[np.datetime64]]:
    """A cube's pixels and days, in the file's order.

    Either one variable has the dimensions time, band, y, x (or band, time, …), its bands in the
    product's order, or each band is a variable (time, y, x) of its name or common name. Raises
    `DataError` for any other, with what was found.
    """
    with open_source(path) as dataset:
        variables, tags, count = dataset.subdatasets, dataset.tags(), dataset.count
    if count:
        days, bands = _one_variable(path, tags, count, len(expected.bands))
        return read_header(path, replace(expected, chosen=bands, dates=len(days))), days
    names = [[re.split(r"[:/]", name)[-1].strip('"').lower()] for name in variables]
    places = [find_band(band, [set(name) for name in names]) for band in expected.bands]
    missing = [b for b, place in zip(expected.bands, places, strict=True) if place is None]
    if missing:
        known = ", ".join(name[0] for name in names) or "none"
        raise DataError(
            f"{path}: no variable for {', '.join(missing)}; its variables are {known}. Name them "
            "as the bands, or give one variable with a band dimension as "
            'NETCDF:"FILE":VARIABLE or ZARR:"STORE":/VARIABLE.'
        )
    parts: list[RasterFile] = []
    axis: NDArray[np.datetime64] | None = None
    for band, place in zip(expected.bands, places, strict=True):
        assert place is not None
        variable = variables[place - 1]
        with open_source(variable) as dataset:
            days = _days(variable, dataset.tags())
        if axis is not None and not np.array_equal(days, axis):
            raise DataError(f"{variable}: has other days than {variables[0]}. Split the cube.")
        axis = days
        part = replace(expected, bands=(band,), dates=len(days), dates_path="its time axis")
        parts.append(read_header(variable, part))
    assert axis is not None
    return Layers(path, parts[0].grid, tuple(parts)), axis


def _one_variable(
    path: str, tags: dict[str, str], count: int, bands: int
) -> tuple[NDArray[np.datetime64], tuple[int, ...]]:
    """Days, and the places of the bands of the first day, of the second, and so on."""
    days = _days(path, tags)
    if count != bands * len(days):
        raise DataError(
            f"{path}: {count} layers, where {len(days)} days of {bands} bands have "
            f"{bands * len(days)}. Check that this is the right product."
        )
    order = tags.get("NETCDF_DIM_EXTRA", "").strip("{}").split(",")
    time = next(m[1] for m in map(_TIME.fullmatch, tags) if m)
    if order[0] in ("", time):
        return days, tuple(range(1, count + 1))
    return days, tuple(b * len(days) + d + 1 for d in range(len(days)) for b in range(bands))


def _days(path: str, tags: dict[str, str]) -> NDArray[np.datetime64]:
    """The days of a CF time axis, (T,) datetime64[D]."""
    match = next((m for m in map(_TIME.fullmatch, tags) if m), None)
    if match is None:
        raise DataError(
            f"{path}: no time axis (a dimension 'time' with a coordinate). Give the dates in a "
            "text file with one YYYYMMDD per line."
        )
    name = match[1]
    units, calendar = tags.get(f"{name}#units", ""), tags.get(f"{name}#calendar", "standard")
    form = re.fullmatch(r"(\w+?)s? since (\d{4}-\d{1,2}-\d{1,2})(?:[ T](.*))?", units.strip())
    numbers = _numbers(tags[match[0]])
    if form is None or form[1] not in _SECONDS or calendar not in _CALENDARS or not numbers:
        raise DataError(
            f"{path}: time in '{units}' ({calendar} calendar), where CF has days, hours, minutes "
            "or seconds 'since' a date. Give the dates in a text file with one YYYYMMDD per line."
        )
    year, month, day = (int(part) for part in form[2].split("-"))
    clock = re.match(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", form[3] or "")
    begin = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "s")
    if clock is not None:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        begin += np.timedelta64(3_600 * hours + 60 * minutes + seconds, "s")
    steps = [np.timedelta64(round(number * _SECONDS[form[1]]), "s") for number in numbers]
    return np.array([begin + step for step in steps]).astype("datetime64[D]")


def _numbers(text: str) -> Sequence[float]:
    """The values of a dimension as GDAL writes them, `{0,30,75}`; empty for anything else."""
    try:
        found = [float(word) for word in text.strip("{}").split(",")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []
