"""Imagery that no one here made: indexed, read and collated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bocage.data import DataConfig, PatchDataset, PatchIndex, build_index, collate, show_patch
from bocage.sample import Batch

pytestmark = pytest.mark.real


def load(root, layout: str, inputs: list[str], task: str) -> tuple[PatchIndex, Batch]:
    index = build_index(root, layout)
    assert index.problems == ()
    dataset = PatchDataset(index, DataConfig(root=root, layout=layout), inputs, [task])
    return index, collate([dataset[i] for i in range(len(dataset))], inputs, [task])


def test_flair2_patches_whose_masks_name_their_crs_in_words(real_data, tmp_path):
    index, batch = load(
        real_data / "flair2", "flair", ["AERIAL_RGBI", "AERIAL_HEIGHT"], "land-cover"
    )
    assert len(batch) == 7
    splits = [r.splits["split_flair2"] for r in index]
    assert (splits.count("train"), splits.count("valid")) == (5, 2)
    assert {r.epsg for r in index} == {2154}
    label = batch.labels["AERIAL_LABEL-COSIA"]
    # Codes 1 to 8 and 10 of FLAIR #1 are there, nothing else.
    assert set(label.unique().tolist()) == {0, 3, 4, 5, 6, 8, 12, 13, 14}
    assert index.class_counts("land-cover").sum() == label.numel()
    # Where both are, trees and roofs stand above paths: labels and heights lie on each other.
    ponds = batch.patch_ids.index("D033_2021_Z16_UF_024577")
    height = batch.images["AERIAL_HEIGHT"][ponds, 0].float()
    ground, trees, roofs = (height[label[ponds] == c].mean() for c in (4, 12, 0))
    assert min(trees, roofs) > 4 * ground
    record = index.record("D033_2021_Z16_UF_024577")
    show_patch(real_data / "flair2", "flair", record, tmp_path / "patch.png")
    assert (tmp_path / "patch.png").stat().st_size > 50_000


def test_treesatai_series_are_what_they_seem(real_data):
    inputs = ["AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS"]
    _, batch = load(real_data / "treesatai_ts", "treesatai", inputs, "land-cover")
    assert batch.images["AERIAL_RGBI"].shape == (5, 4, 304, 304)
    assert (batch.labels["AERIAL_LABEL-COSIA"] == 12).all()
    assert all(batch.present[name].all() for name in inputs)
    optical = batch.series["SENTINEL2_TS"].to(torch.float32)
    summer = batch.dates_present["SENTINEL2_TS"] & (batch.days["SENTINEL2_TS"].abs() < 60)
    spectrum = optical[summer].mean(dim=(0, 2, 3))
    # Green leaves: dark red, a rise through the red edge, a plateau in the near infrared.
    assert spectrum[2] < spectrum[3] < spectrum[4] < spectrum[5]
    assert spectrum[6] > 4 * spectrum[2]
    for name in ("SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS"):
        seen = batch.series_valid[name][:, :, None].expand_as(batch.series[name])
        assert (batch.series[name][seen] > 0).all()
        days = batch.days[name][0][batch.dates_present[name][0]]
        assert (days.diff() > 0).all()  # slices of one pass are one date


def test_crop_cubes_are_two_domains_of_tiles(real_data):
    inputs = ["SENTINEL2_TS", "SENTINEL1-ASC_TS"]
    index, batch = load(real_data / "crop_cubes", "crop-cube", inputs, "crops")
    assert index.domains == ("00002806639B424A", "0000280849BAC91C")
    assert [r.year for r in index] == [2018] * 16 + [2019] * 16
    counts = {d: index.select(domains=[d]).class_counts("crops").sum(axis=0) for d in index.domains}
    # Grass, wheat, barley, maize, pulses, beet, potatoes, vegetables, as counted in the files.
    classes = [0, 1, 2, 3, 11, 13, 14, 15]
    assert counts["00002806639B424A"][classes].tolist() == [835, 0, 0, 1249, 96, 0, 25, 31]
    assert counts["0000280849BAC91C"][classes].tolist() == [1387, 1378, 366, 413, 0, 154, 27, 0]
    assert batch.output_hw == (16, 16)
    assert batch.series["SENTINEL1-ASC_TS"].shape == (32, 159, 2, 16, 16)
    radar = batch.series["SENTINEL1-ASC_TS"][batch.dates_present["SENTINEL1-ASC_TS"]].numpy()
    median = 10 * np.log10(np.median(radar, axis=(0, 2, 3)))
    assert -12 < median[0] < -7
    assert -20 < median[1] < -14
    # Maize greens in summer, winter wheat has ripened by then.
    optical = batch.series["SENTINEL2_TS"].to(torch.float32)
    ndvi = (optical[:, :, 6] - optical[:, :, 2]) / (optical[:, :, 6] + optical[:, :, 2] + 1)
    august = batch.dates_present["SENTINEL2_TS"] & (batch.days["SENTINEL2_TS"] - 90).abs().le(15)
    label = batch.labels["ALL_LABEL-LPIS"]
    total = {1: [], 3: []}
    for i in range(16, 32):
        for frame in ndvi[i][august[i]]:
            for crop, values in total.items():
                values.append(frame[label[i] == crop])
    wheat, maize = (torch.cat(total[crop]).mean() for crop in (1, 3))
    assert maize > wheat + 0.2
