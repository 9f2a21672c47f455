"""Maps of larger pixels than the network's own: each shows what the network sees on all its ground.

A pixel's probabilities are the means of those of the network's pixels in it, so that its class is
the one with the largest share of its ground, and the confidence that share. They are given on as
logarithms: where windows meet, and where members of a softmax are counted, they are logits like
any others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bocage.mapping.outputs import TaskOutput
from bocage.mapping.predict import Predictor

_STRIP_PX = 64
"""Rows of the network's pixels that are worked on at once, about: a window's logits are held once,
and not three times."""


def in_map_pixels(predictor: Predictor, scale: int, tasks: Sequence[TaskOutput]) -> Predictor:
    """The predictor for a map of which a pixel has `scale` of the network's to a side."""
    return predictor if scale == 1 else CoarsePredictor(predictor, scale, tasks)


class CoarsePredictor:
    """Another predictor's answers in squares of `scale` x `scale` pixels.

    Legend: K classes, S the side of a window in the network's pixels, s in the map's.
    """

    def __init__(self, predictor: Predictor, scale: int, tasks: Sequence[TaskOutput]) -> None:
        self._predictor, self._scale = predictor, scale
        self.device = predictor.device
        self._scored = {task.name: torch.tensor(task.scored).to(self.device) for task in tasks}

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, s, s) per task; those of classes that are not scored are zero."""
        answer = self._predictor(inputs)
        return {name: self._merged(answer[name], scored) for name, scored in self._scored.items()}

    def _merged(self, logits_BKSS: Tensor, scored: Tensor) -> Tensor:
        batch, classes, height, width = logits_BKSS.shape
        size = height // self._scale, width // self._scale
        merged_BKss = logits_BKSS.new_zeros(batch, classes, *size)
        step = max(1, _STRIP_PX // self._scale)
        for first in range(0, size[0], step):
            strip = logits_BKSS[:, :, first * self._scale : (first + step) * self._scale]
            means = F.avg_pool2d(strip.index_select(1, scored).softmax(dim=1), self._scale)
            # A share that is no number stays none, and is found where the block is completed.
            logarithms = means.clamp_min(torch.finfo(means.dtype).tiny).log()
            merged_BKss[:, :, first : first + step].index_copy_(1, scored, logarithms)
        return merged_BKss
