"""What the index knows of one patch: where it is, what it has, when it was seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bocage.modalities import MODALITIES

# Packed data name a part of a file: shards/00000.bpk@4096+1024.
_RANGE = re.compile(r"@\d+\+\d+$")


@dataclass(frozen=True)
class PatchRecord:
    """One patch of a dataset on disk. No pixel is read to make one.

    `paths`: modality, label set or `SENTINEL2_MSK-SC` to a path relative to the dataset's root; a
    name that is not there is absent. Packed data add `@OFFSET+LENGTH` to a path. `dates`: modality
    to (T,) datetime64[D] in the file's order; length 1 for images whose date is known. `splits`:
    split column to this patch's split. `bounds` (left, bottom, right, top) in the units of `epsg`.
    `class_counts`: task to pixels per class, (num_classes,) int64, or None before the labels were
    counted. `window` (row, column, height, width) is the patch's part of the label grid where a
    file holds many patches.
    """

    patch_id: str
    domain: str
    roi: str
    year: int
    paths: Mapping[str, str] = field(default_factory=dict)
    dates: Mapping[str, NDArray[np.datetime64]] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[float, float, float, float] | None = None
    epsg: int | None = None
    class_counts: Mapping[str, NDArray[np.int64]] | None = None
    window: tuple[int, int, int, int] | None = None

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the modalities that have a file."""
        return tuple(name for name in self.paths if name in MODALITIES)

    def path(self, root: Path, name: str) -> Path:
        """The file of modality or label set `name` under `root`; of packed data, its shard."""
        return root / _RANGE.sub("", self.paths[name])
