"""Steps on batches that a training set can really hold."""

import numpy as np
import pytest
import torch

from bocage.data import collate
from bocage.losses import LossConfig
from bocage.models import Network, NetworkConfig
from bocage.nomenclatures import LAND_COVER
from bocage.sample import Batch, Sample, Series
from bocage.training import TrainingConfig
from bocage.training.module import SegmentationModule

pytestmark = pytest.mark.unit
INPUTS = ["AERIAL_RGBI", "SENTINEL2_TS"]


def _module(**options: object) -> SegmentationModule:
    config = NetworkConfig(
        inputs=[{"modality": name} for name in INPUTS],
        tasks=[{"name": LAND_COVER.name, "num_classes": 19}],
        encoder={"width": 4},
        temporal={"width": 8, "heads": 2, "output_width": 8},
        fusion={"width": 8},
        decoder={"width": 8},
        **options,
    )
    torch.manual_seed(0)
    return SegmentationModule(Network(config), [LAND_COVER], LossConfig(), TrainingConfig())


def _sample(label: int, *, aerial: bool = True, dates: int = 3) -> Sample:
    rng = np.random.default_rng(0)
    series = Series(
        rng.integers(0, 9000, (dates, 10, 10, 10)).astype(np.uint16),
        np.datetime64("2021-01-01") + 30 * np.arange(dates),
        np.zeros((dates, 2, 10, 10), np.uint16),
    )
    image = rng.integers(0, 255, (4, 512, 512)).astype(np.uint8)
    return Sample(
        "p",
        2021,
        images={"AERIAL_RGBI": image} if aerial else {},
        series={"SENTINEL2_TS": series},
        labels={LAND_COVER.name: np.full((512, 512), label, np.uint8)},
    )


def _step(module: SegmentationModule, batch: Batch) -> torch.Tensor:
    output = module.network(**batch.network_inputs())
    loss, _ = module._losses(output, batch)
    loss.backward()
    return loss


def _finite(module: SegmentationModule) -> bool:
    return all(
        p.grad is not None and torch.isfinite(p.grad).all() for p in module.network.parameters()
    )


def test_a_batch_whose_labels_are_all_ignored_has_no_nan() -> None:
    module = _module()
    loss = _step(module, collate([_sample(255), _sample(18)], INPUTS, [LAND_COVER.name]))
    assert loss.item() == 0
    assert _finite(module)


def test_a_batch_in_which_every_sensor_is_missing() -> None:
    module = _module()
    samples = [_sample(3, aerial=False, dates=0)] * 2
    loss = _step(module, collate(samples, INPUTS, [LAND_COVER.name]))
    assert torch.isfinite(loss)
    assert loss.item() > 0
    assert _finite(module)


def test_a_batch_with_different_sensors_and_dates() -> None:
    module = _module()
    samples = [_sample(3), _sample(4, aerial=False, dates=5), _sample(5, dates=0)]
    loss = _step(module, collate(samples, INPUTS, [LAND_COVER.name]))
    assert torch.isfinite(loss)
    assert _finite(module)


def test_the_auxiliary_losses_reach_every_auxiliary_parameter() -> None:
    module = _module(auxiliary={"enabled": True, "width": 4})
    _step(module, collate([_sample(3), _sample(4)], INPUTS, [LAND_COVER.name]))
    gradients = {
        name: float(p.grad.abs().sum())
        for name, p in module.network.named_parameters()
        if name.startswith("auxiliary")
    }
    assert gradients
    assert all(total > 0 for name, total in gradients.items() if name.endswith("weight"))
