"""Networks pulled from and pushed to a hub: what is left behind works, or nothing is."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import TOKEN, Corrupt, Fault, LoopbackHub, Stall, Status, Truncate, Vanish
from safetensors.torch import load_file, save, save_file
from typer.main import get_command
from typer.testing import CliRunner

from bocage import transfer
from bocage.cli.app import app
from bocage.errors import BocageError, ConfigError, DataError
from bocage.models import load_bundle
from bocage.models.published import published_config
from bocage.models.published.network import PublishedNetwork
from bocage.models.published.repositories import (
    RELEASES,
    find_release,
    get_release,
    parse_repository,
)
from bocage.training.exchange import pull, push, write_card

LC_G = "IGNF/FLAIR-HUB_LC-G_utae"
FILE = "FLAIR-HUB_LC-G_utae.safetensors"
run = CliRunner()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transfer.Patience, "wait_s", lambda *_: 0.005)
    monkeypatch.setattr(transfer.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """LC-G as its authors store it, with weights of our own."""
    torch.manual_seed(0)
    state = PublishedNetwork(published_config("LC-G")).state_dict()
    named = {f"model.{k}": v.contiguous() for k, v in state.items()}
    return save({**named, "criterion.w": torch.ones(1)})


@pytest.fixture
def bundle(hub: LoopbackHub, checkpoint: bytes) -> Path:
    hub.add_repo(LC_G, {FILE: checkpoint, "README.md": b"card"})
    return pull("LC-G").path


@pytest.mark.unit
def test_the_table_of_releases_names_networks_that_there_are() -> None:
    assert len(RELEASES) == 19
    for repository, release in RELEASES.items():
        config = release.config()
        assert config.name in repository
        assert get_release(repository) == release
    assert len({release.bundle_name for release in RELEASES.values()}) == 19
    small = find_release("LC-A", "swin_tiny", rgb=True)
    assert small.file == "FLAIR-HUB_LC-A_RGB_swintiny-upernet.safetensors"
    assert small.config().inputs[0].channels == ("red", "green", "blue")
    assert find_release("LPIS-F").architecture == "swin_base_patch4_window12_384-upernet"
    later = parse_repository("IGNF/FLAIR-HUB_LC-ALL_resnet34-unet")
    assert later is not None
    assert (later.configuration, later.architecture) == ("LC-ALL", "resnet34-unet")
    assert parse_repository("IGNF/FLAIR-INC_rgb") is None


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "finding"),
    [
        (["LC-B"], r"LC-B with swin_base-upernet is not released\. Released are: LC-A_IR_swin"),
        (["LC-A", "--arch", "swin_tiny"], "not released"),
        (["LC-D", "--rgb"], "in red, green and blue is not released"),
        (["LC-G", "--arch", "swin_base"], "no encoder to choose"),
        (["LC-I", "--rgb"], "no aerial image"),
        (["LC-Z"], "unknown published configuration 'LC-Z'"),
        (["LC-A", "--arch", "vgg"], "unknown architecture"),
        ([LC_G, "--rgb"], "the repository says what it holds"),
        (["me/mine", "--adapt", "head"], "nothing to import"),
    ],
)
def test_what_cannot_be_pulled_is_said_before_any_request(
    hub: LoopbackHub, words: list[str], finding: str
) -> None:
    failed = run.invoke(app, ["models", "pull", *words])
    assert isinstance(failed.exception, ConfigError)
    assert re.search(finding, str(failed.exception))
    assert hub.seen == []


@pytest.mark.integration
def test_pull_imports_and_keeps_no_second_copy(hub: LoopbackHub, checkpoint: bytes) -> None:
    hub.add_repo(LC_G, {FILE: checkpoint})
    hub.misbehave(FILE, Truncate(300_000), Status(429, retry_after=0), Stall(9, 3), Corrupt(7))
    done = run.invoke(app, ["models", "pull", "LC-G"])
    assert done.exit_code == 0, done.output
    assert f"models/lc-g.safetensors: from {LC_G}" in done.stdout
    assert "left out, the loss's: criterion.w" in done.stderr
    assert [path.name for path in Path("models").iterdir()] == ["lc-g.safetensors"]
    loaded = load_bundle(Path("models/lc-g.safetensors"))
    assert loaded.meta.data.startswith(f"FLAIR-HUB; imported from {LC_G} at ")
    assert loaded.meta.metrics["published, test split, percent"]["mean_iou"] == 34.2
    listed = run.invoke(app, ["models", "list"]).stdout
    assert next(r for r in listed.splitlines() if r.startswith("LC-G")).endswith("lc-g.safetensors")

    again = run.invoke(app, ["models", "pull", "LC-G"])
    assert isinstance(again.exception, ConfigError)
    assert "exists. Remove it" in str(again.exception)
    kept = run.invoke(
        app, ["models", "pull", LC_G, "-o", "other/g.safetensors", "--keep-checkpoint"]
    )
    assert kept.exit_code == 0, kept.output
    assert (Path("other") / FILE).read_bytes() == checkpoint


@pytest.mark.integration
@pytest.mark.parametrize(
    ("faults", "kind", "words"),
    [
        ([Corrupt(1000)] * 2, DataError, "checksum"),
        ([Truncate(300_000), *[Status(500)] * 9], DataError, "what has arrived is kept"),
        ([Truncate(300_000), Vanish(0)], ConfigError, "not there"),
    ],
)
def test_nothing_corrupt_is_left_and_the_next_run_completes(
    hub: LoopbackHub,
    checkpoint: bytes,
    faults: list[Fault],
    kind: type[BocageError],
    words: str,
) -> None:
    hub.add_repo(LC_G, {FILE: checkpoint})
    hub.misbehave(FILE, *faults)
    with pytest.raises(kind, match=words):
        pull("LC-G")
    assert list(Path("models").glob("[!.]*")) == []
    hub.faults.clear()
    hub.put(LC_G, FILE, checkpoint)
    assert load_bundle(pull("LC-G").path).meta.network.name == "LC-G"
    assert [path.name for path in Path("models").iterdir()] == ["lc-g.safetensors"]


@pytest.mark.integration
def test_another_networks_checkpoint_is_refused(hub: LoopbackHub, checkpoint: bytes) -> None:
    hub.add_repo("IGNF/FLAIR-HUB_LPIS-F_utae", {"FLAIR-HUB_LPIS-F_utae.safetensors": checkpoint})
    with pytest.raises(DataError, match="AERIAL_LABEL-COSIA"):
        pull("LPIS-F")
    assert list(Path("models").iterdir()) == []


@pytest.mark.integration
def test_a_repository_must_hold_weights_that_can_be_told(hub: LoopbackHub) -> None:
    hub.add_repo("me/none", {"README.md": b""})
    hub.add_repo("me/two", {"a.safetensors": b"", "b.safetensors": b""})
    with pytest.raises(ConfigError, match="found none"):
        pull("me/none")
    with pytest.raises(ConfigError, match=r"found several: a\.safetensors, b\.safetensors"):
        pull("me/two")
    with pytest.raises(ConfigError, match=r"not found on .* or private"):
        pull("LC-A")


@pytest.mark.integration
def test_what_is_no_bundle_is_not_placed(hub: LoopbackHub, checkpoint: bytes) -> None:
    hub.add_repo("me/foreign", {"weights.safetensors": checkpoint})
    with pytest.raises(
        DataError, match=r"me/foreign: weights.safetensors: holds no bundle.*import"
    ):
        pull("me/foreign")
    assert list(Path("models").iterdir()) == []


@pytest.mark.integration
def test_offline_and_a_full_disk(
    hub: LoopbackHub, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo(LC_G, {FILE: checkpoint})
    free = transfer.shutil.disk_usage("/")._replace(free=len(checkpoint))
    with monkeypatch.context() as patch:
        patch.setattr(transfer.shutil, "disk_usage", lambda _: free)
        with pytest.raises(DataError, match=r"Nothing was fetched\. Make room"):
            pull("LC-G")
    assert hub.sent(FILE) == []
    hub.go_away()
    with pytest.raises(DataError, match=r"cannot be reached .*HF_ENDPOINT"):
        pull("LC-G")


@pytest.mark.integration
def test_push_and_pull_give_the_network_back(
    hub: LoopbackHub, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushing = ["models", "push", str(bundle), "tester/lc-g"]
    refused = run.invoke(app, [*pushing, "--private"])
    assert isinstance(refused.exception, ConfigError)
    assert "needs a token" in str(refused.exception)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = run.invoke(app, [*pushing, "--private"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith("/tester/lc-g")
    assert hub.repos["model", "tester/lc-g"].private
    pulled = pull("tester/lc-g", Path("again.safetensors"))
    assert pulled.path.read_bytes() == bundle.read_bytes()
    with pytest.raises(ConfigError, match="may not write there"):
        push(bundle, "stranger/lc-g")


@pytest.mark.integration
def test_the_card_says_what_the_network_is(hub: LoopbackHub, bundle: Path) -> None:
    text = write_card(bundle, "tester/lc-g")
    _, matter, body = text.split("---\n", 2)
    head = yaml.safe_load(matter)
    assert head["license"] == "etalab-2.0"
    assert head["library_name"] == "bocage"
    assert head["datasets"] == ["IGNF/FLAIR-HUB"]
    results = head["model-index"][0]["results"]
    assert {r["metrics"][0]["name"]: r["metrics"][0]["value"] for r in results} == {
        "overall_accuracy": 57.8,
        "mean_iou": 34.2,
    }
    assert results[0]["dataset"]["name"] == "published, test split, percent"
    for finding in (
        "922,487 parameters",
        "| `--sentinel2` | SENTINEL2_TS | B02, B03",
        "10.24 m | uint16 | 65535",
        "| 0 | building | bâtiment | `#db0e9a` | yes |",
        "| 18 | undefined |",
        "max_cloud: 1.0",
        "Never predicts: clear cut",
        f"imported from {LC_G}",
    ):
        assert finding in body
    shown = re.search(r"```bash\n(.*?)```", body, re.DOTALL)
    assert shown is not None
    lines = shown[1].replace("\\\n", " ").splitlines()
    assert [line.split()[1] for line in lines] == ["models", "map"]
    for line in lines:
        command, rest = get_command(app), shlex.split(line)[1:]
        while hasattr(command, "commands"):
            if command.name == "map":
                rest = ["area", *rest]
            command, rest = command.commands[rest[0]], rest[1:]
        assert command.make_context(command.name, list(rest)).params


@pytest.mark.integration
def test_a_card_with_measured_scores(hub: LoopbackHub, bundle: Path) -> None:
    scores = """{"run": "r", "split": "test", "data": "sim", "tasks": {"AERIAL_LABEL-COSIA": {
      "overall": {"task": "AERIAL_LABEL-COSIA", "pixels": 1000, "overall_accuracy": 0.75,
      "miou": 0.5, "miou_all_classes": 0.4, "miou_foreground": 0.5, "macro_f1": null,
      "classes": [{"id": 0, "name": "building", "iou": 0.25, "f1": 0.4, "precision": null,
      "recall": 0.5, "support": 1000}]}}}}"""
    Path("scores.json").write_text(scores)
    out = ["--scores", "scores.json", "-o", "README.md"]
    done = run.invoke(app, ["models", "card", str(bundle), *out])
    assert done.exit_code == 0, done.output
    text = Path("README.md").read_text()
    assert "| building | 25.0 | 40.0 | – | 50.0 | 1,000 |" in text
    head = yaml.safe_load(text.split("---\n")[1])
    measured = head["model-index"][0]["results"][-2:]
    assert [r["metrics"][0]["value"] for r in measured] == [50.0, 75.0]
    assert measured[0]["dataset"] == {"type": "IGNF/FLAIR-HUB", "name": "sim, test"}
    for content, words in (
        ("{}", "not a scores.json"),
        ('{"tasks": {"ALL_LABEL-LPIS": {}}}', "holds scores of ALL_LABEL-LPIS"),
    ):
        Path("other.json").write_text(content)
        with pytest.raises(DataError, match=words):
            write_card(bundle, scores=Path("other.json"))


@pytest.mark.integration
def test_a_licence_is_never_guessed(hub: LoopbackHub, bundle: Path) -> None:
    from safetensors import safe_open

    with safe_open(bundle, framework="pt") as handle:
        about = handle.metadata()
    about["bocage_bundle"] = about["bocage_bundle"].replace("FLAIR-HUB; imported", "flair-hub")
    save_file(load_file(bundle), "own.safetensors", about)
    with pytest.raises(ConfigError, match="Give one with --licence"):
        write_card(Path("own.safetensors"))
    card = write_card(Path("own.safetensors"), licence="apache-2.0")
    assert card.startswith("---\nlicense: apache-2.0\n")
