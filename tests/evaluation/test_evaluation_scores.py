"""Scores against small matrices that can be checked by hand, and against scikit-learn."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from bocage.evaluation import ConfusionMatrix, score, write_report
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER

pytestmark = pytest.mark.unit


def _land_cover(pairs: list[tuple[int, int, int]]) -> np.ndarray:
    matrix = np.zeros((19, 19), dtype=np.int64)
    for target, prediction, pixels in pairs:
        matrix[target, prediction] = pixels
    return matrix


def test_hand_made_matrix() -> None:
    scores = score(_land_cover([(0, 0, 6), (0, 3, 2), (3, 3, 9), (3, 0, 3)]), LAND_COVER)
    building, road = scores.classes[0], scores.classes[3]
    assert scores.overall_accuracy == pytest.approx(15 / 20)
    assert building.iou == pytest.approx(6 / 11)
    assert building.precision == pytest.approx(6 / 9)
    assert building.recall == pytest.approx(6 / 8)
    assert road.f1 == pytest.approx(2 * 9 / (12 + 11))
    assert scores.miou == pytest.approx((6 / 11 + 9 / 14) / 2)
    assert scores.miou_all_classes == pytest.approx((6 / 11 + 9 / 14) / 15)


def test_an_unscored_prediction_is_an_error() -> None:
    confusion = ConfusionMatrix(LAND_COVER, ["D001"])
    target = torch.zeros(1, 10, 10, dtype=torch.uint8)
    prediction = target.clone()
    prediction[0, :3] = 18  # 30 % of the buildings called "undefined"
    confusion.update(prediction, target)
    scores = score(confusion.compute().numpy(), LAND_COVER)
    assert scores.classes[0].iou == pytest.approx(0.7)
    assert scores.overall_accuracy == pytest.approx(0.7)


def test_a_perfect_map_scores_one_whatever_is_absent() -> None:
    scores = score(_land_cover([(0, 0, 5), (8, 8, 7)]), LAND_COVER)
    assert scores.miou == 1.0
    assert scores.classes[1].iou is None


def test_two_frequent_classes_do_not_hide_the_rest() -> None:
    pairs = [(0, 0, 500), (8, 8, 500)] + [(c, 0, 1) for c in range(15) if c not in (0, 8)]
    scores = score(_land_cover(pairs), LAND_COVER)
    assert scores.miou is not None
    assert scores.miou < 0.14


def test_ignored_and_unscored_references_are_not_counted() -> None:
    confusion = ConfusionMatrix(LAND_COVER, ["D001"])
    target = torch.tensor([[[IGNORE, 15, 16, 17, 18, 4]]], dtype=torch.uint8)
    confusion.update(torch.zeros_like(target), target)
    assert confusion.compute().sum() == 1


def test_nothing_counted_gives_no_score() -> None:
    scores = score(np.zeros((23, 23), dtype=np.int64), CROPS)
    assert scores.miou is None
    assert scores.overall_accuracy is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_agrees_with_scikit_learn(seed: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 23, (batch, 9, 7)).astype(np.uint8)
    target[rng.random(target.shape) < 0.1] = IGNORE
    prediction = rng.integers(0, 23, target.shape).astype(np.uint8)
    confusion = ConfusionMatrix(CROPS, ["a", "b"])
    confusion.update(torch.from_numpy(prediction), torch.from_numpy(target), ["b"] * batch)
    keep = target != IGNORE
    expected = confusion_matrix(target[keep], prediction[keep], labels=range(23))
    assert np.array_equal(confusion.compute().numpy(), expected)
    assert list(confusion.by_domain()) == ["b"]
    present = np.unique(target[keep])
    scores = score(expected, CROPS)
    reference = f1_score(
        target[keep], prediction[keep], labels=present, average="macro", zero_division=0
    )
    assert scores.macro_f1 == pytest.approx(reference)


def test_report_files(tmp_path) -> None:
    confusion = ConfusionMatrix(CROPS, ["D012-2019", "D068-2021"])
    target = torch.randint(0, 23, (2, 16, 16), dtype=torch.uint8)
    confusion.update(target, target, ["D012-2019", "D068-2021"])
    write_report(tmp_path, {CROPS.name: confusion}, {"run": "r", "split": "test"})
    document = json.loads((tmp_path / "scores.json").read_text())
    task = document["tasks"][CROPS.name]
    assert task["overall"]["miou"] == 1.0
    assert set(task["domains"]) == {"D012-2019", "D068-2021"}
    assert np.sum(task["confusion"]["counts"]) == 512
    assert "overall accuracy 100.0" in (tmp_path / "scores.txt").read_text()
    assert (tmp_path / "confusion-crops.png").read_bytes().startswith(b"\x89PNG")
