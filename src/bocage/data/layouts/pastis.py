"""PASTIS-R: crops in France at 10 m, Sentinel-2 and Sentinel-1, in either of its two forms.

As published (Garnot et al. 2021, arXiv 2107.07933; radar: arXiv 2112.07558):
`DATA_S2/S2_10000.npy`, `DATA_S1A/S1A_10000.npy`, `DATA_S1D/…`, `ANNOTATIONS/TARGET_10000.npy` and
`metadata.geojson`; or as single samples in HDF5: `sample_1672/s2.h5` … with `_meta.csv` beside.
Radar is in decibel, with VV - VH as third band, which says nothing new and is left out. No file has
a CRS. There is no cloud mask: every date counts as usable (`data.series.min_clear=0`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.layouts.base import (
    Layout,
    make_series,
    need_folder,
    open_hdf5,
    remap_codes,
    wanted_label_sets,
)
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import SENTINEL1_ASC_TS, SENTINEL1_DESC_TS, SENTINEL2_TS, get_modality
from bocage.nomenclatures import CROPS, IGNORE, Task
from bocage.nomenclatures.task import UnknownLabels
from bocage.sample import Sample, Series

YEAR = 2019
"""The season of all patches: September 2018 to November 2019."""

PASTIS_TO_LPIS = {
    0: 22, 1: 0, 2: 1, 3: 3, 4: 2, 5: 8, 6: 2, 7: 7, 8: 16, 9: 13, 10: 4, 11: 1, 12: 15, 13: 14,
    14: 12, 15: 10, 16: 18, 17: 4, 18: 4, 19: IGNORE,
}  # fmt: skip
"""Class to LPIS level 1, by name; 19 is void: parcels mostly outside the patch."""

# Folder of the published form, file of the other, and the key of the dates in metadata.geojson.
_PARTS = {
    SENTINEL2_TS.name: ("S2", "s2.h5"),
    SENTINEL1_ASC_TS.name: ("S1A", "s1a.h5"),
    SENTINEL1_DESC_TS.name: ("S1D", "s1d.h5"),
}
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_FOLDS = {1: "train", 2: "train", 3: "train", 4: "valid", 5: "test"}


class Pastis(Layout):
    """PASTIS-R. See `bocage.data.layouts.base.Layout`."""

    name = "pastis"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every patch that the metadata list and of which there is a file."""
        need_folder(root)
        if (root / "metadata.geojson").is_file():
            records = _published(root)
        elif (root / "_meta.csv").is_file():
            records = _samples(root)
        else:
            raise DataError(
                f"{root}: neither metadata.geojson nor _meta.csv is here. Point data.root at the "
                "folder of PASTIS-R that holds one of them."
            )
        found = False
        for record in records:
            found = found or bool(record.paths)
            if record.paths:
                yield record
        if not found:
            raise DataError(f"{root}: the metadata list patches, but none of their files is here.")

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One patch, its radar in linear power and its crops as LPIS level 1."""
        labels: dict[str, NDArray[np.uint8]] = {}
        for task in wanted_label_sets(tasks, record).get(CROPS.label_set, ()):
            if task == CROPS:
                path = record.path(root, CROPS.label_set)
                raw = _array(path)
                raw = raw[0] if raw.ndim == 3 else raw
                labels[task.name] = remap_codes(raw, PASTIS_TO_LPIS, str(path), unknown_labels)
        series: dict[str, Series] = {}
        for modality in map(get_modality, modalities):
            if modality.name not in record.paths:
                continue
            path, dates = record.path(root, modality.name), record.dates[modality.name]
            values = _array(path)
            bands = len(modality.bands)
            if values.ndim != 4 or len(values) != len(dates) or values.shape[1] < bands:
                raise DataError(
                    f"{path}: array of shape {values.shape}, expected ({len(dates)} dates, {bands} "
                    "bands or more, height, width). Fetch the file and the metadata again."
                )
            values = values[:, :bands]
            if modality.quantity == "sigma0":
                values = (10.0 ** (values.astype(np.float32) / 10.0)).astype(np.float32)
            else:
                # Surfaces darker than the atmosphere's correction come out a little below zero.
                values = values.clip(0, 65534).astype(np.uint16)
            series[modality.name] = make_series(modality, values, dates)
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            series=series,
            labels=labels,
            domain=record.domain,
        )


def _published(root: Path) -> Iterator[PatchRecord]:
    path = root / "metadata.geojson"
    try:
        rows = [f["properties"] for f in json.loads(path.read_text(encoding="utf-8"))["features"]]
        for row in rows:
            patch = str(row["ID_PATCH"])
            paths = {name: f"DATA_{part}/{part}_{patch}.npy" for name, (part, _) in _PARTS.items()}
            paths[CROPS.label_set] = f"ANNOTATIONS/TARGET_{patch}.npy"
            dates = {
                name: _days(_listed(row[f"dates-{part}"]))
                for name, (part, _) in _PARTS.items()
                if f"dates-{part}" in row
            }
            split = {"split_folds": _FOLDS[int(row["Fold"])]} if "Fold" in row else {}
            yield _record(root, patch, str(row.get("TILE", "pastis")), paths, dates, split)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise DataError(f"{path}: not PASTIS's metadata ({error!r}). Fetch it again.") from error


def _samples(root: Path) -> Iterator[PatchRecord]:
    for row in _csv(root / "_meta.csv"):
        name = row["tortilla:id"]
        if not (root / name / "_meta.csv").is_file():
            continue
        own = {part["tortilla:id"]: part for part in _csv(root / name / "_meta.csv")}
        dates = {}
        for modality, (_, file) in _PARTS.items():
            stem = file.removesuffix(".h5")
            if stem in own:
                dates[modality] = _days(own[stem]["dates"].strip("[]").split())
        paths = {modality: f"{name}/{file}" for modality, (_, file) in _PARTS.items()}
        paths[CROPS.label_set] = f"{name}/semantic.h5"
        split = _SPLITS.get(row["tortilla:data_split"], "train")
        yield _record(root, name, row["tile"], paths, dates, {"split_samples": split})


def _record(
    root: Path,
    patch: str,
    tile: str,
    paths: dict[str, str],
    dates: dict[str, NDArray[np.datetime64]],
    splits: dict[str, str],
) -> PatchRecord:
    there = {n: p for n, p in paths.items() if (root / p).is_file()}
    return PatchRecord(patch, tile, patch, YEAR, there, dates, splits)


def _csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}). Fetch it again.") from error


def _listed(dates: Any) -> list[str]:
    """Dates of a patch in order; the file has them as {"0": 20180924, …}."""
    return [str(dates[key]) for key in sorted(dates, key=int)]


def _days(texts: Sequence[str]) -> NDArray[np.datetime64]:
    return np.array([f"{t[:4]}-{t[4:6]}-{t[6:8]}" for t in texts], dtype="datetime64[D]")


def _array(path: Path) -> NDArray[Any]:
    if path.suffix == ".h5":
        with open_hdf5(path) as file:
            if "data" not in file:
                raise DataError(f"{path}: no array 'data' in it. Fetch the file again.")
            return np.asarray(file["data"][()])
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable array ({error}). Fetch it again.") from error
