"""Cross-entropy on a processor: piece by piece as the cache holds it, against whole maps at once.

Forward and backward over four patches of 512×512 pixels, land cover (15 of 19 classes are scored)
and crops (23), logits as the decoder leaves them, channels last. The baseline is PyTorch's own
`cross_entropy` on the same logits in one call, of the scored classes only. The second row is a
whole training step of the benchmark's network for the photograph (`benchmark-aerial`, 0.5 million
parameters) without its auxiliary losses: what of it the loss decides.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Row, compare
from bocage.config import load_config
from bocage.losses import LossConfig, SegmentationLoss
from bocage.models import build_network
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER, Task

BATCH, SIDE_PX, ROUNDS = 4, 512, 7
AERIAL = "AERIAL_RGBI"
TASKS = (LAND_COVER, CROPS)

Losses = dict[str, Callable[[Tensor, Tensor], Tensor]]


def run() -> list[Row]:
    torch.manual_seed(0)
    labels = {task.name: _labels(task) for task in TASKS}
    ours: Losses = {task.name: SegmentationLoss(task, LossConfig()) for task in TASKS}
    naive: Losses = {task.name: _whole(task) for task in TASKS}
    logits = {
        task.name: torch.randn(BATCH, task.num_classes, SIDE_PX, SIDE_PX)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
        for task in TASKS
    }
    for task in TASKS:
        values = [
            losses[task.name](logits[task.name], labels[task.name]) for losses in (ours, naive)
        ]
        torch.testing.assert_close(*values, rtol=1e-3, atol=1e-3)
    step = _step(labels)
    return [
        compare(
            "cross-entropy of two tasks, forward and backward",
            lambda: _learn(logits, labels, ours),
            lambda: _learn(logits, labels, naive),
            rounds=ROUNDS,
        ),
        compare(
            "training step of benchmark-aerial",
            lambda: step(ours),
            lambda: step(naive),
            rounds=ROUNDS,
        ),
    ]


def _labels(task: Task) -> Tensor:
    """Squares of 16 pixels, some of them ignored."""
    coarse = torch.randint(0, task.num_classes, (BATCH, SIDE_PX // 16, SIDE_PX // 16))
    coarse[coarse == task.num_classes - 1] = IGNORE
    return coarse.repeat_interleave(16, 1).repeat_interleave(16, 2).to(torch.uint8)


def _whole(task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """PyTorch's loss of all pixels in one call."""
    scored = torch.from_numpy(task.scored).nonzero().squeeze(1)
    place = torch.full((256,), IGNORE, dtype=torch.int64)
    place[scored] = torch.arange(len(scored))

    def loss(logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        chosen = logits_BKHW.index_select(1, scored)
        return F.cross_entropy(chosen, place[labels_BHW.long()], ignore_index=IGNORE)

    return loss


def _learn(logits: dict[str, Tensor], labels: dict[str, Tensor], losses: Losses) -> None:
    for tensor in logits.values():
        tensor.grad = None
    total = torch.stack([losses[name](logits[name], labels[name]) for name in logits]).sum()
    total.backward()  # type: ignore[no-untyped-call]  # torch's


def _step(labels: dict[str, Tensor]) -> Callable[[Losses], None]:
    network = build_network(load_config("benchmark-aerial", []).network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    image = torch.randint(0, 256, (BATCH, 4, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    inputs = {
        "images": {AERIAL: image},
        "valid": {AERIAL: torch.ones(BATCH, SIDE_PX, SIDE_PX, dtype=torch.bool)},
        "present": {AERIAL: torch.ones(BATCH, dtype=torch.bool)},
        "series": {}, "series_valid": {}, "days": {}, "dates_present": {},
    }  # fmt: skip

    def step(losses: Losses) -> None:
        output = network(**inputs, output_hw=(SIDE_PX, SIDE_PX))
        total = torch.stack([loss(output.logits[n], labels[n]) for n, loss in losses.items()])
        optimizer.zero_grad()
        total.sum().backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()

    return step
