"""What the given files declare: checked against the modality and the reference, before any work.

Nothing here decodes more than one small square of pixels per file.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from bocage.errors import ConfigError, DataError
from bocage.modalities import (
    MODALITIES,
    SENTINEL2_MASK_BANDS,
    SENTINEL2_TS,
    Modality,
    get_modality,
)
from bocage.rasters import Grid, describe_crs, grid_of, open_raster, same_crs

Bounds = tuple[float, float, float, float]

SAME_SIZE = 0.01
"""Pixel sizes that differ by less than this share are called equal."""
_METRES_PER_DEGREE = 111_320.0
_PROBE_PX = 256


@dataclass(frozen=True)
class Source:
    """One sensor's raster over the area; any extent, and any CRS and resolution but the finest's.

    `modality` is an official name or a slug. `path` is a file or anything else that GDAL opens.
    A series has its dates in the text file `dates`, one `YYYYMMDD` or `YYYY-MM-DD` per line, in
    the order of the bands (all bands of the first date, then all of the second). `mask` is the
    snow and cloud raster of a Sentinel-2 series, two bands per date. `bands`, counted from 1, are
    those of the file that hold the modality's bands, for a file that holds more.
    """

    modality: str
    path: Path | str
    dates: Path | None = None
    mask: Path | str | None = None
    bands: tuple[int, ...] | None = None


@dataclass(frozen=True)
class RasterFile:
    """One readable raster: where it lies and which of its bands are wanted.

    `bands` count from 1, in the modality's order, date after date for a series. `alpha` is an
    opacity band beside them, `masked` says that the file has an internal mask.
    """

    path: str
    grid: Grid
    bands: tuple[int, ...]
    nodata: tuple[float | None, ...]
    alpha: int | None
    masked: bool


@dataclass(frozen=True)
class Sensor:
    """A checked source: its raster and, for a series, its dates and its snow and cloud raster."""

    modality: Modality
    raster: RasterFile
    dates: NDArray[np.datetime64] | None = None
    mask: RasterFile | None = None


def inspect(source: Source) -> Sensor:
    """Open the source's files and compare what they declare with the modality.

    Raises `ConfigError` for options that do not belong to the modality and `DataError` for files.
    """
    modality = get_modality(source.modality)
    if source.mask is not None and modality is not SENTINEL2_TS:
        raise ConfigError(
            f"{source.mask}: a snow and cloud mask belongs to {SENTINEL2_TS.name}, not to "
            f"{modality.name}. Leave it out."
        )
    if not modality.series:
        if source.dates is not None:
            raise ConfigError(
                f"{source.dates}: {modality.name} is one image, not a series; it takes no dates."
            )
        return Sensor(modality, _open(str(source.path), modality, source.bands, dates=1))
    if source.dates is None:
        raise ConfigError(
            f"{modality.name} is a series and needs its dates: a text file with one YYYYMMDD or "
            "YYYY-MM-DD per line, in the order of the bands."
        )
    if source.bands is not None:
        raise ConfigError(f"{modality.name} is a series; bands cannot be chosen from its file.")
    dates = read_dates(source.dates)
    order = np.argsort(dates, kind="stable")
    raster = _open(str(source.path), modality, None, len(dates), str(source.dates))
    mask = None
    if source.mask is not None:
        mask = _open_mask(str(source.mask), len(dates))
        mask = _oldest_first(mask, order)
    return Sensor(modality, _oldest_first(raster, order), dates[order], mask)


def read_dates(path: Path) -> NDArray[np.datetime64]:
    """Dates of a text file, (T,) datetime64[D], in the file's order; blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the dates cannot be read ({error}).") from error
    dates = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        digits = text.replace("-", "") if len(text) == 10 else text
        try:
            if len(digits) != 8:
                raise ValueError(text)
            day = datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: '{text[:40]}' is not a date. Write one YYYYMMDD or "
                "YYYY-MM-DD per line."
            ) from error
        dates.append(day.isoformat())
    if not dates:
        raise DataError(f"{path}: no date in the file. Write one YYYYMMDD per line.")
    return np.array(dates, dtype="datetime64[D]")


