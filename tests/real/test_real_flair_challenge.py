"""FLAIR #1's baseline on real patches, in the challenges' classes."""

import json
from pathlib import Path

import pytest

from bocage.config import load_config
from bocage.training import RunFolder, evaluate, fit

pytestmark = pytest.mark.real


def test_the_baseline_learns_five_real_patches(real_set, tmp_path: Path) -> None:
    options = [
        *real_set("flair"),
        "data.split_column=split_flair2",
        "data.batch_size=5",
        "data.num_workers=0",
        "network.weights=none",
        "training.epochs=8",
        "training.optimizer=adamw",
        "training.schedule=cosine",
        "training.learning_rate=0.003",
        "training.precision=bf16",
        "training.validate_every=8",
        "training.select=last",
    ]
    config = load_config("flair1-unet", options)
    run = RunFolder(tmp_path / "run")
    run.create(config.to_document(), resume=False)
    fit(run, config, progress=False)
    losses = [json.loads(line)["train/loss"] for line in run.metrics.read_text().splitlines()]
    # 12 classes by chance is a loss of 2.5; a handful of patches must go far below.
    assert losses[-1] < 1.8
    assert losses[-1] < 0.75 * losses[0]
    scores = evaluate(run.bundle, config, split="train", target=tmp_path / "scores")
    cover = scores["AERIAL_LABEL-FLAIR"]
    assert len(cover.classes) == 12
    assert cover.miou is not None
    # One class everywhere scores at most a twelfth.
    assert cover.miou > 0.1
