"""Hectares per class of a map and of its zones, counted in one pass, with bounds from confidence.

Areas are on the ground: those in the map's plane divided by the areal scale of its projection at
the middle of each block (Lambert-93 stretches areas by -0.2 % in its middle, +0.3 % in Lille,
+0.6 % in southern Corsica; UTM by -0.08 % in a zone's middle), unless the plane is asked for.

What the confidence layer says. Of each pixel it tells p, the probability of the class it was
mapped as; any other class then has at most min(p, 1 - p). If the network is calibrated, the
expected area of class k therefore lies between

    L = sum of p over pixels mapped as k          and
    H = L + sum of min(p, 1 - p) over all others,

and no narrower statement is possible (a partial identification region: Manski 2003, "Partial
Identification of Probability Distributions"). The truth scatters about its expectation. Errors of
neighbouring pixels go together, so pixels are not taken as independent, but as going all wrong
or all right together within a square cell of about `CELL_M`, and cells as independent: with
s = sqrt(p (1 - p)), which bounds the spread of every class in that pixel,

    low  = L - z sqrt(sum over cells of (sum of s over the cell's pixels mapped as k)²),
    high = H + z sqrt(sum over cells of (sum of s over all the cell's pixels)²).

Legend: Z zones, of which the first is the whole map; K classes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from bocage.errors import DataError
from bocage.mapping.maps import ClassMap
from bocage.mapping.outputs import CONFIDENCE_STEPS, NODATA
from bocage.mapping.zones import ZonePainter, Zones
from bocage.rasters import Grid, grid_of, open_raster

CELL_M = 100.0
"""Errors within a square of this side are taken as one: about a FLAIR-HUB patch, and well above
the size of a field boundary or a shadow."""
BLOCK_ROWS, BLOCK_COLS = 1024, 4096
"""What is read at once; multiples of the tiles of our maps."""
_CELL_PX = (64, 1024)
_M2_PER_HA = 10_000.0

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Counts:
    """Areas in hectares of Z zones by K classes, the first zone being the whole map.

    `zone_ha` is the area of the zones' polygons, `zone_ha[0]` that of the whole raster. The three
    last fields are sums over the confidence layer (module docstring), None without one: L and the
    sum of min(p, 1 - p) over the pixels of a class, and the two variances.
    """

    zones: tuple[str, ...]
    class_ids: tuple[int, ...]
    pixels_ZK: NDArray[np.int64]
    ha_ZK: NDArray[np.float64]
    zone_ha: NDArray[np.float64]
    sure_ZK: NDArray[np.float64] | None = None
    other_ZK: NDArray[np.float64] | None = None
    variance_ZK: NDArray[np.float64] | None = None
    variance_Z: NDArray[np.float64] | None = None

    @property
    def mapped_ha(self) -> NDArray[np.float64]:
        """Area of each zone that has a class, (Z,)."""
        found: NDArray[np.float64] = self.ha_ZK.sum(axis=1)
        return found

    @property
    def covered(self) -> NDArray[np.float64]:
        """Share of each zone that the map covers, (Z,), 0 to 1."""
        return np.minimum(self.mapped_ha / self.zone_ha, 1.0)

    def bounds(self, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Lower and upper hectares, (Z, K) each; None for a map without confidence."""
        if self.sure_ZK is None:
            return None
        assert self.other_ZK is not None
        assert self.variance_ZK is not None
        assert self.variance_Z is not None
        z = NormalDist().inv_cdf((1 + level) / 2)
        low = self.sure_ZK - z * np.sqrt(self.variance_ZK)
        room = self.other_ZK.sum(axis=1, keepdims=True) - self.other_ZK
        high = self.sure_ZK + room + z * np.sqrt(self.variance_Z)[:, None]
        return np.maximum(low, 0), np.minimum(high, self.mapped_ha[:, None])


