"""What one file declares, compared with what its sensor's product is.

Nothing here decodes more than one small square of pixels per file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from bocage.errors import ConfigError, DataError
from bocage.imagery.locate import is_remote
from bocage.imagery.scale import AS_STORED, Scale, converts, physical
from bocage.imagery.zarr_store import open_source
from bocage.modalities import SENTINEL2_MASK_BANDS, Modality
from bocage.rasters import Grid, grid_of

MissingTiles = Literal["stop", "report"]
"""What a tile that cannot be read is: the end of the run, or ground without data, reported."""

_PROBE_PX = 256
_NO_INFRARED = (
    "What has learnt near infrared cannot do without it: give imagery that has it, take a network "
    "for photographs of red, green and blue (AERIAL_RGB, --rgb), or, where other sensors are "
    "given, leave this one out."
)


class BrokenTileError(DataError):
    """One tile of many cannot be read, and none may be missing (`missing_tiles=stop`)."""


class WrongProductError(DataError):
    """A file that is sound but not what its sensor's files are."""


@dataclass(frozen=True)
class RasterFile:
    """One readable raster: where it lies and which of its bands are wanted.

    `bands` count from 1, in the modality's order, date after date for a series. `alpha` is an
    opacity band beside them, `masked` says that the file has a mask. `tile` says, for
    one of many files, what its breaking means; None: it is the sensor's only file. `dtype` is the
    stored type of the bands, where it has been looked at. `scales` lead from its numbers to the
    sensor's, one per band; empty: they are the sensor's.
    """

    path: str
    grid: Grid
    bands: tuple[int, ...]
    nodata: tuple[float | None, ...]
    alpha: int | None
    masked: bool
    tile: MissingTiles | None = None
    dtype: str = ""
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What a file of a product holds: `bands` per date, over `dates` dates.

    `chosen` are the bands of the file, from 1, that hold them; None: all that it has.
    `dates_path` is where the number of dates comes from. `scales` are what somebody who knows says
    of the numbers, one per date and band or one for all; None: the file's own account is taken.
    `said` is what a virtual mosaic says of the file, one of its tiles: the file must be that, and
    its own account of its place and nodata does not count.
    """

    product: Modality | None
    bands: tuple[str, ...]
    chosen: tuple[int, ...] | None = None
    dates: int = 1
    dates_path: str = ""
    scales: tuple[Scale, ...] | None = None
    said: RasterFile | None = None

    @property
    def count(self) -> int:
        """Bands over all dates."""
        return len(self.bands) * self.dates


def snow_cloud(dates: int, chosen: tuple[int, ...] | None = None) -> Expected:
    """The snow and cloud raster of a Sentinel-2 series: no modality, two bands per date."""
    return Expected(None, SENTINEL2_MASK_BANDS, chosen, dates)


def read_header(path: str, expected: Expected, *, probe: bool = True) -> RasterFile:
    """Check one file against its product; with `probe` its pixels too (`check_pixels`).

    Raises `DataError` for a file that cannot be read, `WrongProductError` for one that is not the
    product, `ConfigError` for bands it does not have.
    """
    with open_source(path) as dataset:
        if expected.said is not None:
            return _as_said(dataset, expected.said, expected)
        grid = _georeference(path, dataset)
        alpha = None
        bands, product = expected.chosen, expected.product
        if bands is None:
            count = dataset.count
            if count == expected.count + 1 and dataset.colorinterp[-1] == ColorInterp.alpha:
                alpha, count = dataset.count, expected.count
            if count != expected.count:
                raise WrongProductError(_wrong_count(path, dataset.count, expected))
            bands = tuple(range(1, expected.count + 1))
        elif len(bands) != expected.count or not all(1 <= b <= dataset.count for b in bands):
            what = product.name if product else "the snow and cloud mask"
            raise ConfigError(
                f"{path}: bands {bands} of a file with {dataset.count} bands, where "
                f"{what} has {expected.count} ({', '.join(expected.bands)})."
            )
        scales = _scales(dataset, bands, expected)
        _check_types(path, {dataset.dtypes[b - 1] for b in bands}, product, bool(scales))
        raster = RasterFile(
            path,
            grid,
            bands,
            tuple(dataset.nodatavals[b - 1] for b in bands),
            alpha,
            _has_mask(dataset, bands[0]),
            dtype=dataset.dtypes[bands[0] - 1],
            scales=_needed(scales, dataset, product),
        )
        if probe and product is not None:
            _probe(dataset, raster, product)
    return raster


def check_pixels(raster: RasterFile, expected: Expected) -> None:
    """Look at a small square of one tile's pixels.

    Raises `WrongProductError`. A square that cannot be decoded is left to who reads it all.
    """
    if expected.product is not None:
        with open_source(raster.path) as dataset, contextlib.suppress(RasterioError):
            _probe(dataset, raster, expected.product)


def _scales(dataset: DatasetReader, bands: Sequence[int], expected: Expected) -> tuple[Scale, ...]:
    """Per band what is said of its numbers, from elsewhere or by the file; empty if nothing is."""
    product = expected.product
    if product is None or not converts(product):
        return ()
    if expected.scales is not None:
        return expected.scales * (len(bands) if len(expected.scales) == 1 else 1)
    declared = [(dataset.scales[b - 1], dataset.offsets[b - 1]) for b in bands]
    if set(declared) == {AS_STORED}:
        return ()
    return tuple(physical(factor, offset, product) for factor, offset in declared)


def _needed(
    scales: tuple[Scale, ...], dataset: DatasetReader, product: Modality | None
) -> tuple[Scale, ...]:
    """The scales, empty where unscaled numbers of the sensor's type can stay as they are."""
    stored = product is not None and all(_fits(dtype, product) for dtype in dataset.dtypes)
    return () if stored and set(scales) == {AS_STORED} else scales


