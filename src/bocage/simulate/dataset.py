"""A simulated data set in the exact folder layout of FLAIR-HUB after unzipping."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
from pyogrio.errors import DataLayerError, DataSourceError
from shapely.geometry import box

from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path
from bocage.modalities import (
    AERIAL_RGBI,
    AERIAL_RLT_PAN,
    FLAIR_HUB_INPUTS,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
    SPOT_RGBI,
    get_modality,
)
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.simulate import folder
from bocage.simulate.domains import DOMAINS, Domain
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import METRE, Window
from bocage.simulate.render import orbit_of, render_past, render_present, render_series, step_cm
from bocage.simulate.sites import MAX_REGIONS, PATCH_CM, regions
from bocage.simulate.sky import Granule, sentinel1_days, sentinel2_days, to_dates

Progress = Callable[[int, int], None]
"""Called with patches (or blocks) done and their total."""

METADATA = "GLOBAL_ALL_MTD"
PAST_YEAR = "195X"
"""FLAIR-HUB's stand-in for the year of historical photographs, in folder and file names."""
SPLIT_COLUMNS = (*(f"split_{k}" for k in range(1, 6)), "split_flairchallenge")

_LABEL_SETS = (LAND_COVER.label_set, CROPS.label_set)
_TAGS = (*(m.file_tag for m in FLAIR_HUB_INPUTS), SENTINEL2_MASK, *_LABEL_SETS)
_REGION_SIDE = 2
_FEW_PATCHES = 8
"""Below this a region is one patch, so that training and validation both get some."""


@dataclass(frozen=True)
class Patch:
    """One patch: its place and its split in each of `SPLIT_COLUMNS`."""

    domain: Domain
    region: str
    row: int
    col: int
    window: Window
    granule: Granule
    splits: tuple[str, ...]

    @property
    def id(self) -> str:
        """FLAIR-HUB's patch id."""
        return f"{self.domain.key}_{self.region}_{self.row}-{self.col}"

    def path(self, root: Path, tag: str) -> Path:
        """Where FLAIR-HUB keeps this patch's file of a modality or label set."""
        key = self.domain.key
        if tag == AERIAL_RLT_PAN.file_tag:
            key = f"{key.partition('-')[0]}-{PAST_YEAR}"
        stem = f"{key}_{tag}"
        return root / stem / self.region / f"{stem}_{self.region}_{self.row}-{self.col}.tif"


def simulate_dataset(
    out: Path,
    *,
    domains: int = 3,
    patches: int = 20,
    seed: int = 7,
    progress: Progress | None = None,
) -> None:
    """Write `domains` x `patches` simulated patches with all sensors, labels and metadata.

    The same seed gives the same pixels on every machine. Started again, it renders only the
    patches of which a file is missing. Test patches are whole domains (whole regions when there is
    only one domain); validation patches are whole regions of the training domains.

    Raises `ConfigError` for a number out of range and for a folder that holds anything but this
    very simulation; `DataError` when a file cannot be written.
    """
    most = MAX_REGIONS * _REGION_SIDE**2
    if not 1 <= domains <= len(DOMAINS):
        raise ConfigError(f"domains is {domains}; between 1 and {len(DOMAINS)} are simulated.")
    if not 1 <= patches <= most:
        raise ConfigError(f"patches is {patches}; a domain has between 1 and {most:,}.")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more.")
    request = {"kind": "dataset", "seed": seed, "domains": domains, "patches": patches}
    complete = folder.claim(out, request)

    plan = [
        patch
        for domain in DOMAINS[:domains]
        for patch in plan_patches(domain, seed, patches, alone=domains == 1)
    ]
    rendered = False
    for done, patch in enumerate(plan, start=1):
        if not all(patch.path(out, tag).is_file() for tag in _TAGS):
            _write_patch(out, patch, seed)
            rendered = True
        if progress is not None:
            progress(done, len(plan))
    tables = dict(_metadata(plan))
    missing = [name for name in tables if not (out / METADATA / f"{name}.gpkg").is_file()]
    for name in tables if rendered or not complete else missing:
        _write_geopackage(out / METADATA / f"{name}.gpkg", tables[name], plan)
    folder.finish(out, request)


def plan_patches(domain: Domain, seed: int, patches: int, *, alone: bool) -> list[Patch]:
    """The patches of one domain, region by region; `alone`: test regions must come from it too."""
    side = _REGION_SIDE if patches >= _FEW_PATCHES else 1
    count = -(-patches // side**2)
    plan = []
    for number, region in enumerate(regions(domain, seed, count, side)):
        granule = Granule.at(domain, seed, region.u, region.v)
        splits = tuple(_split(domain, number, count, turn, alone) for turn in (0, 1, 2, 3, 4, 0))
        for k in range(min(side**2, patches - number * side**2)):
            row, col = divmod(k, side)
            pixels = AERIAL_RGBI.size_px
            window = Window(
                region.u + col * PATCH_CM,
                region.v + row * PATCH_CM,
                step_cm(AERIAL_RGBI),
                pixels,
                pixels,
            )
            plan.append(Patch(domain, region.name, row + 1, col + 1, window, granule, splits))
    return plan


def _split(domain: Domain, number: int, count: int, turn: int, alone: bool) -> str:
    """Split of a domain's region: one region in five is for validation, a different one per turn.

    Whole regions: unlike FLAIR-HUB's own split, no validation patch touches a training patch.
    """
    if domain.held_out:
        return "test"
    place = (number + turn) % min(5, count)
    if place == 1:
        return "valid"
    return "test" if alone and place == 2 else "train"


def _write_patch(root: Path, patch: Patch, seed: int) -> None:
    land = Landscape(patch.domain, seed)
    past = Landscape(patch.domain, seed, past=True)
    coarse = patch.window.resampled(step_cm(SENTINEL2_TS))
    images = {
        **render_present(land, patch.window),
        **render_past(past, patch.window),
        **render_series(land, coarse, patch.granule),
    }
    for tag, image in images.items():
        pixel = patch.window.step_cm
        if tag == SENTINEL2_MASK:
            pixel = step_cm(SENTINEL2_TS)
        elif tag not in _LABEL_SETS:
            pixel = step_cm(get_modality(tag))
        window = patch.window.resampled(pixel)
        folder.write_patch(patch.path(root, tag), image, window, patch.domain)


def _metadata(plan: list[Patch]) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Name and columns of every table of the metadata folder, one row per patch."""
    for modality in (SENTINEL2_TS, SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
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
        column = [str(getattr(patch.domain, day)) for patch in plan]
        yield f"GLOBAL_{_sensor(modality.name)}_MTD_DATES", {"date": column}
    yield (
        "GLOBAL_ALL_MTD_SPLIT",
        {name: [patch.splits[k] for patch in plan] for k, name in enumerate(SPLIT_COLUMNS)},
    )


def _sensor(name: str) -> str:
    """`SENTINEL2_TS` to `SENTINEL2`: tables are named by the sensor alone."""
    return name.partition("_")[0]


def _write_geopackage(path: Path, columns: dict[str, list[str]], plan: list[Patch]) -> None:
    """Columns and patch footprints as a GeoPackage in Lambert-93, atomically."""
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
    with atomic_path(path) as temporary:
        try:
            table.to_file(temporary, driver="GPKG", layer=path.stem, engine="pyogrio")
        except (DataSourceError, DataLayerError) as error:
            raise DataError(
                f"{path}: could not be written ({error}). Check free space and permissions, then "
                "run the same command again."
            ) from error
