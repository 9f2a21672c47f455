"""FLAIR #1 and #2, the aerial part: five-band images and masks with codes 1 to 19.

`flair_aerial_train/D004_2021/Z10_AU/img/IMG_000826.tif` beside
`flair_labels_train/D004_2021/Z10_AU/msk/MSK_000826.tif`, likewise for the test archives; any
folder with "aerial" in its name is paired with the one that says "labels" instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.geotiff import read_geotiff
from bocage.data.layouts.base import need_folder, place, remap_codes, wanted_label_sets
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import AERIAL_HEIGHT, AERIAL_RGBI, get_modality
from bocage.nomenclatures import FLAIR1_TO_COSIA, LAND_COVER
from bocage.nomenclatures.task import UnknownLabels
from bocage.rasters import Grid
from bocage.sample import Sample

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


class Flair:
    """FLAIR #1 and #2 aerial archives. See `bocage.data.layouts.base.Layout`."""

    name = "flair"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every aerial image under `root`, with its mask where there is one."""
        need_folder(root)
        archives = [f for f in sorted(root.iterdir()) if f.is_dir() and "aerial" in f.name]
        found = False
        for archive in archives:
            labels = root / archive.name.replace("aerial", "labels")
            for image in sorted(archive.glob("D*/Z*/img/IMG_*")):
                name, domain = _IMAGE.fullmatch(image.name), image.parents[2].name
                match = _DOMAIN.fullmatch(domain)
                if name is None or match is None:
                    continue
                found = True
                zone, number = image.parents[1].name, name[1]
                relative = image.relative_to(root).as_posix()
                paths = {AERIAL_RGBI.name: relative, AERIAL_HEIGHT.name: relative}
                mask = labels / domain / zone / "msk" / image.name.replace("IMG_", "MSK_", 1)
                if mask.is_file():
                    paths[LAND_COVER.label_set] = mask.relative_to(root).as_posix()
                yield PatchRecord(
                    patch_id=f"{domain}_{zone}_{number}",
                    domain=domain,
                    roi=zone,
                    year=int(match[2]),
                    paths=paths,
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
        tasks: Sequence[str],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One patch; bands 1 to 4 are the photograph, band 5 the height of objects."""
        side = AERIAL_RGBI.size_px
        grids: dict[Path, Grid] = {}
        labels: dict[str, NDArray[np.uint8]] = {}
        if LAND_COVER.name in wanted_label_sets(tasks, record).get(LAND_COVER.label_set, ()):
            path = record.path(root, LAND_COVER.label_set)
            raw, grids[path] = read_geotiff(
                path, count=1, dtype="uint8", size=(side, side), what="a FLAIR mask"
            )
            labels[LAND_COVER.name] = remap_codes(
                raw[0], FLAIR1_TO_COSIA, str(path), unknown_labels
            )
        images: dict[str, NDArray[Any]] = {}
        wanted = {get_modality(name).name for name in modalities} & set(record.paths)
        if wanted:
            path = record.path(root, AERIAL_RGBI.name)
            both, grids[path] = read_geotiff(
                path, count=_BANDS, dtype="uint8", size=(side, side), what="a FLAIR image"
            )
            split = len(AERIAL_RGBI.bands)
            parts = {AERIAL_RGBI.name: both[:split], AERIAL_HEIGHT.name: both[split:]}
            images = {name: parts[name] for name in parts if name in wanted}
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            images=images,
            labels=labels,
            domain=record.domain,
            **place(record.patch_id, grids),
        )
