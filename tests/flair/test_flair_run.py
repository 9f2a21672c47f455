"""The baselines through the real commands, on a tiny FLAIR #2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flair_folder import write_flair2

from bocage.cli import main
from bocage.config import load_config
from bocage.errors import ConfigError
from bocage.mapping import MapConfig, Source, map_area
from bocage.models import load_bundle
from bocage.models.flair import FlairConfig, FlairNetwork

pytestmark = pytest.mark.integration

PRESETS = ("flair1-unet", "flair1-unet-metadata", "flair2-utt")
TINY = [
    "data.batch_size=2", "data.num_workers=0", "network.weights=none", "training.epochs=1",
    "training.precision=bf16", "training.accelerator=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flair2(tmp_path_factory.mktemp("flair2"))


@pytest.fixture
def bocage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """`bocage("train", …)` as in a shell: what it printed."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["bocage", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert not end.value.code, printed.err
        return printed.out

    return run


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    config = load_config(preset)
    assert isinstance(config.network, FlairConfig)
    assert config.network.weights == "pretrained"
    assert (config.training.optimizer, config.training.schedule) == ("sgd", "plateau")
    assert (config.data.batch_size, config.training.epochs) == (10, 100)
    assert [task.slug for task in config.task_list] == ["land-cover-12"]
    utt = preset == "flair2-utt"
    assert (config.network.series is not None) == config.network.has_auxiliary == utt
    assert (config.network.metadata is not None) == (preset == "flair1-unet-metadata")
    if utt:
        assert config.loss.auxiliary_weight == 1.0
        assert config.training.learning_rate == 1e-3
        assert (config.data.series.max_cloud, config.data.series.min_clear) == (59, 0.5)


def test_an_auxiliary_branch_needs_a_series() -> None:
    with pytest.raises(
        ConfigError, match=r"network\.auxiliary has no effect: SENTINEL2_SUPERPATCH"
    ):
        load_config("flair1-unet", ["network.auxiliary=true"])


def test_utt_trains_scores_and_maps(
    folder: Path, tmp_path: Path, bocage: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    words = ["inputs=[aerial, height, metadata, sentinel2-superpatch]", f"data.root={folder}"]
    bocage("train", "flair2-utt", *words, *TINY, "-o", run)
    (row,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert {"train/land-cover-12", "train/auxiliary/SENTINEL2_SUPERPATCH/land-cover-12"} <= set(row)
    assert row["train/loss"] == pytest.approx(
        row["train/land-cover-12"] + row["train/auxiliary/SENTINEL2_SUPERPATCH/land-cover-12"],
        rel=1e-3,
    )

    printed = bocage("evaluate", run, "--split", "test")
    report = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    overall = report["tasks"]["AERIAL_LABEL-FLAIR"]["overall"]
    assert f"AERIAL_LABEL-FLAIR: {overall['pixels']:,} pixels" in printed
    assert f"mIoU {100 * overall['miou']:.1f}" in printed
    assert len(overall["classes"]) == 12

    # A map needs neither metadata nor series, and says what it does without.
    bundle = load_bundle(run / "model.safetensors")
    assert isinstance(bundle.network, FlairNetwork)
    image = next((folder / "flair_2_aerial_test").rglob("IMG_*.tif"))
    sources = [
        Source("AERIAL_RGBI", image, bands=(1, 2, 3, 4)),
        Source("AERIAL_HEIGHT", image, bands=(5,)),
    ]
    report = map_area(bundle, sources, tmp_path / "map", MapConfig(window_px=512))
    assert report.failed == ()
    assert (tmp_path / "map" / "land-cover-12.tif").is_file()
    with pytest.raises(ConfigError, match="SENTINEL2_SUPERPATCH is no image of the ground that is"):
        map_area(bundle, [*sources, Source("SENTINEL2_SUPERPATCH", image)], tmp_path / "no")
