"""The eight symmetries: a group, and one motion for all sensors and labels of a patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bocage.data import collate
from bocage.data.augment import flip_and_turn, inverse, turn, turn_batch
from bocage.sample import Batch, Sample, Series

CODES = st.integers(0, 7)
SQUARE = torch.arange(2 * 5 * 5).reshape(2, 5, 5)


def scene(height: int = 16, width: int = 16, present: bool = True) -> Sample:
    """The same drawing on every grid: a sensor of half the resolution sees every 2 x 2 block."""
    coarse = np.random.default_rng(3).integers(0, 9, (height // 4, width // 4), dtype=np.uint8)
    fine = coarse.repeat(4, axis=0).repeat(4, axis=1)
    middle = coarse.repeat(2, axis=0).repeat(2, axis=1)
    frames = np.broadcast_to(coarse, (3, 10, *coarse.shape)).astype(np.uint16)
    valid = np.ones((3, *coarse.shape), dtype=bool)
    valid[0, 0, 0] = False
    dates = np.datetime64("2021-06-01") + np.arange(3)
    series = {"SENTINEL2_TS": Series(frames + 1, dates, valid=valid)} if present else {}
    return Sample(
        "p",
        2021,
        images={
            "AERIAL_RGBI": np.stack([fine] * 4),
            "AERIAL-RLT_PAN": middle[None],
        },
        series=series,
        labels={"AERIAL_LABEL-COSIA": fine},
    )


def batch_of(*samples: Sample) -> Batch:
    return collate(
        samples, ["AERIAL_RGBI", "AERIAL-RLT_PAN", "SENTINEL2_TS"], ["AERIAL_LABEL-COSIA"]
    )


@pytest.mark.property
@given(CODES)
def test_the_inverse_undoes(code):
    assert torch.equal(turn(turn(SQUARE, code), inverse(code)), SQUARE)
    assert torch.equal(turn(turn(SQUARE, inverse(code)), code), SQUARE)


@pytest.mark.property
@given(CODES, CODES)
def test_two_motions_are_one(first, second):
    both = turn(turn(SQUARE, first), second)
    assert sum(torch.equal(both, turn(SQUARE, code)) for code in range(8)) == 1


@pytest.mark.unit
def test_all_eight_differ_and_a_quarter_turn_is_among_them():
    results = {tuple(turn(SQUARE, code).flatten().tolist()) for code in range(8)}
    assert len(results) == 8
    assert tuple(torch.rot90(SQUARE, 1, (-2, -1)).flatten().tolist()) in results


@pytest.mark.property
@given(st.lists(CODES, min_size=1, max_size=4))
def test_sensors_masks_and_labels_move_together_on_every_grid(codes):
    batch = turn_batch(batch_of(*[scene() for _ in codes]), codes)
    label = batch.labels["AERIAL_LABEL-COSIA"]
    for i, code in enumerate(codes):
        expected = turn(torch.from_numpy(scene().labels["AERIAL_LABEL-COSIA"]), code)
        assert torch.equal(label[i], expected)
    assert torch.equal(batch.images["AERIAL_RGBI"], label[:, None].expand(-1, 4, -1, -1))
    assert torch.equal(batch.images["AERIAL-RLT_PAN"][:, 0], label[:, ::2, ::2])
    optical = batch.series["SENTINEL2_TS"].to(torch.int64)
    seen = batch.series_valid["SENTINEL2_TS"]
    coarse = (label[:, ::4, ::4].to(torch.int64) + 1)[:, None, None].expand_as(optical)
    hole = ~seen[:, :, None].expand_as(optical)
    assert torch.equal(optical, torch.where(hole, 0, coarse))
    assert (~seen).sum() == len(codes)


@pytest.mark.unit
def test_patches_that_are_not_square_keep_their_size():
    generator = torch.Generator().manual_seed(0)
    batch = batch_of(*[scene(8, 16) for _ in range(32)])
    turned = flip_and_turn(batch, generator)
    assert turned.labels["AERIAL_LABEL-COSIA"].shape == (32, 8, 16)
    distinct = {tuple(t.flatten().tolist()) for t in turned.labels["AERIAL_LABEL-COSIA"]}
    assert len(distinct) == 4


@pytest.mark.unit
def test_patches_draw_for_themselves_reproducibly_and_missing_sensors_stay_missing():
    batch = batch_of(scene(present=False), *[scene() for _ in range(63)])
    before = batch.labels["AERIAL_LABEL-COSIA"].clone()
    first = flip_and_turn(batch, torch.Generator().manual_seed(1))
    again = flip_and_turn(batch, torch.Generator().manual_seed(1))
    other = flip_and_turn(batch, torch.Generator().manual_seed(2))
    labels = first.labels["AERIAL_LABEL-COSIA"]
    assert len({tuple(t.flatten().tolist()) for t in labels}) == 8
    assert torch.equal(labels, again.labels["AERIAL_LABEL-COSIA"])
    assert not torch.equal(labels, other.labels["AERIAL_LABEL-COSIA"])
    assert torch.equal(batch.labels["AERIAL_LABEL-COSIA"], before)
    assert not first.series["SENTINEL2_TS"][0].to(torch.int64).any()
    assert first.series["SENTINEL2_TS"].dtype == torch.uint16
    alone = batch_of(scene(present=False))
    assert flip_and_turn(alone, torch.Generator()).present["SENTINEL2_TS"].tolist() == [False]
