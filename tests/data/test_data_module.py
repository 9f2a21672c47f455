"""Dataset and data module: policies, loaders, errors through processes."""

from __future__ import annotations

import lightning
import numpy as np
import pytest
import torch

from bocage.data import DataConfig, PatchDataModule, PatchDataset, PatchIndex
from bocage.data.augment import AugmentConfig
from bocage.errors import ConfigError, DataError
from bocage.sample import Batch, Sample
from bocage.series import SeriesConfig

INPUTS = ["AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL1-ASC_TS"]
TASKS = ["land-cover", "crops"]


def config(hub, **fields) -> DataConfig:
    return DataConfig(**{"root": hub.root, "batch_size": 2, "num_workers": 0, **fields})


def samples(hub, inputs=INPUTS, tasks=(), **fields) -> PatchDataset:
    return PatchDataset(hub.index(), config(hub, **fields), inputs, tasks)


def module(hub, inputs=INPUTS, tasks=TASKS, seed=1, **fields) -> PatchDataModule:
    return PatchDataModule(config(hub, **fields), inputs, tasks, seed)


@pytest.mark.integration
def test_cloudy_dates_are_left_out(one_patch):
    series = samples(one_patch)[0].series["SENTINEL2_TS"]
    assert series.dates.astype(str).tolist() == ["2020-12-28", "2021-06-01", "2021-07-15"]
    every = samples(one_patch, series=SeriesConfig(min_clear=0))[0].series["SENTINEL2_TS"]
    assert len(every) == 4


@pytest.mark.integration
def test_series_are_thinned_evenly(one_patch):
    thin = samples(one_patch, series=SeriesConfig(max_dates=2))[0]
    assert thin.series["SENTINEL2_TS"].dates.astype(str).tolist() == ["2020-12-28", "2021-07-15"]
    assert len(thin.series["SENTINEL1-ASC_TS"]) == 2


@pytest.mark.integration
def test_no_usable_date_is_an_absent_sensor_and_cloudy_dates_stay_out(one_patch):
    one_patch.replace("SENTINEL2_MSK-SC", np.full((8, 10, 10), 80, np.uint16))
    sample = samples(one_patch)[0]
    assert "SENTINEL2_TS" not in sample.present
    with pytest.raises(DataError, match=r"AA-S1-32_1-1: no usable input\. SENTINEL2_TS: 0 of 4"):
        samples(one_patch, ["SENTINEL2_TS"])[0]
    allowed = samples(one_patch, ["SENTINEL2_TS"], ["crops"], without_sensors="allow")[0]
    assert allowed.present == ()


@pytest.mark.integration
def test_radar_dates_that_saw_nothing_are_no_dates(one_patch):
    radar = np.full((3, 2, 10, 10), 0.1, dtype=np.float32)
    radar[1] = 0
    one_patch.replace("SENTINEL1-ASC_TS", radar.reshape(-1, 10, 10))
    assert len(samples(one_patch)[0].series["SENTINEL1-ASC_TS"]) == 2


@pytest.mark.integration
def test_sentinel_2_dates_that_saw_nothing_are_no_dates(one_patch):
    optical = np.full((4, 10, 10, 10), 700, np.uint16)
    optical[0], optical[2] = 0, 65_535
    one_patch.replace("SENTINEL2_TS", optical.reshape(-1, 10, 10))
    every = SeriesConfig(min_clear=0)
    series = samples(one_patch, series=every)[0].series["SENTINEL2_TS"]
    assert series.dates.astype(str).tolist() == ["2021-03-15", "2021-07-15"]
    one_patch.replace("SENTINEL2_TS", np.zeros((40, 10, 10), np.uint16))
    assert "SENTINEL2_TS" not in samples(one_patch, series=every)[0].present


@pytest.mark.integration
def test_days_that_repeat_stay_two_looks_and_one_composite(hub):
    hub.days["SENTINEL2_TS"] = ("20210701", "20210701", "20210701", "20210801")
    hub.dates([hub.patch()])
    optical = np.full((4, 10, 10, 10), 600, np.uint16)
    optical[1] = 800
    optical[2] = 0  # another orbit, beside the patch
    hub.replace("SENTINEL2_TS", optical.reshape(-1, 10, 10))
    every = SeriesConfig(min_clear=0)
    series = samples(hub, series=every)[0].series["SENTINEL2_TS"]
    assert series.dates.astype(str).tolist() == ["2021-07-01", "2021-07-01", "2021-08-01"]
    assert series.values[:, 0, 0, 0].tolist() == [600, 800, 600]
    monthly = samples(hub, series=SeriesConfig(min_clear=0, composite="monthly"))[0]
    assert monthly.series["SENTINEL2_TS"].values[:, 0, 0, 0].tolist() == [700, 600]


