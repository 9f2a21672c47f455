"""What the benchmarks compare computes the same: no figure is of two different things."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks import build, gpu, temporal
from benchmarks.measure import alternate, row
from benchmarks.naive_temporal import NaiveUTAE
from benchmarks.published import LARGEST_DIFFERENCE, Pair, pair
from benchmarks.step import naive_loss, published_rows
from benchmarks.validate import losses_by_class, validation_rows
from bocage.losses import ClassLosses, CompositeLoss, LossConfig
from bocage.modalities import get_modality
from bocage.models import TaskHead
from bocage.models.published import (
    Frames,
    PublishedConfig,
    build_empty,
    published_config,
    published_input,
)
from bocage.models.published.utae import UTAE
from bocage.nomenclatures import CROPS, LAND_COVER

pytestmark = pytest.mark.unit

DATES = {"SENTINEL2_TS": 4, "SENTINEL1-ASC_TS": 3}


def _config(*sensors: str) -> PublishedConfig:
    inputs = tuple(
        published_input(name, resolution_m=None if get_modality(name).series else 0.2)
        for name in sensors
    )
    tasks = (LAND_COVER, CROPS)
    return PublishedConfig(
        inputs=inputs,
        tasks=tuple(TaskHead(name=t.name, num_classes=t.num_classes) for t in tasks),
        architecture="swin_tiny",
        tile_px=64,
    )


@pytest.fixture(scope="module")
def small() -> Pair:
    """Two images, two series, two tasks. Windows of 7 divide none of the maps but the smallest."""
    return pair(_config("AERIAL_RGBI", "DEM_ELEV", *DATES), 2, DATES)


def _gradients(module: nn.Module, outputs: list[Tensor]) -> dict[str, Tensor]:
    module.zero_grad()
    torch.stack([x.square().mean() for x in outputs]).sum().backward()
    return {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


def _assert_same_gradients(ours: dict[str, Tensor], naive: dict[str, Tensor]) -> None:
    assert ours
    # The baseline also follows what has no effect: ours does not ask for those gradients.
    assert ours.keys() <= naive.keys()
    assert all(not naive[name].any() for name in naive.keys() - ours.keys())
    largest = max(float(g.norm()) for g in naive.values())
    for name, mine in ours.items():
        apart = float((mine - naive[name]).norm())
        assert apart <= 2e-3 * float(naive[name].norm()) + 1e-5 * largest, name


@pytest.mark.parametrize("widths", [(16, 16, 32), (16, 32, 32, 32)])
def test_temporal_encoders_agree_in_maps_and_gradients(widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, naive = UTAE(3, widths, widths, (16, 19)), NaiveUTAE(3, widths, widths, (16, 19))
    naive.load_state_dict(ours.state_dict())
    series, days = torch.randn(2, 5, 3, 6, 4), torch.randint(-130, 220, (2, 5))
    frames = Frames(series.flatten(0, 1), days, None, None)
    for training in (False, True):
        for module in (*ours.train(training).modules(), *naive.train(training).modules()):
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        mine, theirs = ours(frames), naive(series, days)
        temporal.check(mine, theirs)
        _assert_same_gradients(_gradients(ours, mine), _gradients(naive, theirs))


def test_networks_agree_in_logits(small: Pair) -> None:
    assert small.difference() < LARGEST_DIFFERENCE / 10


def test_networks_agree_in_gradients(small: Pair) -> None:
    small.ours.eval()
    small.naive.eval()
    ours = _gradients(small.ours, list(small.run_ours().values()))
    naive = _gradients(small.naive, list(small.run_naive().values()))
    _assert_same_gradients(ours, naive)


def test_what_differs_is_not_timed(small: Pair) -> None:
    weight = small.naive.main_decoders[CROPS.name].seg_model["segmentation_head"][0].weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight *= 1.01
    with pytest.raises(AssertionError, match="the networks differ by"):
        small.check()
    with torch.no_grad():
        weight.copy_(kept)
    small.check()
    with pytest.raises(AssertionError, match="a map differs by"):
        temporal.check([torch.ones(3)], [torch.tensor([1.0, 2.0, 3.0])])


def test_losses_agree_where_every_class_is_scored(small: Pair) -> None:
    """Of a task with unscored classes ours leaves those out of the softmax too."""
    logits = {CROPS.name: torch.randn(2, CROPS.num_classes, 64, 64)}
    only = Pair(
        small.ours, small.naive, (CROPS,), small.batch, small.images, small.series, small.one_hot
    )
    ours, _ = CompositeLoss([CROPS], LossConfig())(logits, small.batch.labels)
    assert float(naive_loss(only, logits)) == pytest.approx(float(ours), rel=1e-5)
    by_class = ClassLosses(CROPS)
    by_class.update(logits[CROPS.name], small.batch.labels[CROPS.name])
    naive = losses_by_class(logits[CROPS.name], small.one_hot[CROPS.name])
    names = [c.name for c in CROPS.nomenclature]
    want = {name: loss for name, loss in zip(names, naive, strict=True) if loss == loss}
    assert by_class.compute() == pytest.approx(want, rel=1e-5)


def test_rows_of_steps_and_validations(small: Pair) -> None:
    case = copy.deepcopy(small)  # steps move its running statistics
    validated = validation_rows(case, "small", rounds=1)
    rows = [*published_rows(case, "small", rounds=1), *validated]
    assert [r.name for r in rows] == [
        "small, step, batch 2, float32",
        "small, step, batch 2, bf16, baseline float32",
        "small, step, batch 2, bf16, baseline bf16",
        "validation, small, float32",
        "one forward / validation, float32",
        "validation, small, bf16",
        "one forward / validation, bf16",
    ]
    assert all(r.ours > 0 and r.ratio == pytest.approx(r.baseline / r.ours) for r in rows)
    assert rows[1].baseline == rows[0].baseline != rows[2].baseline


def test_every_work_has_its_turn_in_every_round() -> None:
    turns = []
    times = alternate([lambda: turns.append("a"), lambda: turns.append("b")], 3)
    assert turns == ["a", "b"] * 3
    assert [len(own) for own in times] == [3, 3]
    found = row("x", [1.0, 2.0, 4.0], [2.0, 6.0, 8.0], items=2)
    assert (found.ours, found.baseline, found.ratio, found.spread) == (1000, 3000, 3, (2, 3))


def test_build_is_measured_before_and_after_reading(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = build_empty(published_config("LC-G")).state_dict()
    save_file({k: torch.zeros(v.shape, dtype=v.dtype) for k, v in state.items()}, path)
    figures = build.measure("ours", "LC-G", path)
    assert 0 < figures["built_s"] < figures["read_s"]
    assert 0 <= figures["built_mb"] <= figures["read_mb"]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_rows_of_a_device(precision: str) -> None:
    cpu = torch.device("cpu")
    rate = gpu.matrix_rate(cpu, size=256)
    config = _config("AERIAL_RGBI").model_copy(update={"name": "small"})
    rows = gpu.measure(config, precision, cpu, rate, samples=2, rounds=1)
    assert [r.name for r in rows] == [
        f"small, inference, {precision}, batch 2",
        f"small, training, {precision}, batch 2",
    ]
    assert rows[0].ours > rows[1].ours > 0
    # A training step multiplies three times as much.
    assert rows[0].baseline / rows[1].baseline == pytest.approx(3, rel=0.1)
