"""Packing: resumable, in parallel, by several machines; what can go wrong and what is said."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bocage.cli.app import app
from bocage.data import PatchIndex, build_index, open_index, pack_dataset, verify_pack
from bocage.data.pack.codecs import crc32
from bocage.data.pack.shard import Location, read_directory
from bocage.errors import ConfigError, DataError

pytestmark = pytest.mark.integration


@pytest.fixture
def index(dataset) -> PatchIndex:
    return PatchIndex.read(dataset.root / "index.parquet")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pack(dataset, index, out, **options):
    return pack_dataset(dataset.root, out, index, **{"patches_per_shard": 1, **options})


@pytest.fixture
def whole(dataset, index, tmp_path) -> Path:
    """The dataset packed in one go, three shards."""
    pack(dataset, index, tmp_path / "whole")
    return tmp_path / "whole"


def test_machines_share_the_work_and_the_same_bytes_come_out(dataset, index, whole, tmp_path):
    out = tmp_path / "shared"
    first = pack(dataset, index, out, shard=(1, 2))
    assert (first.shards, first.written, first.complete) == (2, 2, False)
    assert not (out / "index.parquet").exists()
    with pytest.raises(DataError, match=r"not packed to the end.*without --shard"):
        open_index(out, "packed")
    second = pack(dataset, index, out, shard=(2, 2))
    assert (second.shards, second.written) == (1, 1)
    joined = pack(dataset, index, out)
    assert (joined.patches, joined.written, joined.complete) == (3, 0, True)
    assert files(out) == files(whole)


def test_several_processes_write_the_same_bytes(dataset, index, whole, tmp_path):
    seen = []
    report = pack(
        dataset, index, tmp_path / "p", workers=2, progress=lambda *step: seen.append(step)
    )
    assert report.patches == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert files(tmp_path / "p") == files(whole)


_KILLED = """
import os, signal, sys
from pathlib import Path
from bocage.data import PatchIndex, pack_dataset
root, out = Path(sys.argv[1]), Path(sys.argv[2])
fsync, calls = os.fsync, []
def dying(handle):
    calls.append(handle)
    if len(calls) == 3:  # the plan, the first shard, then in the middle of the second
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = dying
pack_dataset(root, out, PatchIndex.read(root / "index.parquet"), patches_per_shard=1)
"""


def test_a_killed_run_goes_on(dataset, index, whole, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-c", _KILLED, str(dataset.root), str(out)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [p.name for p in sorted((out / "shards").glob("[0-9]*"))] == ["00000.bpk"]
    assert len(list((out / "shards").glob(".*.bpk"))) == 1
    assert not (out / "index.parquet").exists()
    report = pack(dataset, index, out)
    assert (report.written, report.patches, report.complete) == (2, 3, True)
    assert files(out) == files(whole)


def test_an_error_leaves_nothing_under_a_final_name(dataset, index, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bocage.data.pack.writer.to_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        pack(dataset, index, tmp_path / "p")
    assert list(files(tmp_path / "p")) == ["pack.json"]


def test_a_patch_that_cannot_be_read_is_listed_and_tried_again(hub, tmp_path):
    ids = [hub.patch(position=f"1-{i}", products=["AERIAL_RGBI", "SPOT_RGBI"]) for i in (1, 2, 3)]
    index = hub.index()
    broken = hub.path("SPOT_RGBI", "D004-2021", "AA-S1-32", "1-2")
    good = broken.read_bytes()
    broken.write_bytes(good[:900])
    out = tmp_path / "p"
    report = pack(hub, index, out)
    (problem,) = report.problems
    assert ids[1] in problem
    assert "SPOT_RGBI" in problem
    assert (report.patches, report.complete) == (2, True)
    assert [r.patch_id for r in PatchIndex.read(out / "index.parquet")] == [ids[0], ids[2]]
    assert json.loads((out / "manifest.json").read_text())["problems"] == [problem]
    assert verify_pack(hub.root, out, index) == [problem]
    broken.write_bytes(good)
    again = pack(hub, index, out)
    assert (again.patches, again.written, again.problems) == (3, 1, ())
    assert len(PatchIndex.read(out / "index.parquet")) == 3
    assert verify_pack(hub.root, out, index) == []


def test_sensors_in_different_places_are_not_packed_as_one_patch(hub, tmp_path):
    hub.patch(products=["AERIAL_RGBI", "SPOT_RGBI"])
    index = hub.index()
    hub.replace("SPOT_RGBI", np.ones((4, 64, 64), np.uint16), crs="EPSG:32631")
    (problem,) = pack(hub, index, tmp_path / "p").problems
    assert "SPOT_RGBI lies in EPSG:32631 but AERIAL_RGBI in EPSG:2154" in problem


def test_verify_finds_what_differs(dataset, index, whole):
    assert verify_pack(dataset.root, whole, index) == []
    packed = PatchIndex.read(whole / "index.parquet")
    path = packed[1].path(whole, "AERIAL_RGBI")
    place = Location.parse(packed[1].paths["AERIAL_RGBI"])
    data = bytearray(path.read_bytes())
    data[place.offset + place.length // 2] ^= 4
    path.write_bytes(data)
    (finding,) = verify_pack(dataset.root, whole, index)
    assert "1-2, AERIAL_RGBI, values: checksum mismatch" in finding
    path.write_bytes(data[:500])
    (finding,) = verify_pack(dataset.root, whole, index)
    assert "the shard is truncated after 500 bytes" in finding


def test_verify_compares_with_the_source_itself(hub, tmp_path):
    patch = hub.patch(products=["AERIAL_RGBI", "SENTINEL1-ASC_TS"])
    hub.dates([patch], ["SENTINEL1-ASC_TS"])
    index = hub.index()
    pack(hub, index, tmp_path / "p")
    radar = np.full((6, 10, 10), 0.25, np.float32)
    hub.replace("SENTINEL1-ASC_TS", radar)
    assert verify_pack(hub.root, tmp_path / "p", index) == [
        f"patch {patch}: SENTINEL1-ASC_TS, values differs from the source"
    ]
    days = {"SENTINEL1-ASC_TS": ("20210102", "20210109", "20210714")}
    hub.days.update(days)
    hub.dates([patch], ["SENTINEL1-ASC_TS"])
    findings = verify_pack(hub.root, tmp_path / "p", hub.index())
    assert f"patch {patch}: dates differs in the index" in findings
    assert f"patch {patch}: SENTINEL1-ASC_TS, dates differs from the source" in findings


def test_a_truncated_shard_is_made_again(dataset, index, whole):
    before = files(whole)
    shard = whole / "shards/00001.bpk"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"00001\.bpk: the shard is truncated"):
        read_directory(shard)
    assert pack(dataset, index, whole).written == 1
    assert files(whole) == before


def test_another_dataset_or_codec_is_refused(dataset, hub, index, whole):
    before = files(whole)
    with pytest.raises(DataError, match=r"another packing .*codec fast instead of small"):
        pack(dataset, index, whole, codec="small")
    hub.patch("D099-2020", "UU-S1-1", "2-2", ["AERIAL_RGBI"])
    other = build_index(hub.root, "flair-hub")
    with pytest.raises(DataError, match=r"another packing .*patches 3 instead of 1"):
        pack_dataset(hub.root, whole, other, patches_per_shard=1)
    redated = PatchIndex.from_records([*index.records[:2], _moved(index.records[2])], index.layout)
    with pytest.raises(DataError, match=r"00002\.bpk: made from other patches, another index"):
        pack(dataset, redated, whole)
    assert files(whole) == before


def _moved(record):
    return replace(record, paths={**record.paths, "SPOT_RGBI": "elsewhere.tif"})


def test_another_version_is_refused(dataset, index, whole):
    shard = whole / "shards/00000.bpk"
    data = bytearray(shard.read_bytes())
    data[8:12] = struct.pack("<I", 9)
    data[60:64] = struct.pack("<I", crc32(bytes(data[:60])))
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"00000\.bpk: packed in format version 9; .* version 1"):
        pack(dataset, index, whole)
    plan = json.loads((whole / "pack.json").read_text())
    (whole / "pack.json").write_text(json.dumps({**plan, "version": 9}))
    with pytest.raises(DataError, match=r"another packing .*version 9 instead of 1"):
        pack(dataset, index, whole)


def test_foreign_files_are_not_written_over(dataset, index, tmp_path):
    out = tmp_path / "p"
    (out / "shards").mkdir(parents=True)
    (out / "shards/00000.bpk").write_text("my own")
    with pytest.raises(DataError, match=r"holds data, but no pack\.json"):
        pack(dataset, index, out)
    (out / "shards/00000.bpk").rename(out / "x")
    (out / "shards").rmdir()
    pack(dataset, index, out, shard=(1, 3))
    (out / "x").rename(out / "shards/00001.bpk")
    with pytest.raises(DataError, match=r"00001\.bpk: not a shard of packed data"):
        pack(dataset, index, out)
    with pytest.raises(DataError, match="is a file"):
        pack(dataset, index, out / "pack.json")
    with pytest.raises(ConfigError, match="the source itself"):
        pack(dataset, index, dataset.root)
    with pytest.raises(ConfigError, match="is packed already"):
        pack_dataset(out, tmp_path / "q", PatchIndex(index.table, "packed"))


def test_a_full_disk_is_said_and_leaves_nothing(dataset, index, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"00000\.bpk: could not be written .*free space"):
            pack(dataset, index, tmp_path / "p")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(files(tmp_path / "p")) == ["pack.json"]
    assert pack(dataset, index, tmp_path / "p").complete


def test_a_read_only_target_is_refused(dataset, index, tmp_path):
    out = tmp_path / "p"
    out.mkdir(mode=0o555)
    with pytest.raises(DataError, match="is read-only"):
        pack(dataset, index, out)


def test_a_process_that_dies_is_an_error_in_words(dataset, index, tmp_path, monkeypatch):
    from bocage.data.pack.jobs import run_jobs

    with pytest.raises(DataError, match=r"a process died .*fewer --workers"):
        list(run_jobs(os._exit, [3, 3], workers=2))


def test_the_command_packs_shares_verifies_and_exits(dataset, tmp_path):
    def bocage(*words):
        return CliRunner().invoke(app, ["data", "pack", *map(str, words)])

    out = tmp_path / "p"
    part = bocage(dataset.root, out, "--shard", "1/2", "--workers", 1)
    assert (part.exit_code, "once more without --shard" in part.stdout) == (0, True)
    rest = bocage(dataset.root, out, "--workers", 1, "--verify")
    assert rest.exit_code == 0
    assert "3 patches" in rest.stdout
    assert "(0 written now)" in rest.stdout
    assert "equal to the source" in rest.stdout
    wrong = {
        "--codec=zip": "unknown codec 'zip'",
        "--shard=3/2": "counted from 1",
        "--shard=2": "2/8",
    }
    for option, text in wrong.items():
        failed = bocage(dataset.root, out, option)
        assert isinstance(failed.exception, ConfigError)
        assert text in str(failed.exception)
    both = bocage(dataset.root, out, "--shard", "1/2", "--verify")
    assert "without --shard" in str(both.exception)
    shard = out / "shards/00000.bpk"
    data = bytearray(shard.read_bytes())
    data[3000] ^= 1
    shard.write_bytes(data)
    damaged = bocage(dataset.root, out, "--verify", "--workers", 1)
    assert damaged.exit_code == 1
    assert "checksum mismatch" in damaged.stderr
