"""Crop parcels by vote: for each given parcel the class that most of its pixels have.

A pixel belongs to a parcel when its centre lies in it. Rows of pixel centres are cut with the
parcels' sides, all parcels of a strip at once; so parcels may overlap, each is counted in full, and
memory grows with a strip and the parcels, not with the map.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from bocage.errors import ConfigError, DataError
from bocage.mapping.areas import check_confidence
from bocage.mapping.maps import ClassMap, check_not_input, open_map, strips
from bocage.mapping.outputs import CONFIDENCE_STEPS, NODATA
from bocage.mapping.polygons.graph import Ints, first_of_each, ranges
from bocage.mapping.vectors import GEOMETRY, PYOGRIO_ERRORS, Batch, check_target, write_features
from bocage.rasters import open_raster, same_crs

STRIP_PX = 1 << 22
BATCH = 16_384
MIN_BUFFERED_PX = 4
"""An inward buffer that leaves less than this area is not applied."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class ParcelReport:
    """How many parcels were written, and in `findings` the rows (from 0) of the odd ones."""

    parcels: int
    findings: dict[str, list[int]]


def write_parcels(
    map_path: Path,
    parcels_path: Path,
    target: Path,
    *,
    inner_buffer_m: float = 0.0,
    strip_px: int = STRIP_PX,
    progress: Progress = lambda done, total: None,
) -> ParcelReport:
    """Write the parcels with their columns and the class that won the vote.

    Where a confidence file stands beside the map, pixels vote with their confidence. Parcels keep
    their CRS, order and geometry, but for those that cross themselves, which are repaired.
    `inner_buffer_m` leaves out pixels nearer than this to the parcel's border, unless next to
    nothing would remain. `progress` is called with rows done and all.

    Raises `ConfigError` where the request does not suit the files, `DataError` where one cannot be
    read or written. Odd parcels never end the work: they are in the report and in column `remark`.
    """
    check_target(target)
    if not 0 <= inner_buffer_m < np.inf:
        raise ConfigError(f"inner_buffer_m={inner_buffer_m:g}: must be 0 or more metres.")
    class_map = open_map(map_path)
    check_not_input([target], [*class_map.files, parcels_path])
    parcels = _read_parcels(parcels_path)
    columns = _vote_columns(class_map)
    taken = sorted(set(columns.names) & set(parcels.columns))
    if taken:
        raise ConfigError(
            f"{parcels_path}: already has column(s) {', '.join(taken)}, which the vote would "
            "write. Rename or drop them."
        )
    findings: dict[str, NDArray[np.bool_]] = {}
    parcels[GEOMETRY] = _usable(parcels.geometry.values, findings)
    shapes = _on_grid(parcels, class_map, inner_buffer_m, findings)
    votes = _count(class_map, shapes, strip_px, progress)
    values = _decide(class_map, shapes, votes)
    findings["no data"] = (
        (values["pixels"] == 0) & ~findings["outside the map"] & ~shapely.is_empty(shapes)
    )
    values["remark"] = _remarks(findings, len(parcels))
    _write(target, parcels, columns, values)
    listed = {kind: np.flatnonzero(rows).tolist() for kind, rows in findings.items() if rows.any()}
    return ParcelReport(len(parcels), listed)


def _read_parcels(path: Path) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    try:
        if path.suffix.lower() == ".parquet":
            frame = gpd.read_parquet(path)
        else:
            layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
            if len(layers) != 1:
                raise DataError(
                    f"{path}: {len(layers)} layers with geometry ({', '.join(layers)[:200]}), "
                    "where one is expected. Copy the parcels' layer to a file of its own."
                )
            frame = pyogrio.read_dataframe(path, layer=layers[0])
    except (*PYOGRIO_ERRORS, pa.ArrowException, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as polygons ({str(error).strip().splitlines()[0]}). Give "
            "GeoPackage, GeoParquet, Shapefile or GeoJSON."
        ) from error
    if frame.crs is None:
        raise DataError(f"{path}: has no CRS. Assign it, e.g. with 'ogr2ogr -a_srs'.")
    # The geometry's name differs between formats; ours is one.
    if frame.geometry.name != GEOMETRY:
        frame = frame.rename_geometry(GEOMETRY)
    return frame.reset_index(drop=True)


def _usable(geometries: Any, findings: dict[str, NDArray[np.bool_]]) -> NDArray[Any]:
    """Flat polygons, repaired where they cross themselves; what is no polygon stays as it is."""
    shapes = shapely.force_2d(np.asarray(geometries, object))
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    areal = np.isin(shapely.get_type_id(shapes), (3, 6))
    findings["empty"] = empty
    findings["no polygon"] = ~areal & ~empty
    broken = areal & ~empty & ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    findings["repaired"] = broken
    wkb = pd.Series(shapely.to_wkb(shapely.normalize(shapes)))
    findings["duplicated"] = wkb.duplicated(keep=False).to_numpy() & areal & ~empty
    return np.asarray(shapes)