def _as_said(dataset: DatasetReader, said: RasterFile, expected: Expected) -> RasterFile:
    """A tile of a virtual mosaic: its mask is its own, nodata and scales where none are said."""
    used = [*said.bands, *([] if said.alpha is None else [said.alpha])]
    found = f"{dataset.width} x {dataset.height} pixels"
    stated = f"{said.grid.width} x {said.grid.height} pixels"
    if found == stated and dataset.count < max(used):
        found, stated = f"{dataset.count} bands", f"at least {max(used)} bands"
    elif found == stated:
        types = sorted({dataset.dtypes[band - 1] for band in used})
        found, stated = f"type {' and '.join(types)}", f"type {said.dtype}"
    if found != stated:
        raise WrongProductError(
            f"{said.path}: {found}, where the virtual mosaic that names it says {stated}. Build "
            "the mosaic again with 'gdalbuildvrt'."
        )
    nodata = tuple(dataset.nodatavals[band - 1] for band in said.bands)
    own = _needed(_scales(dataset, said.bands, expected), dataset, expected.product)
    return replace(
        said,
        nodata=nodata if set(said.nodata) == {None} else said.nodata,
        masked=_has_mask(dataset, said.bands[0]),
        scales=said.scales or own,
    )


def _check_types(path: str, found: set[str], product: Modality | None, scaled: bool) -> None:
    """Whether pixels are of the product's type, or are `scaled` to it."""
    if product is None:
        strange = sorted(found - {"uint8", "uint16", "int16"})
        if strange:
            raise WrongProductError(
                f"{path}: pixels of type {strange[0]} where a snow and cloud mask has "
                "whole percentages, 0 to 100."
            )
        return
    strange = sorted(d for d in found if not _fits(d, product))
    if not strange or (scaled and not any(d.startswith("complex") for d in strange)):
        return
    text = f"{path}: pixels of type {strange[0]} where {product.name} has {product.dtype}"
    if product.quantity == "reflectance":
        raise WrongProductError(
            f"{text}: 10,000 times the reflectance. Say what leads there: scale=10000 for "
            "reflectance from 0 to 1, scale=1 for numbers that are so already; for Sentinel-2 in a "
            "command, --sentinel2-scale."
        )
    remedy = "give the product as it was delivered in that type."
    if product.dtype == "uint8":
        remedy = (
            "bring it to 8 bits as the training imagery was: 'gdal_translate -ot Byte -scale LOW "
            "HIGH 0 255', with the same limits for every tile."
        )
    raise WrongProductError(
        f"{text}. The network has learnt from {product.dtype} numbers: {remedy}"
    )


def _georeference(path: str, dataset: DatasetReader) -> Grid:
    grid = grid_of(dataset)
    if not grid.crs and not is_remote(path):
        grid = replace(grid, crs=_crs_beside(Path(path)))
    if not grid.crs or grid.transform.is_identity:
        lacking = "CRS" if not grid.crs else "geotransform"
        raise WrongProductError(
            f"{path}: the raster has no {lacking}, so its place on Earth is unknown. Add it with "
            "'gdal_edit.py -a_srs EPSG:… -a_ullr left top right bottom', or warp a raster with "
            "control points with 'gdalwarp'."
        )
    if grid.transform.is_degenerate or not np.isfinite(grid.transform).all():
        raise WrongProductError(f"{path}: the geotransform {grid.transform.to_gdal()} has no area.")
    return grid


