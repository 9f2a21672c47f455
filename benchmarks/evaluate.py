"""Scoring a batch of predictions: one bincount against scikit-learn's confusion matrix.

The baseline is the straightforward way: integer arrays on the host, the ignored pixels selected
away, `sklearn.metrics.confusion_matrix` per patch, and one more forward's worth of argmax is not
counted on either side.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from benchmarks.measure import Row, compare
from bocage.evaluation import ConfusionMatrix
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER, Task

PATCHES = 4


def run() -> list[Row]:
    return [_row(LAND_COVER), _row(CROPS)]


def _row(task: Task) -> Row:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, task.num_classes, (PATCHES, 32, 32)).astype(np.uint8)
    target = blocks.repeat(16, axis=1).repeat(16, axis=2)
    target[:, :20] = IGNORE
    prediction = np.where(
        rng.random(target.shape) < 0.8, target, rng.integers(0, task.num_classes, target.shape)
    )
    prediction[target == IGNORE] = 0
    prediction_BHW, target_BHW = torch.from_numpy(prediction), torch.from_numpy(target)

    def ours() -> np.ndarray:
        matrix = ConfusionMatrix(task, ["all"])
        matrix.update(prediction_BHW, target_BHW)
        return matrix.compute().numpy()

    def baseline() -> np.ndarray:
        total = np.zeros((task.num_classes, task.num_classes), dtype=np.int64)
        labels = [i for i, scored in enumerate(task.scored) if scored]
        for one, truth in zip(prediction, target, strict=True):
            keep = np.isin(truth, labels)
            total += confusion_matrix(truth[keep], one[keep], labels=range(task.num_classes))
        return total

    assert np.array_equal(ours(), baseline()), "both must count the same"
    return compare(f"confusion matrix, {task.slug}, 512×512", ours, baseline, items=PATCHES)
