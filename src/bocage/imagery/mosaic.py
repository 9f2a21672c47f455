"""Many files as one raster: tiles of one grid, and items that overlay each other.

Tiles are read where they lie, without a virtual mosaic in between: a tile that breaks is a hole of
its own size, each tile keeps its own nodata value and mask, and tens of thousands cost nothing
until a pixel of theirs is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine

from bocage.errors import DataError
from bocage.imagery.grids import bounds_in
from bocage.imagery.headers import (
    BrokenTileError,
    Expected,
    MissingTiles,
    RasterFile,
    WrongProductError,
    bands_of_dates,
    check_pixels,
    read_header,
)
from bocage.rasters import Grid, describe_crs, same_crs

ALIGNED_PX = 0.05
"""Grids that stray from each other by less than this, in pixels, over the area are one."""
_SAME_SCALE = 1e-6
"""Share by which pixel sizes of tiles may differ: writers round the last digits."""
_THREADS = 16
"""Headers read at once: on a local disk two would do, over HTTP most of the time is waiting."""
_PROBES = 3
"""Tiles whose pixels are looked at; of the others only the header."""


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Tiles of one grid. `places_N4` are their first row, last row + 1, and columns alike.

    Those of a virtual mosaic may leave room around them, or reach beyond it. Where tiles overlap
    the first that has data is shown.
    """

    path: str
    grid: Grid
    tiles: tuple[RasterFile, ...]
    places_N4: NDArray[np.int64]

    @property
    def bands(self) -> tuple[int, ...]:
        """Bands of every tile."""
        return self.tiles[0].bands

    def touching(self, rows: tuple[int, int], cols: tuple[int, int]) -> list[int]:
        """Indices of the tiles that share a pixel with the rectangle, in the tiles' order."""
        top, bottom, left, right = self.places_N4.T
        hit = (top < rows[1]) & (bottom > rows[0]) & (left < cols[1]) & (right > cols[0])
        return [int(i) for i in np.flatnonzero(hit)]

    @cached_property
    def covered(self) -> float:
        """Share of the rectangle that is on some tile, at most 1."""
        rows = self.places_N4[:, :2].clip(0, self.grid.height)
        cols = self.places_N4[:, 2:].clip(0, self.grid.width)
        area = ((rows[:, 1] - rows[:, 0]) * (cols[:, 1] - cols[:, 0])).sum()
        return min(1.0, float(area) / (self.grid.height * self.grid.width))


@dataclass(frozen=True, eq=False)
class Stack:
    """Per date the items of that day, each the files that together hold its bands.

    Of one day's items the first that has data is shown. `grid` is the rectangle around all, with
    the pixels and in the CRS of the finest file.
    """

    path: str
    grid: Grid
    dates: tuple[tuple[tuple[RasterFile, ...], ...], ...]

    @property
    def bands(self) -> tuple[int, ...]:
        """Bands, of all dates together, counted from 1."""
        return tuple(range(1, 1 + sum(sum(len(p.bands) for p in day[0]) for day in self.dates)))


@dataclass(frozen=True, eq=False)
class Layers:
    """Files of one grid that each hold one band on all dates, in the order of the bands."""

    path: str
    grid: Grid
    parts: tuple[RasterFile, ...]

    @property
    def bands(self) -> tuple[int, ...]:
        """Bands, of all dates together, counted from 1."""
        return tuple(range(1, 1 + sum(len(part.bands) for part in self.parts)))


Raster = RasterFile | Mosaic | Stack | Layers


def files_of(raster: Raster) -> tuple[RasterFile, ...]:
    """All files of a raster."""
    if isinstance(raster, RasterFile):
        return (raster,)
    if isinstance(raster, Mosaic):
        return raster.tiles
    if isinstance(raster, Layers):
        return raster.parts
    return tuple(file for day in raster.dates for item in day for file in item)


def declares_holes(raster: Raster) -> bool:
    """Whether some pixels may be without data, as far as can be seen without reading them."""
    if not isinstance(raster, RasterFile):
        return True
    return raster.alpha is not None or raster.masked or any(v is not None for v in raster.nodata)


