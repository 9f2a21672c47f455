"""What the given sources are: checked against the modality and the reference, before any work."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError
from bocage.imagery.cube import read_cube
from bocage.imagery.grids import approximate_resolution_m, bounds_in, say_bounds
from bocage.imagery.headers import Expected, MissingTiles, read_header, snow_cloud
from bocage.imagery.locate import Catalogue, Cube, ManyTiles, locate
from bocage.imagery.mosaic import (
    Mosaic,
    Raster,
    Stack,
    files_of,
    load_tiles,
    of_dates,
    respelled,
)
from bocage.imagery.scale import AS_STORED, Scale, converts
from bocage.imagery.stac import read_catalogue
from bocage.imagery.vrt import join_virtual, tiles_of_vrt
from bocage.modalities import MODALITIES, SENTINEL2_TS, Modality, get_modality
from bocage.rasters import describe_crs, same_crs

SAME_SIZE = 0.01
"""Pixel sizes that differ by less than this share are called equal."""
_GAPS = 0.999
"""A mosaic whose tiles cover less of the rectangle around them has gaps worth a word."""


@dataclass(frozen=True)
class Source:
    """One sensor's imagery over the area; any extent, CRS and resolution.

    `modality` is an official name or a slug. `path` is a file or anything else that GDAL opens, a
    folder, pattern or list of tiles, an address, or a STAC document: see
    `bocage.imagery.locate.locate`. A series has its dates in the text file `dates`, one `YYYYMMDD`
    or `YYYY-MM-DD` per line, in the order of the bands (all bands of the first date, then all of
    the second); STAC items bring their own. `mask` is the snow and cloud raster of a Sentinel-2
    series, two bands per date. `bands`, counted from 1, are those of the file that hold the
    modality's bands, for a file that holds more.

    Numbers times `scale` plus `offset` are the sensor's, as `bocage.modalities` has them. None: as
    a document or the files declare, else as they are stored. An offset that only some dates have
    may stand behind them in `dates`.
    """

    modality: str
    path: Path | str
    dates: Path | None = None
    mask: Path | str | None = None
    bands: tuple[int, ...] | None = None
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True)
class Sensor:
    """A checked source: its raster and, for a series, its dates and its snow and cloud raster.

    `notes` are what had to be left out, or is doubtful.
    """

    modality: Modality
    raster: Raster
    dates: NDArray[np.datetime64] | None = None
    mask: Raster | None = None
    notes: tuple[str, ...] = ()


def inspect(source: Source, missing: MissingTiles = "stop") -> Sensor:
    """Open the source's files and compare what they declare with the modality.

    `missing` is what a tile or an item that cannot be read is. Raises `ConfigError` for options
    that do not belong to the modality and `DataError` for files.
    """
    modality = get_modality(source.modality)
    if source.mask is not None and modality is not SENTINEL2_TS:
        raise ConfigError(
            f"{source.mask}: a snow and cloud mask belongs to {SENTINEL2_TS.name}, not to "
            f"{modality.name}. Leave it out."
        )
    _check_scale(source, modality)
    if not modality.series:
        if source.dates is not None:
            raise ConfigError(
                f"{source.dates}: {modality.name} is one image, not a series; it takes no dates."
            )
        expected = Expected(modality, modality.bands, source.bands, scales=_scales(source, ()))
        raster, _, notes = _open(str(source.path), expected, False, missing)
        return Sensor(modality, raster, notes=notes + _told(raster, modality))
    if source.bands is not None:
        raise ConfigError(f"{modality.name} is a series; bands cannot be chosen from its file.")
    return _inspect_series(source, modality, missing)


def _inspect_series(source: Source, modality: Modality, missing: MissingTiles) -> Sensor:
    path = str(source.path)
    place = locate(path)
    offsets: tuple[float, ...] = ()
    if isinstance(place, Cube) and source.dates is None:
        given = None
    elif isinstance(place, Catalogue):
        if source.dates is not None:
            raise ConfigError(
                f"{source.dates}: the items of {path} bring their own dates. Leave it out."
            )
        given = None
    elif source.dates is None:
        raise ConfigError(
            f"{modality.name} is a series and needs its dates: a text file with one YYYYMMDD or "
            "YYYY-MM-DD per line, in the order of the bands."
        )
    else:
        given, offsets = _read_days(source.dates)
    count = 1 if given is None else len(given)
    expected = Expected(
        modality,
        modality.bands,
        None,
        count,
        str(source.dates or ""),
        _scales(source, offsets, len(modality.bands)),
    )
    raster, own, notes = _open(path, expected, True, missing)
    dates = own if given is None else given
    # Dates that repeat stay apart, in the file's order: each is a look of its own.
    order = np.argsort(dates, kind="stable").tolist()
    mask: Raster | None = None
    if source.mask is not None:
        mask, days, more = _open(str(source.mask), snow_cloud(len(dates)), True, missing)
        # Items come by day, layers of a cube in its own order.
        if len(days) and not np.array_equal(
            days, dates[order] if isinstance(mask, Stack) else dates
        ):
            raise DataError(
                f"{source.mask}: holds {len(days)} days, which are not the {len(dates)} days "
                f"of {path}. Give the mask of the same items."
            )
        mask = mask if isinstance(mask, Stack) else of_dates(mask, order, len(order))
        notes += more
    raster = of_dates(raster, order, len(order))
    return Sensor(modality, raster, dates[order], mask, notes + _told(raster, modality))


def _check_scale(source: Source, modality: Modality) -> None:
    if source.scale is None and source.offset is None:
        return
    if not converts(modality):
        raise ConfigError(
            f"{source.path}: numbers of {modality.name} are as the camera gave them; they take no "
            "scale or offset. Leave them out."
        )
    if source.scale is not None and not (math.isfinite(source.scale) and source.scale > 0):
        raise ConfigError(f"{source.path}: scale={source.scale:g}. Give a number above zero.")
    if source.offset is not None and not math.isfinite(source.offset):
        raise ConfigError(f"{source.path}: offset={source.offset:g}. Give a number.")


def _scales(source: Source, offsets: tuple[float, ...], bands: int = 1) -> tuple[Scale, ...] | None:
    """What the request says of the numbers: by date and band, or one for all; None if nothing."""
    if source.offset is not None and offsets:
        raise ConfigError(
            f"{source.dates}: offsets stand behind the dates, and offset={source.offset:g} is "
            "given for all. Give one of the two."
        )
    if source.scale is None and source.offset is None and not offsets:
        return None
    factor = 1.0 if source.scale is None else source.scale
    if offsets:
        return tuple(Scale(factor, offset) for offset in offsets for _ in range(bands))
    return (Scale(factor, source.offset or 0.0),)


def _told(raster: Raster, modality: Modality) -> tuple[str, ...]:
    """A note on numbers that are not taken as they are stored."""
    scales = [
        scale
        for file in files_of(raster)
        for scale in file.scales or (AS_STORED,) * len(file.bands)
    ]
    notes = []
    for scale in sorted(set(scales) - {AS_STORED}):
        share = scales.count(scale) / len(scales)
        some = "" if share == 1 else f" of {share:.0%} of its bands"
        times = "" if scale.factor == 1 else f" times {scale.factor:g}"
        plus = f" {'plus' if scale.offset > 0 else 'minus'} {abs(scale.offset):g}"
        formula = times + (plus if scale.offset else "")
        notes.append(f"{raster.path}: numbers{some} are taken{formula}, for {modality.name}.")
    return tuple(notes)


def _open(
    path: str, expected: Expected, series: bool, missing: MissingTiles
) -> tuple[Raster, NDArray[np.datetime64], tuple[str, ...]]:
    """The raster that `path` names, days where it brings them, and what is to be told."""
    undated = np.array([], dtype="datetime64[D]")
    place = locate(path)
    if isinstance(place, Cube) and series and not expected.dates_path:
        return *read_cube(place.path, expected), ()
    if isinstance(place, Catalogue):
        return read_catalogue(place.path, place.asset, expected, series, missing)
    if isinstance(place, ManyTiles):
        mosaic, notes = load_tiles(path, place.paths, expected, missing)
    else:
        virtual = tiles_of_vrt(place.path)
        whole = read_header(place.path, expected, probe=virtual is None)
        if virtual is None:
            return whole, undated, ()
        mosaic, notes = join_virtual(whole, virtual, expected, missing)
    return mosaic, undated, notes + _gaps(mosaic)


def _gaps(mosaic: Mosaic) -> tuple[str, ...]:
    if mosaic.covered > _GAPS:
        return ()
    return (
        f"{mosaic.path}: {len(mosaic.tiles)} tiles cover {mosaic.covered:.0%} of its rectangle; "
        "around and between them is no data.",
    )


def read_dates(path: Path) -> NDArray[np.datetime64]:
    """Dates of a text file, (T,) datetime64[D], in the file's order; blank lines are skipped."""
    return _read_days(path)[0]