def _on_grid(
    parcels: gpd.GeoDataFrame,
    class_map: ClassMap,
    inner_buffer_m: float,
    findings: dict[str, NDArray[np.bool_]],
) -> NDArray[Any]:
    """Parcels in the map's CRS, buffered; empty polygons where there is nothing to count."""
    crs = class_map.grid.crs
    assert crs is not None  # open_map refuses a map without
    geometry = parcels.geometry
    if not same_crs(CRS.from_wkt(geometry.crs.to_wkt()), crs):
        geometry = geometry.to_crs(crs.to_wkt())
    shapes = np.asarray(geometry.values, object)
    left, bottom, right, top = class_map.grid.bounds
    # A place that the map's projection does not know has infinite coordinates.
    x0, y0, x1, y1 = shapely.bounds(shapes).T
    meets = (x0 < right) & (x1 > left) & (y0 < top) & (y1 > bottom)
    meets &= np.isfinite(x0 + y0 + x1 + y1)
    odd = findings["empty"] | findings["no polygon"]
    findings["outside the map"] = ~meets & ~odd
    shapes[odd | ~meets] = shapely.Polygon()
    findings["too small for the buffer"] = np.zeros(len(shapes), bool)
    if inner_buffer_m > 0:
        buffered = shapely.buffer(shapes, -inner_buffer_m)
        gone = shapely.area(buffered) < MIN_BUFFERED_PX * class_map.pixel_m2
        findings["too small for the buffer"] = gone & ~shapely.is_empty(shapes)
        shapes = np.where(gone, shapes, buffered)
    return shapes


@dataclass(frozen=True)
class _Sides:
    """Sides of polygons in pixels of the map (column, row), by the first row that they cut.

    A side cuts the rows [first, end): those whose pixel centres lie between its ends.
    """

    owner: Ints
    start_S2: NDArray[np.float64]
    end_S2: NDArray[np.float64]
    first: Ints
    end: Ints

    @classmethod
    def of(cls, shapes: NDArray[Any], class_map: ClassMap) -> _Sides:
        parts, owner_of_part = shapely.get_parts(shapes, return_index=True)
        rings, part_of_ring = shapely.get_rings(parts, return_index=True)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        transform = class_map.grid.transform
        xy = (xy - (transform.c, transform.f)) / (transform.a, transform.e)
        same = np.flatnonzero(ring[1:] == ring[:-1])
        low, high = np.sort(np.stack([xy[same, 1], xy[same + 1, 1]]), axis=0)
        rows = class_map.grid.height
        first = np.clip(np.ceil(low - 0.5), 0, rows).astype(np.int64)
        end = np.clip(np.ceil(high - 0.5), 0, rows).astype(np.int64)
        cuts = end > first
        order = np.flatnonzero(cuts)[np.argsort(first[cuts], kind="stable")]
        owner = owner_of_part[part_of_ring[ring[same]]]
        return cls(
            owner[order], xy[same][order], xy[same + 1][order], first[order], end[order]
        )  # fmt: skip

    def spans(self, chosen: Ints, row0: int, row1: int, width: int) -> tuple[Ints, ...]:
        """Owner, row, first and end column of the runs of pixels in rows [row0, row1)."""
        first = np.maximum(self.first[chosen], row0)
        counts = np.minimum(self.end[chosen], row1) - first
        side, row = np.repeat(chosen, counts), ranges(first, counts)
        (x0, y0), (x1, y1) = self.start_S2[side].T, self.end_S2[side].T
        x = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        order = np.lexsort((x, row, self.owner[side]))
        # A closed ring cuts every row an even number of times: in, out, in, out.
        column = np.clip(np.ceil(x[order] - 0.5), 0, width).astype(np.int64)
        into = order[0::2]
        return self.owner[side[into]], row[into], column[0::2], column[1::2]


@dataclass(frozen=True)
class _Votes:
    """Pixels and their weight by parcel and class, nodata too, sorted."""

    parcel: Ints
    class_id: Ints
    pixels: Ints
    weight: NDArray[np.float64]