def of_dates(raster: Raster, order: Sequence[int], count: int) -> Raster:
    """The raster with the dates in `order`, of `count` that it has."""
    if isinstance(raster, RasterFile):
        return bands_of_dates(raster, order, count)
    if isinstance(raster, Mosaic):
        tiles = tuple(bands_of_dates(tile, order, count) for tile in raster.tiles)
        return replace(raster, tiles=tiles)
    if isinstance(raster, Layers):
        parts = tuple(bands_of_dates(part, order, count) for part in raster.parts)
        return replace(raster, parts=parts)
    return replace(raster, dates=tuple(raster.dates[i] for i in order))


def respelled(raster: Raster, crs: CRS | None) -> Raster:
    """The raster with its CRS, and that of its items where it is the same, spelled as `crs`."""
    raster = replace(raster, grid=replace(raster.grid, crs=crs))
    if isinstance(raster, Layers):
        return replace(raster, parts=tuple(replace(p, grid=raster.grid) for p in raster.parts))
    if not isinstance(raster, Stack):
        return raster
    known: dict[CRS | None, CRS | None] = {}

    def spell(file: RasterFile) -> RasterFile:
        own = file.grid.crs
        if own not in known:
            known[own] = crs if same_crs(own, crs) else own
        return replace(file, grid=replace(file.grid, crs=known[own]))

    dates = tuple(tuple(tuple(map(spell, item)) for item in day) for day in raster.dates)
    return replace(raster, dates=dates)


def read_headers(
    jobs: Sequence[tuple[str, Expected]], missing: MissingTiles
) -> tuple[list[RasterFile | None], tuple[str, ...]]:
    """Headers of many files at once; those that cannot be read are None, and told, or an error.

    Raises the first file's `DataError`, with how many others there are, unless `missing` is
    `report`; always where none can be read, and for files that are another product.
    """
    probed = set(np.linspace(0, len(jobs) - 1, min(_PROBES, len(jobs))).round().astype(int))

    def one(index: int) -> RasterFile | DataError:
        path, expected = jobs[index]
        try:
            header = read_header(path, expected, probe=False)
            if index in probed:
                check_pixels(header, expected)
        except DataError as error:
            return error
        return replace(header, tile=missing)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="headers") as pool:
        found = list(pool.map(one, range(len(jobs))))
    errors = [e for e in found if isinstance(e, DataError)]
    # What opens but is another product is no accident of storage.
    for error in errors:
        if isinstance(error, WrongProductError):
            raise error
    if errors and (missing == "stop" or len(errors) == len(found)):
        others = f" So it is with {len(errors) - 1} others of {len(found)}." * (len(errors) > 1)
        raise BrokenTileError(
            f"{errors[0]}{others} To map without them, set missing_tiles=report."
        ) from errors[0]
    notes = tuple(f"left out, its ground has no data: {error}" for error in errors)
    return [f if isinstance(f, RasterFile) else None for f in found], notes


def join_tiles(path: str, tiles: Sequence[RasterFile]) -> Mosaic:
    """Tiles as one raster; `path` is what the user named.

    Raises `DataError` that names the first tile which differs from the first one in CRS, pixel
    size, number of bands or type, or lies between its pixels, with both values.
    """
    first = tiles[0]
    places = np.empty((len(tiles), 4), np.int64)
    inverse = ~first.grid.transform
    known: dict[int, bool] = {}
    for i, tile in enumerate(tiles):
        _check_alike(first, tile, known)
        offset = inverse @ (tile.grid.transform.c, tile.grid.transform.f)
        col, row = round(offset[0]), round(offset[1])
        if max(abs(offset[0] - col), abs(offset[1] - row)) > ALIGNED_PX:
            raise DataError(
                f"{tile.path}: lies {offset[0]:.3f} columns and {offset[1]:.3f} rows from "
                f"{first.path}, where tiles of one grid lie whole pixels apart. Bring it to the "
                "others' grid with 'gdalwarp -tap'."
            )
        places[i] = row, row + tile.grid.height, col, col + tile.grid.width
    row, col = int(places[:, 0].min()), int(places[:, 2].min())
    places -= (row, row, col, col)
    grid = Grid(
        first.grid.crs,
        first.grid.transform @ Affine.translation(col, row),
        int(places[:, 3].max()),
        int(places[:, 1].max()),
    )
    return Mosaic(path, grid, tuple(tiles), places)


