"""How wrong the network was about each patch when it last saw it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Hardness:
    """Share of wrong pixels per patch, (N,) float64, NaN for a patch not seen yet.

    What an epoch brings counts from the next one on, on every rank alike.
    """

    def __init__(self, count: int) -> None:
        self._known = np.full(count, np.nan)
        self._fresh = np.full(count, np.nan)

    def note(self, patches: NDArray[np.int64], wrong_B: Tensor) -> None:
        """Remember the shares of a batch; NaN, where nothing was to be known, changes nothing."""
        shares = wrong_B.detach().double().cpu().numpy()
        counted = ~np.isnan(shares)
        self._fresh[patches[counted]] = shares[counted]

    def settle(self) -> NDArray[np.float64]:
        """What is known of each patch after the epoch that ends here, from all ranks."""
        seen = ~np.isnan(self._fresh)
        sums = torch.from_numpy(np.stack([np.where(seen, self._fresh, 0.0), seen]))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        total, times = sums.cpu().numpy()
        self._known = np.where(times > 0, total / np.maximum(times, 1), self._known)
        self._fresh = np.full_like(self._fresh, np.nan)
        return self._known

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"known": torch.from_numpy(self._known), "fresh": torch.from_numpy(self._fresh)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._known, self._fresh = state["known"].numpy().copy(), state["fresh"].numpy().copy()
