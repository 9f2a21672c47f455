"""Change between two maps of the same ground: a raster of from-to codes, and hectares.

A pixel's code is 256 times the class of the first map plus that of the second, and `NO_CHANGE_DATA`
where either has no class. Change can be restricted to where both maps are sure, and to patches of
some size: elsewhere the first map's class is kept for both dates, so that nothing is claimed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.windows import Window

from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path, write_text
from bocage.mapping.areas import AreaScale, blocks, check_confidence
from bocage.mapping.maps import ClassMap, check_min_area, check_not_input
from bocage.mapping.outputs import CONFIDENCE_STEPS, NODATA
from bocage.mapping.patches import Sides, find_patches
from bocage.mapping.styles import style_file
from bocage.mapping.zones import ZonePainter, Zones
from bocage.nomenclatures.own import PALETTE
from bocage.nomenclatures.qgis import class_style
from bocage.rasters import Grid, describe_crs, open_raster, same_crs

NO_CHANGE_DATA = 65535
MAP_FILE, TABLE_FILE = "change.tif", "change.csv"
_ALIGNED = 0.01
"""Pixels by which two grids may differ and still count as one."""
_FIRST_MARGIN = 256
_M2_PER_HA = 10_000.0

Progress = Callable[[int, int | None], None]
Codes = NDArray[np.uint16]


class ChangeConfig(BaseModel):
    """What counts as change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_confidence: float | None = Field(default=None, gt=0, le=1)
    """Confidence that both maps must have for a change to count; None: any."""
    min_area_m2: float | None = Field(default=None, gt=0)
    """Size that a patch of one change must have, square metres of the map's plane; None: any."""
    on_ground: bool = True
    """Hectares on the ground rather than in the map's plane."""


@dataclass(frozen=True)
class Overlap:
    """The ground that two maps share: its grid, and the offset (row, column) into each map."""

    grid: Grid
    first: tuple[int, int]
    second: tuple[int, int]


@dataclass(frozen=True)
class ChangeReport:
    """What `diff_maps` wrote. `table` is that of `change.csv`; areas in hectares of the whole."""

    raster: Path
    table: pd.DataFrame
    compared_ha: float
    changed_ha: float


def diff_maps(
    first: ClassMap,
    second: ClassMap,
    out: Path,
    config: ChangeConfig | None = None,
    zones: Zones | None = None,
    progress: Progress | None = None,
) -> ChangeReport:
    """Compare two maps, and write `OUT/change.tif`, its QGIS style, and `OUT/change.csv`.

    The raster is a Cloud-Optimised GeoTIFF (uint16) of the ground that both maps share. The table
    has a row per zone (the whole first) and pair of classes: `zone`, `from_id`, `from`, `to_id`,
    `to`, `pixels`, `ha`. Memory is that of a block and of the margin that patches need.

    `zones` are in the CRS of the first map (`read_zones`).

    Raises:
        ConfigError: maps of different classes or grids, or options that they do not allow.
        DataError: a file that cannot be read or written.
    """
    config = config or ChangeConfig()
    raster, table_file = out / MAP_FILE, out / TABLE_FILE
    check_not_input(
        [raster, table_file, style_file(raster)],
        [*first.files, *second.files, *([zones.path] if zones else ())],
        "name another folder",
    )
    shared = overlap_of(first, second)
    _check_classes(first, second)
    check_min_area(first, config.min_area_m2)
    if config.min_confidence is not None:
        for source in (first, second):
            if source.confidence is None:
                raise ConfigError(
                    f"{source.path}: has no confidence layer beside it, which --min-confidence "
                    "needs. Map with confidence, or leave the option out."
                )
    tally = _Tally(first, zones, shared.grid, config.on_ground)
    with (
        _scratch(out) as scratch,
        _Comparison(first, second, shared, config) as comparison,
    ):
        raw = scratch / "change.tif"
        windows = list(blocks(shared.grid))
        with _gdal_errors(raster), rasterio.open(raw, "w", **_profile(shared.grid)) as part:
            for number, window in enumerate(windows, start=1):
                codes_HW = comparison.codes(window)
                part.write(codes_HW, 1, window=window)
                tally.add(window, codes_HW)
                if progress:
                    progress(number, len(windows))
            part.update_tags(
                1, **{f"class_{i}": name for i, name in sorted(_names(first, second).items())}
            )
            part.update_tags(task=first.task, before=first.path.name, after=second.path.name)
        with _gdal_errors(raster), atomic_path(raster) as temporary:
            options = {"compress": "deflate", "blocksize": 512, "overview_resampling": "mode",
                       "bigtiff": "IF_SAFER"}  # fmt: skip
            rasterio.shutil.copy(raw, temporary, driver="COG", **options)
    names = _names(first, second)
    table = tally.table(names)
    with atomic_path(table_file) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    whole = table[table["zone"] == tally.zones[0]].head(tally.whole_rows)
    changed = whole[whole["from_id"] != whole["to_id"]]
    _write_style(raster, changed, second)
    return ChangeReport(raster, table, float(whole["ha"].sum()), float(changed["ha"].sum()))


