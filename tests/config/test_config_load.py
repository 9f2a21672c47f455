"""Configuration errors come before any work, name the key, and offer the valid ones."""

from pathlib import Path

import pytest
import yaml

from bocage.config import load_config, load_resolved, parse_options, preset_names
from bocage.errors import ConfigError
from bocage.mapping import MapConfig
from bocage.models.published import ZOO, published_config

pytestmark = pytest.mark.unit

MINIMAL = {
    "inputs": ["AERIAL_RGBI", "SENTINEL2_TS"],
    "tasks": ["AERIAL_LABEL-COSIA"],
    "data": {"root": "somewhere"},
}


def _write(folder: Path, document: dict, name: str = "run.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_minimal_file_is_completed(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, MINIMAL))
    assert config.modality_names == ("AERIAL_RGBI", "SENTINEL2_TS")
    assert [(t.name, t.num_classes) for t in config.network.tasks] == [("AERIAL_LABEL-COSIA", 19)]


def test_slugs_become_official_names(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, MINIMAL), ["inputs=[spot]"])
    assert config.modality_names == ("SPOT_RGBI",)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    config = load_config(name)
    assert config.tasks


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.learning_rat=1", r"unknown key 'training.learning_rat'; did you mean 'learning"),
        ("traning.epochs=1", r"unknown key 'traning'; did you mean 'training'\?"),
        ("data.series.max_clouds=1", r"'data.series.max_clouds'; did you mean 'max_cloud'\?"),
        ("network.encoder.nam=x", r"'network.encoder.nam'; did you mean 'name'\?"),
        ("inputs=[SENTINEL2_T]", r"unknown modality 'SENTINEL2_T'; did you mean 'SENTINEL2_TS'\?"),
        ("tasks=[COSIA]", r"unknown task 'COSIA'.*Valid: AERIAL_LABEL-COSIA"),
        ("training.epochs=many", r"'training.epochs': .*integer.*\(found 'many'\)"),
        ("training.epochs=0", r"'training.epochs': .*greater than or equal to 1"),
        ("training.validate_every=99", r"'training': .*select=best needs a validation"),
        ("training.precision=half", r"'training.precision': .*'float32'"),
        ("network.inputs=[SPOT_RGBI]", r"network.inputs cannot be given: it follows from 'inputs'"),
        ("training.epochs", r"not of the form key=value"),
        ("name.x=1", r"'name' holds no options"),
        ("data.layout=flairhub", r"flair-hub"),
        ("data.series.min_dates=-1", r"'data.series.min_dates': .*greater than or equal to 0"),
        ("training.momentum=0.5", r"training.momentum has no effect: optimizer is adamw"),
        ("training.schedule=step", r"'training.schedule': .*'one_cycle', 'plateau'"),
        ("network.kind=publishd", r"'network.kind': unknown kind 'publishd'; did you mean 'publi"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, override: str, message: str) -> None:
    source = _write(tmp_path, {**MINIMAL, "name": "n"})
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(source, [override])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.archtecture=x", r"unknown key 'network.archtecture'; did you mean 'architecture"),
        ("network.architecture=vgg", r"'network.architecture': .*unknown architecture 'vgg'"),
        ("network.encoder.width=8", r"unknown key 'network.encoder'"),
        ("network.auxiliary=[spot]", r"unknown input in auxiliary 'SPOT_RGBI'"),
        ("loss.auxiliary_weight=1", r"loss.auxiliary_weight has no effect: network.auxiliary is"),
        ("inputs=[{modality: aerial, std: [1]}]", r"std of AERIAL_RGBI has 1 values for 3 channel"),
    ],
)
def test_mistakes_in_a_published_network_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("LC-A", [override])


@pytest.mark.parametrize("name", ZOO)
def test_published_presets_are_the_zoo(name: str) -> None:
    assert load_config(name).network == published_config(name).model_copy(
        update={"weights": "pretrained"}
    )


def test_a_published_preset_bends() -> None:
    run = load_config(
        "LC-D",
        [
            "tasks=[land-cover, crops]",
            "inputs=[{modality: aerial, channels: [red, green, blue]}, sentinel2]",
            "network.architecture=resnet34-unet",
            "network.auxiliary=[aerial, sentinel2]",
            "network.weights=none",
        ],
    )
    wanted = published_config(
        "LC-D", "resnet34-unet", auxiliary=True, both_tasks=True,
        channels={"aerial": ("red", "green", "blue")},
    )  # fmt: skip
    assert run.network == wanted


def test_missing_keys_are_named(tmp_path: Path) -> None:
    document = {key: value for key, value in MINIMAL.items() if key != "data"}
    with pytest.raises(ConfigError, match="'data' is missing"):
        load_config(_write(tmp_path, document))


def test_an_option_without_effect_is_refused(tmp_path: Path) -> None:
    source = _write(tmp_path, {**MINIMAL, "inputs": ["AERIAL_RGBI"]})
    with pytest.raises(ConfigError, match=r"network.temporal.width has no effect: no input is"):
        load_config(source, ["network.temporal.width=32"])


def test_options_of_a_base_may_be_idle(tmp_path: Path) -> None:
    _write(tmp_path, {**MINIMAL, "network": {"temporal": {"width": 32}}}, "base.yaml")
    source = _write(tmp_path, {"extends": "base.yaml", "inputs": ["AERIAL_RGBI"]})
    assert load_config(source).modality_names == ("AERIAL_RGBI",)


def test_options_of_a_preset_may_be_idle_but_not_those_beside_it() -> None:
    assert load_config("demo", ["inputs=[AERIAL_RGBI]"]).modality_names == ("AERIAL_RGBI",)
    with pytest.raises(ConfigError, match=r"data\.series\.max_dates has no effect"):
        load_config("demo", ["inputs=[AERIAL_RGBI]", "data.series.max_dates=3"])


def test_extends_overlays_mapping_by_mapping(tmp_path: Path) -> None:
    _write(tmp_path, {**MINIMAL, "training": {"epochs": 3, "patience": 2}}, "base.yaml")
    config = load_config(
        _write(tmp_path, {"extends": "base.yaml", "training": {"epochs": 5}}), ["seed=1"]
    )
    assert (config.training.epochs, config.training.patience, config.seed) == (5, 2, 1)


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    first = _write(tmp_path, {"extends": "b.yaml"}, "a.yaml")
    _write(tmp_path, {"extends": "a.yaml"}, "b.yaml")
    with pytest.raises(ConfigError, match="goes in a circle"):
        load_config(first)


def test_a_folder_named_like_a_preset_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config("demo").name == "demo"
    assert load_config("demo-aerial").modality_names == ("AERIAL_RGBI",)


def test_unknown_files_and_presets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file.*demo"):
        load_config(str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigError, match=r"unknown configuration 'demoo'; did you mean 'demo'\?"):
        load_config("demoo")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(str(broken))


def test_the_resolved_document_reads_back(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, MINIMAL), ["training.epochs=2"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.to_document()))
    assert load_resolved(path) == config


def test_options_of_a_command_have_the_same_errors() -> None:
    assert parse_options(MapConfig, ["batch_size=2"]).batch_size == 2
    with pytest.raises(ConfigError, match=r"unknown key 'overlap'; did you mean 'overlap_px'\?"):
        parse_options(MapConfig, ["overlap=3"])
