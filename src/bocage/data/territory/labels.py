"""Labels of one's own on a patch: polygons drawn, or a raster brought to its grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import rasterize

from bocage.data.territory.config import LabelConfig
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.imagery import Range, RasterFile, Reading, SensorGrid, bounds_in, read_raster
from bocage.nomenclatures import IGNORE, Task
from bocage.nomenclatures.task import UNKNOWN
from bocage.rasters import Grid, describe_crs, grid_of, open_raster

_RASTER = Reading(1, np.dtype("int32"), resampling="nearest")


def read_labels(
    config: LabelConfig, task: Task, grid: SensorGrid, rows: Range, cols: Range, tile: Grid
) -> NDArray[np.uint8]:
    """Raw label values (H, W) of one patch: class ids, `IGNORE` where nothing is known.

    Raises `DataError` for polygons that cannot be read or whose class is not in the list.
    """
    if config.field is None:
        return _from_raster(config, grid, rows, cols)
    return _from_polygons(config, task, tile)


def check_labels(config: LabelConfig, task: Task) -> None:
    """Refuse what can be seen without reading pixels or shapes (`ConfigError`, `DataError`)."""
    if config.background is not None:
        _class_ids(task, config.background, "background")
    if config.field is None:
        with open_raster(config.path, beside=True) as dataset:
            if config.band > dataset.count:
                raise ConfigError(
                    f"{config.path}: band {config.band} of a file with {dataset.count} bands."
                )
        return
    info = vector_info(config.path, config.layer)
    if config.field not in info["fields"]:
        raise ConfigError(f"{config.path}: {unknown_name('field', config.field, info['fields'])}")
    if info["crs"] is None:
        raise DataError(
            f"{config.path}: the polygons have no CRS. Assign it with 'ogr2ogr -a_srs'."
        )
    values = pyogrio.read_dataframe(
        config.path, layer=config.layer, columns=[config.field], read_geometry=False
    )
    _field_ids(config, task, values[config.field].unique().tolist())


def _from_raster(
    config: LabelConfig, grid: SensorGrid, rows: Range, cols: Range
) -> NDArray[np.uint8]:
    with open_raster(config.path, beside=True) as dataset:
        raster = RasterFile(
            config.path,
            grid_of(dataset),
            (config.band,),
            (dataset.nodatavals[config.band - 1],),
            None,
            masked=False,
        )
    values, valid = read_raster(raster, grid, rows, cols, _RASTER)
    raw = values[0, 0]
    # A value that no class can have is odd, not unknown: it is met by `data.unknown_labels`.
    raw = np.where((raw < 0) | (raw > IGNORE), UNKNOWN, raw).astype(np.uint8)
    if valid is not None:
        raw[~valid[0]] = IGNORE
    return raw


def _from_polygons(config: LabelConfig, task: Task, tile: Grid) -> NDArray[np.uint8]:
    info = vector_info(config.path, config.layer)
    assert tile.crs is not None
    try:
        box = bounds_in(tile.bounds, tile.crs, CRS.from_user_input(info["crs"]))
    except CRSError as error:
        raise DataError(f"{config.path}: CRS {info['crs']} is not known ({error}).") from error
    if box is None:
        raise DataError(
            f"{config.path}: the polygons' CRS cannot be related to {describe_crs(tile.crs)}."
        )
    try:
        frame = pyogrio.read_dataframe(
            config.path, layer=config.layer, bbox=box, columns=[config.field]
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise DataError(f"{config.path}: the polygons cannot be read ({error}).") from error
    background = IGNORE
    if config.background is not None:
        background = _class_ids(task, config.background, "background")
    frame = frame[frame.geometry.notna() & ~frame.geometry.is_empty]
    if not len(frame):
        return np.full((tile.height, tile.width), background, np.uint8)
    frame = frame.to_crs(tile.crs.to_wkt())
    ids = _field_ids(config, task, frame[config.field].tolist())
    drawn: NDArray[np.uint8] = rasterize(
        # Small ones last: what lies on top of another is usually the smaller.
        sorted(zip(frame.geometry, ids, strict=True), key=lambda pair: -pair[0].area),
        out_shape=(tile.height, tile.width),
        fill=background,
        transform=tile.transform,
        dtype="uint8",
    )
    return drawn


def _field_ids(config: LabelConfig, task: Task, values: list[Any]) -> list[int]:
    table = _names(task)
    ids, odd = [], set()
    for value in values:
        number = _as_id(value, task)
        found = number if number is not None else table.get(str(value).strip().casefold())
        if found is None:
            odd.add(str(value))
        ids.append(IGNORE if found is None else found)
    if odd and config.unknown == "refuse":
        shown = ", ".join(sorted(odd)[:8])
        raise DataError(
            f"{config.path}: field '{config.field}' holds {shown}, which the class list "
            f"'{task.nomenclature.name}' does not have (ids {list(task.nomenclature.ids)[:12]}; "
            f"names {', '.join(task.nomenclature.names[:12])}). Correct the field or the list, or "
            "set labels.unknown=ignore."
        )
    return ids


def _as_id(value: Any, task: Task) -> int | None:
    """A field's value as a class id: a whole number, also one written as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    known = {raw for raw, _ in task.recode} or set(task.nomenclature.ids)
    return int(number) if number == int(number) and int(number) in known else None


def _names(task: Task) -> Mapping[str, int]:
    return {name.casefold(): c.id for c in task.nomenclature for name in (c.name_fr, c.name)}


def _class_ids(task: Task, name: str, what: str) -> int:
    table = _names(task)
    if name.casefold() not in table:
        raise ConfigError(unknown_name(f"class for labels.{what}", name, task.nomenclature.names))
    return table[name.casefold()]


@lru_cache(maxsize=64)
def vector_info(path: str, layer: str | None) -> dict[str, Any]:
    """What a vector file says of itself; `DataError` if it cannot be read."""
    if not path.startswith("/vsi") and not Path(path).exists():
        raise DataError(f"{path}: no such file.")
    try:
        return dict(pyogrio.read_info(path, layer=layer))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(
            f"{path}: cannot be read as polygons ({error}). Give a vector file, and its layer "
            "where it has several."
        ) from error
