"""FLAIR-HUB: one folder per domain, year and product; one GeoTIFF per patch.

`D004-2021_AERIAL_RGBI/AA-S1-32/D004-2021_AERIAL_RGBI_AA-S1-32_1-1.tif`. Domains may join two
departments (`D024047`), and the historical product carries `195X` in place of the year.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.geotiff import read_geotiff
from bocage.data.layouts import flair_hub_metadata as metadata
from bocage.data.layouts.base import (
    Layout,
    image_valid,
    make_series,
    need_folder,
    place,
    wanted_label_sets,
)
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import (
    AERIAL_RGBI,
    FLAIR_HUB_INPUTS,
    SENTINEL2_MASK,
    SENTINEL2_MASK_BANDS,
    SENTINEL2_TS,
    Modality,
    get_modality,
)
from bocage.nomenclatures import TASKS, Task
from bocage.nomenclatures.task import UnknownLabels
from bocage.rasters import Grid, open_raster
from bocage.sample import Sample, Series

_log = logging.getLogger(__name__)

HISTORICAL_YEAR = "195X"
# Where only the historical image of a place is there, its campaign is known to the decade.
_HISTORICAL_CAMPAIGN = 1950
_FOLDER = re.compile(rf"(D\d{{3}}(?:\d{{3}})?)-(\d{{4}}|{HISTORICAL_YEAR})_(.+)")
_POSITION = re.compile(r"\d+-\d+")
_LABEL_BANDS = {
    label_set: max(task.band for task in TASKS.values() if task.label_set == label_set)
    for label_set in {task.label_set for task in TASKS.values()}
}
_PRODUCTS = frozenset({m.file_tag for m in FLAIR_HUB_INPUTS} | {SENTINEL2_MASK} | set(_LABEL_BANDS))


class FlairHub(Layout):
    """The official folder layout. See `bocage.data.layouts.base.Layout`."""

    name = "flair-hub"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every patch of the product folders under `root`, by domain, year, ROI and position."""
        need_folder(root)
        folders = _product_folders(root)
        if not folders:
            raise DataError(
                f"{root}: no FLAIR-HUB product folder here, such as D004-2021_AERIAL_RGBI. Point "
                "data.root at the folder that holds them."
            )
        splits = metadata.read_splits(root)
        dated = {m.name for m in FLAIR_HUB_INPUTS}
        present = {product for products in folders.values() for product in products}
        tables = {name: metadata.read_dates(root, name) for name in sorted(dated & present)}
        seen: set[tuple[str, str, str]] = set()
        for (domain, year), products in sorted(folders.items(), key=_dated_years_first):
            alone = len([key for key in folders if key[0] == domain]) == 1
            for roi in sorted({roi for path in products.values() for roi in _subfolders(path)}):
                for position, paths in _patches(products, roi):
                    if not alone and not _claim(seen, domain, year, roi, position, paths):
                        continue
                    patch_id = f"{domain}-{year}_{roi}_{position}"
                    yield PatchRecord(
                        patch_id=patch_id,
                        domain=f"{domain}-{year}",
                        roi=roi,
                        year=int(year) if year.isdigit() else _HISTORICAL_CAMPAIGN,
                        paths=paths,
                        dates=_find_dates(tables, patch_id, f"{domain}-{HISTORICAL_YEAR}", paths),
                        splits=splits.get(patch_id, {}),
                    )

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One patch; a missing product is an absent sensor, a wrong one a `DataError`."""
        grids: dict[Path, Grid] = {}
        labels: dict[str, NDArray[np.uint8]] = {}
        for label_set, read_by in wanted_label_sets(tasks, record).items():
            path = record.path(root, label_set)
            side = AERIAL_RGBI.size_px
            raw, grids[path] = read_geotiff(
                path,
                count=_LABEL_BANDS[label_set],
                dtype="uint8",
                size=(side, side),
                what=label_set,
            )
            for task in read_by:
                labels[task.name] = task.to_target(raw[task.band - 1], str(path), unknown_labels)
        images: dict[str, NDArray[Any]] = {}
        valid: dict[str, NDArray[np.bool_]] = {}
        series: dict[str, Series] = {}
        for modality in map(get_modality, modalities):
            if modality.name not in record.paths:
                continue
            path = record.path(root, modality.name)
            if modality.series:
                series[modality.name] = _read_series(root, record, modality, grids)
                continue
            image, grids[path] = _read(path, modality, len(modality.bands))
            images[modality.name] = image
            hole = image_valid(modality, image)
            if hole is not None:
                valid[modality.name] = hole
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            images=images,
            valid=valid,
            series=series,
            labels=labels,
            domain=record.domain,
            **place(record.patch_id, grids),
        )


def _read(path: Path, modality: Modality, count: int) -> tuple[NDArray[Any], Grid]:
    size = (modality.size_px, modality.size_px)
    return read_geotiff(path, count=count, dtype=modality.dtype, size=size, what=modality.name)


def _read_series(
    root: Path, record: PatchRecord, modality: Modality, grids: dict[Path, Grid]
) -> Series:
    dates = record.dates.get(modality.name)
    if dates is None:
        raise DataError(
            f"patch {record.patch_id}: {modality.name} has a file but no dates. "
            f"{metadata.date_file(modality.name)} lists neither this patch nor its ROI: complete "
            f"{metadata.FOLDER} and build the index again."
        )
    values = _read_frames(root, record, modality.name, modality, len(modality.bands), grids)
    snow_cloud = None
    if modality is SENTINEL2_TS and SENTINEL2_MASK in record.paths:
        bands = len(SENTINEL2_MASK_BANDS)
        snow_cloud = _read_frames(root, record, SENTINEL2_MASK, modality, bands, grids)
    return make_series(modality, values, dates, snow_cloud)


def _read_frames(
    root: Path,
    record: PatchRecord,
    product: str,
    modality: Modality,
    bands: int,
    grids: dict[Path, Grid],
) -> NDArray[Any]:
    """(T, bands, H, W) of a file in which the bands of one date follow each other."""
    path = record.path(root, product)
    frames = len(record.dates[modality.name])
    try:
        flat, grids[path] = _read(path, modality, frames * bands)
    except DataError as error:
        found = _band_count(path)
        if found is None or found == frames * bands:
            raise
        raise DataError(
            f"patch {record.patch_id}: {path.name} holds {found} bands, {found / bands:g} dates of "
            f"{bands} bands, but {metadata.date_file(modality.name)} lists {frames} dates. File "
            "and metadata are of different versions: fetch both again and rebuild the index."
        ) from error
    return flat.reshape(frames, bands, *flat.shape[1:])


def _band_count(path: Path) -> int | None:
    try:
        with open_raster(path) as dataset:
            return int(dataset.count)
    except DataError:
        return None


def _product_folders(root: Path) -> dict[tuple[str, str], dict[str, Path]]:
    """(domain, year) to {product: folder}; the historical product joins every year of its domain.

    A domain with several years, or with none, also keeps the historical product by itself.
    """
    dated: dict[tuple[str, str], dict[str, Path]] = {}
    historical: dict[str, dict[str, Path]] = {}
    for entry in sorted(root.iterdir()):
        match = _FOLDER.fullmatch(entry.name)
        if match is None or not entry.is_dir():
            continue
        domain, year, product = match.groups()
        if product not in _PRODUCTS:
            _log.warning("%s: '%s' is no FLAIR-HUB product, folder left out", entry, product)
        elif year == HISTORICAL_YEAR:
            historical.setdefault(domain, {})[product] = entry
        else:
            dated.setdefault((domain, year), {})[product] = entry
    for domain, products in historical.items():
        years = [key for key in dated if key[0] == domain]
        for key in years if len(years) == 1 else [*years, (domain, HISTORICAL_YEAR)]:
            dated.setdefault(key, {}).update(products)
    return dated


def _dated_years_first(item: tuple[tuple[str, str], Any]) -> tuple[str, bool, str]:
    (domain, year), _ = item
    return domain, year == HISTORICAL_YEAR, year


def _claim(
    seen: set[tuple[str, str, str]],
    domain: str,
    year: str,
    roi: str,
    position: str,
    paths: dict[str, str],
) -> bool:
    """Whether a patch of a domain with several years belongs to this one.

    A place seen in one year only must not appear in the other because of its historical image;
    what no year has comes last, under the historical year.
    """
    place_key = (domain, roi, position)
    own = any(not path.startswith(f"{domain}-{HISTORICAL_YEAR}_") for path in paths.values())
    claimed = own if year != HISTORICAL_YEAR else place_key not in seen
    if claimed:
        seen.add(place_key)
    return claimed


def _find_dates(
    tables: dict[str, metadata.DateTable | None],
    patch_id: str,
    historical_domain: str,
    paths: dict[str, str],
) -> dict[str, NDArray[np.datetime64]]:
    """Dates of the sensors that a patch has; a historical image may be listed by its own year."""
    out = {}
    for name, table in tables.items():
        if table is None or name not in paths:
            continue
        dates = table.find(patch_id)
        if dates is None:
            dates = table.find("_".join((historical_domain, *patch_id.split("_")[1:])))
        if dates is not None:
            out[name] = dates
    return out


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _patches(products: dict[str, Path], roi: str) -> list[tuple[str, dict[str, str]]]:
    """Position to {product: relative path} of one ROI, in row and column order."""
    out: dict[str, dict[str, str]] = {}
    for product, folder in products.items():
        if not (folder / roi).is_dir():
            continue
        prefix = f"{folder.name}_{roi}_"
        with os.scandir(folder / roi) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.rpartition(".")
                if suffix.lower() not in ("tif", "tiff") or stem.startswith("."):
                    continue
                position = stem.removeprefix(prefix)
                if not stem.startswith(prefix) or not _POSITION.fullmatch(position):
                    _log.warning("%s: expected %sROW-COL.tif, file left out", entry.path, prefix)
                    continue
                out.setdefault(position, {})[product] = f"{folder.name}/{roi}/{entry.name}"
    return sorted(out.items(), key=lambda item: tuple(map(int, item[0].split("-"))))
