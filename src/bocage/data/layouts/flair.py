"""FLAIR #1 and #2: five-band images, masks with codes 1 to 19, metadata, and #2's Sentinel-2.

`flair_aerial_train/D004_2021/Z10_AU/img/IMG_000826.tif` beside
`flair_labels_train/D004_2021/Z10_AU/msk/MSK_000826.tif` and
`flair_sen_train/D004_2021/Z10_AU/sen/SEN2_sp_D004_2021-Z10_AU_data.npy`, likewise for the test
archives; any folder with "aerial" in its name is paired with those that say "labels" and "sen"
instead. The tables by image (`flair_tables`) lie beside these folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.geotiff import read_geotiff
from bocage.data.layouts.base import Layout, need_folder, place, remap_codes, wanted_label_sets
from bocage.data.layouts.flair_series import read_products, read_superpatch
from bocage.data.layouts.flair_tables import (
    centroid_tables,
    metadata_tables,
    read_acquisition,
    read_centroid,
    table_of,
)
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import (
    AERIAL_HEIGHT,
    AERIAL_METADATA,
    AERIAL_RGBI,
    SENTINEL2_MASK,
    SENTINEL2_SUPERPATCH,
    get_modality,
)
from bocage.nomenclatures import FLAIR1_TO_COSIA, LAND_COVER, Task
from bocage.nomenclatures.task import UnknownLabels
from bocage.rasters import Grid
from bocage.sample import Sample, Series

_DOMAIN = re.compile(r"(D\d{3})_(\d{4})")
_IMAGE = re.compile(r"IMG_(\d+)\.tiff?", re.IGNORECASE)
_BANDS = len(AERIAL_RGBI.bands) + len(AERIAL_HEIGHT.bands)


def _departments(numbers: str) -> frozenset[str]:
    return frozenset(f"D{number}" for number in numbers.split())


# Both challenges share 40 departments of training and validation; their test sets differ.
_LEARNT = _departments(
    "004 006 007 008 009 013 014 016 017 021 023 029 030 031 032 033 034 035 038 041 "
    "044 046 049 051 052 055 058 060 063 066 067 070 072 074 077 078 080 081 086 091"
)
_HELD_OUT = {
    "split_flair1": {
        "valid": _departments("004 014 029 031 058 066 067 070"),
        "test": _departments("012 022 026 064 068 071 075 076 083 085"),
    },
    "split_flair2": {
        "valid": _departments("004 014 029 031 058 066 067 077"),
        "test": _departments("015 022 026 036 061 064 068 069 071 084"),
    },
}


def official_splits(department: str) -> dict[str, str]:
    """`split_flair1` and `split_flair2` of a department; no entry where a challenge has it not."""
    out = {}
    for column, held_out in _HELD_OUT.items():
        for split, departments in held_out.items():
            if department in departments:
                out[column] = split
        if column not in out and department in _LEARNT:
            out[column] = "train"
    return out


class Flair(Layout):
    """The archives of FLAIR #1 and #2. See `bocage.data.layouts.base.Layout`."""

    name = "flair"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every aerial image under `root`, with its mask, metadata and series where they are."""
        need_folder(root)
        archives = [f for f in sorted(root.iterdir()) if f.is_dir() and "aerial" in f.name]
        metadata = metadata_tables(root)
        found = False
        for archive in archives:
            for zone in sorted(archive.glob("D*/Z*")):
                match = _DOMAIN.fullmatch(zone.parent.name)
                images = [image for image in sorted(zone.glob("img/IMG_*")) if _number(image)]
                if match is None or not images:
                    continue
                found = True
                series, dates = _find_series(root, archive, zone)
                for image in images:
                    paths = _find_images(root, archive, image)
                    if metadata:
                        table = table_of(metadata, image.stem)
                        paths[AERIAL_METADATA.name] = table.relative_to(root).as_posix()
                    yield PatchRecord(
                        patch_id=f"{match[0]}_{zone.name}_{_number(image)}",
                        domain=match[0],
                        roi=zone.name,
                        year=int(match[2]),
                        paths={**paths, **series},
                        dates=dates,
                        splits=official_splits(match[1]),
                    )
        if not found:
            raise DataError(
                f"{root}: no FLAIR image here, such as flair_aerial_train/D004_2021/Z10_AU/img/"
                "IMG_000826.tif. Point data.root at the folder that holds the unpacked archives."
            )

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One patch; bands 1 to 4 are the photograph, band 5 the height of objects.

        Labels are CoSIA ids by way of FLAIR #1's codes, from which each task takes its own.
        """
        wanted = {get_modality(name).name for name in modalities} & set(record.paths)
        grids: dict[Path, Grid] = {}
        labels: dict[str, NDArray[np.uint8]] = {}
        read_by = wanted_label_sets(tasks, record).get(LAND_COVER.label_set, ())
        if read_by:
            path = record.path(root, LAND_COVER.label_set)
            raw, grids[path] = _read(path, 1, "a FLAIR mask")
            cosia = remap_codes(raw[0], FLAIR1_TO_COSIA, str(path), unknown_labels)
            labels = {
                task.name: task.to_target(cosia, str(path), unknown_labels) for task in read_by
            }
        images: dict[str, NDArray[Any]] = {}
        photographs = wanted & {AERIAL_RGBI.name, AERIAL_HEIGHT.name}
        if photographs:
            path = record.path(root, min(photographs))
            both, grids[path] = _read(path, _BANDS, "a FLAIR image")
            split = len(AERIAL_RGBI.bands)
            parts = {AERIAL_RGBI.name: both[:split], AERIAL_HEIGHT.name: both[split:]}
            images = {name: parts[name] for name in parts if name in wanted}
        stem = f"IMG_{record.patch_id.rsplit('_', 1)[-1]}"
        if AERIAL_METADATA.name in wanted:
            table = record.path(root, AERIAL_METADATA.name)
            images[AERIAL_METADATA.name] = read_acquisition(table, stem)
        series: dict[str, Series] = {}
        if SENTINEL2_SUPERPATCH.name in wanted:
            series[SENTINEL2_SUPERPATCH.name] = _read_series(root, record, stem)
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            images=images,
            series=series,
            labels=labels,
            domain=record.domain,
            **place(record.patch_id, grids),
        )


