"""The loss of each class from one set of logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bocage.losses import ClassLosses, LossConfig, SegmentationLoss
from bocage.nomenclatures import IGNORE, LAND_COVER

pytestmark = pytest.mark.unit
SCORED = int(LAND_COVER.scored.sum())
NAMES = [c.name for c in LAND_COVER.nomenclature]


def _batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, LAND_COVER.num_classes, 6, 5, generator=random)
    target = torch.randint(0, 4, (2, 6, 5), generator=random)
    target[0, 0] = IGNORE
    target[1, 0] = LAND_COVER.num_classes - 1  # not scored
    return logits, target.to(torch.uint8)


def test_means_are_over_all_batches_and_each_class_own_pixels() -> None:
    losses = ClassLosses(LAND_COVER)
    batches = [_batch(0), _batch(1)]
    for logits, target in batches:
        losses.update(logits, target)
    logits, target = (torch.cat(parts) for parts in zip(*batches, strict=True))
    share = F.log_softmax(logits[:, :SCORED], dim=1)
    want = {
        NAMES[k]: float(-share[:, k][target == k].mean()) for k in range(4) if (target == k).any()
    }
    assert losses.compute() == pytest.approx(want, rel=1e-5)
    losses.reset()
    losses.update(*batches[0])
    assert int(losses.counts.sum()) == int((batches[0][1] < SCORED).sum())


def test_classes_add_up_to_the_loss_of_the_task() -> None:
    logits, target = _batch(2)
    loss = SegmentationLoss(LAND_COVER, LossConfig())
    sums, counts = loss.by_class(logits, target)
    assert int(counts.sum()) == int((target < SCORED).sum())
    assert float(sums.sum() / counts.sum()) == pytest.approx(float(loss(logits, target)), rel=1e-5)
