"""A run from configuration to bundle and scores: folders, resuming, and what must never happen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bocage.config import load_config, load_resolved
from bocage.errors import ConfigError, DataError
from bocage.models import build_network, load_bundle
from bocage.sample import Batch
from bocage.training import RunFolder, evaluate, fit
from bocage.training.callbacks import EpochLog
from bocage.training.config import TrainingConfig
from bocage.training.module import SegmentationModule, learning_rate_factor, parameter_groups

pytestmark = pytest.mark.integration

INPUTS = "inputs=[AERIAL_RGBI, SENTINEL2_TS]"


def _train(root: Path, folder: Path, options: list[str], resume: bool = False) -> RunFolder:
    config = load_config("demo", [f"data.root={root}", INPUTS, *options])
    run = RunFolder(folder)
    run.create(config.to_document(), resume=resume)
    fit(
        run,
        config,
        resume=resume,
        progress=False,
    )
    return run


def test_a_run_starts_from_the_weights_of_another(
    simulated: Path, tmp_path: Path, tiny: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = _train(simulated, tmp_path / "first", [*tiny, "seed=1"])
    still = "training.learning_rate=1e-12"
    with caplog.at_level("INFO", logger="bocage"):
        second = _train(
            simulated, tmp_path / "second", [*tiny, f"training.start_from={first.path}", still]
        )
    assert "starts from" in caplog.text
    assert "anew: none" in caplog.text
    theirs = dict(load_bundle(first.bundle).network.named_parameters())
    for name, weight in load_bundle(second.bundle).network.named_parameters():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-6, atol=1e-7)
    with pytest.raises(DataError, match="nowhere"):
        _train(simulated, tmp_path / "third", [*tiny, f"training.start_from={tmp_path}/nowhere"])


def test_a_killed_run_resumes_to_the_same_weights(
    simulated: Path, tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*tiny, "training.epochs=2", "training.select=best", "training.validate_every=1"]
    whole = _train(simulated, tmp_path / "whole", options)

    def stop(self: EpochLog, trainer: object, module: object) -> None:
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="killed"):
            _train(simulated, tmp_path / "killed", options)
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    resumed = _train(simulated, tmp_path / "killed", options, resume=True)

    first, second = (load_bundle(run.bundle).network.state_dict() for run in (whole, resumed))
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, rtol=1e-5, atol=1e-6, msg=name)
    rows = [json.loads(line) for line in resumed.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"train/loss", "valid/loss", "valid/miou"} <= rows[1].keys()
    starts = json.loads((tmp_path / "killed" / "versions.json").read_text())["starts"]
    assert len(starts) == 2
    assert torch.__version__.startswith(starts[0]["torch"])


@pytest.mark.parametrize("hardness", [0, 1])
def test_a_run_killed_in_an_epoch_goes_on_in_its_middle(
    simulated: Path, tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, hardness: int
) -> None:
    options = [
        *tiny, "training.epochs=2", f"data.sampling.hardness={hardness}", "data.batch_size=1",
        "network.sensor_dropout={aerial: 0.3, sentinel2: 0.3}", "network.decoder.dropout=0.1",
        "data.augment={zoom: 0.5, colour: 0.1, drop_dates: 0.3, clouds: 0.2}",
        "training.checkpoint_minutes=0.000001",
    ]  # fmt: skip
    whole = _train(simulated, tmp_path / "whole", options)
    steps = SegmentationModule.training_step
    seen = []

    def stop(self: SegmentationModule, batch: Batch, index: int) -> torch.Tensor:
        seen.append(batch.patch_ids)
        if (self.current_epoch, index) == (1, 2):
            raise RuntimeError("killed")
        return steps(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            _train(simulated, tmp_path / "killed", options)
        first, resumed_from = list(seen), len(seen)
        patch.setattr(
            SegmentationModule, "training_step",
            lambda self, batch, index: (seen.append(batch.patch_ids), steps(self, batch, index))[1],
        )  # fmt: skip
        resumed = _train(simulated, tmp_path / "killed", options, resume=True)
    # The step that was killed is taken again, nothing before it.
    assert seen[resumed_from] == first[-1]
    per_epoch = len(seen[:-1]) // 2
    assert len(set(seen[per_epoch : 2 * per_epoch + 1])) == per_epoch or hardness
    one, other = (load_bundle(run.bundle).network.state_dict() for run in (whole, resumed))
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, rtol=1e-5, atol=1e-6, msg=name)


def test_the_score_that_picks_is_the_score_that_is_reported(
    simulated: Path, tmp_path: Path, tiny: list[str]
) -> None:
    options = [*tiny, "training.epochs=1", "training.select=best", "training.validate_every=1"]
    run = _train(simulated, tmp_path / "run", options)
    config = load_config("demo", [f"data.root={simulated}", INPUTS, *options])
    scores = evaluate(
        run.bundle,
        config,
        split="valid",
        target=run.evaluation("valid"),
    )
    reported = np.mean([s.miou for s in scores.values()])
    row = json.loads(run.metrics.read_text().splitlines()[-1])
    assert row["valid/miou"] == pytest.approx(reported, abs=1e-6)
    meta = load_bundle(run.bundle).meta
    assert meta.metrics["valid/miou"] == pytest.approx(reported, abs=1e-6)
    assert meta.tile_px == 512
    document = json.loads((run.evaluation("valid") / "scores.json").read_text())
    pixels = document["tasks"]["ALL_LABEL-LPIS"]["overall"]["pixels"]
    assert pixels == document["patches"] * 512 * 512


def test_folders_are_never_overwritten(simulated: Path, tmp_path: Path) -> None:
    document = load_config("demo", [f"data.root={simulated}"]).to_document()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"already exists.*--resume.*--output") as caught:
        RunFolder(tmp_path / "run").create(document, resume=False)
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="nothing to resume"):
        RunFolder(tmp_path / "run").create(document, resume=True)


def test_a_run_that_failed_at_once_does_not_stand_in_the_way(
    simulated: Path, tmp_path: Path
) -> None:
    document = load_config("demo", [f"data.root={simulated}"]).to_document()
    run = RunFolder(tmp_path / "run")
    run.create(document, resume=False)
    run.log.write_text("it failed")
    run.checkpoints.mkdir()
    run.create(document, resume=False)
    assert len(json.loads((run.path / "versions.json").read_text())["starts"]) == 2
    (run.checkpoints / "last.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match="already exists"):
        run.create(document, resume=False)


def test_resuming_with_other_options_is_refused(simulated: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    document = load_config("demo", [f"data.root={simulated}"]).to_document()
    run.create(document, resume=False)
    run.checkpoints.mkdir()
    run.last.write_bytes(b"")
    changed = load_config("demo", [f"data.root={simulated}", "training.epochs=99"]).to_document()
    with pytest.raises(ConfigError, match=r"differs from the run's own in training\.epochs"):
        run.create(changed, resume=True)


def test_best_needs_validation_patches(simulated: Path, tmp_path: Path, tiny: list[str]) -> None:
    options = [*tiny, "training.select=best", "data.valid_splits=[nowhere]"]
    with pytest.raises(ConfigError, match="no validation patches"):
        _train(simulated, tmp_path / "run", options)


@pytest.mark.unit
@pytest.mark.parametrize("total", [1, 2, 10, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_the_schedule_is_defined_everywhere(total: int, warmup: float, schedule: str) -> None:
    training = TrainingConfig(schedule=schedule, warmup=warmup)
    factors = [learning_rate_factor(step, total, training) for step in range(2 * total + 2)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1)
    assert factors[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.unit
def test_one_cycle_is_torchs() -> None:
    training = TrainingConfig(schedule="one_cycle", warmup=0.2)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=1001, pct_start=0.2, div_factor=1000
    )
    ours, theirs = [], []
    for step in range(1000):
        ours.append(learning_rate_factor(step, 1000, training))
        theirs.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    # Ours rises in the first step already; over 1000 steps the two stay together.
    assert np.abs(np.array(ours) - theirs).max() < 0.01


@pytest.mark.unit
def test_a_constant_rate_stays() -> None:
    training = TrainingConfig(schedule="constant")
    assert {learning_rate_factor(step, 10, training) for step in range(20)} == {1.0}


def test_a_plateau_is_that_of_the_validation_loss(
    simulated: Path, tmp_path: Path, tiny: list[str]
) -> None:
    options = [
        *tiny, "training.epochs=2", "training.validate_every=1", "training.optimizer=sgd",
        "training.schedule=plateau", "training.momentum=0", "training.plateau_patience=0",
        "training.plateau_factor=0.1",
    ]  # fmt: skip
    run = _train(simulated, tmp_path / "run", options)
    state = torch.load(run.last, map_location="cpu", weights_only=True)
    lowest = min(json.loads(row)["valid/loss"] for row in run.metrics.read_text().splitlines())
    scheduler = state["lr_schedulers"][0]
    assert scheduler["best"] == pytest.approx(lowest, rel=1e-4)
    assert (scheduler["factor"], scheduler["patience"]) == (0.1, 0)
    last = ["training.select=last", "data.valid_splits=[nowhere]"]
    with pytest.raises(ConfigError, match="no plateau of their loss"):
        _train(simulated, tmp_path / "none", [*options, *last])


def test_a_published_network_trains_evaluates_and_resumes(simulated: Path, tmp_path: Path) -> None:
    options = [
        f"data.root={simulated}", "data.batch_size=2", "data.num_workers=0",
        "data.series.max_dates=6", "training.epochs=1", "training.schedule=constant",
        "training.learning_rate=0.001", "training.accelerator=cpu",
    ]  # fmt: skip
    config = load_config("LC-G", options)
    run = RunFolder(tmp_path / "run")
    run.create(config.to_document(), resume=False)
    assert load_resolved(run.config) == config
    fit(run, config, progress=False)
    bundle = load_bundle(run.bundle)
    assert bundle.meta.network == config.network
    fresh = build_network(config.network).state_dict()
    moved = [k for k, v in bundle.network.state_dict().items() if not torch.equal(v, fresh[k])]
    assert len(moved) > len(fresh) / 2
    scores = evaluate(run.bundle, config, split="test", target=run.evaluation("test"))
    assert scores["AERIAL_LABEL-COSIA"].pixels > 0


@pytest.mark.unit
def test_only_matrices_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    decayed, others = parameter_groups(network, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 1, 1)]
    assert len(others["params"]) == 3
    assert others["weight_decay"] == 0
