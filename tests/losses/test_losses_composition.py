from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from bocage.errors import ConfigError, DataError
from bocage.losses import CompositeLoss, LossConfig, SegmentationLoss, segmentation
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER, LandClass, Nomenclature, Task

pytestmark = pytest.mark.unit

KINDS = ("cross_entropy", "focal", "cross_entropy+dice")
UNSCORED = slice(15, 19)


def some_logits(task: Task, size: int = 8, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, task.num_classes, size, size, generator=random).requires_grad_()


def some_labels(high: int, size: int = 8) -> torch.Tensor:
    random = torch.Generator().manual_seed(9)
    return torch.randint(0, high, (2, size, size), generator=random, dtype=torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [IGNORE, 17])
def test_nothing_to_learn_from_is_zero_with_a_gradient(kind: str, nothing: int) -> None:
    loss = SegmentationLoss(LAND_COVER, LossConfig(kind=kind))
    logits = some_logits(LAND_COVER)
    value = loss(logits, torch.full((2, 8, 8), nothing, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_and_unscored_take_no_part(kind: str) -> None:
    loss = SegmentationLoss(LAND_COVER, LossConfig(kind=kind))
    logits, labels = some_logits(LAND_COVER), some_labels(19)
    before = loss(logits, labels)
    before.backward()
    assert logits.grad is not None
    assert (logits.grad[:, UNSCORED] == 0).all()
    unscored = labels >= 15
    assert unscored.any()
    assert (logits.grad.movedim(1, -1)[unscored] == 0).all()
    assert logits.grad.movedim(1, -1)[~unscored][:, :15].abs().min() > 0
    # An unscored class may say what it likes, and a hole in the labels is like an unscored class.
    with torch.no_grad():
        logits[:, UNSCORED] = 1e4
    torch.testing.assert_close(loss(logits, labels), before)
    torch.testing.assert_close(loss(logits, labels.where(labels < 15, IGNORE)), before)


def test_cross_entropy_is_the_mean_over_counted_pixels() -> None:
    logits, labels = some_logits(CROPS), some_labels(23)
    labels[0, :4] = IGNORE
    value = SegmentationLoss(CROPS, LossConfig())(logits, labels)
    expected = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE)
    torch.testing.assert_close(value, expected)
    weights = tuple(float(i % 3) for i in range(23))
    weighted = SegmentationLoss(CROPS, LossConfig(class_weights={"crops": weights}))
    expected = F.cross_entropy(logits, labels.long(), torch.tensor(weights), ignore_index=IGNORE)
    torch.testing.assert_close(weighted(logits, labels), expected)
    smooth = SegmentationLoss(CROPS, LossConfig(label_smoothing=0.1))(logits, labels)
    expected = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE, label_smoothing=0.1)
    torch.testing.assert_close(smooth, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_many_pixels_piece_by_piece_are_the_loss_of_all_at_once(
    layout: torch.memory_format,
) -> None:
    side = 150
    assert 2 * side**2 > 2 * segmentation._PIXELS_AT_ONCE
    labels = some_labels(23, side)
    labels[1, 90:] = IGNORE
    weights = tuple(float(i % 3) for i in range(23))
    options = LossConfig(class_weights={"crops": weights}, label_smoothing=0.1)
    logits = some_logits(CROPS, side).detach().to(memory_format=layout).requires_grad_()
    SegmentationLoss(CROPS, options)(logits, labels).backward()
    alike = some_logits(CROPS, side)
    F.cross_entropy(
        alike, labels.long(), torch.tensor(weights), ignore_index=IGNORE, label_smoothing=0.1
    ).backward()
    assert logits.grad is not None
    assert alike.grad is not None
    torch.testing.assert_close(logits.grad, alike.grad, rtol=1e-4, atol=1e-9)


def test_weights_of_zero_only_are_no_division_by_zero() -> None:
    weights = (0.0, *(1.0 for _ in range(22)))
    loss = SegmentationLoss(CROPS, LossConfig(class_weights={"crops": weights}))
    assert loss(some_logits(CROPS), torch.zeros(2, 8, 8, dtype=torch.uint8)).item() == 0


def test_focal_without_gamma_is_cross_entropy_and_with_it_smaller() -> None:
    logits, labels = some_logits(CROPS), some_labels(23)
    labels[1, :, 3] = IGNORE
    plain = SegmentationLoss(CROPS, LossConfig())(logits, labels)
    focal = SegmentationLoss(CROPS, LossConfig(kind="focal", focal_gamma=0))(logits, labels)
    torch.testing.assert_close(focal, plain)
    hard = SegmentationLoss(CROPS, LossConfig(kind="focal"))(logits, labels)
    assert 0 < hard < plain


def test_dice_of_a_perfect_and_of_a_wrong_map() -> None:
    labels = some_labels(15)
    right = 50 * F.one_hot(labels.long(), 19).movedim(-1, 1).float()
    loss = SegmentationLoss(LAND_COVER, LossConfig(kind="cross_entropy+dice"))
    plain = SegmentationLoss(LAND_COVER, LossConfig())
    assert loss(right, labels) - plain(right, labels) == pytest.approx(0, abs=1e-4)
    wrong = right.roll(1, 1)[:, [*range(19)]]
    assert loss(wrong, labels) - plain(wrong, labels) == pytest.approx(1, abs=1e-2)


def test_float32_under_autocast() -> None:
    logits, labels = some_logits(LAND_COVER), some_labels(15)
    loss = SegmentationLoss(LAND_COVER, LossConfig())
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits.bfloat16(), labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.bfloat16().float(), labels))


