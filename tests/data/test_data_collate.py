"""Samples into batches: ragged dates, missing sensors, holes, labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bocage.data import collate
from bocage.errors import ConfigError, DataError
from bocage.nomenclatures import IGNORE
from bocage.sample import Sample, Series

INPUTS = ["AERIAL_RGBI", "DEM_ELEV", "SENTINEL2_TS", "SENTINEL1-ASC_TS"]
TASKS = ["AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS"]
START = np.datetime64("2021-05-15")


def make(number: int, sensors=INPUTS, dates=3, side=8, labels=TASKS) -> Sample:
    rng = np.random.default_rng(number)
    images, series = {}, {}
    if "AERIAL_RGBI" in sensors:
        images["AERIAL_RGBI"] = rng.integers(1, 255, (4, side, side), dtype=np.uint8)
    if "DEM_ELEV" in sensors:
        images["DEM_ELEV"] = rng.uniform(1, 9, (2, side, side)).astype(np.float32)
    when = START + np.arange(dates) * 10
    if "SENTINEL2_TS" in sensors:
        values = rng.integers(1, 9000, (dates, 10, 2, 2)).astype(np.uint16)
        series["SENTINEL2_TS"] = Series(values, when)
    if "SENTINEL1-ASC_TS" in sensors:
        values = rng.uniform(0.1, 1, (dates + 1, 2, 2, 2)).astype(np.float32)
        series["SENTINEL1-ASC_TS"] = Series(values, START - 7 + np.arange(dates + 1) * 6)
    targets = {t: rng.integers(0, 9, (side, side), dtype=np.uint8) for t in labels}
    return Sample(f"p{number}", 2021, images=images, series=series, labels=targets, domain="D")


@pytest.mark.unit
def test_dates_are_padded_to_the_longest_and_counted_from_15_may():
    batch = collate([make(0, dates=1), make(1, dates=4)], INPUTS, TASKS)
    assert batch.series["SENTINEL2_TS"].shape == (2, 4, 10, 2, 2)
    assert batch.series["SENTINEL2_TS"].dtype == torch.uint16
    assert batch.dates_present["SENTINEL2_TS"].tolist() == [[True, False, False, False], [True] * 4]
    assert batch.days["SENTINEL2_TS"].tolist() == [[0, 0, 0, 0], [0, 10, 20, 30]]
    assert batch.days["SENTINEL1-ASC_TS"][0].tolist() == [-7, -1, 0, 0, 0]
    assert not batch.series["SENTINEL2_TS"][0, 1:].to(torch.int32).any()
    assert not batch.series_valid["SENTINEL2_TS"][0, 1:].any()
    assert batch.output_hw == (8, 8)
    assert batch.patch_ids == ("p0", "p1")
    assert batch.domains == ("D", "D")


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.sampled_from(INPUTS)), st.integers(0, 4)), min_size=1, max_size=4)
)
def test_any_mixture_of_sensors_becomes_a_batch(plan):
    samples = [make(i, sensors, dates) for i, (sensors, dates) in enumerate(plan)]
    batch = collate(samples, INPUTS, TASKS)
    for name in INPUTS:
        have = [name in sample.present for sample in samples]
        assert batch.present[name].tolist() == have
        is_series = name.startswith("SENT")
        holder = batch.series if is_series else batch.images
        assert (name in holder) == any(have)
        if not any(have):
            continue
        for i, sample in enumerate(samples):
            values = holder[name][i].numpy()
            if not have[i]:
                assert not values.any()
                mask = batch.series_valid if is_series else batch.valid
                assert not mask[name][i].any()
            elif is_series:
                count = len(sample.series[name])
                np.testing.assert_array_equal(values[:count], sample.series[name].values)
                assert batch.dates_present[name][i].sum() == count
                assert batch.series_valid[name][i, :count].all()
            else:
                np.testing.assert_array_equal(values, sample.images[name])
                assert batch.valid[name][i].all()
    # Nothing of a sample depends on its neighbours.
    for i, sample in enumerate(samples):
        alone = collate([sample], INPUTS, TASKS)
        for name, tensor in alone.images.items():
            assert torch.equal(tensor[0], batch.images[name][i])
        for name, tensor in alone.days.items():
            assert torch.equal(tensor[0], batch.days[name][i, : tensor.shape[1]])


@pytest.mark.unit
def test_numbers_under_a_false_mask_are_zero():
    sample = make(0)
    hole = np.ones((8, 8), dtype=bool)
    hole[2, 3] = False
    sample.images["DEM_ELEV"][:, 2, 3] = np.nan
    frames = np.ones((4, 2, 2), dtype=bool)
    frames[1, 0, 1] = False
    radar = sample.series["SENTINEL1-ASC_TS"]
    before = radar.values.copy()
    sample = Sample(
        "p",
        2021,
        images=sample.images,
        valid={"DEM_ELEV": hole},
        series={"SENTINEL1-ASC_TS": Series(radar.values, radar.dates, valid=frames)},
    )
    batch = collate([sample], INPUTS, [])
    assert torch.isfinite(batch.images["DEM_ELEV"]).all()
    assert batch.images["DEM_ELEV"][0, :, 2, 3].tolist() == [0, 0]
    assert (batch.images["DEM_ELEV"] == 0).sum() == 2
    assert batch.valid["DEM_ELEV"][0].numpy().tolist() == hole.tolist()
    zero = torch.argwhere(batch.series["SENTINEL1-ASC_TS"] == 0).tolist()
    assert zero == [[0, 1, 0, 0, 1], [0, 1, 1, 0, 1]]
    assert not batch.series_valid["SENTINEL1-ASC_TS"][0, 1, 0, 1]
    np.testing.assert_array_equal(radar.values, before)  # the sample is left as it was


@pytest.mark.unit
def test_a_label_that_a_sample_lacks_is_ignored_everywhere():
    batch = collate([make(0, labels=TASKS[:1]), make(1)], INPUTS, TASKS)
    assert (batch.labels["ALL_LABEL-LPIS"][0] == IGNORE).all()
    assert (batch.labels["ALL_LABEL-LPIS"][1] != IGNORE).all()
    assert batch.labels["AERIAL_LABEL-COSIA"].dtype == torch.uint8


@pytest.mark.unit
def test_without_labels_the_finest_sensor_gives_the_size():
    assert collate([make(0, labels=[])], INPUTS, TASKS).output_hw == (8, 8)
    series_only = make(0, ["SENTINEL2_TS"], labels=[])
    assert collate([series_only], INPUTS, TASKS).output_hw == (2, 2)
    batch = collate([series_only], INPUTS, TASKS, output_hw=(5, 6))
    assert batch.labels["ALL_LABEL-LPIS"].shape == (1, 5, 6)
    with pytest.raises(DataError, match="without labels and without a single sensor"):
        collate([make(0, [], labels=[])], INPUTS, TASKS)


@pytest.mark.unit
def test_patches_of_different_size_are_named():
    with pytest.raises(DataError, match=r"8 x 8 pixels of uint8 in patch p0 but 4 x 4.*patch p1"):
        collate([make(0), make(1, side=4)], INPUTS, TASKS)
    with pytest.raises(DataError, match=r"labels are 8 x 8 pixels in patch p0 but 4 x 4.*p1"):
        collate([make(0, []), make(1, [], side=4)], INPUTS, TASKS)
    with pytest.raises(ConfigError, match="unknown modality 'AERIAL_RGBN'"):
        collate([make(0)], ["AERIAL_RGBN"], TASKS)
