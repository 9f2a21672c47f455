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


class CoarsePredictor:
    """Another predictor's answers in squares of `scale` x `scale` pixels.

    Legend: K classes, S the side of a window in the network's pixels, s in the map's.
    """

    def __init__(self, predictor: Predictor, scale: int, tasks: Sequence[TaskOutput]) -> None:
        self._predictor, self._scale = predictor, scale
        self._scored = {task.name: torch.tensor(task.scored) for task in tasks}
        self.device = predictor.device

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, s, s) per task; those of classes that are not scored are zero."""
        answer = self._predictor(inputs)
        return {name: self._merged(answer[name], scored) for name, scored in self._scored.items()}

    def _merged(self, logits_BKSS: Tensor, scored: Tensor) -> Tensor:
        scored = scored.to(logits_BKSS.device)
        shares = logits_BKSS.index_select(1, scored).softmax(dim=1)
        means = F.avg_pool2d(shares, self._scale)
        batch, classes = logits_BKSS.shape[:2]
        merged = means.new_zeros(batch, classes, *means.shape[2:])
        # A share that is no number stays none, and is found where the block is completed.
        merged[:, scored] = means.clamp_min(torch.finfo(means.dtype).tiny).log()
        return merged
