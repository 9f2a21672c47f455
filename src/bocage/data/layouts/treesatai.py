"""TreeSatAI time series: aerial GeoTIFFs and HDF5 files with Sentinel-1 and Sentinel-2.

`aerial/Betula_spec._1_15679_WEFL_NLF.tif` (NIR, R, G, B) and
`sentinel-ts/Betula_spec._1_15679_WEFL_NLF_2019.h5`. Dates stand only in the product names. One
radar pass may be delivered as two slices that overlap here: they become one date. The only label
is the genus in the file name; as land cover it is one weak label for the whole patch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.layouts.base import (
    Layout,
    load_h5py,
    make_series,
    need_folder,
    open_hdf5,
    place,
    wanted_label_sets,
)
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import (
    AERIAL_RGBI,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
    Modality,
    get_modality,
)
from bocage.nomenclatures import IGNORE, LAND_COVER, Task
from bocage.nomenclatures.task import UNKNOWN, UnknownLabels
from bocage.rasters import Grid, read_bands
from bocage.sample import Sample, Series

_STEM = re.compile(r"(?P<genus>[A-Z][a-z]+)_[^_]*_\d+_(?P<number>\d+)_(?P<source>.+)")
# In a Sentinel-1 product name the start of the acquisition is field 5, in Sentinel-2's field 3.
_DATASETS = {
    SENTINEL2_TS.name: ("sen-2", 2),
    SENTINEL1_ASC_TS.name: ("sen-1-asc", 4),
    SENTINEL1_DESC_TS.name: ("sen-1-des", 4),
}
_NIR_LAST = (1, 2, 3, 0)
_LABELS = LAND_COVER.label_set

_DECIDUOUS, _CONIFEROUS, _CLEAR_CUT = 12, 13, 15
GENUS_TO_COSIA = {
    **dict.fromkeys(
        ("Acer", "Alnus", "Betula", "Fagus", "Fraxinus", "Populus", "Prunus", "Quercus", "Tilia"),
        _DECIDUOUS,
    ),
    **dict.fromkeys(("Abies", "Larix", "Picea", "Pinus", "Pseudotsuga"), _CONIFEROUS),
    "Cleared": _CLEAR_CUT,
}
"""Genus, as TreeSatAI's file names spell it, to CoSIA id."""


class TreeSatAI(Layout):
    """TreeSatAI-TS samples. See `bocage.data.layouts.base.Layout`."""

    name = "treesatai"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every sample under `aerial/` and `sentinel-ts/`."""
        need_folder(root)
        load_h5py()  # said before any file is looked for
        aerial = {p.stem: p for p in sorted((root / "aerial").glob("*.tif"))}
        stacks: dict[str, tuple[Path, int]] = {}
        for path in sorted((root / "sentinel-ts").glob("*.h5")):
            stem, _, campaign = path.stem.rpartition("_")
            if not campaign.isdigit():
                raise DataError(
                    f"{path}: the name does not end in the year, as in TreeSatAI-TS. Remove or "
                    "rename the file."
                )
            stacks[stem] = (path, int(campaign))
        for stem in sorted(aerial.keys() | stacks.keys()):
            match = _STEM.fullmatch(stem)
            if match is None:
                raise DataError(
                    f"{root}: '{stem}' is not named GENUS_SPECIES_AGE_NUMBER_SOURCE as in "
                    "TreeSatAI. Remove or rename the file."
                )
            paths: dict[str, str] = {}
            dates: dict[str, NDArray[np.datetime64]] = {}
            year = 0
            if stem in stacks:
                path, year = stacks[stem]
                relative = path.relative_to(root).as_posix()
                with open_hdf5(path) as file:
                    for name, (key, field) in _DATASETS.items():
                        if f"{key}-data" in file:
                            paths[name] = relative
                            dates[name] = np.unique(_dates(file, key, field, path))
                if SENTINEL2_TS.name in paths:
                    paths[SENTINEL2_MASK] = relative
            if stem in aerial:
                # The weak label fills the grid of the aerial image.
                image = aerial[stem].relative_to(root).as_posix()
                paths |= {AERIAL_RGBI.name: image, _LABELS: image}
            yield PatchRecord(
                patch_id=stem,
                domain=match["source"],
                roi=match["number"],
                year=year,
                paths=paths,
                dates=dates,
                # The published split is a list of files that the samples do not carry.
                splits={"split_all": "train"},
            )
        if not aerial and not stacks:
            raise DataError(
                f"{root}: neither aerial/*.tif nor sentinel-ts/*.h5 here. Point data.root at the "
                "folder that holds both."
            )

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One sample; the label is the genus of the file name on every pixel."""
        wanted = [m for m in map(get_modality, modalities) if m.name in record.paths]
        label = LAND_COVER in wanted_label_sets(tasks, record).get(_LABELS, ())
        grids: dict[Path, Grid] = {}
        images: dict[str, NDArray[Any]] = {}
        labels: dict[str, NDArray[np.uint8]] = {}
        if label or AERIAL_RGBI in wanted:
            path = record.path(root, AERIAL_RGBI.name)
            image, grids[path] = read_bands(
                path, count=len(_NIR_LAST), dtype="uint8", what="a TreeSatAI aerial image"
            )
            if AERIAL_RGBI in wanted:
                images[AERIAL_RGBI.name] = image[list(_NIR_LAST)]
            if label:
                target = _weak_label(record.patch_id, unknown_labels)
                labels[LAND_COVER.name] = np.full(image.shape[1:], target, dtype=np.uint8)
        series: dict[str, Series] = {}
        stacked = [m for m in wanted if m.name in _DATASETS]
        if stacked:
            path = record.path(root, stacked[0].name)
            with open_hdf5(path) as file:
                series = {m.name: _read_series(file, m, path) for m in stacked}
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            images=images,
            series=series,
            labels=labels,
            domain=record.domain,
            **place(record.patch_id, grids),
        )


