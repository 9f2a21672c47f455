"""Which sensors of which sample take part: given absence, and sensors hidden in training.

Shapes: B samples, M sensors.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor


@functools.lru_cache(maxsize=4096)
def tilted(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    """Independent probabilities which, given that not all happen, become `probabilities`.

    Hiding each sensor independently and drawing again when all are hidden would hide each one too
    rarely. With o the product of the others' tilted probabilities, p = q (1 - o) / (1 - q o), hence
    q = p / (1 - o (1 - p)), iterated from below to the least solution. There is one whenever the
    probabilities sum to less than their number less one (one sensor always stays); beyond that
    the result hides as much as can be. A single sensor is never hidden.

    >>> tilted((0.5,)), tilted((0.25, 0.0)), [round(q, 3) for q in tilted((0.6, 0.3))]
    ((0.0,), (0.25, 0.0), [0.857, 0.75])
    """
    if len(probabilities) < 2:
        return (0.0,) * len(probabilities)
    # A tilt of 1 would be drawn again for ever; the bound is reached only where p cannot be met.
    ceiling = 0.999
    tilt = [min(p, ceiling) for p in probabilities]
    for _ in range(1000):
        before = list(tilt)
        for i, p in enumerate(probabilities):
            others = math.prod(tilt[:i] + tilt[i + 1 :])
            tilt[i] = min(p / (1 - others * (1 - p)), ceiling)
        if max(abs(new - old) for new, old in zip(tilt, before, strict=True)) < 1e-9:
            break
    return tuple(tilt)


def hide_sensors(present_BM: Tensor, probabilities: Sequence[float]) -> Tensor:
    """`present_BM` (B, M) bool with sensors hidden at random, each at its configured probability.

    Samples are drawn one by one from torch's generator of the CPU; a sample never loses its last
    sensor. The input is left as it is.
    """
    if not any(probabilities):
        return present_BM
    rows = present_BM.tolist()
    odds = torch.zeros(present_BM.shape)
    for row, flags in enumerate(rows):
        here = [i for i, flag in enumerate(flags) if flag]
        odds[row, here] = torch.tensor(tilted(tuple(probabilities[i] for i in here)))
    kept = present_BM & (torch.rand(odds.shape) >= odds)
    while (lost := present_BM.any(1) & ~kept.any(1)).any():
        again = present_BM & (torch.rand(odds.shape) >= odds)
        kept = torch.where(lost.unsqueeze(1), again, kept)
    return kept
