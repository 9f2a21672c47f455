"""A bundle is scored with the inputs and classes it was trained with, or not at all."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bocage.cli.app import app
from bocage.config import load_config, load_for_bundle
from bocage.errors import ConfigError
from bocage.models import build_network, read_meta, refuse_other_inputs, save_bundle
from bocage.training import evaluate
from bocage.training.bundling import bundle_meta

pytestmark = pytest.mark.integration

INPUTS = "inputs=[{modality: aerial, channels: [red, green, nir]}, sentinel2]"


@pytest.fixture
def bundle(simulated: Path, tmp_path: Path, tiny: list[str]) -> tuple[Path, list[str]]:
    """An untrained bundle, and the options of its run."""
    options = [f"data.root={simulated}", INPUTS, *tiny]
    config = load_config("demo", options)
    path = tmp_path / "model.safetensors"
    meta = bundle_meta(config.network, config.task_list, config.data, 512, {})
    save_bundle(path, build_network(config.network), meta)
    return path, options


@pytest.mark.parametrize(
    ("inputs", "finding"),
    [
        (
            "[{modality: aerial, channels: [nir, green, red]}, sentinel2]",
            r"AERIAL_RGBI: it has learnt from channels \('red', 'green', 'nir'\), the run has "
            r"\('nir', 'green', 'red'\)",
        ),
        (
            "[{modality: aerial, channels: [red, green, nir], mean: [1, 2, 3]}, sentinel2]",
            r"AERIAL_RGBI: it has learnt from mean and spread .* the run has \(\(1.0, 2.0, 3.0\)",
        ),
        (
            "[{modality: aerial, channels: [red, green, nir]},"
            " {modality: sentinel2, resolution_m: 20}]",
            r"SENTINEL2_TS: it has learnt from a pixel size of 10.24 m, the run has 20 m",
        ),
        ("[elevation, sentinel2]", r"it takes AERIAL_RGBI, SENTINEL2_TS, the run gives DEM_ELEV, "),
    ],
)
def test_other_inputs_are_refused(
    bundle: tuple[Path, list[str]], tmp_path: Path, inputs: str, finding: str
) -> None:
    path, options = bundle
    other = load_config("demo", [*options, f"inputs={inputs}"])
    with pytest.raises(ConfigError, match=finding) as caught:
        evaluate(path, other, split="test", target=tmp_path / "scores", device="cpu")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "scores").exists()
    refuse_other_inputs(path, read_meta(path), load_config("demo", options).network.inputs)


def test_another_class_list_is_refused(bundle: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, options = bundle
    with safe_open(path, framework="pt") as handle:
        about = json.loads(handle.metadata()["bocage_bundle"])
    classes = about["tasks"][0]["classes"]
    classes[0]["name"], classes[1]["name"] = classes[1]["name"], classes[0]["name"]
    save_file(load_file(path), path, {"bocage_bundle": json.dumps(about)})
    with pytest.raises(ConfigError, match=r"class list for AERIAL_LABEL-COSIA.*\(0, 'greenhouse'"):
        evaluate(
            path, load_config("demo", options), split="test", target=tmp_path / "s", device="cpu"
        )


def test_a_bundle_says_what_it_takes(bundle: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, options = bundle
    config = load_config("demo", options)
    rebuilt = load_for_bundle(read_meta(path), "demo", options[:1])
    assert rebuilt.network == config.network
    assert rebuilt.tasks == config.tasks

    run = CliRunner()
    unsaid = run.invoke(app, ["evaluate", str(path), options[0]])
    assert isinstance(unsaid.exception, ConfigError)
    assert "--config" in str(unsaid.exception)
    command = ["evaluate", str(path), "--config", "demo", options[0], "data.batch_size=2"]
    done = run.invoke(app, [*command, "data.series.max_dates=4"])
    assert done.exit_code == 0, done.output
    assert (path.with_suffix("") / "evaluation" / "test" / "scores.json").is_file()
    folder = run.invoke(app, ["evaluate", str(tmp_path), "--config", "demo"])
    assert "--config is for a bundle" in str(folder.exception)
