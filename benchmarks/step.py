"""A training step on the CPU: LC-L whole, then a network of Bocage's own.

LC-L is the published configuration of six sensors: three Swin-B backbones (a 512 px photograph and
elevation, SPOT of 64 px), three temporal encoders, UPerNet. A step is a forward pass, the loss and
a backward pass; the optimiser would be the same on both sides. Batch 2: with one patch the pooled
maps have a single value per channel, of which a batch normalisation cannot learn.

The baseline is `naive_network` with the same weights; it gets its inputs normalised, where ours
takes them as stored and normalises them within the measured time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Row, alternate, row
from benchmarks.own_network import step_rows
from benchmarks.published import Pair, pair
from bocage.losses import CompositeLoss, LossConfig
from bocage.models.published import published_config

BATCH = 2
ROUNDS = 3


def run() -> list[Row]:
    return (
        published_rows(pair(published_config("LC-L"), BATCH), "LC-L, Swin-B, 512 px") + step_rows()
    )


def published_rows(case: Pair, name: str, rounds: int = ROUNDS) -> list[Row]:
    """Steps in both precisions."""
    case.check()
    case.ours.train()
    case.naive.train()
    loss = CompositeLoss(case.tasks, LossConfig())

    def ours(half: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = case.run_ours()
        loss(logits, case.batch.labels)[0].backward()
        case.ours.zero_grad()

    def naive(half: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = case.run_naive()
        naive_loss(case, logits).backward()
        case.naive.zero_grad()

    # The check was the first call of both.
    fast32, slow32, fast16, slow16 = alternate(
        [lambda: ours(False), lambda: naive(False), lambda: ours(True), lambda: naive(True)], rounds
    )
    start = f"{name}, step, batch {len(case.batch)}, "
    return [
        row(f"{start}float32", fast32, slow32),
        row(f"{start}bf16, baseline float32", fast16, slow32),
        row(f"{start}bf16, baseline bf16", fast16, slow16),
    ]


def naive_loss(case: Pair, logits: dict[str, Tensor]) -> Tensor:
    """Cross-entropy from one-hot float labels, which are turned back into indices at every step.

    Unscored classes get the weight 0, as in the original; ours leaves them out of the softmax too,
    so that the two losses are not the same number.
    """
    total = torch.zeros(())
    for task in case.tasks:
        target = case.one_hot[task.name].argmax(dim=1)
        weight = torch.from_numpy(task.scored).float()
        total = total + F.cross_entropy(logits[task.name], target, weight)
    return total
