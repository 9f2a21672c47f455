"""A task owns the meaning of its label: raw value to target, output to what is written.

A label set is a file or band of raw values. A task reads one band of one label set, says which
values are classes, and what becomes of all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.nomenclatures.crops import LPIS_1, LPIS_2, LPIS_3
from bocage.nomenclatures.land_cover import COSIA
from bocage.nomenclatures.nomenclature import Nomenclature

IGNORE = 255
"""Target value of a pixel that neither the loss nor a score may look at."""

UnknownLabels = Literal["refuse", "ignore"]


@dataclass(frozen=True)
class Task:
    """Land cover or crops at one level: the label's band, its class list, its scored classes.

    `name` is also the label's name in networks and files; `band` counts from 1 as in GeoTIFF.
    """

    name: str
    slug: str
    label_set: str
    band: int
    nomenclature: Nomenclature

    @property
    def num_classes(self) -> int:
        """Number of logits, scored classes or not."""
        return len(self.nomenclature)

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """Which outputs are learnt, predicted and counted, (num_classes,) bool."""
        return np.array([c.scored for c in self.nomenclature], dtype=bool)

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        table = np.full(256, IGNORE, dtype=np.uint8)
        for land_class in self.nomenclature:
            table[land_class.id] = land_class.id
        return table

    def to_target(
        self, raw: NDArray[Any], source: str, unknown: UnknownLabels = "refuse"
    ) -> NDArray[np.uint8]:
        """Targets, (H, W) uint8, from raw label values, (H, W) integers.

        `IGNORE` (255) in the raw label stays ignored. Any other value outside the nomenclature is
        a `DataError` that names `source`, or becomes `IGNORE` when `unknown="ignore"`. No value
        ever turns into a class that it is not.
        """
        codes = raw
        if raw.dtype != np.uint8:
            codes = np.where((raw >= 0) & (raw <= 255), raw, IGNORE).astype(np.uint8)
        target: NDArray[np.uint8] = self._table[codes]
        if unknown == "refuse":
            strange = (target == IGNORE) & (raw != IGNORE)
            if strange.any():
                values = np.unique(raw[strange])
                raise DataError(
                    f"{source}: {int(strange.sum())} label pixels hold values outside the "
                    f"nomenclature '{self.nomenclature.name}': {values[:8].tolist()}. Correct the "
                    "file, or set data.unknown_labels=ignore to leave these pixels out."
                )
        return target


LAND_COVER = Task("AERIAL_LABEL-COSIA", "land-cover", "AERIAL_LABEL-COSIA", 1, COSIA)
CROPS = Task("ALL_LABEL-LPIS", "crops", "ALL_LABEL-LPIS", 1, LPIS_1)
CROPS_2 = Task("ALL_LABEL-LPIS-2", "crops-2", "ALL_LABEL-LPIS", 2, LPIS_2)
CROPS_3 = Task("ALL_LABEL-LPIS-3", "crops-3", "ALL_LABEL-LPIS", 3, LPIS_3)

TASKS: dict[str, Task] = {task.name: task for task in (LAND_COVER, CROPS, CROPS_2, CROPS_3)}


def get_task(name: str) -> Task:
    """The task of that official name or slug; `ConfigError` lists the valid ones."""
    for task in TASKS.values():
        if name in (task.name, task.slug):
            return task
    raise ConfigError(unknown_name("task", name, TASKS))