def _check_alike(first: RasterFile, tile: RasterFile, known: dict[int, bool]) -> None:
    differences = []
    ours, theirs = first.grid.transform, tile.grid.transform
    size = max(first.grid.resolution)
    if any(abs(getattr(ours, k) - getattr(theirs, k)) > _SAME_SCALE * size for k in "abde"):
        pixel = "{:g} x {:g}".format
        differences.append(
            ("pixels of", pixel(theirs.a, theirs.e), pixel(ours.a, ours.e))
            if not (theirs.b or theirs.d)
            else ("geotransform", str(theirs.to_gdal()), str(ours.to_gdal()))
        )
    # Comparing two CRS takes longer than reading a header: once per spelling.
    key = hash(tile.grid.crs)
    if key not in known:
        known[key] = same_crs(first.grid.crs, tile.grid.crs)
    if not known[key]:
        differences.append(("CRS", describe_crs(tile.grid.crs), describe_crs(first.grid.crs)))
    if tile.dtype != first.dtype:
        differences.append(("pixels of type", tile.dtype, first.dtype))
    if len(tile.bands) != len(first.bands):
        differences.append(("bands:", str(len(tile.bands)), str(len(first.bands))))
    if differences:
        what, here, there = differences[0]
        raise DataError(
            f"{tile.path}: {what} {here}, where {first.path} has {there}. Tiles of one mosaic "
            "must agree: map them apart, or bring them to one grid with 'gdalwarp'."
        )


def stack_items(path: str, dates: Sequence[Sequence[tuple[RasterFile, ...]]]) -> Stack:
    """Items by date as one raster over the rectangle around all of them.

    Raises `DataError` for an item whose CRS cannot be related to the first one's.
    """
    files = [file for day in dates for item in day for file in item]
    finest = min(files, key=lambda f: min(f.grid.resolution))
    crs = finest.grid.crs
    assert crs is not None
    boxes = {}
    for file in files:
        key = (file.grid.bounds, file.grid.crs)
        if key not in boxes:
            boxes[key] = _bounds_towards(file, crs, finest.path)
    left, bottom = (min(box[i] for box in boxes.values()) for i in (0, 1))
    right, top = (max(box[i] for box in boxes.values()) for i in (2, 3))
    to_pixel = ~finest.grid.transform
    corners = [to_pixel @ (x, y) for x in (left, right) for y in (bottom, top)]
    cols, rows = zip(*corners, strict=True)
    col, row = int(np.floor(min(cols) + ALIGNED_PX)), int(np.floor(min(rows) + ALIGNED_PX))
    grid = Grid(
        crs,
        finest.grid.transform @ Affine.translation(col, row),
        int(np.ceil(max(cols) - ALIGNED_PX)) - col,
        int(np.ceil(max(rows) - ALIGNED_PX)) - row,
    )
    return Stack(path, grid, tuple(tuple(tuple(item) for item in day) for day in dates))


def _bounds_towards(file: RasterFile, crs: CRS, other: str) -> tuple[float, float, float, float]:
    box = bounds_in(file.grid.bounds, file.grid.crs, crs)
    if box is None:
        raise DataError(
            f"{file.path}: in {describe_crs(file.grid.crs)}, which cannot be related there to "
            f"{describe_crs(crs)} of {other}."
        )
    return box


def load_tiles(
    path: str,
    paths: Sequence[str],
    expected: Expected,
    missing: MissingTiles,
) -> tuple[Mosaic, tuple[str, ...]]:
    """The mosaic of many files that each hold all bands, and what had to be left out."""
    headers, notes = read_headers([(p, expected) for p in paths], missing)
    return join_tiles(path, [header for header in headers if header is not None]), notes