def choose_reference(sensors: Sequence[Sensor], output_resolution_m: float) -> Sensor:
    """The sensor with the finest pixels, whose grid the map takes over.

    Among equally fine ones the order of `MODALITIES` decides, not the order of the arguments.
    Raises `DataError` unless it is north-up, in a projected CRS in metres, with square pixels of
    the network's output resolution.
    """
    ranking = list(MODALITIES)
    sizes = {s.modality.name: approximate_resolution_m(s.raster.grid) for s in sensors}
    finest = min(sizes.values())
    chosen = min(
        (s for s in sensors if sizes[s.modality.name] <= finest * (1 + SAME_SIZE)),
        key=lambda s: ranking.index(s.modality.name),
    )
    path, grid = chosen.raster.path, chosen.raster.grid
    crs = grid.crs
    if crs is None or not crs.is_projected:
        raise DataError(
            f"{path}: the map takes over this raster's grid, which is in {describe_crs(crs)}; a "
            "projected CRS in metres is needed. Reproject it with 'gdalwarp -t_srs EPSG:…', or, "
            "if only the description is wrong, correct it with 'gdal_edit.py -a_srs EPSG:…'."
        )
    if not math.isclose(crs.linear_units_factor[1], 1.0):
        raise DataError(
            f"{path}: {describe_crs(crs)} counts in {crs.linear_units_factor[0]}, not in metres. "
            "Reproject with 'gdalwarp -t_srs EPSG:…' to a CRS in metres."
        )
    transform = grid.transform
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        kind = "rotated" if transform.b or transform.d else "not north-up"
        raise DataError(
            f"{path}: the raster is {kind} (geotransform {transform.to_gdal()}). "
            f"Write it north-up with 'gdalwarp -t_srs {crs.to_string()[:60]}'."
        )
    found = grid.resolution
    if any(abs(size / output_resolution_m - 1) > SAME_SIZE for size in found):
        raise DataError(
            f"{path}: pixels of {found[0]:g} m x {found[1]:g} m, but the network maps at "
            f"{output_resolution_m:g} m. Resample with 'gdalwarp -tr {output_resolution_m:g} "
            f"{output_resolution_m:g} -r average {Path(path).name} resampled.tif'."
        )
    return chosen


def check_cover(raster: RasterFile, reference: RasterFile) -> RasterFile:
    """The same raster, its CRS spelled as the reference's where it is the same.

    Raises `DataError` when it has no CRS, when the two cannot be related, and when it does not
    reach into the reference at all.
    """
    ours, theirs = reference.grid, raster.grid
    if same_crs(ours.crs, theirs.crs):
        raster = replace(raster, grid=replace(theirs, crs=ours.crs))
        theirs = raster.grid
    place = f"{raster.path}, in {describe_crs(theirs.crs)}, bounds {_say(theirs.bounds)}"
    expected = f"{reference.path}, in {describe_crs(ours.crs)}, bounds {_say(ours.bounds)}"
    seen = bounds_in(ours.bounds, ours.crs, theirs.crs)
    if seen is None:
        raise DataError(
            f"{place}: its coordinates cannot be related to those of {expected}. Correct the CRS "
            "with 'gdal_edit.py -a_srs EPSG:…'."
        )
    left, bottom, right, top = theirs.bounds
    if seen[0] >= right or seen[2] <= left or seen[1] >= top or seen[3] <= bottom:
        raise DataError(
            f"{place}: does not cover any of {expected}. Check that both are of the same area "
            "and that both state their true CRS."
        )
    return raster


def bounds_in(bounds: Bounds, crs: CRS, other: CRS) -> Bounds | None:
    """Bounds expressed in another CRS; None where the two cannot be related there."""
    try:
        moved = bounds if crs == other else transform_bounds(crs, other, *bounds, densify_pts=21)
    except (CRSError, RasterioError):
        return None
    left, bottom, right, top = moved
    return (left, bottom, right, top) if np.isfinite(moved).all() else None


def _open(
    path: str,
    modality: Modality,
    bands: tuple[int, ...] | None,
    dates: int,
    dates_path: str = "",
) -> RasterFile:
    """Check one raster of a modality; `bands` chosen by the user or None for all."""
    wanted = len(modality.bands) * dates
    with open_raster(path) as dataset:
        grid = _georeference(path, dataset)
        alpha = None
        if bands is None:
            count = dataset.count
            if count == wanted + 1 and dataset.colorinterp[-1] == ColorInterp.alpha:
                alpha, count = dataset.count, wanted
            if count != wanted:
                raise DataError(_wrong_count(path, dataset.count, modality, dates, dates_path))
            bands = tuple(range(1, wanted + 1))
        elif len(bands) != wanted or not all(1 <= b <= dataset.count for b in bands):
            raise ConfigError(
                f"{path}: bands {bands} of a file with {dataset.count} bands, where "
                f"{modality.name} has {wanted} ({', '.join(modality.bands)})."
            )
        found = {dataset.dtypes[b - 1] for b in bands}
        strange = sorted(d for d in found if not _fits(d, modality))
        if strange:
            raise DataError(
                f"{path}: pixels of type {strange[0]} where {modality.name} has "
                f"{modality.dtype}. The network has learnt from {modality.dtype} numbers; give "
                "the product as it was delivered in that type."
            )
        raster = RasterFile(
            path,
            grid,
            bands,
            tuple(dataset.nodatavals[b - 1] for b in bands),
            alpha,
            _has_internal_mask(dataset, bands[0]),
        )
        _probe(dataset, raster, modality)
    return raster