def _number(image: Path) -> str:
    """The number in an image's name; empty where it is none of the dataset's."""
    match = _IMAGE.fullmatch(image.name)
    return match[1] if match else ""


def _find_images(root: Path, archive: Path, image: Path) -> dict[str, str]:
    """Paths of what lies on the patch's own grid: the image's two modalities, and its mask."""
    relative = image.relative_to(root).as_posix()
    paths = {AERIAL_RGBI.name: relative, AERIAL_HEIGHT.name: relative}
    zone = image.parents[1].relative_to(archive)
    labels = archive.with_name(archive.name.replace("aerial", "labels"))
    mask = labels / zone / "msk" / image.name.replace("IMG_", "MSK_", 1)
    if mask.is_file():
        paths[LAND_COVER.label_set] = mask.relative_to(root).as_posix()
    return paths


def _find_series(
    root: Path, archive: Path, zone: Path
) -> tuple[dict[str, str], dict[str, NDArray[np.datetime64]]]:
    """Paths and dates of the series that all patches of a zone share; empty where there is none."""
    folder = archive.with_name(archive.name.replace("aerial", "sen"))
    folder = folder / zone.relative_to(archive) / "sen"
    stem = f"SEN2_sp_{zone.parent.name}-{zone.name}"
    data, mask, products = (
        folder / f"{stem}_{part}" for part in ("data.npy", "masks.npy", "products.txt")
    )
    if not data.is_file():
        return {}, {}
    if not centroid_tables(root):
        raise DataError(
            f"{root}: {data.relative_to(root)} is here, but not the table of the patches' places "
            "in it. Put flair-2_centroids_sp_to_patch.json into this folder, or take the series "
            "away."
        )
    files = {SENTINEL2_SUPERPATCH.name: data, SENTINEL2_MASK: mask}
    paths = {n: path.relative_to(root).as_posix() for n, path in files.items() if path.is_file()}
    # Without its products a series has no dates, and the index leaves it out with a word.
    dates = {SENTINEL2_SUPERPATCH.name: read_products(products)} if products.is_file() else {}
    return paths, dates


def _read(path: Path, count: int, what: str) -> tuple[NDArray[Any], Grid]:
    size = (AERIAL_RGBI.size_px, AERIAL_RGBI.size_px)
    return read_geotiff(path, count=count, dtype="uint8", size=size, what=what)


def _read_series(root: Path, record: PatchRecord, stem: str) -> Series:
    tables = _places(root)
    if not tables:
        raise DataError(
            f"{root}: flair-2_centroids_sp_to_patch.json is gone, without which no series can be "
            "cut. Put it back."
        )
    return read_superpatch(
        record.path(root, SENTINEL2_SUPERPATCH.name),
        record.path(root, SENTINEL2_MASK) if SENTINEL2_MASK in record.paths else None,
        record.dates[SENTINEL2_SUPERPATCH.name],
        read_centroid(tables, stem),
        stem,
    )


@lru_cache(maxsize=8)
def _places(root: Path) -> tuple[Path, ...]:
    """`centroid_tables`, looked for once per process."""
    return centroid_tables(root)
