"""The path from a network's auxiliary outputs to its parameters, where the public code breaks."""

from __future__ import annotations

import pytest
import torch

from bocage.losses import CompositeLoss, LossConfig
from bocage.models import (
    AuxiliaryConfig,
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
)
from bocage.nomenclatures import CROPS, LAND_COVER

pytestmark = pytest.mark.unit


def test_auxiliary_losses_reach_every_auxiliary_parameter() -> None:
    torch.manual_seed(0)
    tasks = (LAND_COVER, CROPS)
    network = Network(
        NetworkConfig(
            inputs=(InputConfig(modality="aerial"), InputConfig(modality="elevation")),
            tasks=tuple(TaskHead(name=t.name, num_classes=t.num_classes) for t in tasks),
            encoder=EncoderConfig(width=8),
            fusion=FusionConfig(width=8),
            decoder=DecoderConfig(width=8),
            auxiliary=AuxiliaryConfig(enabled=True, width=8),
        )
    )
    everyone = torch.ones(2, dtype=torch.bool)
    output = network(
        images={
            "AERIAL_RGBI": torch.randint(0, 255, (2, 4, 32, 32), dtype=torch.uint8),
            "DEM_ELEV": torch.rand(2, 2, 32, 32) * 30,
        },
        valid={},
        series={},
        series_valid={},
        days={},
        dates_present={},
        present={"AERIAL_RGBI": everyone, "DEM_ELEV": everyone},
        output_hw=(32, 32),
    )
    labels = {t.name: torch.randint(0, 15, (2, 32, 32), dtype=torch.uint8) for t in tasks}
    total, parts = CompositeLoss(tasks, LossConfig())(
        output.logits, labels, output.auxiliary, output.auxiliary_present
    )
    without, _ = CompositeLoss(tasks, LossConfig())(output.logits, labels)
    assert total > without + 1
    assert {f"auxiliary/DEM_ELEV/{t.slug}" for t in tasks} <= parts.keys()
    total.backward()
    for name, parameter in network.auxiliary.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