def overlap_of(first: ClassMap, second: ClassMap) -> Overlap:
    """The shared ground of two maps whose pixels lie on each other.

    Raises `ConfigError` with the command that aligns the second map where they do not.
    """
    one, two = first.grid, second.grid
    a, b = one.transform, two.transform
    col, row = ~a @ (b.c, b.f)
    drift = max(abs(b.a / a.a - 1) * two.width, abs(b.e / a.e - 1) * two.height)
    off = max(abs(col - round(col)), abs(row - round(row)))
    if not same_crs(one.crs, two.crs) or drift > _ALIGNED or off > _ALIGNED:
        left, bottom, right, top = one.bounds
        assert one.crs is not None
        target = f"{second.path.stem}-aligned.tif"
        raise ConfigError(
            f"{second.path}: not on the grid of {first.path.name}: {_describe(two)} against "
            f"{_describe(one)}. Align it with: gdalwarp -r near -t_srs {one.crs.to_string()} "
            f"-te {left:.10g} {bottom:.10g} {right:.10g} {top:.10g} -tr {a.a:.10g} {-a.e:.10g} "
            f"{second.path} {target}"
        )
    col, row = round(col), round(row)
    left, top = max(col, 0), max(row, 0)
    right = min(one.width, col + two.width)
    bottom = min(one.height, row + two.height)
    if right <= left or bottom <= top:
        raise ConfigError(
            f"{first.path.name} and {second.path.name} share no ground: {one.bounds} and "
            f"{two.bounds}."
        )
    grid = Grid(one.crs, a @ Affine.translation(left, top), right - left, bottom - top)
    return Overlap(grid, (top, left), (top - row, left - col))


def _describe(grid: Grid) -> str:
    width, height = grid.resolution
    t = grid.transform
    return f"{describe_crs(grid.crs)}, pixels of {width:.10g} x {height:.10g} from ({t.c}, {t.f})"


def _check_classes(first: ClassMap, second: ClassMap) -> None:
    differ = [
        f"{i}: '{first.name(i)}' and '{second.name(i)}'"
        for i in sorted({*first.classes, *second.classes})
        if first.classes.get(i) != second.classes.get(i)
    ]
    if first.classes and second.classes and differ:
        raise ConfigError(
            f"{first.path.name} and {second.path.name} are of different classes; "
            f"{'; '.join(differ[:6])}. Compare maps of one class list."
        )


def _names(first: ClassMap, second: ClassMap) -> dict[int, str]:
    return {**second.classes, **first.classes}


