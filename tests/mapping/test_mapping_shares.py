"""Many processes and machines at one map: shares, local processes, Ray, kill -9."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mapping_stubs import Moody, aerial, bundle, read_map, write_raster

from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, map_area, merge_shares
from bocage.mapping import finish as finish_module
from bocage.mapping import worker as worker_module
from bocage.mapping import workspace as workspace_module
from bocage.mapping.plan import Block

pytestmark = pytest.mark.integration


class Killed(BaseException):
    """As sudden as a signal: nothing in the engine may catch it."""


CONFIG = MapConfig(window_px=128, overlap_px=32, block_px=512)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    return [Source("aerial", write_raster(tmp_path / "a.tif", aerial(1100, 1100, high=255)))]


@pytest.fixture
def whole(tmp_path: Path, sources) -> Path:
    """The map as one process makes it."""
    out = tmp_path / "whole"
    assert map_area(bundle(Moody()), sources, out, CONFIG).blocks == 9
    return out


def assert_same_files(out: Path, whole: Path) -> None:
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
    for file in whole.glob("*.tif"):
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name


def test_shares_make_the_same_map(tmp_path: Path, sources, whole):
    out = tmp_path / "out"
    blocks = 0
    for part in (3, 1):
        report = map_area(bundle(Moody()), sources, out, CONFIG, share=(part, 4))
        assert report.maps == {}
        assert report.exit_code == 0
        blocks += report.blocks
    with pytest.raises(DataError, match=r"4 of 9 blocks have not been computed.*numbers 1, 3"):
        merge_shares(out)
    for part in (2, 4):
        blocks += map_area(bundle(Moody()), sources, out, CONFIG, share=(part, 4)).blocks
    assert blocks == 9
    report = merge_shares(out)
    assert report.blocks == 9
    assert report.windows == json.loads((whole / "report.json").read_text())["windows"]
    assert report.seconds["network"] > 0
    assert_same_files(out, whole)
    with pytest.raises(DataError, match="no mapping run has begun here, or its map is finished"):
        merge_shares(out)


def test_a_share_keeps_off_what_others_write(tmp_path: Path, sources):
    out = tmp_path / "out"
    map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 2))
    # Another machine is at this block right now.
    theirs = out / "blocks" / ".000001_cover.0123abcd.tif"
    theirs.write_bytes(b"half")
    map_area(bundle(Moody()), sources, out, CONFIG, share=(2, 2))
    assert theirs.exists()
    assert merge_shares(out).exit_code == 0
    assert not (out / "blocks").exists()


def test_a_share_that_failed_leaves_a_hole_that_is_named(tmp_path: Path, sources, whole):
    class Sick(Moody):
        def forward(self, **inputs):
            if self.seen > 40:
                raise RuntimeError("out of sorts")
            return super().forward(**inputs)

    out = tmp_path / "out"
    assert map_area(bundle(Sick()), sources, out, CONFIG, share=(1, 2)).exit_code == 1
    map_area(bundle(Moody()), sources, out, CONFIG, share=(2, 2))
    report = merge_shares(out)
    assert report.exit_code == 1
    assert {f.index for f in report.failed} <= {0, 2, 4, 6, 8}
    assert all("out of sorts" in f.reason for f in report.failed)
    assert (read_map(out / "cover.tif") == 255).any()
    # The same share once more, in health, and merged again.
    assert map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 2)).exit_code == 0
    assert merge_shares(out).exit_code == 0
    assert_same_files(out, whole)


def test_merging_without_some_blocks_must_be_asked_for(tmp_path: Path, sources):
    out = tmp_path / "out"
    map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 9))
    report = merge_shares(out, partial=True)
    assert report.exit_code == 1
    assert [f.reason for f in report.failed] == ["not computed"] * 8
    found = read_map(out / "cover.tif")
    assert (found[:512, :512] != 255).all()
    assert (found[512:] == 255).all()


@pytest.mark.parametrize("share", [(0, 2), (3, 2)])
def test_a_share_that_cannot_be(tmp_path: Path, sources, share):
    with pytest.raises(ConfigError, match="the first number is one of 1 to 2"):
        map_area(bundle(Moody()), sources, tmp_path / "out", CONFIG, share=share)


def test_a_share_must_not_overwrite(tmp_path: Path, sources):
    config = CONFIG.model_copy(update={"overwrite": True})
    with pytest.raises(ConfigError, match="exclude each other"):
        map_area(bundle(Moody()), sources, tmp_path / "out", config, share=(1, 2))


class Deadly(Moody):
    """Kills its process once, at the window whose corner pixel is 7; for ever without a flag."""

    def __init__(self, flag: Path | None) -> None:
        super().__init__()
        self.flag = flag

    def forward(self, **inputs):
        if (inputs["images"]["AERIAL_RGBI"][:, :, 64, 64] == 7).all() and (
            self.flag is None or not self.flag.exists()
        ):
            if self.flag is not None:
                self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(**inputs)


def test_processes_make_the_same_map_though_one_is_killed(tmp_path: Path, sources, whole):
    config = CONFIG.model_copy(update={"workers": 2})
    image = aerial(1100, 1100, high=255)
    row = col = 5 * 96 - 16 + 64  # the middle of a window of the lattice
    image[:, row, col] = 7
    path = write_raster(tmp_path / "b.tif", image)
    expected, out = tmp_path / "expected", tmp_path / "out"
    map_area(bundle(Moody()), [Source("aerial", path)], expected, CONFIG)
    flag = tmp_path / "killed"
    steps = []
    report = map_area(
        bundle(Deadly(flag)),
        [Source("aerial", path)],
        out,
        config,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert flag.exists(), "nothing was killed"
    assert report.exit_code == 0
    assert steps[-1] == (9, 9)
    assert report.seconds["network"] > 0
    assert_same_files(out, expected)


def test_a_block_that_kills_every_process_is_listed(tmp_path: Path):
    image = aerial(520, 1100, high=255)
    image[:, 64 - 16, 64 - 16] = 7  # in the first window
    path = write_raster(tmp_path / "b.tif", image)
    config = CONFIG.model_copy(update={"workers": 2})
    report = map_area(bundle(Deadly(None)), [Source("aerial", path)], tmp_path / "out", config)
    assert report.exit_code == 1
    assert [f.index for f in report.failed] == [0]
    assert "3 processes have died here (exit status -9" in report.failed[0].reason
    found = read_map(tmp_path / "out" / "cover.tif")
    assert (found[:512, :512] == 255).all()
    assert (found != 255).any()


RUN = """
import sys, torch
sys.path.insert(0, {here!r})
from pathlib import Path
from mapping_stubs import Moody, bundle
from bocage.mapping import MapConfig, Source, map_area
torch.set_num_threads(1)
config = MapConfig(window_px=128, overlap_px=32, block_px=512)
map_area(bundle(Moody()), [Source("aerial", Path({raster!r}))], Path({out!r}), config)
"""


def test_kill_9_at_any_moment_and_the_same_bytes(tmp_path: Path, sources, whole):
    """The whole process is killed again and again, ever later, until a run gets through."""
    out = tmp_path / "out"
    here = str(Path(__file__).parent)
    code = RUN.format(here=here, raster=str(sources[0].path), out=str(out))
    kills, found = 0, set()
    for attempt in range(40):
        process = subprocess.Popen([sys.executable, "-c", code])
        # Waits for a block more than before, then some time that lies anywhere within the next.
        wanted = len(found) + 1
        while process.poll() is None:
            found = set((out / "blocks").glob("0*.json")) if out.exists() else set()
            if len(found) >= wanted:
                break
            time.sleep(0.002)
        time.sleep(0.013 * (attempt % 5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        if process.wait() == 0:
            break
    assert process.returncode == 0
    assert kills >= 3
    assert_same_files(out, whole)


def test_an_address_without_ray_is_refused(tmp_path: Path, sources):
    with pytest.raises(ConfigError, match="Add --engine ray"):
        map_area(bundle(Moody()), sources, tmp_path / "out", CONFIG, address="auto")


def test_a_folder_that_cannot_be_written_ends_the_run(tmp_path: Path, sources, monkeypatch):
    from bocage.mapping import worker

    calls = []

    def full(target, *rest):
        calls.append(target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "write_block", full)
    with pytest.raises(OSError, match="No space left"):
        map_area(bundle(Moody()), sources, tmp_path / "out", CONFIG)
    # The next block was under way when the first could not be written; no more were begun.
    assert 1 <= len(calls) <= 2


LAST_STEPS = ["first layer", "all layers", "item", "report", "half of the blocks removed"]


@pytest.mark.parametrize("step", LAST_STEPS)
@pytest.mark.parametrize("merged", [False, True])
def test_a_kill_while_the_files_are_made(tmp_path: Path, sources, whole, monkeypatch, step, merged):
    """Right after each of the last steps; then the same command, or the merge, once more."""
    out = tmp_path / "out"

    def finish():
        if not merged:
            return map_area(bundle(Moody()), sources, out, CONFIG)
        return merge_shares(out)

    if merged:
        for part in (1, 2):
            map_area(bundle(Moody()), sources, out, CONFIG, share=(part, 2))
    module, name, times = {
        "first layer": (finish_module, "write_cog", 1),
        "all layers": (finish_module, "write_cog", 2),
        "item": (finish_module, "write_item", 1),
        "report": (workspace_module, "write_json", None),
        "half of the blocks removed": (workspace_module.shutil, "rmtree", 1),
    }[step]
    real, calls = getattr(module, name), []

    def killed(target, *rest, **options):
        if name == "rmtree" and Path(target).name.startswith(".blocks."):
            for path in sorted(target.iterdir())[::2]:
                path.unlink()
            raise Killed
        real(target, *rest, **options)
        calls.append(target)
        if (len(calls) == times and name != "rmtree") or (
            times is None and target.name == "report.json"
        ):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Killed):
            finish()
    if (out / "report.json").exists():
        with pytest.raises((ConfigError, DataError), match=r"finished"):
            finish()
        if not merged:
            # Whatever the kill has left does not stand in the way of a new map.
            map_area(bundle(Moody()), sources, out, CONFIG.model_copy(update={"overwrite": True}))
    else:
        assert finish().exit_code == 0
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
    assert not (out / "blocks").exists()
    for file in whole.glob("*.tif"):
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name


def test_overwriting_leaves_no_layer_of_the_map_before(tmp_path: Path, sources):
    out = tmp_path / "out"
    map_area(bundle(Moody()), sources, out, CONFIG)
    assert (out / "cover_confidence.tif").exists()
    config = CONFIG.model_copy(update={"overwrite": True, "confidence": False})
    map_area(bundle(Moody()), sources, out, config)
    assert sorted(p.name for p in out.iterdir()) == [
        "cover.qml", "cover.tif", "cover.tif.aux.xml", "report.json", "stac.json"
    ]  # fmt: skip


def test_shares_of_different_requests_do_not_mix(tmp_path: Path, sources):
    out = tmp_path / "out"
    map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 2))
    other = CONFIG.model_copy(update={"overlap_px": 64})
    with pytest.raises(ConfigError, match="differs in: overlap_px"):
        map_area(bundle(Moody()), sources, out, other, share=(2, 2))


def test_a_share_without_any_good_block_still_tells_why(tmp_path: Path, sources):
    class Sick(Moody):
        def forward(self, **inputs):
            raise RuntimeError("out of sorts")

    out = tmp_path / "out"
    report = map_area(bundle(Sick()), sources, out, CONFIG, share=(2, 9))
    assert (report.exit_code, len(report.failed)) == (1, 1)
    map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 9))
    merged = merge_shares(out, partial=True)
    assert "out of sorts" in {f.index: f.reason for f in merged.failed}[1]


def test_an_address_where_no_cluster_is(tmp_path: Path, sources):
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(ConfigError, match=r"address=127.0.0.1:1: no Ray cluster answers there"):
        map_area(
            bundle(Moody()), sources, tmp_path / "out", CONFIG, engine="ray", address="127.0.0.1:1"
        )


def test_a_share_that_outlives_the_map_leaves_nothing(tmp_path: Path, sources, whole, monkeypatch):
    """Started twice: the others finish the map, and remove the blocks, while it is at work."""
    out = tmp_path / "out"
    real, finished = worker_module.write_block, []

    def late(target, *rest):
        if not finished:
            finished.append(True)
            for part in (1, 2):
                map_area(bundle(Moody()), sources, out, CONFIG, share=(part, 2))
            assert merge_shares(out).exit_code == 0
        real(target, *rest)

    monkeypatch.setattr(worker_module, "write_block", late)
    with pytest.raises(DataError, match=r"finished the map .* Nothing is lost"):
        map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 2))
    assert not (out / "blocks").exists()
    assert_same_files(out, whole)
    work = workspace_module.Workspace(out)
    with pytest.raises(DataError, match=r"finished the map"):
        work.declare((1, 2), {})
    assert not (out / "blocks").exists()


def test_blocks_without_a_plan_are_of_no_run(tmp_path: Path, sources, whole):
    """What a process left that was killed after its map was finished is not taken for blocks."""
    out = tmp_path / "out"
    (out / "blocks").mkdir(parents=True)
    (out / "blocks" / "000000.json").write_text('{"windows": 1, "found": []}')
    (out / "blocks" / "000001_cover.tif").write_bytes(b"II")
    report = map_area(bundle(Moody()), sources, out, CONFIG)
    assert report.blocks_resumed == 0
    assert_same_files(out, whole)


@pytest.mark.parametrize(
    "name", ["20180701_ortho.tif", "201807_cover.tif", "a.vrt", "ortho_2018.tif"]
)
def test_somebodys_own_files_are_kept(tmp_path: Path, sources, name):
    """However much they look like what a run writes."""
    own = tmp_path / "out" / "blocks" / name
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="files that are not of a mapping run"):
        map_area(bundle(Moody()), sources, tmp_path / "out", CONFIG)
    assert own.read_bytes() == b"mine"


LOSSES = {
    "removed": None,
    "empty": lambda data: b"",
    "halved": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-3],
    "zeroed": lambda data: bytes(len(data)),
    "zeroed inside": lambda data: data[: len(data) // 2] + bytes(64) + data[len(data) // 2 + 64 :],
}  # fmt: skip


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("side_px", [400, 1100])
def test_a_block_whose_file_is_lost_is_computed_anew(tmp_path: Path, side_px: int, loss: str):
    """Also where the file keeps its size, as after a loss of power."""
    image = aerial(side_px, side_px, high=255)
    sources = [Source("aerial", write_raster(tmp_path / "a.tif", image))]
    out, whole, network = tmp_path / "out", tmp_path / "whole", bundle(Moody())
    map_area(network, sources, whole, CONFIG)
    map_area(network, sources, out, CONFIG, share=(1, 1))
    file = sorted((out / "blocks").glob("000000_*.tif"))[0]
    spoil = LOSSES[loss]
    if spoil is None:
        file.unlink()
    else:
        file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DataError, match=rf"{file.name}: is missing or damaged, .* computed anew"):
        merge_shares(out)
    report = map_area(network, sources, out, CONFIG)
    assert report.blocks_resumed == report.blocks - 1
    assert_same_files(out, whole)


def test_a_share_that_ends_while_others_merge_is_not_lost(tmp_path: Path, sources, monkeypatch):
    """What came too late for the map is listed, and kept."""
    out, network = tmp_path / "out", bundle(Moody())
    map_area(network, sources, out, CONFIG, share=(1, 2))
    real, late = finish_module.write_cog, []

    def slow(*given):
        if not late:
            late.append(map_area(network, sources, out, CONFIG, share=(2, 2)))
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(finish_module, "write_cog", slow)
        report = merge_shares(out, partial=True)
    assert late[0].exit_code == 0
    assert report.exit_code == 1
    assert [failure.index for failure in report.failed] == [1, 3, 5, 7]
    assert (read_map(out / "cover.tif")[:512, 512:1024] == 255).all()
    assert merge_shares(out).exit_code == 0
    assert (read_map(out / "cover.tif") != 255).all()


@pytest.mark.parametrize("second", ["run", "merge"])
def test_two_at_once_do_not_disturb_each_other(tmp_path: Path, sources, whole, monkeypatch, second):
    out, network = tmp_path / "out", bundle(Moody())
    for part in (1, 2):
        map_area(network, sources, out, CONFIG, share=(part, 2))
    refused = []

    def disturbed(real):
        def meanwhile(*given, **options):
            words = "another process is at work on this map"
            with pytest.raises(ConfigError, match=words) as caught:
                merge_shares(out) if second == "merge" else map_area(network, sources, out, CONFIG)
            refused.append(caught)
            real(*given, **options)

        return meanwhile

    with monkeypatch.context() as patch:
        # While layers are made, and while the blocks are removed.
        patch.setattr(finish_module, "write_cog", disturbed(finish_module.write_cog))
        patch.setattr(workspace_module.shutil, "rmtree", disturbed(shutil.rmtree))
        assert merge_shares(out).exit_code == 0
    assert len(refused) >= 2 + 1
    assert_same_files(out, whole)


def test_a_plan_of_another_version_says_so(tmp_path: Path, sources):
    out = tmp_path / "out"
    map_area(bundle(Moody()), sources, out, CONFIG, share=(1, 2))
    plan = out / "blocks" / "plan.json"
    stated = json.loads(plan.read_text())
    plan.write_text(json.dumps({**stated, "request": {"version": "0.0.1"}}))
    with pytest.raises(ConfigError, match=r"differs in: version \(bocage 0.0.1, now"):
        map_area(bundle(Moody()), sources, out, CONFIG)
    plan.write_text("{}")
    with pytest.raises(DataError, match=r"plan.json: is not what a mapping run writes"):
        merge_shares(out)


def test_a_map_that_is_finished_between_a_blocks_files_and_its_marker_is_told(tmp_path: Path):
    work, block = workspace_module.Workspace(tmp_path), Block(0, 0, 1, 0, 1)
    work.folder.mkdir()
    work.begin({}, {})
    work.block_file(block, "cover").write_bytes(b"a block")
    work.discard_blocks()
    with pytest.raises(DataError, match="another process finished the map"):
        work.complete(block, ["cover"], windows=1)
