"""Downloading from a hub that does not make it easy: whole folders or none, and the rest later."""

import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from hub_server import (
    Change,
    Corrupt,
    Fault,
    LoopbackHub,
    Stall,
    Status,
    Throttle,
    Truncate,
    Vanish,
)
from shapely.geometry import Point
from typer.testing import CliRunner

from bocage import transfer
from bocage.cli.app import app
from bocage.data import build_index
from bocage.data.download import (
    DownloadConfig,
    Outcome,
    Plan,
    Step,
    download,
    make_plan,
    parse_request,
)
from bocage.data.download.catalogue import PLAIN, flair_hub_archives, parts_of, select_domains
from bocage.data.download.plan import WORK
from bocage.errors import ConfigError, DataError
from bocage.files import write_text
from bocage.transfer import exclusive

pytestmark = pytest.mark.integration
run = CliRunner()

DATASET = "IGNF/FLAIR-HUB"
METADATA = "GLOBAL_ALL_MTD"
SPLIT_OF = {"D004-2021": ("train", "valid"), "D017-2018": ("train",), "D012-2019": ("test",)}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transfer.Patience, "wait_s", lambda *_: 0.005)
    monkeypatch.setattr(transfer.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0)


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def patch_files(folder: str, patches: int = 3) -> dict[str, bytes]:
    rng = np.random.default_rng(sum(folder.encode()))
    names = (f"{folder}/AA-S1-1/{folder}_AA-S1-1_1-{i}.tif" for i in range(1, patches + 1))
    return {name: rng.bytes(20_000) for name in names}


def metadata_zip(folder: Path) -> bytes:
    rows = [
        (f"{domain}_AA-S1-1_1-{i}", split)
        for domain, splits in SPLIT_OF.items()
        for i, split in enumerate(splits, 1)
    ]
    table = gpd.GeoDataFrame(
        {"patch_id": [r[0] for r in rows], "split_1": [r[1] for r in rows]},
        geometry=[Point(0, 0)] * len(rows),
        crs="EPSG:2154",
    )
    path = folder / "GLOBAL_ALL_MTD_SPLIT.gpkg"
    table.to_file(path)
    return make_zip({f"{METADATA}/{path.name}": path.read_bytes()})


FOLDERS = [
    f"{domain}_{product}"
    for domain in (*SPLIT_OF, "D017-2021")
    for product in ("AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL2_MSK-SC", "AERIAL_LABEL-COSIA")
] + ["D017-195X_AERIAL-RLT_PAN", "D012-195X_AERIAL-RLT_PAN"]
CONTENTS = {folder: patch_files(folder) for folder in FOLDERS}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    zips = {f"data/{folder}.zip": make_zip(files) for folder, files in CONTENTS.items()}
    zips[f"data/{METADATA}.zip"] = metadata_zip(tmp_path_factory.mktemp("metadata"))
    return {**zips, "README.md": b"card", "data/notes.txt": b"", "data/D004-2021_OTHER.zip": b""}


@pytest.fixture
def serving(loopback_hub: LoopbackHub, archives: dict[str, bytes]) -> LoopbackHub:
    loopback_hub.add_repo(DATASET, archives, "dataset")
    return loopback_hub


def config(**options: object) -> DownloadConfig:
    return parse_request({"dataset": "flair-hub", "output": "out", **options})


def no_first(plan: Plan) -> None:
    raise AssertionError("metadata are not needed first")


def fetched(plan: Plan) -> Outcome:
    return download(plan)


def here(root: Path = Path("out")) -> set[str]:
    return {path.name for path in root.iterdir() if path.name != WORK}


def assert_whole(root: Path = Path("out")) -> None:
    """Every folder under a final name holds exactly what it should."""
    for folder in here(root) - {METADATA}:
        for name, content in CONTENTS[folder].items():
            assert (root / name).read_bytes() == content
        assert len(list((root / folder).rglob("*.tif"))) == len(CONTENTS[folder])


AERIAL_TWO = {"domains": ("D004-2021", "D012"), "modalities": ("aerial",), "labels": ()}