def count_areas(
    source: ClassMap,
    zones: Zones | None = None,
    *,
    on_ground: bool = True,
    progress: Progress | None = None,
) -> Counts:
    """Count the classes of a map, whole and by zone, in one pass.

    Memory is that of a block of 4 million pixels and of the zones, whatever the map's size. A pixel
    in several zones counts for each. Time is linear in the map's area.

    Raises `DataError` when the map has no classified pixel, when its confidence lies on another
    grid, or when the projection's areal scale is not defined there.
    """
    sums = _Sums(1 + (len(zones) if zones else 0), source.confidence is not None)
    painter = ZonePainter(zones, source.grid) if zones else None
    scale = AreaScale(source.grid) if on_ground else None
    side = _cell_px(source.grid)
    windows = list(blocks(source.grid))
    raster_ha = 0.0
    with open_raster(source.path) as dataset, _confidence_of(source) as sure:
        for number, window in enumerate(windows, start=1):
            pixel_ha = source.pixel_m2 / _M2_PER_HA / (scale.at(window) if scale else 1.0)
            raster_ha += pixel_ha * window.width * window.height
            classes_HW = dataset.read(1, window=window)
            sure_HW = sure.read(1, window=window) if sure else None
            _count_block(sums, classes_HW, sure_HW, painter, window, pixel_ha, side)
            if progress:
                progress(number, len(windows))
    if not sums.pixels.any():
        raise DataError(f"{source.path}: every pixel is nodata; there is nothing to count.")
    zone_ha = [raster_ha, *(polygon_ha(zones, scale) if zones else ())]
    return sums.counts(source, zones, np.array(zone_ha))


def blocks(grid: Grid) -> Iterator[Window]:
    """Windows that cover the raster, row by row, each at most `BLOCK_ROWS` by `BLOCK_COLS`."""
    for row in range(0, grid.height, BLOCK_ROWS):
        for col in range(0, grid.width, BLOCK_COLS):
            width = min(BLOCK_COLS, grid.width - col)
            yield Window(col, row, width, min(BLOCK_ROWS, grid.height - row))


class AreaScale:
    """Areal scale of a grid's projection: area in the plane over area on the ellipsoid."""

    def __init__(self, grid: Grid) -> None:
        assert grid.crs is not None
        self._grid = grid
        self._projection = pyproj.Proj(pyproj.CRS.from_wkt(grid.crs.to_wkt()))

    def at(self, window: Window) -> float:
        """The scale in the middle of a window."""
        middle = (window.col_off + window.width / 2, window.row_off + window.height / 2)
        return self.at_point(*(self._grid.transform @ middle))

    def at_point(self, x: float, y: float) -> float:
        """The scale at a point of the plane; `DataError` where the projection is not defined."""
        try:
            lon, lat = self._projection(x, y, inverse=True, errcheck=True)
            scale = float(self._projection.get_factors(lon, lat).areal_scale)
        except ProjError as error:
            raise self._undefined(x, y) from error
        if not 0 < scale < np.inf:
            raise self._undefined(x, y)
        return scale

    @staticmethod
    def _undefined(x: float, y: float) -> DataError:
        return DataError(
            f"the map's projection is not defined at ({x:.0f}, {y:.0f}), so that areas on the "
            "ground cannot be told. Count in the map's plane with --plane."
        )


def polygon_ha(zones: Zones, scale: AreaScale | None) -> list[float]:
    """Area of each zone's polygon, hectares, by the areal scale at its middle."""
    areas = []
    for shape in zones.shapes:
        point = shape.representative_point()
        factor = scale.at_point(point.x, point.y) if scale else 1.0
        areas.append(float(shape.area) / _M2_PER_HA / factor)
    return areas


@contextlib.contextmanager
def _confidence_of(source: ClassMap) -> Iterator[DatasetReader | None]:
    if source.confidence is None:
        yield None
        return
    with open_raster(source.confidence) as dataset:
        check_confidence(source, dataset)
        yield dataset


def check_confidence(source: ClassMap, dataset: DatasetReader) -> None:
    """Refuse a confidence layer that is not on the map's grid (`DataError`)."""
    if grid_of(dataset) != source.grid or dataset.dtypes[0] != "uint8" or dataset.count != 1:
        raise DataError(
            f"{source.confidence}: not the confidence of {source.path.name}: another grid, or not "
            "one band of uint8. Map the area again, or move the file away."
        )


def _cell_px(grid: Grid) -> int:
    """Side of a correlation cell, pixels: a power of two, so that blocks hold whole cells."""
    wanted = CELL_M / max(grid.resolution)
    power = 1 << max(math.ceil(math.log2(max(wanted, 1.0))), 0)
    return min(max(power, _CELL_PX[0]), _CELL_PX[1])


def _moments() -> NDArray[np.float64]:
    """By stored confidence (256): 1, p, min(p, 1 - p), sqrt(p (1 - p)). 255: nothing is known."""
    p = np.arange(256) / CONFIDENCE_STEPS
    p[NODATA] = 0.0
    table = np.stack([np.ones(256), p, np.minimum(p, 1 - p), np.sqrt(p * (1 - p))], axis=1)
    table[NODATA, 2:] = (1.0, 0.5)
    return table


_MOMENTS = _moments()


