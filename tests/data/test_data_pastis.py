"""PASTIS-R in both of its forms."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from bocage.config import load_config
from bocage.data import PatchDataModule, build_index, collate, get_layout
from bocage.errors import DataError
from bocage.losses import CompositeLoss
from bocage.models import build_network

S2, ASC, DESC, CROPS = "SENTINEL2_TS", "SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS", "ALL_LABEL-LPIS"


def published(root: Path) -> Path:
    """Two patches as published, one without radar."""
    rng = np.random.default_rng(0)
    features = []
    for patch, fold in ((10000, 1), (10001, 5)):
        for part, dates, bands in (("S2", 4, 10), ("S1A", 3, 3), ("S1D", 2, 3)):
            if part != "S2" and patch == 10001:
                continue
            folder = root / f"DATA_{part}"
            folder.mkdir(exist_ok=True)
            shape = (dates, bands, 16, 16)
            values = rng.integers(-50, 3000, shape) if part == "S2" else rng.normal(-12, 2, shape)
            np.save(folder / f"{part}_{patch}.npy", values.astype(np.int16))
        (root / "ANNOTATIONS").mkdir(exist_ok=True)
        target = np.zeros((3, 16, 16), np.uint8)
        target[0, :4], target[0, 4:8], target[0, 8:] = 2, 19, 16
        np.save(root / "ANNOTATIONS" / f"TARGET_{patch}.npy", target)
        days = {
            "S2": [20180924, 20181004, 20190301, 20190620],
            "S1A": [20180925, 20181001, 20181007],
            "S1D": [20180926, 20181002],
        }
        listed = {f"dates-{k}": {str(i): d for i, d in enumerate(v)} for k, v in days.items()}
        features.append(
            {"properties": {"ID_PATCH": patch, "Fold": fold, "TILE": "t30uxv", **listed}}
        )
    (root / "metadata.geojson").write_text(json.dumps({"features": features}))
    return root


@pytest.mark.unit
def test_the_published_form(tmp_path: Path) -> None:
    root = published(tmp_path)
    index = build_index(root, "pastis")
    assert [r.splits["split_folds"] for r in index] == ["train", "test"]
    sample = get_layout("pastis").read(root, index[0], [S2, ASC, DESC], ["crops"])
    assert sample.series[S2].values.shape == (4, 10, 16, 16)
    assert sample.series[S2].values.dtype == np.uint16
    stored = np.load(root / "DATA_S1A" / "S1A_10000.npy")
    linear = sample.series[ASC].values
    assert linear.shape == (3, 2, 16, 16)
    np.testing.assert_allclose(10 * np.log10(linear), stored[:, :2], atol=1e-4)
    label = sample.labels[CROPS]
    assert [label[0, 0], label[5, 0], label[9, 0]] == [1, 255, 18]
    other = get_layout("pastis").read(root, index[1], [S2, ASC], ["crops"])
    assert other.present == (S2,)
    assert collate([sample, other], [S2, ASC], ["crops"]).present[ASC].tolist() == [True, False]


@pytest.mark.unit
def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither metadata\.geojson nor _meta\.csv"):
        list(get_layout("pastis").scan(tmp_path))
    root = published(tmp_path)
    record = next(get_layout("pastis").scan(root))
    np.save(root / "DATA_S2" / "S2_10000.npy", np.zeros((3, 10, 16, 16), np.int16))
    with pytest.raises(DataError, match=r"S2_10000.npy: array of shape \(3, .*expected \(4 dates"):
        get_layout("pastis").read(root, record, [S2], [])
    (root / "DATA_S1A" / "S1A_10000.npy").write_bytes(b"x")
    with pytest.raises(DataError, match=r"S1A_10000.npy: not a readable array"):
        get_layout("pastis").read(root, record, [ASC], [])
    (root / "metadata.geojson").write_text('{"features": [{"properties": {}}]}')
    with pytest.raises(DataError, match="not PASTIS's metadata"):
        list(get_layout("pastis").scan(root))
    only = tmp_path / "samples"
    (only / "sample_1").mkdir(parents=True)
    (only / "_meta.csv").write_text("tortilla:id,tortilla:data_split,tile\nsample_1,train,t1\n")
    with pytest.raises(DataError, match="none of their files"):
        list(get_layout("pastis").scan(only))
    (only / "sample_1" / "_meta.csv").write_text("tortilla:id,dates\ns2,[20180917]\n")
    with h5py.File(only / "sample_1" / "s2.h5", "w") as file:
        file["other"] = 1
    record = next(get_layout("pastis").scan(only))
    with pytest.raises(DataError, match=r"s2.h5: no array 'data'"):
        get_layout("pastis").read(only, record, [S2], [])


@pytest.mark.real
def test_real_samples_reach_a_training_step(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "pastis"
    config = load_config(
        "pastis",
        [
            f"data.root={root}", f"data.index={tmp_path / 'index.parquet'}",
            "data.split_column=split_samples", "data.num_workers=0",
            "network.temporal.width=16", "network.fusion.width=16", "network.decoder.width=16",
        ],
    )  # fmt: skip
    build_index(root, "pastis").write(tmp_path / "index.parquet")
    names = [i.modality for i in config.network.inputs]
    data = PatchDataModule(config.data, names, config.task_list, 0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.series[S2].shape[1:] == (3, 10, 32, 32)
    # Autumn: bare fields and meadows, C band between -25 and 5 dB.
    decibel = 10 * batch.series[ASC].log10()
    assert -22 < decibel[:, :, 1].median() < decibel[:, :, 0].median() < -5
    network = build_network(config.network).train()
    output = network(**batch.network_inputs())
    loss, _ = CompositeLoss(config.task_list, config.loss)(output.logits, batch.labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert {int(v) for v in batch.labels[CROPS].unique()} - {255} <= set(range(23))
