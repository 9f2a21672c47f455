"""The challenges' classes and their one score."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bocage.evaluation import ConfusionMatrix, decide, score
from bocage.nomenclatures import COSIA, FLAIR1, FLAIR1_TO_COSIA, FLAIR_12, FLAIR_CHALLENGE, get_task

pytestmark = pytest.mark.unit


def test_twelve_classes_and_all_the_others() -> None:
    assert get_task("land-cover-12") is FLAIR_12
    assert FLAIR_12.num_classes == 13
    assert FLAIR_CHALLENGE.scored_ids == tuple(range(12))
    for code in FLAIR1.ids:
        given = FLAIR1.by_id(code)
        ours = FLAIR_CHALLENGE.by_id(min(code - 1, 12))
        if code <= 12:
            assert (ours.name, ours.name_fr, ours.color) == (given.name, given.name_fr, given.color)
        else:
            assert (ours.name, ours.name_fr) == ("other", "autre")


def test_every_code_reaches_its_output_by_way_of_cosia() -> None:
    codes = np.arange(1, 20).reshape(1, -1)
    cosia = np.array([[FLAIR1_TO_COSIA[code] for code in codes[0]]])
    expected = np.minimum(codes, 13) - 1
    assert (FLAIR_12.to_target(cosia, "x") == expected).all()
    assert sorted(raw for raw, _ in FLAIR_12.recode) == list(COSIA.ids)


def _challenge_score(matrix: np.ndarray) -> float:
    """As the challenges define it: all 13 classes counted, the mean over the first 12 that occur
    in reference or prediction."""
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    iou = [np.diag(matrix)[k] / union[k] for k in range(12) if union[k]]
    return float(np.mean(iou))


def test_the_score_is_the_challenges() -> None:
    rng = np.random.default_rng(0)
    # Class 5 has no reference pixel but is predicted; class 6 occurs in neither.
    target = rng.choice([0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12], (2, 64, 64)).astype(np.uint8)
    prediction = np.where(
        rng.random(target.shape) < 0.6, target % 12, rng.choice([0, 3, 5, 9], target.shape)
    )
    prediction[prediction == 6] = 0
    confusion = ConfusionMatrix(FLAIR_12, ["all"])
    confusion.update(torch.from_numpy(prediction), torch.from_numpy(target))
    matrix = np.zeros((13, 13), dtype=np.int64)
    np.add.at(matrix, (target.ravel(), prediction.ravel()), 1)
    assert (confusion.compute().numpy() == matrix).all()

    scores = score(matrix, FLAIR_12)
    assert scores.miou == pytest.approx(_challenge_score(matrix))
    assert len(scores.classes) == 12
    assert scores.classes[5].iou == 0.0
    assert scores.classes[6].iou is None
    # Pixels of other classes are false alarms, but no part of the accuracy.
    scored = target < 12
    assert scores.pixels == scored.sum()
    assert scores.overall_accuracy == pytest.approx((prediction == target)[scored].mean())
    without = matrix.copy()
    without[12] = 0
    assert scores.miou < score(without, FLAIR_12).miou


def test_ignored_pixels_count_nowhere() -> None:
    confusion = ConfusionMatrix(FLAIR_12, ["all"])
    confusion.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 255]]], dtype=torch.uint8))
    assert confusion.compute().sum() == 1


def test_other_is_never_predicted() -> None:
    logits = torch.zeros(1, 13, 2, 2)
    logits[:, 12] = 9
    logits[:, 4] = 1
    assert (decide(logits, FLAIR_12) == 4).all()