class _Sums:
    """Running sums by zone and class id (256 columns)."""

    def __init__(self, zones: int, confident: bool) -> None:
        self.confident = confident
        self.pixels = np.zeros((zones, 256), np.int64)
        self.ha = np.zeros((zones, 256))
        self.sure, self.other, self.variance = (np.zeros((zones, 256)) for _ in range(3))
        self.variance_all = np.zeros(zones)

    def add(
        self,
        rows: NDArray[np.intp],
        ids: NDArray[np.intp],
        histogram: NDArray[np.int64],
        pixel_ha: float,
    ) -> None:
        """Add one cell's histogram, (zones, classes) or (zones, classes, confidence)."""
        place = np.ix_(rows, ids)
        if not self.confident:
            self.pixels[place] += histogram
            self.ha[place] += histogram * pixel_ha
            return
        count, sure, other, spread = np.moveaxis(histogram @ _MOMENTS, -1, 0) * np.array(
            [1.0, pixel_ha, pixel_ha, pixel_ha]
        ).reshape(4, 1, 1)
        self.pixels[place] += count.astype(np.int64)
        self.ha[place] += count * pixel_ha
        self.sure[place] += sure
        self.other[place] += other
        self.variance[place] += spread**2
        self.variance_all[rows] += spread.sum(axis=1) ** 2

    def counts(self, source: ClassMap, zones: Zones | None, zone_ha: NDArray[np.float64]) -> Counts:
        """The sums of the classes that the file names or that were found."""
        ids = sorted({*source.classes, *np.flatnonzero(self.pixels.any(axis=0)).tolist()})
        names = ("whole map", *(zones.names if zones else ()))
        confidence = (
            (self.sure[:, ids], self.other[:, ids], self.variance[:, ids], self.variance_all)
            if self.confident
            else ()
        )
        return Counts(names, tuple(ids), self.pixels[:, ids], self.ha[:, ids], zone_ha, *confidence)


def _count_block(
    sums: _Sums,
    classes_HW: NDArray[np.uint8],
    sure_HW: NDArray[np.uint8] | None,
    painter: ZonePainter | None,
    window: Window,
    pixel_ha: float,
    side: int,
) -> None:
    """Count one block, cell by cell: a cell fits into the processor's cache."""
    present = np.flatnonzero(np.bincount(classes_HW.ravel(), minlength=256))
    ids = present[present != NODATA]
    if not len(ids):
        return
    # Classes in a row, nodata last and cut off afterwards: short histograms.
    compact = np.full(256, len(ids), np.uint8)
    compact[ids] = np.arange(len(ids), dtype=np.uint8)
    steps = 256 if sure_HW is not None else 1
    layers = painter.paint(window) if painter else []
    for top in range(0, window.height, side):
        for left in range(0, window.width, side):
            cell = (slice(top, top + side), slice(left, left + side))
            codes = compact[classes_HW[cell]].astype(np.intp)
            if sure_HW is not None:
                codes *= steps
                codes += sure_HW[cell]
            shape = (len(ids) + 1, steps)
            whole = np.bincount(codes.ravel(), minlength=shape[0] * shape[1])
            _add(sums, np.array([0]), ids, whole.reshape(1, *shape), pixel_ha)
            for layer in layers:
                if layer.index_HW is None:
                    _add(sums, 1 + layer.zones, ids, whole.reshape(1, *shape), pixel_ha)
                    continue
                rows, histogram = _by_zone(codes, layer.index_HW[cell], shape)
                _add(sums, 1 + layer.zones[rows], ids, histogram, pixel_ha)


def _by_zone(
    codes: NDArray[np.intp], index: NDArray[np.uint32], shape: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Histogram of codes for the zones that a cell has: their places in the layer, (z, K, C)."""
    found = np.flatnonzero(np.bincount(index.ravel()))
    bins = shape[0] * shape[1]
    place = np.zeros(int(found[-1]) + 1, np.intp)
    place[found] = np.arange(len(found)) * bins
    counted = np.bincount((place[index] + codes).ravel(), minlength=len(found) * bins)
    histogram = counted.reshape(len(found), *shape)
    outside = int(found[0] == 0)
    return found[outside:] - 1, histogram[outside:]


def _add(
    sums: _Sums,
    rows: NDArray[np.intp],
    ids: NDArray[np.intp],
    histogram: NDArray[np.int64],
    pixel_ha: float,
) -> None:
    classes = histogram[:, :-1]
    sums.add(rows, ids, classes if sums.confident else classes[:, :, 0], pixel_ha)
