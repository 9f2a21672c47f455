"""The loss of a whole network: all its tasks, and the sensors' own losses where it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bocage.errors import DataError, unknown_name
from bocage.losses.segmentation import LossConfig, SegmentationLoss
from bocage.nomenclatures import Task


class CompositeLoss(nn.Module):
    """Sum over tasks of weight x (main loss + auxiliary weight x mean of the sensors' losses)."""

    def __init__(self, tasks: Sequence[Task], config: LossConfig):
        super().__init__()
        self.config = config
        self.slugs = {task.name: task.slug for task in tasks}
        config.check(tasks)
        self.losses = nn.ModuleDict({task.name: SegmentationLoss(task, config) for task in tasks})

    def forward(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        auxiliary: Mapping[str, Mapping[str, Tensor]] | None = None,
        auxiliary_present: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, float32 scalar, and its unweighted parts, detached, by name.

        Arguments are the fields of a network's output and the batch's labels: `logits[task]`
        (B, K, H, W), `labels[task]` (B, H, W) uint8, `auxiliary[sensor][task]` (B, K, h, w),
        `auxiliary_present[sensor]` (B,) bool, False where a sample lacks the sensor. Parts are
        called `land-cover`, `auxiliary/SPOT_RGBI/land-cover` and so on, and `total`.
        """
        auxiliary, auxiliary_present = auxiliary or {}, auxiliary_present or {}
        total = torch.zeros((), device=next(iter(logits.values())).device)
        parts: dict[str, Tensor] = {}
        for task, loss in self.losses.items():
            if task not in labels:
                raise DataError(
                    unknown_name("label of this batch, wanted by the loss,", task, labels)
                )
            slug = self.slugs[task]
            main = loss(logits[task], labels[task])
            parts[slug] = main.detach()
            own = []
            for sensor, by_task in auxiliary.items():
                own.append(loss(by_task[task], labels[task], auxiliary_present.get(sensor)))
                parts[f"auxiliary/{sensor}/{slug}"] = own[-1].detach()
            if own:
                main = main + self.config.auxiliary_weight * torch.stack(own).mean()
            total = total + self.config.task_weights.get(task, 1.0) * main
        parts["total"] = total.detach()
        return total, parts
