"""The eight symmetries: a group, and one motion for all sensors and labels of a patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bocage.data import collate
from bocage.data.augment import AugmentConfig, augment
from bocage.data.augment.turns import inverse, turn, turn_batch
from bocage.data.loader import generators
from bocage.errors import ConfigError
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


def turned(batch: Batch, seed: int = 1) -> Batch:
    return augment(batch, AugmentConfig(), generators(seed, 0, range(len(batch))))


@pytest.mark.unit
def test_patches_that_are_not_square_keep_their_size():
    flipped = turned(batch_of(*[scene(8, 16) for _ in range(32)]))
    assert flipped.labels["AERIAL_LABEL-COSIA"].shape == (32, 8, 16)
    distinct = {tuple(t.flatten().tolist()) for t in flipped.labels["AERIAL_LABEL-COSIA"]}
    assert len(distinct) == 4


@pytest.mark.unit
def test_patches_draw_for_themselves_reproducibly_and_missing_sensors_stay_missing():
    batch = batch_of(scene(present=False), *[scene() for _ in range(63)])
    before = batch.labels["AERIAL_LABEL-COSIA"].clone()
    first, again, other = turned(batch), turned(batch), turned(batch, seed=2)
    labels = first.labels["AERIAL_LABEL-COSIA"]
    assert len({tuple(t.flatten().tolist()) for t in labels}) == 8
    assert torch.equal(labels, again.labels["AERIAL_LABEL-COSIA"])
    assert not torch.equal(labels, other.labels["AERIAL_LABEL-COSIA"])
    assert torch.equal(batch.labels["AERIAL_LABEL-COSIA"], before)
    assert not first.series["SENTINEL2_TS"][0].to(torch.int64).any()
    assert first.series["SENTINEL2_TS"].dtype == torch.uint16
    alone = turned(batch_of(scene(present=False)))
    assert alone.present["SENTINEL2_TS"].tolist() == [False]


EVERYTHING = AugmentConfig(zoom=0.5, colour=0.2, haze=0.3, drop_dates=0.5, clouds=0.5)


def rich(seed: int, dates: int = 6, radar: bool = True) -> Sample:
    """A patch with all kinds of sensors, at sizes that do not divide each other."""
    rng = np.random.default_rng(seed)
    days = np.datetime64("2021-04-01") + 9 * np.arange(dates)
    valid = np.ones((dates, 5, 5), dtype=bool)
    valid[0] = False
    optical = rng.integers(300, 3000, (dates, 10, 5, 5)).astype(np.uint16)
    optical[~valid.repeat(10, 0).reshape(dates, 10, 5, 5)] = 0
    height = rng.random((2, 16, 16), dtype=np.float32) * 30 + 100
    hole = np.ones((16, 16), dtype=bool)
    hole[3:6, 4:9] = False
    height[:, ~hole] = 0
    series = {"SENTINEL2_TS": Series(optical, days, valid=valid)}
    if radar:
        values = rng.random((dates, 2, 5, 5), dtype=np.float32) * 0.1 + 0.01
        series["SENTINEL1-ASC_TS"] = Series(values, days)
    return Sample(
        f"p{seed}",
        2021,
        images={
            "AERIAL_RGBI": rng.integers(40, 220, (4, 16, 16)).astype(np.uint8),
            "DEM_ELEV": height,
        },
        valid={"DEM_ELEV": hole},
        series=series,
        labels={"AERIAL_LABEL-COSIA": rng.integers(0, 15, (16, 16)).astype(np.uint8)},
    )


RICH = ("AERIAL_RGBI", "DEM_ELEV", "SENTINEL2_TS", "SENTINEL1-ASC_TS")


def mixed(*samples: Sample) -> Batch:
    return collate(samples, RICH, ["AERIAL_LABEL-COSIA"])


def row(batch: Batch, place: int, dates: int) -> list[torch.Tensor]:
    parts = [batch.images, batch.valid, batch.labels]
    whole = [part[name][place] for part in parts for name in sorted(part)]
    timed = [batch.series, batch.series_valid, batch.dates_present]
    return whole + [part[n][place, :dates] for part in timed for n in sorted(part)]


@pytest.mark.unit
def test_a_draw_does_not_depend_on_its_neighbours():
    together = augment(
        mixed(rich(1), rich(2, dates=70)), EVERYTHING, generators(5, 3, range(8, 10))
    )
    for place, sample in ((0, rich(1)), (1, rich(2, dates=70))):
        own = generators(5, 3, range(8 + place, 9 + place))
        alone = augment(mixed(sample), EVERYTHING, own)
        dates = 6 if place == 0 else 70
        for ours, theirs in zip(row(alone, 0, dates), row(together, place, dates), strict=True):
            assert ours.dtype == theirs.dtype
            torch.testing.assert_close(ours.float(), theirs.float(), rtol=1e-5, atol=1e-4)


@pytest.mark.unit
def test_types_masks_and_inputs_stay_what_they_were():
    batch = mixed(rich(1), rich(2, radar=False))
    before = [t.clone() for t in row(batch, 0, 6) + row(batch, 1, 6)]
    after = augment(batch, EVERYTHING, generators(1, 1, range(2)))
    for kept, now in zip(before, row(batch, 0, 6) + row(batch, 1, 6), strict=True):
        assert torch.equal(kept, now)
    assert after.images["AERIAL_RGBI"].dtype == torch.uint8
    assert after.series["SENTINEL2_TS"].dtype == torch.uint16
    assert after.present["SENTINEL1-ASC_TS"].tolist() == [True, False]
    assert not after.series["SENTINEL1-ASC_TS"][1].any()
    hidden = ~after.series_valid["SENTINEL2_TS"][:, :, None].expand_as(after.series["SENTINEL2_TS"])
    assert not after.series["SENTINEL2_TS"].float()[hidden].any()
    elevation, known = (
        after.images["DEM_ELEV"],
        after.valid["DEM_ELEV"][:, None].expand(-1, 2, -1, -1),
    )
    assert not elevation[~known].any()
    # Interpolated among known pixels only: a hole of zeros never bleeds into what is beside it.
    assert elevation[known].min() >= 100
    assert not (
        after.series_valid["SENTINEL2_TS"] & ~after.dates_present["SENTINEL2_TS"][..., None, None]
    ).any()


@pytest.mark.unit
def test_zoom_keeps_sensors_and_labels_on_top_of_each_other():
    batch = batch_of(*[scene(64, 64) for _ in range(16)])
    zoomed = augment(
        batch, AugmentConfig(zoom=1.0, flips_and_turns=False), generators(3, 0, range(16))
    )
    label = zoomed.labels["AERIAL_LABEL-COSIA"].float()
    assert not torch.equal(label, batch.labels["AERIAL_LABEL-COSIA"].float())
    photo = zoomed.images["AERIAL_RGBI"][:, 0].float()
    # The drawing's values are the classes: away from its edges both must agree exactly.
    agree = (photo == label).float().mean()
    assert agree > 0.7
    shifted = (photo[:, 4:] == label[:, :-4]).float().mean()
    assert agree > shifted + 0.2
    assert set(label.unique().tolist()) <= set(batch.labels["AERIAL_LABEL-COSIA"].unique().tolist())


@pytest.mark.unit
def test_dates_are_dropped_but_never_all():
    batch = mixed(*[rich(i, dates=2) for i in range(40)])
    left = augment(batch, AugmentConfig(drop_dates=0.99), generators(1, 0, range(40)))
    counts = left.dates_present["SENTINEL1-ASC_TS"].sum(1)
    assert counts.min() == 1
    assert 40 < counts.sum() < 80
    few = augment(batch, AugmentConfig(drop_dates=0.3), generators(1, 0, range(40)))
    share = few.dates_present["SENTINEL1-ASC_TS"].float().mean()
    assert 0.75 < share < 0.95


@pytest.mark.unit
def test_clouds_are_bright_and_only_where_the_sensor_saw():
    batch = mixed(*[rich(i) for i in range(12)])
    config = AugmentConfig(clouds=0.5, flips_and_turns=False)
    cloudy = augment(batch, config, generators(1, 0, range(12)))
    before = batch.series["SENTINEL2_TS"].float().mean(2)
    after = cloudy.series["SENTINEL2_TS"].float().mean(2)
    touched = (after != before).flatten(2).any(2)
    assert 0.25 < touched[:, 1:].float().mean() < 0.6
    assert not touched[:, 0].any()
    assert (after - before).min() > -1
    assert after.max() > 4000
    assert torch.equal(cloudy.series["SENTINEL1-ASC_TS"], batch.series["SENTINEL1-ASC_TS"])


@pytest.mark.unit
def test_light_changes_bands_as_far_as_asked_and_elevation_never():
    batch = mixed(*[rich(i) for i in range(30)])
    config = AugmentConfig(colour=0.1, flips_and_turns=False)
    lit = augment(batch, config, generators(1, 0, range(30)))
    ratio = lit.images["AERIAL_RGBI"].float().mean((2, 3)) / batch.images[
        "AERIAL_RGBI"
    ].float().mean((2, 3))
    assert 0.05 < (ratio - 1).abs().max() < 0.15
    assert ratio.std(1).max() > 0.005
    assert torch.equal(lit.images["DEM_ELEV"], batch.images["DEM_ELEV"])
    radar = lit.series["SENTINEL1-ASC_TS"] / batch.series["SENTINEL1-ASC_TS"]
    decibel = 10 * radar.log10().mean((1, 2, 3, 4))
    assert 0.3 < decibel.abs().max() <= 1.0
    hazy = augment(
        batch, AugmentConfig(haze=0.4, flips_and_turns=False), generators(1, 0, range(30))
    )
    spread = hazy.images["AERIAL_RGBI"].float().std((2, 3)) / batch.images[
        "AERIAL_RGBI"
    ].float().std((2, 3))
    assert spread.max() <= 1.01
    assert spread[:, 2].mean() < spread[:, 0].mean() < spread[:, 3].mean()


@pytest.mark.unit
def test_surroundings_cannot_be_enlarged_with_the_patch():
    batch = collate([rich(1)], ["SENTINEL2_SUPERPATCH", "AERIAL_RGBI"], [])
    with pytest.raises(ConfigError, match="SENTINEL2_SUPERPATCH covers more ground"):
        augment(batch, AugmentConfig(zoom=0.2), generators(1, 0, range(1)))
