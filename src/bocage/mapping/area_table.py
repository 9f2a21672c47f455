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
from bocage.mapping.maps import ClassMap
from bocage.mapping.validation import Validation
from bocage.mapping.zones import Zones

FORMATS = (".csv", ".parquet", ".gpkg")
_VALUES = ("ha", "ha_low", "ha_high", "estimate_ha", "estimate_low", "estimate_high")


def measure_areas(
    source: ClassMap,
    zones: Zones | None = None,
    validation: Validation | None = None,
    *,
    level: float = 0.95,
    on_ground: bool = True,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Count a map and put all that is known of its areas into one table.

    One row per zone and class, the whole map first. Columns: `zone`, `class_id`, `class`,
    `pixels`, `ha` (as mapped), `share` of the zone's mapped area, `zone_ha`, `covered` (share of
    the zone that is mapped); with a confidence layer `ha_low`, `ha_high` (`bocage.mapping.areas`);
    with a validation `estimate_ha`, `estimate_se`, `estimate_low`, `estimate_high` and `method`
    (`estimates_of`). Both intervals are of `level`.
    """
    if not 0 < level < 1:
        raise ConfigError(f"confidence level {level:g}: a share between 0 and 1, such as 0.95.")
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
        columns |= _estimate_columns(counts, validation, level)
    return pd.DataFrame(columns)


def estimates_of(counts: Counts, validation: Validation, level: float) -> list[AreaEstimate | None]:
    """The estimate of each zone's shares, the whole map first; None for a zone without a pixel.

    The whole map is what the sample is of: the stratified estimator is unbiased for it. A zone has
    too few sample units of its own, or none: its estimate is synthetic, the zone's mapped areas
    corrected by the error rates of the whole. Where the sample came in clusters, its interval is
    that of one more cluster and covers that a zone's error rates are its own; where it did not, it
    covers the chance of the sample only.
    """
    order = [validation.class_ids.index(class_id) for class_id in counts.class_ids]
    matrix_DKK = validation.counts_DKK[:, order][:, :, order]
    found: list[AreaEstimate | None] = []
    for zone, ha_K in enumerate(counts.ha_ZK):
        if not ha_K.any():
            found.append(None)
            continue
        weight_K = ha_K / ha_K.sum()
        if validation.clusters:
            found.append(clustered(matrix_DKK, weight_K, level, new_cluster=zone > 0))
        else:
            found.append(stratified(matrix_DKK.sum(axis=0), weight_K, level))
    return found


def _estimate_columns(counts: Counts, validation: Validation, level: float) -> dict[str, Any]:
    strange = [i for i in counts.class_ids if i not in validation.class_ids]
    if strange:
        raise DataError(
            f"{validation.path}: the map holds class ids {strange[:8]} that it does not name and "
            "the matrix does not have."
        )
    if len(validation.clusters) == 1:
        raise ConfigError(
            f"{validation.path}: pixels of one domain ({validation.clusters[0]}) only. How far "
            "errors differ between places cannot be told from one. Evaluate on several domains, "
            "or give a CSV of a sample of points."
        )
    shape = counts.ha_ZK.shape
    columns = {
        name: np.full(shape, np.nan)
        for name in ("estimate_ha", "estimate_se", "estimate_low", "estimate_high")
    }
    for zone, estimate in enumerate(estimates_of(counts, validation, level)):
        if estimate is not None:
            low, high = estimate.interval()
            shares = (estimate.share_K, estimate.se_K, low, high)
            for values, ha in zip(columns.values(), shares, strict=True):
                values[zone] = ha * counts.mapped_ha[zone]
    kind = "clusters" if validation.clusters else "sample"
    method = [f"stratified ({kind})"] + [f"synthetic ({kind})"] * (shape[0] - 1)
    return {k: v.ravel() for k, v in columns.items()} | {"method": np.repeat(method, shape[1])}


def accuracy_table(
    source: ClassMap, whole: pd.DataFrame, validation: Validation, level: float
) -> tuple[pd.DataFrame, AreaEstimate]:
    """User's and producer's accuracy by class with their standard errors, and the whole estimate.

    `whole` are the rows of the whole map in `measure_areas`' table.
    """
    ids = tuple(int(i) for i in whole["class_id"])
    pixels: NDArray[np.int64] = whole["pixels"].to_numpy()[None]
    ha = whole["ha"].to_numpy()[None]
    counts = Counts(("whole map",), ids, pixels, ha, whole["zone_ha"].to_numpy()[:1])
    (estimate,) = estimates_of(counts, validation, level)
    assert estimate is not None
    table = pd.DataFrame(
        {
            "class_id": ids,
            "class": [source.name(i) for i in ids],
            "users": estimate.users_K,
            "users_se": estimate.users_se_K,
            "producers": estimate.producers_K,
            "producers_se": estimate.producers_se_K,
        }
    )
    return table, estimate


def check_format(target: Path, zones: bool) -> None:
    """Refuse a file that could not be written at the end (`ConfigError`)."""
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"{target}: {unknown_name('format', target.suffix, FORMATS)}")
    if target.suffix.lower() == ".gpkg" and not zones:
        raise ConfigError(f"{target}: a GeoPackage holds zones; give --zones, or write a CSV.")


def write_table(target: Path, table: pd.DataFrame, zones: Zones | None, source: ClassMap) -> None:
    """Write the table, atomically: `.csv` and `.parquet` as it is, `.gpkg` one polygon per zone.

    Columns of a GeoPackage are `zone`, `zone_ha`, `covered` and, for each class, its values as
    `<class>_ha` and so on.
    """
    check_format(target, zones is not None)
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
