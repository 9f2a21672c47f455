"""Hectares per zone and class as a table: as mapped, with bounds, and estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.files import atomic_path
from bocage.mapping.areas import Counts, Progress, count_areas
from bocage.mapping.estimates import AreaEstimate, clustered, stratified
from bocage.mapping.maps import ClassMap, check_not_input
from bocage.mapping.samples import count_by_zone
from bocage.mapping.validation import Validation
from bocage.mapping.zone_estimates import ZoneShares, anywhere, composite, one_more_cluster
from bocage.mapping.zones import Zones
from bocage.rasters import Grid

FORMATS = (".csv", ".parquet", ".gpkg")
LEVEL = 0.95
"""Of the intervals, unless another is asked for."""
_VALUES = ("ha", "ha_low", "ha_high", "estimate_ha", "estimate_low", "estimate_high")


def measure_areas(
    source: ClassMap,
    zones: Zones | None = None,
    validation: Validation | None = None,
    *,
    level: float | None = None,
    on_ground: bool = True,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Count a map and put all that is known of its areas into one table.

    One row per zone and class, the whole map first. Columns: `zone`, `class_id`, `class`,
    `pixels`, `ha` (as mapped), `share` of the zone's mapped area, `zone_ha`, `covered` (share of
    the zone that is mapped); with a confidence layer `ha_low`, `ha_high` (`bocage.mapping.areas`);
    with a validation `estimate_ha`, `estimate_se`, `estimate_low`, `estimate_high` and `method`
    (the whole map: `bocage.mapping.estimates`, zones: `bocage.mapping.zone_estimates`); with
    sample points `units`, how many lie in the zone. Both intervals are of `level`; None: `LEVEL`.

    Raises `ConfigError` for a level that is no share, or given where there is no interval; what
    `count_areas` raises goes through.
    """
    if level is not None and not 0 < level < 1:
        raise ConfigError(f"confidence level {level:g}: a share between 0 and 1, such as 0.95.")
    if level is not None and source.confidence is None and validation is None:
        raise ConfigError(
            f"confidence level {level:g} has no effect: {source.path} has no confidence layer "
            "beside it, and no validation is given. Leave the level out, or give one of them."
        )
    level = LEVEL if level is None else level
    counts = count_areas(source, zones, on_ground=on_ground, progress=progress)
    zone_count, class_count = counts.ha_ZK.shape
    mapped = counts.mapped_ha
    with np.errstate(invalid="ignore"):
        share = counts.ha_ZK / mapped[:, None]
    columns: dict[str, Any] = {
        "zone": np.repeat(counts.zones, class_count),
        "class_id": np.tile(counts.class_ids, zone_count),
        "class": np.tile([source.name(class_id) for class_id in counts.class_ids], zone_count),
        "pixels": counts.pixels_ZK.ravel(),
        "ha": counts.ha_ZK.ravel(),
        "share": share.ravel(),
        "zone_ha": np.repeat(counts.zone_ha, class_count),
        "covered": np.repeat(counts.covered, class_count),
    }
    bounds = counts.bounds(level)
    if bounds is not None:
        columns["ha_low"], columns["ha_high"] = (side.ravel() for side in bounds)
    if validation is not None:
        columns |= _estimate_columns(counts, validation, zones, source.grid, level)
    return pd.DataFrame(columns)


def _estimate_columns(
    counts: Counts, validation: Validation, zones: Zones | None, grid: Grid, level: float
) -> dict[str, Any]:
    strange = [i for i in counts.class_ids if i not in validation.class_ids]
    if strange:
        raise DataError(
            f"{validation.path}: the map holds class ids {strange[:8]} that it does not name and "
            "the validation does not have."
        )
    if len(validation.clusters) == 1:
        raise ConfigError(
            f"{validation.path}: pixels of one domain ({validation.clusters[0]}) only. How far "
            "errors differ between places cannot be told from one. Evaluate on several domains, "
            "or give a CSV of a sample of points."
        )
    whole = _whole_map(counts.ha_ZK[0], counts.class_ids, validation, level)
    kind = "clusters" if validation.clusters else "sample"
    methods = [f"stratified ({kind})"]
    low, high = whole.interval()
    sides = [whole.share_K[None], whole.se_K[None], low[None], high[None]]
    columns: dict[str, Any] = {}
    units = [int(validation.counts_DKK.sum())]
    if zones is not None:
        units_ZKK = None
        if validation.places is not None:
            units_ZKK = count_by_zone(validation, zones, grid)
        shares, method = _zone_shares(counts, validation, units_ZKK, level)
        parts = (shares.share_ZK, shares.se_ZK, shares.low_ZK, shares.high_ZK)
        sides = [np.concatenate(pair) for pair in zip(sides, parts, strict=True)]
        methods += [method] * len(zones)
        units += [] if units_ZKK is None else units_ZKK.sum(axis=(1, 2)).tolist()
    names = ("estimate_ha", "estimate_se", "estimate_low", "estimate_high")
    for name, values_ZK in zip(names, sides, strict=True):
        columns[name] = (values_ZK * counts.mapped_ha[:, None]).ravel()
    columns["method"] = np.repeat(methods, len(counts.class_ids))
    if validation.places is not None:
        columns["units"] = np.repeat(units, len(counts.class_ids))
    return columns


