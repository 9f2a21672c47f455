"""Numbers of chance for each draw and purpose, whatever else happens to it or its neighbours."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

_STEP = 64


def uniform(sources: Sequence[torch.Generator], purpose: str, count: int) -> Tensor:
    """Numbers in [0, 1), (B, count) float32 on the CPU, one row per source.

    They follow from the source's seed and the purpose alone: not from what was drawn before, and
    the first ones are the same for any count.
    """
    mark = zlib.crc32(purpose.encode())
    rows = []
    for source in sources:
        own = torch.Generator().manual_seed((source.initial_seed() ^ (mark << 20)) & (2**63 - 1))
        # torch fills short and long tensors in different orders: always draw in equal steps.
        steps = [torch.rand(_STEP, generator=own) for _ in range(-(-count // _STEP))]
        rows.append(torch.cat(steps)[:count])
    return torch.stack(rows)
