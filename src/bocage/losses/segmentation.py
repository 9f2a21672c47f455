"""The loss of one task: cross-entropy and its relatives, with an ignore mask.

Policy: a pixel that is ignored (255) or of an unscored class teaches nothing; an unscored class has
no share of the probability, so that it is never learnt, for or against. Where nothing is left to
learn from, the loss is 0 with a valid gradient of zero, never NaN.

Shapes: B samples, K classes, S scored classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from bocage.errors import ConfigError, unknown_name
from bocage.nomenclatures import IGNORE, TASKS, Task

_PIXELS_AT_ONCE = 16_384
"""Pixels whose logits, probabilities and gradients fit into a core's own cache."""


class LossConfig(BaseModel):
    """What is minimised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cross_entropy", "focal", "cross_entropy+dice"] = "cross_entropy"
    """`focal` turns to hard pixels; `cross_entropy+dice` adds the overlap of each class."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of a label that is spread over all scored classes."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """How strongly `focal` turns away from easy pixels."""
    dice_weight: float = Field(default=1.0, gt=0)
    """Weight of the overlap in `cross_entropy+dice`."""
    class_weights: dict[str, tuple[float, ...]] = {}
    """Weight of every class, by task; 1 for tasks that are not named."""
    task_weights: dict[str, float] = {}
    """Weight of a task's loss, main and auxiliary; 1 for tasks that are not named."""
    auxiliary_weight: float = Field(default=0.4, ge=0)
    """Weight of the mean over the sensors' own losses (0.4: UPerNet's custom)."""

    @field_validator("class_weights")
    @classmethod
    def _none_negative(cls, by_task: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        if any(min(weights, default=0) < 0 for weights in by_task.values()):
            raise ValueError(f"must not be negative, got {by_task}")
        return {_official_name(name): weights for name, weights in by_task.items()}

    @field_validator("task_weights")
    @classmethod
    def _not_negative(cls, by_task: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in by_task.values()):
            raise ValueError(f"must not be negative, got {by_task}")
        return {_official_name(name): weight for name, weight in by_task.items()}

    @model_validator(mode="after")
    def _possible(self) -> LossConfig:
        if self.kind == "focal" and self.label_smoothing:
            raise ValueError("label_smoothing has no meaning with kind=focal; set it to 0")
        return self

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse options for other tasks, and weights that are not one per class."""
        by_name = {task.name: task for task in tasks}
        for option in ("class_weights", "task_weights"):
            for name in getattr(self, option):
                if name not in by_name:
                    raise ConfigError(unknown_name(f"task in loss.{option}", name, by_name))
        for name, weights in self.class_weights.items():
            count = by_name[name].num_classes
            if len(weights) != count:
                raise ConfigError(
                    f"loss.class_weights: {name} needs {count} weights, got {len(weights)}"
                )

    def ineffective(self) -> dict[str, str]:
        """Options without effect, each with the reason.

        `auxiliary_weight` depends on the network: without auxiliary decoders it does nothing.
        """
        reasons = {}
        if self.kind != "focal":
            reasons["focal_gamma"] = f"kind is {self.kind}, not focal"
        if self.kind != "cross_entropy+dice":
            reasons["dice_weight"] = f"kind is {self.kind}, not cross_entropy+dice"
        return reasons


def _official_name(task: str) -> str:
    """The name of a task that comes with Bocage; any other may be a run's own."""
    return next((t.name for t in TASKS.values() if task in (t.name, t.slug)), task)


class SegmentationLoss(nn.Module):
    """Loss of one task, a float32 scalar.

    `table` (256,) int64 maps a target to its place among the scored classes, or to `IGNORE`;
    `scored` (S,) int64 are the scored logits; `weights` (S,) float32 their weights.
    """

    table: Tensor
    scored: Tensor
    weights: Tensor | None

    def __init__(self, task: Task, config: LossConfig):
        super().__init__()
        self.config = config
        scored = torch.from_numpy(task.scored).nonzero().squeeze(1)
        if not len(scored):
            raise ConfigError(f"task '{task.name}' has no scored class: nothing can be learnt")
        self._some_unscored = len(scored) < task.num_classes
        table = torch.full((256,), IGNORE, dtype=torch.int64)
        for place, logit in enumerate(scored.tolist()):
            table[logit] = place
        given = config.class_weights.get(task.name)
        weights = None if given is None else torch.tensor(given, dtype=torch.float32)[scored]
        # Not in the state: they follow from the task, and a checkpoint must not override them.
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("scored", scored, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, logits_BKHW: Tensor, target_BHW: Tensor, use_B: Tensor | None = None
    ) -> Tensor:
        """Mean over the pixels that count, weighted by class where weights are given.

        `target_BHW` uint8 may have more pixels than the logits: the nearest are compared.
        `use_B` bool is False for samples that do not count.
        """
        # bfloat16 has 8 bits of mantissa, too few for a logarithm of a sum of 46 exponentials.
        with torch.autocast(logits_BKHW.device.type, enabled=False):
            target = self._places(target_BHW, logits_BKHW)
            if use_B is not None:
                target = target.masked_fill(~use_B.view(-1, 1, 1), IGNORE)
            if self.config.kind == "focal":
                return self._focal(self._scored(logits_BKHW), target)
            loss = self._cross_entropy(logits_BKHW, target) / self._weight_sum(target)
            if self.config.kind == "cross_entropy+dice":
                loss = loss + self.config.dice_weight * _dice(self._scored(logits_BKHW), target)
            return loss

    def by_class(self, logits_BKHW: Tensor, target_BHW: Tensor) -> tuple[Tensor, Tensor]:
        """Of each scored class, the sum of its pixels' cross-entropy and their number, (S,) each.

        Plain cross-entropy, whatever is minimised: without weights or smoothing.
        """
        classes = len(self.scored)
        with torch.autocast(logits_BKHW.device.type, enabled=False):
            logits, target = self._scored(logits_BKHW), self._places(target_BHW, logits_BKHW)
            losses = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
        places = target.flatten().clamp(max=classes)
        sums = torch.bincount(places, losses.flatten().double(), minlength=classes + 1)
        return sums[:classes], torch.bincount(places, minlength=classes + 1)[:classes]

    def _scored(self, logits: Tensor) -> Tensor:
        """Logits of the scored classes, float32; classes are the second dimension."""
        logits = logits.float()
        return logits.index_select(1, self.scored) if self._some_unscored else logits

    def _places(self, target_BHW: Tensor, logits_BKHW: Tensor) -> Tensor:
        """Each pixel's place among the scored classes, or `IGNORE`, int64, one per logit."""
        return self.table[_nearest(target_BHW, *logits_BKHW.shape[-2:]).long()]

    def _cross_entropy(self, logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
        """Sum over the pixels that count, weighted by class where weights are given.

        On a processor some pixels at a time, as many as its cache holds: in one piece the maps of
        all classes go through memory a dozen times, which takes three times as long.
        """
        pieces = [(logits_BKHW, target_BHW)]
        if logits_BKHW.device.type == "cpu":
            pixels_NK = logits_BKHW.permute(0, 2, 3, 1).flatten(0, 2)
            pieces = [
                (logits_NK.t().unsqueeze(0), target_N.unsqueeze(0))
                for logits_NK, target_N in zip(
                    torch.split(pixels_NK, _PIXELS_AT_ONCE),
                    torch.split(target_BHW.flatten(), _PIXELS_AT_ONCE),
                    strict=True,
                )
            ]
        sums = [
            F.cross_entropy(
                self._scored(logits),
                target,
                self.weights,
                ignore_index=IGNORE,
                reduction="sum",
                label_smoothing=self.config.label_smoothing,
            )
            for logits, target in pieces
        ]
        return torch.stack(sums).sum()

    def _focal(self, logits_BSHW: Tensor, target_BHW: Tensor) -> Tensor:
        """Lin et al. 2017, arXiv 1708.02002: cross-entropy times (1 - p)^gamma."""
        log_p = -F.cross_entropy(logits_BSHW, target_BHW, ignore_index=IGNORE, reduction="none")
        # An ignored pixel has log p = 0, hence 1 - p = 0, whose power may have no derivative.
        miss = (-torch.expm1(log_p)).clamp(min=1e-6)
        loss = -(miss**self.config.focal_gamma) * log_p
        if self.weights is not None:
            loss = loss * self._weight(target_BHW)
        return loss.sum() / self._weight_sum(target_BHW)

    def _weight(self, target_BHW: Tensor) -> Tensor:
        """Weight of every pixel, 0 for one that does not count."""
        counted = target_BHW != IGNORE
        if self.weights is None:
            return counted.float()
        return self.weights[target_BHW.where(counted, 0)] * counted

    def _weight_sum(self, target_BHW: Tensor) -> Tensor:
        """Sum of the weights; at least a little, for the division."""
        return self._weight(target_BHW).sum().clamp(min=1e-6)


def _nearest(target_BHW: Tensor, height: int, width: int) -> Tensor:
    """The target at the centre of every cell of a (height, width) grid."""
    rows, columns = (
        ((torch.arange(cells, device=target_BHW.device) + 0.5) * pixels / cells).long()
        for cells, pixels in ((height, target_BHW.shape[-2]), (width, target_BHW.shape[-1]))
    )
    if (height, width) == tuple(target_BHW.shape[-2:]):
        return target_BHW
    return target_BHW[:, rows[:, None], columns]


def _dice(logits_BSHW: Tensor, target_BHW: Tensor) -> Tensor:
    """1 - soft Dice overlap, mean over the classes that occur in the batch; 0 if none does."""
    counted = (target_BHW != IGNORE).unsqueeze(1)
    share = logits_BSHW.softmax(1) * counted
    safe = target_BHW.where(target_BHW != IGNORE, 0).unsqueeze(1)
    truth = torch.zeros_like(share).scatter_(1, safe, 1.0) * counted
    size = truth.sum((0, 2, 3))
    overlap = (2 * (share * truth).sum((0, 2, 3)) + 1e-6) / (share.sum((0, 2, 3)) + size + 1e-6)
    occurs = (size > 0).float()
    return ((1 - overlap) * occurs).sum() / occurs.sum().clamp(min=1)