def test_what_is_asked_for_is_fetched_and_nothing_twice(serving: LoopbackHub) -> None:
    wanted = config(**AERIAL_TWO)
    plan = make_plan(wanted, no_first)
    folders = {METADATA, "D004-2021_AERIAL_RGBI", "D012-2019_AERIAL_RGBI"}
    assert {item.archive.folder for item in plan.items} == folders
    assert plan.size == sum(item.size for item in plan.items) > 120_000
    steps: list[Step] = []
    outcome = download(plan, listen=steps.append)
    assert outcome.failed == {}
    assert set(outcome.done) == folders
    assert here() == folders
    assert not (Path("out") / WORK).exists()
    assert_whole()
    for folder in folders:
        phases = [step.phase for step in steps if step.name == folder]
        assert list(dict.fromkeys(phases)) == ["fetch", "unpack", "done"]

    again = make_plan(wanted, no_first)
    assert again.missing == ()
    asked = len(serving.seen)
    assert download(again) == Outcome((), {})
    assert len(serving.seen) == asked
    wider = make_plan(config(**{**AERIAL_TWO, "labels": ("land-cover",)}), no_first)
    assert {i.archive.folder for i in wider.missing} == {
        "D004-2021_AERIAL_LABEL-COSIA",
        "D012-2019_AERIAL_LABEL-COSIA",
    }


SPOILT = "data/D004-2021_AERIAL_RGBI.zip"


@pytest.mark.parametrize(
    "faults",
    [
        (Truncate(20_000), Truncate(5_000)),
        (Stall(30_000, seconds=5),),
        (Status(429, retry_after=0), Status(429), Status(500), Status(503)),
        (Corrupt(30_000),),
        (Throttle(9_000, 0.002),),
    ],
    ids=lambda faults: type(faults[0]).__name__,
)
def test_trouble_that_passes_is_overcome(serving: LoopbackHub, faults: tuple[Fault, ...]) -> None:
    serving.misbehave(SPOILT, *faults)
    assert fetched(make_plan(config(**AERIAL_TWO), no_first)).failed == {}
    assert "D004-2021_AERIAL_RGBI" in here()
    assert_whole()


SAME_LENGTH = bytes(range(256)) * 1000


@pytest.mark.parametrize(
    ("faults", "words", "resumed"),
    [
        ((Truncate(20_000), *[Status(500)] * 9), "answers 500", True),
        ((Truncate(20_000), *[Status(429)] * 9), "answers 429", True),
        ((Truncate(20_000), *[Stall(0, seconds=5)] * 9), "sent nothing", True),
        ([Corrupt(30_000)] * 2, "the promised checksum (sha256), twice", False),
        ((Truncate(20_000), Change(SAME_LENGTH)), "the promised checksum (sha256), twice", False),
        ((Truncate(20_000), Change(b"short")), "changed on the server", False),
        ((Vanish(20_000),), "not there", True),
    ],
    ids=["500", "429", "stall", "corrupt", "change", "shrink", "vanish"],
)
def test_trouble_that_stays_leaves_nothing_corrupt_and_the_next_run_completes(
    serving: LoopbackHub,
    archives: dict[str, bytes],
    faults: tuple[Fault, ...],
    words: str,
    resumed: bool,
) -> None:
    length = len(archives[SPOILT])
    faults = tuple(Change(SAME_LENGTH[:length]) if f == Change(SAME_LENGTH) else f for f in faults)
    if "nothing" in words:
        # Seven silences of a third of a second would be the suite's slowest test.
        transfer.constants.HF_HUB_DOWNLOAD_TIMEOUT = 0.05
    serving.misbehave(SPOILT, *faults)
    outcome = fetched(make_plan(config(**AERIAL_TWO), no_first))
    assert list(outcome.failed) == ["D004-2021_AERIAL_RGBI"]
    assert words in outcome.failed["D004-2021_AERIAL_RGBI"]
    assert here() == {METADATA, "D012-2019_AERIAL_RGBI"}
    assert_whole()

    serving.faults.clear()
    serving.put(DATASET, SPOILT, archives[SPOILT], "dataset")
    before = len(serving.sent(SPOILT))
    again = fetched(make_plan(config(**AERIAL_TWO), no_first))
    assert again == Outcome(("D004-2021_AERIAL_RGBI",), {})
    assert_whole()
    assert (serving.sent(SPOILT)[before:][-1].range is not None) == resumed


def test_a_hub_that_disappears_half_way(serving: LoopbackHub) -> None:
    everything = config(connections=2)
    plan = make_plan(everything, no_first)
    gone = threading.Event()

    def listen(step: Step) -> None:
        if step.phase == "done" and not gone.is_set():
            gone.set()
            serving.go_away()

    outcome = download(plan, listen=listen)
    assert outcome.done
    assert len(outcome.done) + len(outcome.failed) == len(plan.items)
    assert any("cannot be reached" in text for text in outcome.failed.values())
    assert any("not tried" in text for text in outcome.failed.values())
    assert here() == set(outcome.done)
    assert_whole()
    with pytest.raises(DataError, match="cannot be reached"):
        make_plan(everything, no_first)
    serving.come_back()
    assert fetched(make_plan(everything, no_first)).failed == {}
    assert here() == {METADATA, *FOLDERS}
    assert_whole()


