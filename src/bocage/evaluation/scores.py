"""Every score, from a confusion matrix, by one written policy.

Policy for absent and ignored classes:

- Pixels whose reference is ignored or an unscored class are not counted at all.
- Where the reference is a scored class, any other prediction is an error, also an unscored one.
- A class without a reference pixel has no IoU (`None`): there is nothing to find. Its false alarms
  already lower the classes that they were taken from.
- `miou` is the mean over the scored classes that have reference pixels (the average of FLAIR-HUB's
  README). `miou_all_classes` divides by all scored classes, an absent one counting 0 (the average
  on its model cards). `miou_foreground` is `miou` without a class named "background".

A task whose `score_rule` is `challenge` differs in two points, as the public scorer of FLAIR #1 and
#2 does: pixels of an unscored class are false alarms of the class that is predicted there, and a
class without a reference pixel has IoU 0 as soon as it is predicted. Overall accuracy is over the
pixels of scored classes under either rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import Task


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, each 0 to 1, or None where undefined. `support` is reference pixels."""

    id: int
    name: str
    iou: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    support: int


@dataclass(frozen=True)
class Scores:
    """Scores of one task on one set of pixels; averages are None when nothing was counted."""

    task: str
    pixels: int
    overall_accuracy: float | None
    miou: float | None
    miou_all_classes: float | None
    miou_foreground: float | None
    macro_f1: float | None
    classes: tuple[ClassScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **{k: v for k, v in self.__dict__.items() if k != "classes"},
            "classes": [c.__dict__ for c in self.classes],
        }


def score(matrix: NDArray[np.int64], task: Task) -> Scores:
    """Scores of `task` from its (K, K) matrix, rows reference, columns prediction."""
    true_positive = np.diag(matrix).astype(np.float64)
    reference = matrix.sum(axis=1).astype(np.float64)
    predicted = matrix.sum(axis=0).astype(np.float64)
    total = int(matrix[task.scored].sum())

    classes = []
    for index, land_class in enumerate(task.nomenclature):
        if not land_class.scored:
            continue
        hit, truth, claimed = true_positive[index], reference[index], predicted[index]
        union = truth + claimed - hit
        present = truth > 0
        counts = union > 0 if task.score_rule == "challenge" else present
        classes.append(
            ClassScore(
                id=land_class.id,
                name=land_class.name,
                iou=float(hit / union) if counts else None,
                f1=float(2 * hit / (truth + claimed)) if present else None,
                precision=float(hit / claimed) if claimed > 0 else None,
                recall=float(hit / truth) if present else None,
                support=int(truth),
            )
        )

    def mean(values: list[float | None]) -> float | None:
        defined = [v for v in values if v is not None]
        return float(np.mean(defined)) if defined else None

    ious = [c.iou for c in classes]
    return Scores(
        task=task.name,
        pixels=total,
        overall_accuracy=float(true_positive[task.scored].sum() / total) if total else None,
        miou=mean(ious),
        miou_all_classes=float(np.mean([v or 0.0 for v in ious])) if total else None,
        miou_foreground=mean([c.iou for c in classes if c.name != "background"]),
        macro_f1=mean([c.f1 for c in classes]),
        classes=tuple(classes),
    )