@pytest.mark.integration
def test_the_offset_is_taken_off_before_anything_else(one_patch):
    optical = np.full((4, 10, 10, 10), 1600, np.uint16)
    one_patch.replace("SENTINEL2_TS", optical.reshape(-1, 10, 10))
    options = {"sentinel2_offset_from": "2021-06-01", "series": SeriesConfig(min_clear=0)}
    series = samples(one_patch, **options)[0].series["SENTINEL2_TS"]
    assert series.values[:, 0, 0, 0].tolist() == [1600, 1600, 600, 600]


@pytest.mark.integration
def test_sentinel_2_without_its_mask_is_refused_unless_every_date_is_wanted(hub):
    hub.dates([hub.patch(products=["SENTINEL2_TS"])], ["SENTINEL2_TS"])
    with pytest.raises(DataError, match=r"no snow and cloud mask.*data\.series\.min_clear=0"):
        samples(hub, ["SENTINEL2_TS"])[0]
    every = samples(hub, ["SENTINEL2_TS"], series=SeriesConfig(min_clear=0))[0]
    assert len(every.series["SENTINEL2_TS"]) == 4


@pytest.mark.integration
def test_a_file_that_is_gone_names_patch_file_and_remedy(one_patch):
    dataset = samples(one_patch)
    path = one_patch.path("AERIAL_RGBI", "D004-2021", "AA-S1-32", "1-1")
    path.unlink()
    with pytest.raises(DataError) as caught:
        dataset[0]
    text = str(caught.value)
    assert "patch D004-2021_AA-S1-32_1-1" in text
    assert str(path) in text
    assert f"bocage data index {one_patch.root} --layout flair-hub" in text


@pytest.mark.integration
def test_a_damaged_file_names_its_patch(one_patch):
    path = one_patch.path("AERIAL_RGBI", "D004-2021", "AA-S1-32", "1-1")
    dataset = samples(one_patch)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"patch D004-2021_AA-S1-32_1-1: .*AERIAL_RGBI"):
        dataset[0]


@pytest.mark.integration
def test_splits_become_batches_and_nothing_is_dropped(dataset, caplog):
    data = module(dataset, train_splits=("train", "valid", "test"))
    data.setup("fit")
    assert (data.count("train"), data.count("valid"), data.has_validation) == (3, 1, True)
    assert data.domains("train") == ("D004-2021", "D024047-2021")
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [2, 1]
    assert all(isinstance(batch, Batch) for batch in batches)
    ids = sorted(i for batch in batches for i in batch.patch_ids)
    assert ids == [r.patch_id for r in PatchIndex.read(dataset.root / "index.parquet")]
    assert data.tile_px == 512
    data.setup_split("test")
    assert "none of the 1 patches in data.test_splits has SENTINEL1-ASC_TS" in caplog.text
    (batch,) = data.loader("test")
    assert batch.present["SENTINEL1-ASC_TS"].tolist() == [False]
    assert batch.labels["ALL_LABEL-LPIS"].shape == (1, 512, 512)


@pytest.mark.integration
def test_the_seed_decides_the_order(dataset):
    def order(seed):
        data = module(dataset, ["AERIAL_RGBI"], [], seed, train_splits=("train", "valid", "test"))
        data.setup("fit")
        loader = data.train_dataloader()
        return [i for _ in range(6) for batch in loader for i in batch.patch_ids]

    assert order(3) == order(3)
    assert order(3) != order(4)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (INPUTS, {"split_column": "split_9"}, "unknown split column 'split_9'; did you mean"),
        (INPUTS, {"train_splits": ("trian",)}, r"data\.train_splits: no patch has trian in column"),
        (INPUTS, {"domains": ("D024047-2021",)}, "no patch of D024047-2021 has train"),
        (INPUTS, {"domains": ("D099-2021",)}, "unknown domain 'D099-2021'"),
        (["AERIAL_HEIGHT"], {}, r"none of the 1 patches in data\.train_splits has AERIAL_HEIGHT"),
        (INPUTS, {"index": "absent.parquet"}, r"data\.index: no file absent\.parquet.*--output"),
        (INPUTS, {"layout": "flair"}, "an index of layout 'flair-hub', not 'flair'"),
    ],
)
def test_a_config_that_does_not_fit_the_data_is_refused_before_reading(
    dataset, monkeypatch, inputs, fields, message
):
    monkeypatch.setattr("bocage.data.geotiff.read_geotiff", None)
    with pytest.raises(ConfigError, match=message):
        module(dataset, inputs, **fields).setup("fit")