def test_class_ids_that_do_not_start_at_zero() -> None:
    classes = tuple(LandClass(i, f"c{i}", f"c{i}", "#000000", i != 2) for i in (1, 2, 3))
    task = Task("t", "t", "t", 1, Nomenclature("n", classes))
    loss = SegmentationLoss(task, LossConfig())
    logits = torch.tensor([0.0, 9.0, 5.0]).view(1, 3, 1, 1)
    # A target is the class's place, whatever number labels and maps give it.
    target = task.to_target(np.array([[3]], np.uint8), "label")
    value = loss(logits, torch.from_numpy(target)[None])
    assert value.item() == pytest.approx(torch.tensor([0.0, 5.0]).logsumexp(0).item() - 5, abs=1e-6)


def test_coarse_logits_meet_the_nearest_labels() -> None:
    labels = torch.arange(16, dtype=torch.uint8).view(1, 4, 4) % 15
    logits = 40 * F.one_hot(labels[:, 1::2, 1::2].long(), 19).movedim(-1, 1).float()
    assert SegmentationLoss(LAND_COVER, LossConfig())(logits, labels) < 1e-6


def composite(**options: object) -> CompositeLoss:
    return CompositeLoss([LAND_COVER, CROPS], LossConfig(**options))  # type: ignore[arg-type]


def test_total_is_made_of_named_parts() -> None:
    logits = {t.name: some_logits(t) for t in (LAND_COVER, CROPS)}
    labels = {LAND_COVER.name: some_labels(19), CROPS.name: some_labels(23)}
    auxiliary = {
        sensor: {t.name: some_logits(t, 4, seed) for t in (LAND_COVER, CROPS)}
        for seed, sensor in enumerate(("AERIAL_RGBI", "SENTINEL2_TS"), start=1)
    }
    loss = composite(task_weights={"crops": 0.5}, auxiliary_weight=0.2)
    total, parts = loss(logits, labels, auxiliary)
    by_task = {
        slug: parts[slug]
        + 0.2
        * (parts[f"auxiliary/AERIAL_RGBI/{slug}"] + parts[f"auxiliary/SENTINEL2_TS/{slug}"])
        / 2
        for slug in ("land-cover", "crops")
    }
    torch.testing.assert_close(total, by_task["land-cover"] + 0.5 * by_task["crops"])
    assert parts["total"] == total
    assert len(parts) == 7
    assert not any(part.requires_grad for part in parts.values())
    total.backward()
    for sensor in auxiliary.values():
        assert all(values.grad is not None and values.grad.any() for values in sensor.values())


def test_absent_samples_do_not_count() -> None:
    logits = {LAND_COVER.name: some_logits(LAND_COVER)}
    labels = {LAND_COVER.name: some_labels(15)}
    own = some_logits(LAND_COVER, seed=3)
    loss = CompositeLoss([LAND_COVER], LossConfig())
    mask = torch.tensor([False, True])
    total, parts = loss(logits, labels, {"DEM_ELEV": {LAND_COVER.name: own}}, {"DEM_ELEV": mask})
    total.backward()
    assert own.grad is not None
    assert not own.grad[0].any()
    assert own.grad[1].any()
    alone = SegmentationLoss(LAND_COVER, LossConfig())(own[1:], labels[LAND_COVER.name][1:])
    torch.testing.assert_close(parts["auxiliary/DEM_ELEV/land-cover"], alone.detach())


def test_batch_without_any_label_leaves_the_weights_alone() -> None:
    layer = torch.nn.Conv2d(3, LAND_COVER.num_classes, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.clone()
    nothing = {LAND_COVER.name: torch.full((2, 8, 8), IGNORE, dtype=torch.uint8)}
    own = layer(torch.randn(2, 3, 8, 8))
    total, _ = CompositeLoss([LAND_COVER], LossConfig())(
        {LAND_COVER.name: own}, nothing, {"DEM_ELEV": {LAND_COVER.name: own}}
    )
    total.backward()
    optimizer.step()
    assert total.item() == 0
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dice"}, "cross_entropy"),
        ({"class_weights": {"crops": (-1.0,) * 23}}, "must not be negative"),
        ({"task_weights": {"land-cover": -1}}, "must not be negative"),
        ({"kind": "focal", "label_smoothing": 0.1}, "no meaning"),
        ({"auxilary_weight": 1}, "auxilary_weight"),
    ],
)
def test_impossible_settings(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LossConfig(**options)  # type: ignore[arg-type]


def test_settings_for_other_tasks_and_missing_labels() -> None:
    with pytest.raises(ConfigError, match="task_weights"):
        CompositeLoss([LAND_COVER], LossConfig(task_weights={"crops": 2}))
    with pytest.raises(ConfigError, match=r"unknown task in loss\.class_weights 'corps'"):
        CompositeLoss([CROPS], LossConfig(class_weights={"corps": (1.0,)}))
    with pytest.raises(ConfigError, match="needs 23 weights, got 2"):
        CompositeLoss([CROPS], LossConfig(class_weights={"crops": (1.0, 2.0)}))
    with pytest.raises(DataError, match="AERIAL_LABEL-COSIA"):
        composite()({LAND_COVER.name: some_logits(LAND_COVER)}, {})
    nothing = Nomenclature("n", (LandClass(0, "a", "a", "#000000", scored=False),))
    with pytest.raises(ConfigError, match="no scored class"):
        SegmentationLoss(Task("t", "t", "t", 1, nothing), LossConfig())
    assert set(LossConfig().ineffective()) == {"focal_gamma", "dice_weight"}
    assert set(LossConfig(kind="focal").ineffective()) == {"dice_weight"}