class _Comparison:
    """The codes of any window of the shared ground. A context manager: it holds the files open."""

    def __init__(
        self, first: ClassMap, second: ClassMap, shared: Overlap, config: ChangeConfig
    ) -> None:
        self._maps = (first, second)
        self._offsets = (shared.first, shared.second)
        self._grid = shared.grid
        self._floor = ceil(round((config.min_confidence or 0) * CONFIDENCE_STEPS, 6))
        self._min_px = ceil(round((config.min_area_m2 or 0) / first.pixel_m2, 6))
        self._stack = contextlib.ExitStack()
        self._classes: list[DatasetReader] = []
        self._sure: list[DatasetReader] = []

    def __enter__(self) -> _Comparison:
        with contextlib.ExitStack() as stack:
            for source in self._maps:
                self._classes.append(stack.enter_context(open_raster(source.path)))
                if self._floor:
                    assert source.confidence is not None
                    sure = stack.enter_context(open_raster(source.confidence))
                    check_confidence(source, sure)
                    self._sure.append(sure)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def codes(self, window: Window) -> Codes:
        """Codes of a window, (H, W) uint16, small patches put back.

        Whether a patch is too small is seen from the window and a margin around it. A patch that
        reaches the margin's end and still looks too small is looked at again with twice the
        margin. One as wide as the smallest allowed patch has pixels decides every case: a patch
        that goes so far has so many.
        """
        if self._min_px <= 1:
            return self._compare(window)
        margin = min(_FIRST_MARGIN, self._min_px)
        while True:
            wide, (top, left) = self._widened(window, margin)
            codes_HW = self._compare(wide)
            inner = (slice(top, top + window.height), slice(left, left + window.width))
            if self._drop_small(codes_HW, wide, inner):
                return np.ascontiguousarray(codes_HW[inner])
            assert margin < self._min_px
            margin = min(2 * margin, self._min_px)

    def _widened(self, window: Window, margin: int) -> tuple[Window, tuple[int, int]]:
        top, left = min(margin, window.row_off), min(margin, window.col_off)
        bottom = min(window.row_off + window.height + margin, self._grid.height)
        right = min(window.col_off + window.width + margin, self._grid.width)
        row, col = window.row_off - top, window.col_off - left
        return Window(col, row, right - col, bottom - row), (top, left)

    def _drop_small(self, codes_HW: Codes, window: Window, inner: tuple[slice, slice]) -> bool:
        """Put small patches back; False, with nothing done, if one of the window may go on."""
        before = codes_HW >> 8
        changed_HW = (before != codes_HW & 255) & (codes_HW != NO_CHANGE_DATA)
        goes_on = Sides(
            window.row_off > 0,
            window.row_off + window.height < self._grid.height,
            window.col_off > 0,
            window.col_off + window.width < self._grid.width,
        )
        runs = find_patches(codes_HW, changed_HW, goes_on)
        small = runs.size < self._min_px
        rows, cols = inner
        within = (runs.row >= rows.start) & (runs.row < rows.stop)
        within &= (runs.right > cols.start) & (runs.left < cols.stop)
        if (small & runs.goes_on & within).any():
            return False
        dropped_HW = runs.mask(small, codes_HW.shape)
        codes_HW[dropped_HW] = before[dropped_HW] * np.uint16(257)
        return True

    def _compare(self, window: Window) -> Codes:
        one, two = (
            self._read(dataset, offset, window)
            for dataset, offset in zip(self._classes, self._offsets, strict=True)
        )
        changed = one != two
        for dataset, offset in zip(self._sure, self._offsets, strict=False):
            sure = self._read(dataset, offset, window)
            unsure = (sure < self._floor) | (sure == NODATA)
            two = np.where(changed & unsure & (two != NODATA) & (one != NODATA), one, two)
        codes = one.astype(np.uint16) * np.uint16(256) + two
        codes[(one == NODATA) | (two == NODATA)] = NO_CHANGE_DATA
        return codes

    @staticmethod
    def _read(dataset: DatasetReader, offset: tuple[int, int], window: Window) -> NDArray[np.uint8]:
        row, col = offset[0] + window.row_off, offset[1] + window.col_off
        values: NDArray[np.uint8] = dataset.read(
            1, window=Window(col, row, window.width, window.height)
        )
        return values