def _crs_beside(path: Path) -> CRS | None:
    """The CRS in the `.prj` beside a file, which goes with a world file; GDAL reads only that."""
    with contextlib.suppress(OSError, UnicodeDecodeError, CRSError):
        text = path.with_suffix(".prj").read_text(encoding="utf-8-sig")
        return CRS.from_wkt(text, morph_from_esri_dialect=True)
    return None


def _has_mask(dataset: DatasetReader, band: int) -> bool:
    """A mask proper, in the file or beside it (`.msk`). GDAL also calls a fourth band of bytes
    alpha; that is none."""
    flags = dataset.mask_flag_enums[band - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def _fits(dtype: str, modality: Modality) -> bool:
    """Heights may come in any real type that holds metres; all else exactly as learnt."""
    if modality.quantity == "elevation":
        return dtype in ("float32", "float64", "int16", "uint16", "int32", "uint8")
    return dtype == modality.dtype or (dtype == "float64" and modality.dtype == "float32")


def _wrong_count(path: str, count: int, expected: Expected) -> str:
    names, per_date, product = ", ".join(expected.bands), len(expected.bands), expected.product
    if product is None:
        return (
            f"{path}: {count} bands where the snow and cloud mask of {expected.dates} dates "
            f"has {expected.count} ({' and '.join(expected.bands)} for each date)."
        )
    if not product.series or not expected.dates_path:
        text = f"{path}: {count} bands where {product.name} has {per_date} ({names})."
        if count > per_date:
            order = ",".join(str(band) for band in range(1, per_date + 1))
            return f"{text} Name those that hold them, in this order: {path}:{order}, say."
        if expected.bands[count:] == ("nir",):
            return f"{text} {_NO_INFRARED}"
        return f"{text} Check that this is the right product."
    frames = f"{count // per_date} dates" if count % per_date == 0 else "no whole number of dates"
    return (
        f"{path}: {count} bands, that is {frames} of {per_date} bands ({names}), but "
        f"{expected.dates_path} lists {expected.dates} dates."
    )


def _probe(dataset: DatasetReader, raster: RasterFile, modality: Modality) -> None:
    """Look at the middle of the raster for mistakes that a header does not show."""
    side_x, side_y = min(_PROBE_PX, dataset.width), min(_PROBE_PX, dataset.height)
    window = Window((dataset.width - side_x) // 2, (dataset.height - side_y) // 2, side_x, side_y)
    last = raster.bands[-1]
    # rasterio and GDAL flag every fourth byte band as alpha, so the flag alone proves nothing.
    if len(raster.bands) == 4 and dataset.colorinterp[last - 1] == ColorInterp.alpha:
        values = np.unique(dataset.read(last, window=window))
        if values[-1] == 255 and set(values.tolist()) <= {0, 255}:
            raise WrongProductError(
                f"{raster.path}: band {last} is opacity (alpha: only 0 and 255 in the middle of "
                f"the image) where {modality.name} has {modality.bands[-1]}. {_NO_INFRARED}"
            )
    if raster.alpha is not None and raster.dtype == "uint8":
        values = dataset.read(raster.alpha, window=window)
        if np.isin(values, (0, 255)).mean() < 0.5:
            order = ",".join(map(str, raster.bands))
            raise WrongProductError(
                f"{raster.path}: band {raster.alpha} is marked as opacity, but its numbers are "
                f"those of a picture, such as infrared. If {modality.name} is all that is wanted "
                f"of it, say so: {raster.path}:{order}."
            )
    if modality.quantity == "sigma0":
        values = dataset.read(raster.bands[0], window=window)
        if (values < 0).mean() > 0.5:
            raise WrongProductError(
                f"{raster.path}: most numbers are negative, as decibels are; {modality.name} is "
                "linear backscatter (sigma nought). Convert with 10 ** (dB / 10)."
            )


def bands_of_dates(raster: RasterFile, order: Sequence[int], count: int) -> RasterFile:
    """The bands of the dates in `order`, of `count` that there are."""
    per_date = len(raster.bands) // count
    places = [date * per_date + i for date in order for i in range(per_date)]
    return replace(
        raster,
        bands=tuple(raster.bands[p] for p in places),
        nodata=tuple(raster.nodata[p] for p in places),
        scales=tuple(raster.scales[p] for p in places) if raster.scales else (),
    )
