from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from published_cases import AERIAL, COVER, S2, batch_for, built, series_config, small
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bocage.cli.app import app
from bocage.errors import ConfigError, DataError
from bocage.models import (
    BundleClass,
    BundleMeta,
    BundleTask,
    bundle_names,
    load_bundle,
    save_bundle,
)
from bocage.models.published import PublishedConfig, PublishedNetwork
from bocage.nomenclatures import LAND_COVER

run = CliRunner()


def meta_for(config: PublishedConfig) -> BundleMeta:
    classes = tuple(
        BundleClass(id=i, name=f"c{i}", name_fr=f"c{i}", color="#000000", scored=i < 15)
        for i in range(COVER.num_classes)
    )
    task = BundleTask(name=COVER.name, slug="land-cover", classes=classes)
    return BundleMeta(network=config, tasks=(task,), tile_px=config.tile_px)


@pytest.mark.unit
@pytest.mark.parametrize("architecture", ["resnet34-unet", "swin_tiny"])
def test_a_bundle_gives_the_network_back(tmp_path: Path, architecture: str) -> None:
    config = small(AERIAL, S2, architecture=architecture)
    network = built(config)
    save_bundle(tmp_path / "m.safetensors", network, meta_for(config))
    bundle = load_bundle(tmp_path / "m.safetensors")
    assert isinstance(bundle.network, PublishedNetwork)
    assert bundle.meta.network == config
    assert bundle.meta.bands[AERIAL] == ("red", "green", "blue", "nir")
    with torch.inference_mode():
        batch = batch_for(config)
        one, other = network(**batch).logits, bundle.network(**batch).logits
    torch.testing.assert_close(one, other)


@pytest.mark.unit
def test_a_bundle_of_other_tensors_is_refused(tmp_path: Path) -> None:
    config = series_config("LC-G")
    path = tmp_path / "m.safetensors"
    save_bundle(path, built(config), meta_for(config))
    with safe_open(path, framework="pt") as handle:
        metadata = handle.metadata()
    tensors = load_file(path)
    tensors.pop("main_decoders.AERIAL_LABEL-COSIA.bias")
    save_file(tensors, path, metadata)
    with pytest.raises(DataError, match=r"1 missing: main_decoders\.AERIAL_LABEL-COSIA\.bias"):
        load_bundle(path)


@pytest.mark.unit
def test_a_description_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    config = series_config("LC-G")
    path = tmp_path / "m.safetensors"
    save_bundle(path, built(config), meta_for(config))
    with safe_open(path, framework="pt") as handle:
        about = json.loads(handle.metadata()["bocage_bundle"])
    about["network"]["kind"] = "dreamt"
    save_file(load_file(path), path, {"bocage_bundle": json.dumps(about)})
    with pytest.raises(DataError, match=r"network: .*'dreamt'.*'own', 'published'"):
        load_bundle(path)


@pytest.mark.integration
def test_list_show_import_evaluate(
    tmp_path: Path, simulated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {f"model.{k}": v for k, v in built(series_config("LC-G")).state_dict().items()}
    torch.save({"state_dict": {**state, "criterion.w": torch.ones(1)}}, "lc-g.ckpt")
    listed = run.invoke(app, ["models", "list"])
    assert listed.exit_code == 0
    assert len(listed.stdout.splitlines()) == 25
    assert next(r for r in listed.stdout.splitlines() if r.startswith("LC-L ")).split() == [
        "LC-L", "aerial+elevation+spot+sentinel2+sentinel1-asc+sentinel1-desc", "swin_base",
        "273.3", "276.4", "78.2", "65.8", "-",
    ]  # fmt: skip

    done = run.invoke(
        app, ["models", "import", "lc-g.ckpt", "--as", "LC-G", "-o", "models/g.safetensors"]
    )
    assert done.exit_code == 0, done.output
    assert "models/g.safetensors: LC-G, 162 tensors" in done.stdout
    assert "left out, the loss's: criterion.w" in done.stderr
    bundle = load_bundle(Path("models/g.safetensors"))
    assert bundle.meta.metrics == {
        "published, test split, percent": {"overall_accuracy": 57.8, "mean_iou": 34.2}
    }
    assert [c.scored for c in bundle.meta.tasks[0].classes] == [True] * 15 + [False] * 4
    (Path("models") / "note.safetensors").write_bytes(b"no bundle")
    assert bundle_names(Path("models")) == {"LC-G": ("g.safetensors",)}
    again = run.invoke(app, ["models", "list"]).stdout
    assert next(r for r in again.splitlines() if r.startswith("LC-G")).endswith("g.safetensors")

    scored = run.invoke(
        app,
        ["evaluate", "models/g.safetensors", f"data.root={simulated}", "data.num_workers=0"],
    )
    assert scored.exit_code == 0, scored.output
    document = json.loads(Path("models/g/evaluation/test/scores.json").read_text())
    assert document["tasks"][LAND_COVER.name]["overall"]["pixels"] > 0
    other = run.invoke(
        app,
        ["evaluate", "models/g.safetensors", f"data.root={simulated}", "inputs=[aerial]"],
    )
    assert isinstance(other.exception, ConfigError)
    assert "it takes SENTINEL2_TS, the run gives AERIAL_RGBI" in str(other.exception)


@pytest.mark.unit
def test_show_explains_the_counts() -> None:
    shown = run.invoke(app, ["models", "show", "LC-D", "--arch", "swin_tiny"])
    assert shown.exit_code == 0
    text = shown.stdout
    assert "encoders.AERIAL_RGBI" in text
    assert "96x128x128, 192x64x64, 384x32x32, 768x16x16" in text
    assert "32,224,486  in a checkpoint without" in text
    assert "needed to predict" in text


@pytest.mark.unit
@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["show", "LC-Z"], "unknown published configuration 'LC-Z'"),
        (["show", "LC-A", "--arch", "vgg"], "unknown architecture 'vgg'"),
        (["import", "w.pth", "--as", "LC-G", "-o", "x", "--channels", "aerial"], "SENSOR=CHANNEL"),
        (["import", "w.pth", "--as", "LC-G", "-o", "x", "--adapt", "all"], "unknown adaptation"),
    ],
)
def test_wrong_requests_are_configuration_errors(arguments: list[str], finding: str) -> None:
    failed = run.invoke(app, ["models", *arguments])
    assert isinstance(failed.exception, ConfigError)
    assert finding in str(failed.exception)