def _weak_label(patch_id: str, unknown: UnknownLabels) -> int:
    genus = patch_id.split("_")[0]
    if genus not in GENUS_TO_COSIA and unknown == "refuse":
        raise DataError(
            f"patch {patch_id}: genus '{genus}' has no land-cover class; known are "
            f"{', '.join(GENUS_TO_COSIA)}. Set data.unknown_labels=ignore to leave it unlabelled."
        )
    return GENUS_TO_COSIA.get(genus, UNKNOWN if unknown == "keep" else IGNORE)


def _dates(file: Any, key: str, field: int, path: Path) -> NDArray[np.datetime64]:
    """(T,) datetime64[D] out of product names such as S1A_IW_GRDH_1SDV_20190103T054940_…."""
    days = []
    for raw in file[f"{key}-products"][()]:
        name = raw.decode() if isinstance(raw, bytes) else str(raw)
        parts = name.split("_")
        day = parts[field][:8] if len(parts) > field else ""
        if not day.isdigit() or len(day) != 8:
            raise DataError(
                f"{path}: product name '{name}' carries no date in field {field + 1}. "
                "Fetch the file again."
            )
        days.append(f"{day[:4]}-{day[4:6]}-{day[6:]}")
    return np.array(days, dtype="datetime64[D]")


def _read_series(file: Any, modality: Modality, path: Path) -> Series:
    key, field = _DATASETS[modality.name]
    values = file[f"{key}-data"][()]
    dates = _dates(file, key, field, path)
    if len(values) != len(dates):
        raise DataError(
            f"{path}: {len(values)} frames of {modality.name} but {len(dates)} product names. "
            "Fetch the file again."
        )
    if modality is not SENTINEL2_TS:
        return make_series(modality, *merge_slices(values, dates))
    measured = np.isfinite(values).all(axis=1)
    # Whole numbers stored as floats; 65534 keeps clear of the nodata value.
    stored = np.rint(np.nan_to_num(values)).clip(0, 65534).astype(np.uint16)
    masks = file[f"{key}-masks"][()] if f"{key}-masks" in file else None
    snow_cloud = None if masks is None else masks.clip(0, 100).astype(np.uint16)
    return make_series(modality, stored, dates, snow_cloud, measured)


def merge_slices(
    values: NDArray[np.float32], dates: NDArray[np.datetime64]
) -> tuple[NDArray[np.float32], NDArray[np.datetime64]]:
    """One frame per date from (T, C, H, W) linear backscatter.

    Where several slices of a date saw a pixel it is their mean, where one did it is that one's
    value, and where none did it is 0.
    """
    days, slot = np.unique(dates, return_inverse=True)
    seen = ((values > 0) & np.isfinite(values)).all(axis=1, keepdims=True)
    total = np.zeros((len(days), *values.shape[1:]), dtype=np.float64)
    count = np.zeros((len(days), 1, *values.shape[2:]), dtype=np.int64)
    np.add.at(total, slot, np.where(seen, values, 0.0))
    np.add.at(count, slot, seen.astype(np.int64))
    return (total / np.maximum(count, 1)).astype(np.float32), days