def _count(class_map: ClassMap, shapes: NDArray[Any], strip_px: int, progress: Progress) -> _Votes:
    sides = _Sides.of(shapes, class_map)
    width, height = class_map.grid.width, class_map.grid.height
    keys, pixels, weights = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
    begun, open_ = 0, np.zeros(0, np.int64)
    with contextlib.ExitStack() as stack:
        classes = stack.enter_context(open_raster(class_map.path))
        confidence = None
        if class_map.confidence is not None:
            confidence = stack.enter_context(open_raster(class_map.confidence))
            check_confidence(class_map, confidence)
        for window in strips(class_map.grid, max(1, strip_px // width)):
            row0, row1 = window.row_off, window.row_off + window.height
            upto = int(np.searchsorted(sides.first, row1))
            open_ = np.concatenate([open_, np.arange(begun, upto)])
            begun, open_ = upto, open_[sides.end[open_] > row0]
            owner, row, start, end = sides.spans(open_, row0, row1, width)
            if np.any(end > start):
                counts = end - start
                place = ranges((row - row0) * width + start, counts)
                class_P = classes.read(1, window=window).ravel()[place]
                key, group = np.unique(
                    np.repeat(owner, counts) * 256 + class_P, return_inverse=True
                )
                keys.append(key)
                pixels.append(np.bincount(group).astype(np.float64))
                if confidence is not None:
                    sure_P = confidence.read(1, window=window).ravel()[place]
                    weights.append(_total(group, sure_P / CONFIDENCE_STEPS))
                else:
                    weights.append(pixels[-1])
            progress(row1, height)
    key, group = np.unique(np.concatenate(keys), return_inverse=True)
    return _Votes(
        key // 256,
        key % 256,
        np.bincount(group, weights=np.concatenate(pixels)).astype(np.int64),
        _total(group, np.concatenate(weights)),
    )


def _total(group: Ints, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(group, weights=weight).astype(np.float64)


def _decide(class_map: ClassMap, shapes: NDArray[Any], votes: _Votes) -> dict[str, Any]:
    """Winner, second and their shares for every parcel; nothing where there is no vote."""
    count = len(shapes)
    has_data = votes.class_id != NODATA
    inside = np.bincount(votes.parcel, weights=votes.pixels, minlength=count)
    parcel, class_id = votes.parcel[has_data], votes.class_id[has_data]
    pixels, weight = votes.pixels[has_data], votes.weight[has_data]
    with_data = np.bincount(parcel, weights=pixels, minlength=count)
    total = np.bincount(parcel, weights=weight, minlength=count)
    sure = total / np.maximum(with_data, 1)
    # Where no pixel is sure of anything, they vote with equal weight.
    weight = np.where(total[parcel] > 0, weight, pixels)
    total = np.where(total > 0, total, with_data)

    order = np.lexsort((class_id, -weight, parcel))
    leads = np.flatnonzero(first_of_each(parcel[order]))
    follows = leads[leads + 1 < len(order)] + 1
    follows = follows[parcel[order[follows]] == parcel[order[follows - 1]]]
    values: dict[str, Any] = {}
    for prefix, places in (("", order[leads]), ("second_", order[follows])):
        winner, share = np.full(count, NODATA), np.full(count, np.nan)
        winner[parcel[places]] = class_id[places]
        share[parcel[places]] = weight[places] / total[parcel[places]]
        known = winner != NODATA
        values[f"{prefix}class_id"] = pd.array(winner, "Int16")
        values[f"{prefix}class_id"][~known] = pd.NA
        values[f"{prefix}class"] = [
            class_map.name(i) if k else None
            for i, k in zip(winner.tolist(), known.tolist(), strict=True)
        ]
        values[f"{prefix}share"] = share
    values["pixels"] = with_data.astype(np.int64)
    # Pixels beyond the map's edge are not counted one by one: the area says how many they are.
    left, bottom, right, top = class_map.grid.bounds
    x0, y0, x1, y1 = shapely.bounds(shapes).T
    whole = (x0 >= left) & (x1 <= right) & (y0 >= bottom) & (y1 <= top)
    expected = np.where(whole, inside, shapely.area(shapes) / class_map.pixel_m2)
    values["covered"] = np.clip(with_data / np.maximum(expected, 1e-9), 0.0, 1.0)
    if class_map.confidence is not None:
        values["confidence"] = np.where(with_data > 0, sure, np.nan)
    return values


def _vote_columns(class_map: ClassMap) -> pa.Schema:
    fields = [
        (f"{prefix}{name}", kind)
        for prefix in ("", "second_")
        for name, kind in (
            ("class_id", pa.int16()),
            ("class", pa.string()),
            ("share", pa.float64()),
        )
    ]
    fields += [("pixels", pa.int64()), ("covered", pa.float64())]
    if class_map.confidence is not None:
        fields.append(("confidence", pa.float64()))
    return pa.schema([*fields, ("remark", pa.string())])


def _remarks(findings: dict[str, NDArray[np.bool_]], count: int) -> list[str | None]:
    said: list[list[str]] = [[] for _ in range(count)]
    for kind, rows in findings.items():
        for i in np.flatnonzero(rows).tolist():
            said[i].append(kind)
    return ["; ".join(words) or None for words in said]


def _write(
    target: Path, parcels: gpd.GeoDataFrame, columns: pa.Schema, values: dict[str, Any]
) -> None:
    own = pa.Table.from_pandas(pd.DataFrame(parcels.drop(columns=GEOMETRY)), preserve_index=False)
    arrays = dict(zip(own.column_names, own.columns, strict=True))
    for field in columns:
        arrays[field.name] = pa.array(values[field.name], field.type, from_pandas=True)
    table = pa.table(arrays).combine_chunks()
    shapes = np.asarray(parcels.geometry.values, object)
    kinds = np.unique(shapely.get_type_id(shapes[~shapely.is_missing(shapes)]))
    geometry_type = {3: "Polygon", 6: "MultiPolygon"}.get(kinds[0]) if len(kinds) == 1 else None

    def batches() -> Iterator[Batch]:
        for piece, at in zip(table.to_batches(BATCH), range(0, len(shapes), BATCH), strict=True):
            yield dict(zip(piece.schema.names, piece.columns, strict=True)), shapes[at : at + BATCH]

    write_features(target, table.schema, batches(), parcels.crs, geometry_type or "Unknown")
