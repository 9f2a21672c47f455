"""A task owns the meaning of its label: raw value to target, output to what is written.

A label set is a file or band of raw values. A task reads one band of one label set, says which
values are classes, and what becomes of all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.nomenclatures.crops import LPIS_1, LPIS_2, LPIS_3
from bocage.nomenclatures.land_cover import COSIA, COSIA_TO_CHALLENGE, FLAIR_CHALLENGE
from bocage.nomenclatures.nomenclature import Nomenclature

IGNORE = 255
"""Target value of a pixel that neither the loss nor a score may look at."""

UNKNOWN = 254
"""Value of a pixel whose code in the source is no class, where a layout renames codes."""

UnknownLabels = Literal["refuse", "ignore", "keep"]
"""What becomes of a value that is no class: an error, an ignored pixel, or itself for later."""

ScoreRule = Literal["scored_pixels", "challenge"]
"""Which pixels a score counts. `scored_pixels`: those whose reference is a scored class; a class
without any has no IoU. `challenge`, that of FLAIR #1 and #2: also those of unscored classes, as
false alarms of what is predicted there; a class that is predicted but not there has IoU 0."""


@dataclass(frozen=True)
class Task:
    """Land cover or crops at one level: the label's band, its class list, its scored classes.

    `name` is also the label's name in networks and files; `band` counts from 1 as in GeoTIFF.
    A target is a class's place in `nomenclature`, which is also that of its logit. `recode` gives
    (raw value, target) where raw values are not the ids of `nomenclature`. `source` is the file of
    a task that does not come with Bocage.
    """

    name: str
    slug: str
    label_set: str
    band: int
    nomenclature: Nomenclature
    recode: tuple[tuple[int, int], ...] = ()
    score_rule: ScoreRule = "scored_pixels"
    source: str = ""

    @property
    def reference(self) -> str:
        """What `get_task` finds it by, also in another process."""
        return self.source or self.name

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
        for raw, target in self.recode or ((i, k) for k, i in enumerate(self.nomenclature.ids)):
            table[raw] = target
        return table

    @cached_property
    def _kept_ids(self) -> int:
        """All raw values below this one are targets: a label of no others needs no look-up."""
        return int((self._table != np.arange(256)).argmax())

    def to_target(
        self, raw: NDArray[Any], source: str, unknown: UnknownLabels = "refuse"
    ) -> NDArray[np.uint8]:
        """Targets, (H, W) uint8, from raw label values, (H, W) integers.

        `IGNORE` (255) in the raw label stays ignored. Any other value outside the nomenclature is
        a `DataError` that names `source`, or becomes `IGNORE` when `unknown="ignore"`. No value
        ever turns into a class that it is not. `unknown="keep"` leaves every value as it is, so
        that it can become a target later.
        """
        codes = raw
        if raw.dtype != np.uint8:
            odd = UNKNOWN if unknown == "keep" else IGNORE
            codes = np.where((raw >= 0) & (raw <= 255), raw, odd).astype(np.uint8)
        if unknown == "keep" or (codes.size and codes.max() < self._kept_ids):
            return codes.copy()
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
FLAIR_12 = Task(
    "AERIAL_LABEL-FLAIR",
    "land-cover-12",
    LAND_COVER.label_set,
    1,
    FLAIR_CHALLENGE,
    recode=COSIA_TO_CHALLENGE,
    score_rule="challenge",
)
"""Land cover as the challenges FLAIR #1 and #2 ask for it, from any label in CoSIA ids."""

TASKS: dict[str, Task] = {
    task.name: task for task in (LAND_COVER, CROPS, CROPS_2, CROPS_3, FLAIR_12)
}


def get_task(name: str | Task) -> Task:
    """The task of that official name or slug, or of a YAML file (`bocage.nomenclatures.own`).

    A task is returned as it is. `ConfigError` lists the valid names.
    """
    if isinstance(name, Task):
        return name
    for task in TASKS.values():
        if name in (task.name, task.slug):
            return task
    if name.endswith((".yaml", ".yml")):
        from bocage.nomenclatures.own import load_task

        return load_task(Path(name).resolve())
    raise ConfigError(
        unknown_name("task", name, TASKS) + ", or the YAML file of a class list of your own"
    )
