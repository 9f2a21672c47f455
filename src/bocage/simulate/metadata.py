"""FLAIR-HUB's metadata tables: acquisition dates and splits, with the patches' footprints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import geopandas as gpd
from shapely.geometry import box

from bocage.files import atomic_path
from bocage.modalities import (
    AERIAL_RGBI,
    AERIAL_RLT_PAN,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_TS,
    SPOT_RGBI,
)
from bocage.simulate import folder
from bocage.simulate.noise import METRE
from bocage.simulate.patches import SPLIT_COLUMNS, Patch
from bocage.simulate.render import orbit_of
from bocage.simulate.sites import PATCH_CM
from bocage.simulate.sky import sentinel1_days, sentinel2_days, to_dates

METADATA = "GLOBAL_ALL_MTD"
Columns = dict[str, list[str]]


def write_metadata(
    out: Path, plan: list[Patch], sensors: Sequence[str], *, only_missing: bool
) -> None:
    """Write the tables of these sensors and of the splits, or those that are not there yet."""
    for name, columns in _tables(plan, sensors):
        path = _path(out, name)
        if not (only_missing and path.is_file()):
            with folder.writing(out):
                _write_geopackage(path, columns, plan)


def metadata_is_there(out: Path, sensors: Sequence[str]) -> bool:
    """Whether every table that `write_metadata` writes stands in the folder."""
    return all(_path(out, name).is_file() for name, _ in _tables([], sensors))


def _path(out: Path, name: str) -> Path:
    return out / METADATA / f"{name}.gpkg"


def _tables(plan: list[Patch], sensors: Sequence[str]) -> Iterator[tuple[str, Columns]]:
    """Name and columns of every table, one row per patch."""
    for modality in (SENTINEL2_TS, SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
        if modality.name not in sensors:
            continue
        column = []
        for patch in plan:
            if modality is SENTINEL2_TS:
                days = sentinel2_days(patch.granule)
            else:
                days = sentinel1_days(patch.granule, orbit_of(modality))
            dates = to_dates(days, patch.domain.year)
            column.append(json.dumps({str(k): date for k, date in enumerate(dates, start=1)}))
        yield f"GLOBAL_{_sensor(modality.name)}_MTD_DATES", {"acquisition_dates": column}
    for modality, day in (
        (AERIAL_RGBI, "aerial_day"),
        (AERIAL_RLT_PAN, "past_day"),
        (SPOT_RGBI, "spot_day"),
    ):
        if modality.name not in sensors:
            continue
        column = [str(getattr(patch.domain, day)) for patch in plan]
        yield f"GLOBAL_{_sensor(modality.name)}_MTD_DATES", {"date": column}
    yield (
        "GLOBAL_ALL_MTD_SPLIT",
        {name: [patch.splits[k] for patch in plan] for k, name in enumerate(SPLIT_COLUMNS)},
    )


def _sensor(name: str) -> str:
    """`SENTINEL2_TS` to `SENTINEL2`: tables are named by the sensor alone."""
    return name.partition("_")[0]


def _write_geopackage(path: Path, columns: Columns, plan: list[Patch]) -> None:
    """Columns and patch footprints as a GeoPackage in Lambert-93, atomically.

    It is made in memory and then written: on a full disk SQLite tells of a missing table.
    """
    footprints = []
    for patch in plan:
        east, north = patch.domain.anchor_m
        x = (east * METRE + patch.window.u0) / METRE
        y = (north * METRE - patch.window.v0) / METRE
        side = PATCH_CM / METRE
        footprints.append(box(x, y - side, x + side, y))
    table = gpd.GeoDataFrame(
        {"patch_id": [patch.id for patch in plan], **columns}, geometry=footprints, crs=folder.CRS
    )
    made = BytesIO()
    table.to_file(made, driver="GPKG", layer=path.stem, engine="pyogrio")
    with atomic_path(path) as temporary:
        temporary.write_bytes(made.getbuffer())
