"""Training in several processes, as PyTorch's wrapper for it sees the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_batches import AERIAL, DEM, S2, make_batch, with_auxiliary, without
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

pytestmark = pytest.mark.unit


def test_steps_without_a_sensor_need_no_special_strategy(tmp_path: Path) -> None:
    """The wrapper raises in the next step when a parameter had no part in a loss."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        network = with_auxiliary((AERIAL, DEM, S2))
        wrapped = DistributedDataParallel(network)
        batch = make_batch((AERIAL, DEM, S2), hw=(32, 32))
        for absent in (
            {},
            {DEM: [0, 1]},
            {S2: [0, 1], AERIAL: [0]},
            {name: [0, 1] for name in batch["present"]},
        ):
            output = wrapped(**without(batch, absent))
            loss = sum(v.square().mean() for v in output.logits.values())
            for own in output.auxiliary.values():
                loss = loss + sum(v.square().mean() for v in own.values())
            loss.backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    finally:
        distributed.destroy_process_group()