def test_an_interruption_stops_soon_and_keeps_what_arrived(serving: LoopbackHub) -> None:
    serving.misbehave(SPOILT, Throttle(2_000, 0.02))

    def listen(step: Step) -> None:
        if step.phase == "done" and step.name == METADATA:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(make_plan(config(**AERIAL_TWO), no_first), listen=listen)
    assert "D004-2021_AERIAL_RGBI" not in here()
    assert fetched(make_plan(config(**AERIAL_TWO), no_first)).failed == {}
    assert_whole()


def test_a_run_that_died_while_unpacking_fetches_nothing_again(
    serving: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(config(**AERIAL_TWO), no_first)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _die_on_folders(Path.replace))
        outcome = download(plan)
    assert set(outcome.failed) == {item.archive.folder for item in plan.items}
    assert here() == set()
    (Path("out") / WORK / "D004-2021_AERIAL_RGBI.unpacking").mkdir()
    write_text(Path("out") / WORK / "D004-2021_AERIAL_RGBI.unpacking" / "half.tif", "half")
    before = len(serving.sent(SPOILT))
    assert download(make_plan(config(**AERIAL_TWO), no_first)).failed == {}
    assert len(serving.sent(SPOILT)) == before
    assert_whole()


def _die_on_folders(replace: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    def dying(self: Path, target: Path) -> Path:
        if self.is_dir():
            raise OSError(5, "Input/output error")
        return replace(self, target)

    return dying


def test_a_new_version_takes_the_place_of_the_old_ones_remains(
    serving: LoopbackHub, archives: dict[str, bytes]
) -> None:
    serving.misbehave(SPOILT, Truncate(20_000), *[Status(500)] * 9)
    fetched(make_plan(config(**AERIAL_TWO), no_first))
    remains = [path.name for path in (Path("out") / WORK).iterdir()]
    assert any(name.endswith(".part") for name in remains)
    serving.faults.clear()
    newer = make_zip(CONTENTS["D004-2021_AERIAL_RGBI"], zipfile.ZIP_STORED)
    serving.put(DATASET, SPOILT, newer, "dataset")
    assert fetched(make_plan(config(**AERIAL_TWO), no_first)).failed == {}
    assert not (Path("out") / WORK).exists()
    assert_whole()


def test_a_split_needs_the_metadata_first(serving: LoopbackHub) -> None:
    firsts: list[Plan] = []

    def first(plan: Plan) -> None:
        firsts.append(plan)
        assert download(plan).failed == {}

    wanted = config(split="train", modalities=("historical", "sentinel2"), labels=())
    plan = make_plan(wanted, first)
    assert [item.archive.folder for item in firsts[0].items] == [METADATA]
    assert {item.archive.folder for item in plan.missing} == {
        "D004-2021_SENTINEL2_TS",
        "D004-2021_SENTINEL2_MSK-SC",
        "D017-2018_SENTINEL2_TS",
        "D017-2018_SENTINEL2_MSK-SC",
        "D017-195X_AERIAL-RLT_PAN",
    }
    tested = make_plan(config(split="test"), no_first)
    assert {i.archive.domain for i in tested.missing} == {"D012-2019", "D012-195X"}
    with pytest.raises(ConfigError, match=r"none of these domains has patches of test.*D012-2019"):
        make_plan(config(split="test", domains=("D004",)), no_first)
    with pytest.raises(ConfigError, match=r"unknown split column 'split_9'.*Valid: split_1"):
        make_plan(config(split="test", split_column="split_9"), no_first)


def test_what_is_not_there_is_said(serving: LoopbackHub) -> None:
    with pytest.raises(ConfigError, match=r"unknown domain 'D018-2020'.*D004-2021, D012-2019"):
        make_plan(config(domains=("D018-2020",)), no_first)
    Path("out").write_text("a file")
    with pytest.raises(ConfigError, match="is a file"):
        make_plan(config(), no_first)
    serving.add_repo(DATASET, {"README.md": b""}, "dataset")
    with pytest.raises(DataError, match="lists no archive"):
        make_plan(config(output="other"), no_first)


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    serving: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(config(**AERIAL_TWO), no_first)
    monkeypatch.setattr(Plan, "free", property(lambda self: self.needed - 1))
    with pytest.raises(DataError, match="Nothing was fetched"):
        download(plan)
    assert serving.sent(SPOILT) == []
    assert not Path("out").exists()


def test_one_download_per_folder_at_a_time(serving: LoopbackHub) -> None:
    plan = make_plan(config(**AERIAL_TWO), no_first)
    (Path("out") / WORK).mkdir(parents=True)
    with (
        exclusive(Path("out") / WORK / "lock", Path("out")),
        pytest.raises(DataError, match="out: another process"),
    ):
        download(plan)
    assert download(plan).failed == {}


def test_archives_load_while_others_are_unpacked(
    serving: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    unpack_now = threading.Event()

    def listen(step: Step) -> None:
        if step.phase == "fetch" and step.done == step.total:
            events.append("fetched")
            if events.count("fetched") == 3:
                unpack_now.set()
        if step.phase == "unpack" and not unpack_now.is_set():
            # The first to be unpacked waits here: the next ones must come in all the same.
            assert unpack_now.wait(10)

    outcome = download(make_plan(config(connections=2, **AERIAL_TWO), no_first), listen=listen)
    assert outcome.failed == {}
    assert unpack_now.is_set()


def test_the_toy_set_and_the_challenges_are_plain_files(loopback_hub: LoopbackHub) -> None:
    toy = {f"FLAIR-HUB_TOY/{k}": v for k, v in patch_files("D004-2021_AERIAL_RGBI").items()}
    location = "flair_hub/FLAIR-HUB_TOY_DATASET.zip"
    mirror = loopback_hub.serve(location, make_zip(toy)).removesuffix("/" + location)
    loopback_hub.misbehave(location, Truncate(20_000), Status(503), Stall(1_000, 5))
    wanted = config(dataset="toy", mirror=mirror + "/")
    assert download(make_plan(wanted, no_first)) == Outcome(("FLAIR-HUB_TOY",), {})
    folder = Path("out") / "FLAIR-HUB_TOY" / "D004-2021_AERIAL_RGBI" / "AA-S1-1"
    assert len(list(folder.glob("*.tif"))) == 3

    for archive in PLAIN["flair2"]:
        content = {"table.json": b"{}"} if not archive.part else {"D004_2021/Z1_AU/a.tif": b"a"}
        loopback_hub.serve(archive.location, make_zip(content))
    tested = config(dataset="flair2", mirror=mirror, split="test", modalities=("aerial",))
    assert download(make_plan(tested, no_first)).failed == {}
    assert here() == {
        "FLAIR-HUB_TOY",
        "flair_2_aerial_metadata",
        "flair_2_aerial_test",
        "flair_2_labels_test",
    }
    assert (Path("out") / "flair_2_aerial_test" / "D004_2021" / "Z1_AU" / "a.tif").is_file()
    loopback_hub.plain.clear()
    with pytest.raises(ConfigError, match="not there"):
        make_plan(config(dataset="flair1", mirror=mirror), no_first)


def test_a_plain_file_that_is_wrong_is_told_by_the_archive_itself(
    loopback_hub: LoopbackHub,
) -> None:
    location = "flair_hub/FLAIR-HUB_TOY_DATASET.zip"
    content = make_zip({"T/a.tif": bytes(range(256)) * 100}, zipfile.ZIP_STORED)
    mirror = loopback_hub.serve(location, content).removesuffix("/" + location)
    loopback_hub.misbehave(location, Corrupt(5_000))
    wanted = config(dataset="toy", mirror=mirror)
    outcome = download(make_plan(wanted, no_first))
    assert "not a whole zip archive (Bad CRC-32" in outcome.failed["FLAIR-HUB_TOY"]
    assert here() == set()
    loopback_hub.misbehave(location, Truncate(5_000), Change(make_zip({"T/b.tif": b"new"})))
    outcome = download(make_plan(wanted, no_first))
    assert "changed on the server" in outcome.failed["FLAIR-HUB_TOY"]
    assert download(make_plan(wanted, no_first)).failed == {}
    assert [path.name for path in Path("out/FLAIR-HUB_TOY").iterdir()] == ["b.tif"]
    assert not (Path("out") / WORK).exists()


def test_a_process_of_its_own_reaches_the_hub_that_hf_endpoint_names(
    serving: LoopbackHub,
) -> None:
    code = "from bocage.cli import main; main()"
    words = ["data", "download", "--dataset", "flair-hub", "-o", "out", "--plan-only"]
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(FOLDERS) + 1} files, 0 of them here" in done.stdout
    serving.repos["dataset", DATASET].private = True
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {DATASET}: not found on {serving.url}, or private")
    assert not Path("out").exists()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": "flairhub"}, "unknown dataset 'flairhub'; did you mean 'flair-hub'"),
        ({"modalities": ("radar",)}, "unknown modality of flair-hub 'radar'"),
        ({"labels": ("cover",)}, "unknown label of flair-hub 'cover'"),
        ({"modalities": (), "labels": ()}, "neither a modality nor a label"),
        ({"split_column": "split_2"}, "split_column: no split is chosen"),
        ({"mirror": "http://x"}, "mirror: FLAIR-HUB lies on the hub"),
        ({"dataset": "toy", "domains": ("D004",)}, "domains: its archives hold all domains"),
        ({"dataset": "toy", "labels": ("crops",)}, "labels: it is a single archive"),
        ({"dataset": "flair2", "labels": ("crops",)}, "unknown label of flair2 'crops'"),
        ({"connections": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**options)


@pytest.mark.unit
def test_names_of_the_dataset() -> None:
    sensors = "aerial historical elevation spot sentinel2 sentinel1-asc sentinel1-desc"
    assert parts_of("flair-hub") == (tuple(sensors.split()), ("land-cover", "crops"))
    assert parts_of("flair2") == (("sentinel2", "aerial"), ("land-cover",))
    assert parts_of("toy") == ((), ())
    found = flair_hub_archives(
        [
            "data/D024047-2021_SENTINEL1-DESC_TS.zip",
            "data/GLOBAL_ALL_MTD.zip",
            "data/D004-195X_AERIAL-RLT_PAN.zip",
            "D004-2021_AERIAL_RGBI.zip",
            "data/D004-2021_AERIAL_RGBI.tar",
        ]
    )
    assert [(a.folder, a.part, a.domain) for a in found] == [
        ("GLOBAL_ALL_MTD", "", ""),
        ("D004-195X_AERIAL-RLT_PAN", "historical", "D004-195X"),
        ("D024047-2021_SENTINEL1-DESC_TS", "sentinel1-desc", "D024047-2021"),
    ]
    assert [a.folder for a in select_domains(found, ["D024047"])] == [
        "GLOBAL_ALL_MTD",
        "D024047-2021_SENTINEL1-DESC_TS",
    ]


def test_the_command_brings_a_dataset_that_reads(
    loopback_hub: LoopbackHub, dataset: Any, tmp_path: Path
) -> None:
    files = {}
    for folder in sorted(path for path in dataset.root.iterdir() if path.is_dir()):
        content = {
            path.relative_to(dataset.root).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        files[f"data/{folder.name}.zip"] = make_zip(content, zipfile.ZIP_STORED)
    loopback_hub.add_repo(DATASET, files, "dataset")
    words = ["data", "download", "--dataset", "flair-hub", "--modalities", "aerial,sentinel2"]
    words += ["--labels", "crops", "--split", "train", "-o", "got"]
    planned = run.invoke(app, [*words, "--plan-only"])
    assert planned.exit_code == 0, planned.output
    rows = {row.split()[0]: row.split()[-1] for row in planned.stdout.splitlines()[1:-1]}
    assert rows == {
        METADATA: "here",
        "D004-2021_AERIAL_RGBI": "missing",
        "D004-2021_ALL_LABEL-LPIS": "missing",
        "D004-2021_SENTINEL2_MSK-SC": "missing",
        "D004-2021_SENTINEL2_TS": "missing",
    }
    assert "5 files, 1 of them here" in planned.stdout.splitlines()[-1]
    assert here(Path("got")) == {METADATA}

    spoilt = "data/D004-2021_SENTINEL2_TS.zip"
    loopback_hub.misbehave(spoilt, Truncate(50), *[Status(500)] * 9)
    failed = run.invoke(app, words)
    assert failed.exit_code == 1
    assert "1 of 4 files failed:" in failed.stderr
    assert "D004-2021_SENTINEL2_TS: http" in failed.stderr
    assert "] D004-2021_AERIAL_RGBI: done" in failed.stderr

    loopback_hub.faults.clear()
    done = run.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "got: complete" in done.stdout
    index = build_index(Path("got"), "flair-hub")
    assert len(index) == 2
    assert index.problems == ()
    nothing = run.invoke(app, [*words, "--domains", "D999"])
    assert isinstance(nothing.exception, ConfigError)
    misspelt = run.invoke(app, [*words, "--modalities", "arial"])
    assert "did you mean 'aerial'" in str(misspelt.exception)