def _open_mask(path: str, dates: int) -> RasterFile:
    wanted = len(SENTINEL2_MASK_BANDS) * dates
    with open_raster(path) as dataset:
        if dataset.count != wanted:
            raise DataError(
                f"{path}: {dataset.count} bands where the snow and cloud mask of {dates} dates "
                f"has {wanted} ({' and '.join(SENTINEL2_MASK_BANDS)} for each date)."
            )
        if dataset.dtypes[0] not in ("uint8", "uint16", "int16"):
            raise DataError(
                f"{path}: pixels of type {dataset.dtypes[0]} where a snow and cloud mask has "
                "whole percentages, 0 to 100."
            )
        bands = tuple(range(1, wanted + 1))
        return RasterFile(
            path,
            _georeference(path, dataset),
            bands,
            tuple(dataset.nodatavals),
            None,
            _has_internal_mask(dataset, 1),
        )


def _oldest_first(raster: RasterFile, order: NDArray[np.intp]) -> RasterFile:
    """The bands of each date moved to the date's place in `order`."""
    bands = np.array(raster.bands).reshape(len(order), -1)[order].ravel()
    nodata = np.array(raster.nodata, dtype=object).reshape(len(order), -1)[order].ravel()
    return replace(raster, bands=tuple(int(b) for b in bands), nodata=tuple(nodata))


def _georeference(path: str, dataset: DatasetReader) -> Grid:
    grid = grid_of(dataset)
    if not grid.crs or grid.transform.is_identity:
        lacking = "CRS" if not grid.crs else "geotransform"
        raise DataError(
            f"{path}: the raster has no {lacking}, so its place on Earth is unknown. Add it with "
            "'gdal_edit.py -a_srs EPSG:… -a_ullr left top right bottom', or warp a raster with "
            "control points with 'gdalwarp'."
        )
    if grid.transform.is_degenerate or not np.isfinite(grid.transform).all():
        raise DataError(f"{path}: the geotransform {grid.transform.to_gdal()} has no area.")
    return grid


def _has_internal_mask(dataset: DatasetReader, band: int) -> bool:
    """An internal mask proper. GDAL also calls a fourth band of bytes alpha; that is no mask."""
    flags = dataset.mask_flag_enums[band - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def _fits(dtype: str, modality: Modality) -> bool:
    """Heights may come in any real type that holds metres; all else exactly as learnt."""
    if modality.quantity == "elevation":
        return dtype in ("float32", "float64", "int16", "uint16", "int32", "uint8")
    return dtype == modality.dtype or (dtype == "float64" and modality.dtype == "float32")


def _wrong_count(path: str, count: int, modality: Modality, dates: int, dates_path: str) -> str:
    names = ", ".join(modality.bands)
    per_date = len(modality.bands)
    if not modality.series:
        return (
            f"{path}: {count} bands where {modality.name} has {per_date} ({names}). Check that "
            "this is the right product, or name the bands to use."
        )
    frames = f"{count // per_date} dates" if count % per_date == 0 else "no whole number of dates"
    return (
        f"{path}: {count} bands, that is {frames} of {per_date} bands ({names}), but "
        f"{dates_path} lists {dates} dates."
    )


def _probe(dataset: DatasetReader, raster: RasterFile, modality: Modality) -> None:
    """Look at the middle of the raster for two mistakes that a header does not show."""
    side_x, side_y = min(_PROBE_PX, dataset.width), min(_PROBE_PX, dataset.height)
    window = Window((dataset.width - side_x) // 2, (dataset.height - side_y) // 2, side_x, side_y)
    last = raster.bands[-1]
    # rasterio and GDAL flag every fourth byte band as alpha, so the flag alone proves nothing.
    if len(raster.bands) == 4 and dataset.colorinterp[last - 1] == ColorInterp.alpha:
        values = np.unique(dataset.read(last, window=window))
        if values[-1] == 255 and set(values.tolist()) <= {0, 255}:
            raise DataError(
                f"{raster.path}: band {last} is opacity (alpha: only 0 and 255 in the middle of "
                f"the image) where {modality.name} has {modality.bands[-1]}. Give imagery that "
                "has this band."
            )
    if modality.quantity == "sigma0":
        values = dataset.read(raster.bands[0], window=window)
        if (values < 0).mean() > 0.5:
            raise DataError(
                f"{raster.path}: most numbers are negative, as decibels are; {modality.name} is "
                "linear backscatter (sigma nought). Convert with 10 ** (dB / 10)."
            )


def approximate_resolution_m(grid: Grid) -> float:
    """Pixel size in metres, good enough to rank sensors."""
    size = min(grid.resolution)
    if grid.crs is None or not grid.crs.is_projected:
        return size * _METRES_PER_DEGREE if grid.crs and grid.crs.is_geographic else size
    return size * float(grid.crs.linear_units_factor[1])


def _say(bounds: Bounds) -> str:
    return "(" + ", ".join(f"{v:.10g}" for v in bounds) + ")"
