"""Whether a source is what the bundle has learnt from: its bands' names and its numbers.

A header says how many bands there are and of which type; a file in another band order, or of
another scale, has the same header and gives a map that looks plausible and is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from bocage.errors import ConfigError, DataError
from bocage.imagery import (
    AROUND,
    Layers,
    RasterFile,
    Sensor,
    Square,
    Stack,
    files_of,
    open_source,
    spread,
    squares,
)
from bocage.modalities import CLOUDY_SERIES, Modality
from bocage.models.inputs import InputConfig, Preparation

FAR_OFF = 6.0
"""Standard deviations of the training data between its mean and that of any real area: altitudes
apart, the extremes of the simulated and the real sets lie within 3."""
_PROBE_DATES, _PROBE_CLOUDY_DATES, _PROBE_TILES, _FEWEST = 3, 12, 5, 256

_ALIASES = {
    "r": "red", "rouge": "red", "g": "green", "vert": "green", "b": "blue", "bleu": "blue",
    "ir": "nir", "pir": "nir", "infrared": "nir", "nearinfrared": "nir", "nearir": "nir",
    "pan": "panchromatic", "mns": "dsm", "mnt": "dtm",
}  # fmt: skip
_COLOURS = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}


def check_suits(sensor: Sensor, learnt: InputConfig) -> None:
    """Refuse a source whose bands are named otherwise or whose numbers are of another scale.

    `ConfigError` for bands in another order than `learnt`'s, with the order that would be right;
    `DataError` for numbers that no area of the training data comes near. Reads a few small squares,
    of many tiles a few tiles; assets of a catalogue's items are found by the names of their bands.
    """
    if isinstance(sensor.raster, Stack | Layers):
        _check_numbers(squares(sensor, _probe_dates(sensor)), sensor, learnt)
        return
    files = files_of(sensor.raster)
    for file in (files[i] for i in spread(len(files), _PROBE_TILES)):
        try:
            with open_source(file.path) as dataset:
                _check_names(dataset, file, sensor)
        except DataError:
            # A tile that breaks is told, or ends the run, when its turn comes.
            if file.tile is None:
                raise
    _check_numbers(squares(sensor, _probe_dates(sensor), _PROBE_TILES, AROUND), sensor, learnt)


def _probe_dates(sensor: Sensor) -> int:
    """How many dates are looked at: more where most may be under clouds."""
    return _PROBE_CLOUDY_DATES if sensor.modality.name in CLOUDY_SERIES else _PROBE_DATES


def band_names(dataset: DatasetReader, modality: Modality) -> dict[int, str]:
    """Bands of the file, from 1, that it names as one of the modality's: by description, or colour.

    An infrared composite shown as red, green and blue is commonly tagged with these colours: they
    say something only where they are out of order.
    """
    known = {_plain(name): name for name in modality.bands}
    found = {}
    for band, text in enumerate(dataset.descriptions, start=1):
        name = _ALIASES.get(_plain(text or ""), _plain(text or ""))
        if name in known:
            found[band] = known[name]
    if found:
        return found
    colours = {
        band: _COLOURS[colour]
        for band, colour in enumerate(dataset.colorinterp, start=1)
        if colour in _COLOURS and _COLOURS[colour] in known
    }
    usual = [name for name in ("red", "green", "blue") if name in colours.values()]
    return {} if list(colours.values()) == usual else colours


def _check_names(dataset: DatasetReader, raster: RasterFile, sensor: Sensor) -> None:
    modality = sensor.modality
    names = band_names(dataset, modality)
    expected = modality.bands * (len(raster.bands) // len(modality.bands))
    for band, wanted in zip(raster.bands, expected, strict=True):
        if names.get(band, wanted) == wanted:
            continue
        places = {name: place for place, name in names.items()}
        remedy = "Write it with its bands in this order."
        if not modality.series and all(name in places for name in modality.bands):
            order = ",".join(str(places[name]) for name in modality.bands)
            remedy = f"Give it as {sensor.raster.path}:{order}."
        raise ConfigError(
            f"{raster.path}: band {band} is '{names[band]}' by the file's own account, where the "
            f"network takes '{wanted}' ({modality.name}: {', '.join(modality.bands)}). {remedy}"
        )


def _check_numbers(samples: Iterable[Square], sensor: Sensor, learnt: InputConfig) -> None:
    mean, std = learnt.statistics
    as_stored = not any(mean) and set(std) == {1.0}
    if as_stored or sensor.modality.quantity == "elevation":
        # Nothing to compare with; and mountains are far from the mean in earnest.
        return
    prepare = Preparation(learnt)
    by_date: dict[int, list[NDArray[np.float32]]] = {}
    for square in samples:
        raw = square.values
        if square.valid is not None:
            # NaN is "unknown" to the preparation.
            raw = raw.astype(np.float32)
            raw[:, ~square.valid] = np.nan
        prepared, known = prepare(torch.from_numpy(raw))
        by_date.setdefault(square.date, []).append(prepared.movedim(-3, 0)[:, known].numpy())
    dates = [np.concatenate(values, axis=1) for values in by_date.values()]
    if sensor.modality.name in CLOUDY_SERIES:
        # Clouds are far from the mean in earnest: the date that is nearest is judged. Another
        # product or scale is far off on all of them.
        dates = [d for d in dates if d.shape[1] >= _FEWEST]
        dates = sorted(dates, key=lambda d: float(np.abs(d.mean(axis=1)).max()))[:1]
    if not dates or sum(d.shape[1] for d in dates) < _FEWEST:
        return
    pixels = np.concatenate(dates, axis=1)
    for name, channel in zip(learnt.channel_names, pixels, strict=True):
        centre, spread = float(channel.mean()), float(channel.std())
        if abs(centre) > FAR_OFF or spread > FAR_OFF:
            index = learnt.channel_names.index(name)
            raise DataError(
                f"{sensor.raster.path}: '{name}' has mean {centre * std[index] + mean[index]:.4g} "
                f"and spread {spread * std[index]:.4g}, where the network has learnt from "
                f"{mean[index]:.4g} and {std[index]:.4g}: another product or another scale. Give "
                "imagery as it was trained on, or say check_values=false if you know better."
            )


def _plain(text: str) -> str:
    """Letters and digits alone, lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
