"""The one confusion matrix: int64, per task and domain, exact on any number of ranks.

Rows are the reference, columns the prediction. Only pixels whose reference is a scored class are
counted (under a task's rule `challenge` every labelled pixel); what was predicted there counts
whatever it is, so that calling a building "undefined" is an error like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from bocage.nomenclatures import Task


class ConfusionMatrix(Metric):
    """Counts of (reference, prediction) pairs by domain.

    State `counts` is (D, K, K) int64, D domains in the order of `domains`. torchmetrics sums it
    across ranks; every sample must be fed exactly once.
    """

    full_state_update = False
    counts: Tensor
    _rows: Tensor

    def __init__(self, task: Task, domains: Sequence[str]) -> None:
        super().__init__()
        self.task = task
        self.domains = tuple(domains)
        classes = task.num_classes
        self.add_state(
            "counts",
            torch.zeros(max(len(self.domains), 1), classes, classes, dtype=torch.int64),
            dist_reduce_fx="sum",
        )
        # Target value to row; those that do not count go to an extra last row that is cut off.
        counted = torch.from_numpy(task.scored | (task.score_rule == "challenge"))
        rows = torch.full((256,), classes, dtype=torch.int16)
        rows[:classes][counted] = torch.arange(classes, dtype=torch.int16)[counted]
        self.register_buffer("_rows", rows, persistent=False)

    def update(
        self, prediction_BHW: Tensor, target_BHW: Tensor, domains: Sequence[str] | None = None
    ) -> None:
        """Add a batch: predicted class ids and targets, (B, H, W) integers, 255 = ignored.

        `domains` names each sample's domain; without it all go to the first.
        """
        classes = self.task.num_classes
        places = [0] * len(target_BHW) if domains is None else map(self.domains.index, domains)
        for place, prediction, target in zip(places, prediction_BHW, target_BHW, strict=True):
            # int16 codes are exact (46 classes give 2161 at most) and the fastest to count.
            codes = self._rows[target.int()] * classes + prediction.to(torch.int16)
            counts = torch.bincount(codes.flatten(), minlength=(classes + 1) * classes)
            self.counts[place] += counts[: classes * classes].view(classes, classes)

    def compute(self) -> Tensor:
        """The matrix over all domains, (K, K) int64."""
        return self.counts.sum(dim=0)

    def by_domain(self) -> dict[str, NDArray[np.int64]]:
        """One (K, K) matrix per domain that has at least one counted pixel."""
        matrices = self.counts.cpu().numpy()
        return {d: matrices[i] for i, d in enumerate(self.domains) if matrices[i].any()}


def decide(logits_BKHW: Tensor, task: Task) -> Tensor:
    """The class ids that a network's logits stand for, (B, H, W) int64: never an unscored one."""
    if task.scored.all():
        return logits_BKHW.argmax(dim=1)
    unscored = torch.from_numpy(~task.scored).to(logits_BKHW.device)
    # `masked_fill` would lay the classes apart in memory: argmax then takes four times as long.
    return torch.where(unscored[:, None, None], -torch.inf, logits_BKHW).argmax(dim=1)


def wrong_share(prediction_BHW: Tensor, target_BHW: Tensor, task: Task) -> Tensor:
    """Share of each sample's scored pixels that are wrong, (B,); NaN where none is scored."""
    scored = torch.zeros(256, dtype=torch.bool, device=target_BHW.device)
    scored[: task.num_classes] = torch.from_numpy(task.scored).to(scored.device)
    counted = scored[target_BHW.int()]
    wrong = (prediction_BHW != target_BHW) & counted
    return wrong.flatten(1).sum(1) / counted.flatten(1).sum(1)
