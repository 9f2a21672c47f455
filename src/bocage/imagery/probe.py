"""A few small squares of a sensor's pixels: enough to see what its numbers are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.errors import DataError
from bocage.imagery.mosaic import Layers, Raster, Stack, files_of, of_dates
from bocage.imagery.pixels import reading_of
from bocage.imagery.resample import SensorGrid, read_raster
from bocage.imagery.scale import Scale, darkest, floor_doubt, offset_doubt
from bocage.imagery.sources import Sensor
from bocage.modalities import CLOUDY_SERIES
from bocage.rasters import Grid

_SIDE_PX = 128
_DOUBT_DATES, _DOUBT_ITEMS = 12, 6
"""Dates looked at for an offset: of files, and of a catalogue, each of whose bands is a request."""
MIDDLE = ((0.5, 0.5),)
AROUND = (*MIDDLE, (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
"""Places of squares, as shares of height and width."""


@dataclass(frozen=True, eq=False)
class Square:
    """Numbers (C, h, w) of one date of the sensor, and which pixels are known; None: all."""

    date: int
    values: NDArray[Any]
    valid: NDArray[np.bool_] | None


def squares(
    sensor: Sensor,
    dates: int,
    tiles: int = 1,
    places: Sequence[tuple[float, float]] = MIDDLE,
) -> Iterator[Square]:
    """Squares of 128 pixels of at most so many dates and tiles, spread evenly.

    Of a catalogue's day the first item is taken, on the grid of its finest file. What cannot be
    read is left out: it is told, or ends the run, when its turn comes.
    """
    raster = sensor.raster
    count = 1 if sensor.dates is None else len(sensor.dates)
    pieces: list[tuple[int, Raster, Grid]] = []
    if isinstance(raster, Stack):
        for date in spread(count, dates):
            item = raster.dates[date][0]
            grid = min((file.grid for file in item), key=lambda g: min(g.resolution))
            pieces.append((date, replace(raster, dates=((item,),)), grid))
    elif isinstance(raster, Layers):
        pieces = [(d, of_dates(raster, [d], count), raster.grid) for d in spread(count, dates)]
    else:
        files = files_of(raster)
        for file in (files[i] for i in spread(len(files), tiles)):
            pieces += [(d, of_dates(file, [d], count), file.grid) for d in spread(count, dates)]
    for date, piece, grid in pieces:
        height, width = min(_SIDE_PX, grid.height), min(_SIDE_PX, grid.width)
        corners = {(int((grid.height - height) * y), int((grid.width - width) * x))
                   for y, x in places}  # fmt: skip
        for row, col in sorted(corners):
            try:
                values, valid = read_raster(
                    piece,
                    SensorGrid(grid, Fraction(1)),
                    (row, row + height),
                    (col, col + width),
                    reading_of(sensor.modality),
                )
            except DataError:
                continue
            yield Square(date, values[0], None if valid is None else valid[0])


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def doubts(sensor: Sensor) -> tuple[str, ...]:
    """What looks wrong about the offset of a Sentinel-2 series; reads a square of a few dates."""
    if sensor.modality.name not in CLOUDY_SERIES or sensor.dates is None:
        return ()
    most = _DOUBT_ITEMS if isinstance(sensor.raster, Stack) else _DOUBT_DATES
    found = list(squares(sensor, most))
    remedy = (
        "If so, say it in the file of dates (20220301 -1000), or for all dates with offset=-1000 "
        "(--sentinel2-offset)."
    )
    taken = any(_shifts(file.scales) for file in files_of(sensor.raster))
    if taken:
        texts = {floor_doubt(s.values, s.valid) for s in found} - {None}
        remedy = "If so, say offset=0 (--sentinel2-offset)."
    else:
        low = [darkest(s.values[None], None if s.valid is None else s.valid[None]) for s in found]
        days = sensor.dates[[s.date for s in found]]
        texts = {offset_doubt(days, np.concatenate(low) if low else np.empty(0))} - {None}
    return tuple(f"{sensor.raster.path}: {text}. {remedy}" for text in sorted(map(str, texts)))[:1]


def _shifts(scales: Sequence[Scale]) -> bool:
    return any(scale.offset < 0 for scale in scales)