def _whole_map(
    ha_K: NDArray[np.float64], class_ids: tuple[int, ...], validation: Validation, level: float
) -> AreaEstimate:
    """What the validation is of: the estimator is unbiased for it."""
    matrix_DKK = _in_order(validation.counts_DKK, class_ids, validation)
    if validation.clusters:
        return clustered(matrix_DKK, ha_K / ha_K.sum(), level)
    return stratified(matrix_DKK.sum(axis=0), ha_K / ha_K.sum(), level)


def _zone_shares(
    counts: Counts, validation: Validation, units_ZKK: NDArray[np.int64] | None, level: float
) -> tuple[ZoneShares, str]:
    """Shares in the zones, by what is known of the units' places, and the method's name."""
    matrix_DKK = _in_order(validation.counts_DKK, counts.class_ids, validation)
    ha_ZK = counts.ha_ZK[1:]
    with np.errstate(invalid="ignore"):
        weight_ZK = ha_ZK / ha_ZK.sum(axis=1, keepdims=True)
    if units_ZKK is not None:
        own_ZKK = _in_order(units_ZKK, counts.class_ids, validation)
        return composite(own_ZKK, matrix_DKK[0], weight_ZK, level), "composite (points)"
    if validation.clusters:
        return one_more_cluster(matrix_DKK, weight_ZK, level), "synthetic (clusters)"
    return anywhere(matrix_DKK[0], ha_ZK, counts.ha_ZK[0], level), "synthetic (bounds)"


def _in_order(
    counts_NKK: NDArray[np.int64], class_ids: tuple[int, ...], validation: Validation
) -> NDArray[np.int64]:
    """Matrices of the validation's classes as those of the map."""
    order = [validation.class_ids.index(class_id) for class_id in class_ids]
    return counts_NKK[:, order][:, :, order]


def estimate_whole(
    whole: pd.DataFrame, validation: Validation, level: float | None = None
) -> AreaEstimate:
    """The estimate that the table's rows of the whole map (`whole`) are of, with accuracies."""
    ids = tuple(int(i) for i in whole["class_id"])
    return _whole_map(whole["ha"].to_numpy(), ids, validation, LEVEL if level is None else level)


def check_format(target: Path, zones: bool) -> None:
    """Refuse a file that could not be written at the end (`ConfigError`)."""
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"{target}: {unknown_name('format', target.suffix, FORMATS)}")
    if target.suffix.lower() == ".gpkg" and not zones:
        raise ConfigError(f"{target}: a GeoPackage holds zones; give --zones, or write a CSV.")


def write_table(target: Path, table: pd.DataFrame, zones: Zones | None, source: ClassMap) -> None:
    """Write the table, atomically: `.csv` and `.parquet` as it is, `.gpkg` one polygon per zone.

    Columns of a GeoPackage are `zone`, `zone_ha`, `covered` and, for each class, its values as
    `<class>_ha` and so on. `ConfigError` where the target is the map or the zones' file.
    """
    check_format(target, zones is not None)
    check_not_input([target], [*source.files, *([zones.path] if zones else ())])
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False, float_format="%.6g")
        elif target.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            assert zones is not None
            _by_zone(table, zones, source).to_file(temporary, driver="GPKG", layer=target.stem)


def _by_zone(table: pd.DataFrame, zones: Zones, source: ClassMap) -> geopandas.GeoDataFrame:
    assert source.grid.crs is not None
    classes = len(table["class_id"].unique())
    rows = table.iloc[classes:]  # without the whole map, which is no polygon of the file
    wide = rows.iloc[::classes][["zone", "zone_ha", "covered"]].reset_index(drop=True)
    for place in range(classes):
        one = rows.iloc[place::classes]
        name = str(one["class"].iloc[0])
        for value in _VALUES:
            if value in one:
                wide[f"{name}_{value}"] = one[value].to_numpy()
    crs = pyproj.CRS.from_wkt(source.grid.crs.to_wkt())
    return geopandas.GeoDataFrame(wide, geometry=list(zones.shapes), crs=crs)