@pytest.mark.integration
def test_labels_are_needed_to_learn_not_to_predict(hub):
    patch = hub.patch(products=["AERIAL_RGBI"])
    hub.splits({patch: "test"})
    data = module(hub, ["AERIAL_RGBI"], ["crops"])
    with pytest.raises(ConfigError, match="has ALL_LABEL-LPIS; they have AERIAL_RGBI"):
        data.setup("test")
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert (batch.labels["ALL_LABEL-LPIS"] == 255).all()
    assert batch.output_hw == (512, 512)


@pytest.mark.unit
def test_misspelt_names_are_refused_by_the_config(tmp_path):
    with pytest.raises(ConfigError, match="unknown layout 'flairhub'; did you mean 'flair-hub'"):
        DataConfig(root=tmp_path, layout="flairhub")
    with pytest.raises(ValueError, match="batchsize"):
        DataConfig(root=tmp_path, batchsize=2)


@pytest.mark.integration
@pytest.mark.parametrize("readers", ["processes", "threads"])
def test_workers_read_the_same_and_their_errors_name_the_patch(one_patch, readers):
    many = {"num_workers": 1, "train_splits": ("train",), "readers": readers}
    data = module(one_patch, **many)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    alone = module(one_patch)
    alone.setup("fit")
    (expected,) = alone.train_dataloader()
    assert torch.equal(batch.images["AERIAL_RGBI"], expected.images["AERIAL_RGBI"])
    assert torch.equal(
        batch.series["SENTINEL2_TS"].view(torch.int16),
        expected.series["SENTINEL2_TS"].view(torch.int16),
    )
    one_patch.path("AERIAL_RGBI", "D004-2021", "AA-S1-32", "1-1").unlink()
    with pytest.raises(DataError, match=r"patch D004-2021_AA-S1-32_1-1: .* gone") as caught:
        list(data.train_dataloader())
    # What a user is shown is the sentence, not the worker's traceback.
    assert "Traceback" not in str(caught.value)


@pytest.mark.unit
def test_packed_data_are_read_by_threads_and_files_by_processes(tmp_path):
    read = {
        (layout, readers): DataConfig(
            root=tmp_path, layout=layout, readers=readers
        ).reads_in_threads
        for layout in ("packed", "flair-hub")
        for readers in ("auto", "processes", "threads")
    }
    assert [pair for pair, threads in read.items() if threads] == [
        ("packed", "auto"), ("packed", "threads"), ("flair-hub", "threads")
    ]  # fmt: skip


class _Probe(lightning.LightningModule):
    """Keeps what Lightning hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[str, list[Batch]] = {"train": [], "valid": []}

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.seen["train"].append(batch)
        return self.weight.sum()

    def validation_step(self, batch: Batch, _: int) -> None:
        self.seen["valid"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("turns", [True, False])
def test_only_training_batches_are_turned(dataset, tmp_path, turns):
    data = module(dataset, augment=AugmentConfig(flips_and_turns=turns), valid_splits=("train",))
    probe = _Probe()
    trainer = lightning.Trainer(
        max_epochs=6,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(probe, datamodule=data)
    plain = probe.seen["valid"][0]
    assert isinstance(plain, Batch)
    task = "AERIAL_LABEL-COSIA"
    assert all(torch.equal(b.labels[task], plain.labels[task]) for b in probe.seen["valid"])
    moved = [not torch.equal(b.labels[task], plain.labels[task]) for b in probe.seen["train"]]
    assert any(moved) == turns


@pytest.mark.unit
def test_reading_libraries_cannot_hide_the_patch(one_patch, monkeypatch):
    dataset = samples(one_patch)

    def explode(*args, **kwargs) -> Sample:
        raise ValueError("cannot reshape array")

    monkeypatch.setattr("bocage.data.layouts.flair_hub.read_geotiff", explode)
    with pytest.raises(DataError, match="patch D004-2021_AA-S1-32_1-1: ValueError: cannot resh"):
        dataset[0]