def _read_days(path: Path) -> tuple[NDArray[np.datetime64], tuple[float, ...]]:
    """Dates of a text file and the offsets behind them, 0 where none is; empty if none has one."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the dates cannot be read ({error}).") from error
    dates, offsets = [], []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        text = words[0]
        digits = text.replace("-", "") if len(text) == 10 else text
        try:
            if len(digits) != 8 or len(words) > 2:
                raise ValueError(text)
            offsets.append(float(words[1]) if len(words) == 2 else None)
            day = datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: '{line.strip()[:40]}' is not a date. Write one YYYYMMDD "
                "or YYYY-MM-DD per line, behind it at most what is to be added to its numbers."
            ) from error
        dates.append(day.isoformat())
    if not dates:
        raise DataError(f"{path}: no date in the file. Write one YYYYMMDD per line.")
    stated = any(offset is not None for offset in offsets)
    added = tuple(offset or 0.0 for offset in offsets) if stated else ()
    return np.array(dates, dtype="datetime64[D]"), added


def finest_sensor(sensors: Sequence[Sensor]) -> Sensor:
    """The sensor with the finest pixels.

    Among equally fine ones the order of `MODALITIES` decides, not the order of the arguments.
    """
    ranking = list(MODALITIES)
    sizes = {s.modality.name: approximate_resolution_m(s.raster.grid) for s in sensors}
    finest = min(sizes.values())
    return min(
        (s for s in sensors if sizes[s.modality.name] <= finest * (1 + SAME_SIZE)),
        key=lambda s: ranking.index(s.modality.name),
    )


def choose_reference(sensors: Sequence[Sensor], output_resolution_m: float) -> Sensor:
    """The sensor with the finest pixels, whose grid the map takes over.

    Raises `DataError` unless it is north-up, in a projected CRS in metres, with square pixels of
    the network's output resolution.
    """
    chosen = finest_sensor(sensors)
    path, grid = chosen.raster.path, chosen.raster.grid
    crs = grid.crs
    if crs is None or not crs.is_projected:
        raise DataError(
            f"{path}: the map takes over this raster's grid, which is in {describe_crs(crs)}; a "
            "projected CRS in metres is needed. Name one (crs=EPSG:…), and it is resampled as it "
            "is read; reproject it with 'gdalwarp -t_srs EPSG:…'; or, if only the description is "
            "wrong, correct it with 'gdal_edit.py -a_srs EPSG:…'."
        )
    if not math.isclose(crs.linear_units_factor[1], 1.0):
        raise DataError(
            f"{path}: {describe_crs(crs)} counts in {crs.linear_units_factor[0]}, not in metres. "
            "Name a CRS in metres (crs=EPSG:…), or reproject with 'gdalwarp -t_srs EPSG:…'."
        )
    transform = grid.transform
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        kind = "rotated" if transform.b or transform.d else "not north-up"
        raise DataError(
            f"{path}: the raster is {kind} (geotransform {transform.to_gdal()}). "
            f"Name a grid (crs={crs.to_string()[:60]}), or write it north-up with 'gdalwarp "
            f"-t_srs {crs.to_string()[:60]}'."
        )
    found = grid.resolution
    if any(abs(size / output_resolution_m - 1) > SAME_SIZE for size in found):
        raise DataError(
            f"{path}: pixels of {found[0]:g} m x {found[1]:g} m, but the network maps at "
            f"{output_resolution_m:g} m. Have it resampled as it is read (resolution_m="
            f"{output_resolution_m:g}), or resample with 'gdalwarp -tr {output_resolution_m:g} "
            f"{output_resolution_m:g} -r average {Path(path).name} resampled.tif'."
        )
    return chosen


def check_cover(raster: Raster, reference: Raster) -> Raster:
    """The same raster, its CRS spelled as the reference's where it is the same.

    Raises `DataError` when it has no CRS, when the two cannot be related, and when it does not
    reach into the reference at all.
    """
    ours, theirs = reference.grid, raster.grid
    if same_crs(ours.crs, theirs.crs):
        raster = respelled(raster, ours.crs)
        theirs = raster.grid
    place = f"{raster.path}, in {describe_crs(theirs.crs)}, bounds {say_bounds(theirs.bounds)}"
    expected = f"{reference.path}, in {describe_crs(ours.crs)}, bounds {say_bounds(ours.bounds)}"
    seen = bounds_in(ours.bounds, ours.crs, theirs.crs)
    if seen is None:
        raise DataError(
            f"{place}: its coordinates cannot be related to those of {expected}. If the area lies "
            "at a pole or across the dateline, reproject the raster with 'gdalwarp -t_srs' to the "
            "map's CRS; else correct its CRS with 'gdal_edit.py -a_srs EPSG:…'."
        )
    left, bottom, right, top = theirs.bounds
    if seen[0] >= right or seen[2] <= left or seen[1] >= top or seen[3] <= bottom:
        raise DataError(
            f"{place}: does not cover any of {expected}. Check that both are of the same area "
            "and that both state their true CRS."
        )
    return raster
