"""A validation step of LC-L with both tasks: losses by task and by class, and confusion counts.

Ours is the training module's `validation_step`, which takes all of it from one forward pass. The
baseline wants the loss of each class and runs the network once more per task for it; its labels are
one-hot floats, and it counts no confusion. The last rows compare the step with a forward pass of
the same network alone: as many times as long as it takes, no more than 1.1 is wanted.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Row, alternate, row
from benchmarks.published import Pair, pair
from benchmarks.step import naive_loss
from bocage.losses import LossConfig
from bocage.models.published import published_config
from bocage.training.config import TrainingConfig
from bocage.training.module import SegmentationModule

BATCH = 1
ROUNDS = 3


class _Unlogged(SegmentationModule):
    """Outside a trainer there is nowhere to log to."""

    def log(self, *arguments: Any, **options: Any) -> None:
        """Nothing."""


def run() -> list[Row]:
    case = pair(published_config("LC-L", both_tasks=True), BATCH)
    return validation_rows(case, "LC-L, two tasks")


def validation_rows(case: Pair, name: str, rounds: int = ROUNDS) -> list[Row]:
    """Rows for float32 and bf16."""
    case.check()
    module = _Unlogged(case.ours, case.tasks, LossConfig(), TrainingConfig()).eval()

    def ours() -> None:
        module.validation_step(case.batch, 0)

    def forward() -> None:
        case.run_ours()

    def naive() -> None:
        logits = case.run_naive()
        naive_loss(case, logits)
        for task in case.tasks:
            losses_by_class(case.run_naive()[task.name], case.one_hot[task.name])

    rows = []
    for half, precision in ((False, "float32"), (True, "bf16")):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            times = alternate((ours, naive, forward), rounds)
        rows += [
            row(f"validation, {name}, {precision}", times[0], times[1]),
            row(f"one forward / validation, {precision}", times[0], times[2]),
        ]
    return rows


def losses_by_class(logits_BKHW: Tensor, one_hot_BKHW: Tensor) -> list[float]:
    """Mean cross-entropy over each class's own pixels."""
    losses = F.cross_entropy(logits_BKHW, one_hot_BKHW.argmax(dim=1), reduction="none")
    return [float(losses[of_class > 0].mean()) for of_class in one_hot_BKHW.unbind(1)]