class _Tally:
    """Pixels and hectares by zone and code, the whole ground first."""

    def __init__(self, source: ClassMap, zones: Zones | None, grid: Grid, on_ground: bool) -> None:
        self.zones = ("whole map", *(zones.names if zones else ()))
        self._pixel_ha = source.pixel_m2 / _M2_PER_HA
        self._scale = AreaScale(grid) if on_ground else None
        self._painter = ZonePainter(zones, grid) if zones else None
        self._sums: dict[tuple[int, int], tuple[int, float]] = {}

    def add(self, window: Window, codes_HW: Codes) -> None:
        """Count one window."""
        whole = np.bincount(codes_HW.ravel(), minlength=NO_CHANGE_DATA + 1)
        found = np.flatnonzero(whole)
        pixel_ha = self._pixel_ha / (self._scale.at(window) if self._scale else 1.0)
        self._count(0, found, whole[found], pixel_ha)
        if self._painter is None:
            return
        place = np.zeros(NO_CHANGE_DATA + 1, np.intp)
        place[found] = np.arange(len(found))
        for layer in self._painter.paint(window):
            if layer.index_HW is None:
                self._count(1 + int(layer.zones[0]), found, whole[found], pixel_ha)
                continue
            joint = layer.index_HW.astype(np.intp) * len(found) + place[codes_HW]
            bins = (len(layer.zones) + 1) * len(found)
            counts = np.bincount(joint.ravel(), minlength=bins).reshape(-1, len(found))
            for zone, row in zip(layer.zones.tolist(), counts[1:], strict=True):
                self._count(1 + zone, found, row, pixel_ha)

    def _count(
        self, zone: int, codes: NDArray[np.intp], counts: NDArray[np.intp], pixel_ha: float
    ) -> None:
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            if count and code != NO_CHANGE_DATA:
                pixels, ha = self._sums.get((zone, code), (0, 0.0))
                self._sums[zone, code] = (pixels + count, ha + count * pixel_ha)

    def table(self, names: dict[int, str]) -> pd.DataFrame:
        """One row per zone and pair of classes that occurs."""

        def name(class_id: int) -> str:
            return names.get(class_id, f"class {class_id}")

        rows = [
            (
                self.zones[zone],
                code >> 8,
                name(code >> 8),
                code & 255,
                name(code & 255),
                pixels,
                ha,
            )
            for (zone, code), (pixels, ha) in sorted(self._sums.items())
        ]
        columns = ["zone", "from_id", "from", "to_id", "to", "pixels", "ha"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def whole_rows(self) -> int:
        """Rows of the table that are of the whole ground."""
        return sum(zone == 0 for zone, _ in self._sums)


def _profile(grid: Grid) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "height": grid.height,
        "width": grid.width,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": NO_CHANGE_DATA,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }


def _write_style(raster: Path, changed: pd.DataFrame, second: ClassMap) -> None:
    """A legend of the changes that occur, largest first, in the colour of the class after it.

    What did not change has no entry and stays transparent.
    """
    entries = [
        (
            row["from_id"] * 256 + row["to_id"],
            f"{row['from']} → {row['to']}",
            second.colors.get(row["to_id"], PALETTE[row["to_id"] % len(PALETTE)]),
        )
        for row in changed.sort_values("ha", ascending=False).to_dict("records")
    ]
    write_text(style_file(raster), class_style(entries))


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder inside the target's, for what is not finished; removed afterwards."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".change-", dir=out)
    except OSError as error:
        raise DataError(
            f"{out}: could not be written ({error.strerror}). Check the path and permissions."
        ) from error
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def _gdal_errors(target: Path) -> Iterator[None]:
    """GDAL's own errors while writing, as the error that `atomic_path` gives for a full disk."""
    try:
        yield
    except RasterioError as error:
        raise DataError(
            f"{target}: could not be written ({error}). Check free space and permissions, then "
            "run the same command again."
        ) from error
