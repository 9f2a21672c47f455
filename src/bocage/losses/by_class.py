"""The loss of each class over a validation, from the logits that it has anyway."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from bocage.losses.segmentation import LossConfig, SegmentationLoss
from bocage.nomenclatures import Task


class ClassLosses(Metric):
    """Mean cross-entropy of each scored class over its own pixels, exact on any number of ranks.

    States `sums` float64 and `counts` int64 have one entry per scored class; torchmetrics sums
    them across ranks.
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.names = tuple(c.name for c in task.nomenclature if c.scored)
        self.loss = SegmentationLoss(task, LossConfig())
        zeros = torch.zeros(len(self.names), dtype=torch.int64)
        self.add_state("sums", zeros.double(), dist_reduce_fx="sum")
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, logits_BKHW: Tensor, target_BHW: Tensor) -> None:
        """Add a batch: logits of all classes and targets, 255 = ignored."""
        sums, counts = self.loss.by_class(logits_BKHW, target_BHW)
        self.sums += sums
        self.counts += counts

    def compute(self) -> dict[str, float]:
        """By the class's English name; a class without a pixel is left out."""
        counts = self.counts.tolist()
        named = zip(self.names, self.sums.tolist(), counts, strict=True)
        return {name: total / count for name, total, count in named if count}
