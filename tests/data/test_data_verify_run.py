"""A whole check: processes that hang or die, runs that are killed, and what is left on disk."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from bocage.data import PatchIndex, pack_dataset, verify_dataset
from bocage.data.verify.watch import Done, Limits, Stopped, watch
from bocage.errors import ConfigError, DataError


def behave(scale: int, job: str, begin) -> int:
    """What a job says it is: work for the processes below, importable from there."""
    begin(f"step of {job}")
    if job == "hang":
        time.sleep(1000)
    if job == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "gorge":
        try:
            return len(np.zeros(600 * 2**20, np.uint8))
        except MemoryError:
            return -1
    return scale * int(job)


@pytest.mark.integration
def test_processes_that_hang_die_or_gorge_are_told_apart(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    jobs = ["1", "hang", "2", "die", "3", "gorge", "4"]
    limits = Limits(seconds=1.5, memory_bytes=256 * 2**20)
    started = time.monotonic()
    given_up = []

    def again(stopped):
        given_up.append(stopped.job)
        return "50" if stopped.job == "hang" else None

    results = list(watch(partial(behave, 10), jobs, 2, limits, again))
    done = {r.job: r.result for r in results if isinstance(r, Done)}
    assert done == {"1": 10, "2": 20, "3": 30, "4": 40, "gorge": -1, "50": 500}
    (stopped,) = [r for r in results if isinstance(r, Stopped)]
    assert (stopped.job, stopped.step) == ("die", "step of die")
    assert "SIGSEGV" in stopped.reason
    assert sorted(given_up) == ["die", "hang"]
    assert time.monotonic() - started < 60
    assert all(0 <= r.peak_bytes < 256 * 2**20 for r in results if isinstance(r, Done))


@pytest.mark.integration
def test_a_check_leaves_its_findings_and_reads_only_what_has_changed(hub, tmp_path):
    ids = [hub.patch(seed=1), hub.patch(position="1-2", seed=2)]
    hub.dates(ids)
    stray = hub.root / "D004-2021_AERIAL_RGBI" / "AA-S1-32" / "copy of 1-1.tif"
    stray.write_bytes(b"")
    hub.path("SPOT_RGBI", "D004-2021", "AA-S1-32", "1-2").unlink()
    hub.path("DEM_ELEV", "D004-2021", "AA-S1-32", "1-2").write_bytes(b"MM")
    out = tmp_path / "findings"
    report = verify_dataset(hub.root, "flair-hub", out)
    assert (report.patches, report.read, report.clean) == (2, 2, False)
    found = [(f.severity, f.kind, f.product) for f in report.findings]
    # The random levels of the fake labels contradict the tree; both patches lie on one place.
    assert {f for f in found if f[1] not in ("levels", "neighbours")} == {
        ("error", "file", "DEM_ELEV"),
        ("note", "absent", "SPOT_RGBI"),
        ("note", "left out", ""),
    }
    assert sum(kind == "neighbours" for _, kind, _ in found) == 1
    rows = pq.read_table(out / "findings.parquet").to_pylist()
    assert [r["text"] for r in rows] == [f.text for f in report.findings]
    text = (out / "findings.txt").read_text()
    assert all(f.text in text for f in report.findings)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["patches"] == 2
    assert summary["kinds"]["error file"] == 1
    assert len(summary["levels"]) == 77
    assert (out / "levels.csv").read_text().count("\n") > 100
    # The broken file is replaced: only its patch is read again.
    hub.patch(position="1-2", seed=2, products=["DEM_ELEV"])
    second = verify_dataset(hub.root, "flair-hub", out)
    assert second.read == 1
    assert all(f.kind != "file" for f in second.findings)
    assert verify_dataset(hub.root, "flair-hub", out).findings == second.findings
    assert verify_dataset(hub.root, "flair-hub", out, again=True).read == 2


@pytest.mark.integration
def test_a_tile_that_asks_for_gigabytes_is_refused(hub, tmp_path):
    """Bands, size and type are right; the one tile is said to be 60,000 pixels wide and high."""
    hub.patch(products=["AERIAL_RGBI"])
    path = hub.path("AERIAL_RGBI", "D004-2021", "AA-S1-32", "1-1")
    with rasterio.open(path) as file:
        profile, pixels = file.profile, file.read()
    path.unlink()
    profile.update(tiled=True, blockxsize=512, blockysize=512, compress="deflate")
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, entry)[0] in (322, 323):  # TileWidth, TileLength
            struct.pack_into("<HII", content, entry + 2, 4, 1, 60_000)
    path.write_bytes(content)
    report = verify_dataset(hub.root, "flair-hub", tmp_path / "out", time_limit_s=20)
    assert [(f.kind, f.product) for f in report.findings] == [("file", "AERIAL_RGBI")]
    assert "cannot be read as a raster" in report.findings[0].text
    assert report.peak_bytes < 1.1 * 2**30


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from bocage.data.verify import journal
from bocage.data.verify.run import verify_dataset
journal._PATCHES_PER_PART = 1
def kill(done, total):
    if done == 2:
        print(*[p.pid for p in multiprocessing.active_children()], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    verify_dataset(Path(sys.argv[1]), "flair-hub", Path(sys.argv[2]), workers=2, progress=kill)
"""


@pytest.mark.integration
def test_a_run_that_is_killed_goes_on(dataset, tmp_path):
    script, out = tmp_path / "killed.py", tmp_path / "out"
    script.write_text(textwrap.dedent(KILLED))
    ended = subprocess.run(
        [sys.executable, script, dataset.root, out], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (out / "summary.json").exists()
    assert len(list((out / "parts").glob("*.parquet"))) == 2
    report = verify_dataset(dataset.root, "flair-hub", out)
    assert (report.patches, report.read) == (3, 1)
    fresh = verify_dataset(dataset.root, "flair-hub", tmp_path / "fresh")
    assert fresh.read == 3
    assert report.findings == fresh.findings
    assert list((out / "parts").iterdir()) == []
    # Whoever watched is gone, and so are those that were watched.
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in ended.stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ended.stdout.split()


@pytest.mark.integration
def test_packed_data_are_checked_like_the_files_they_came_from(dataset, tmp_path):
    index = PatchIndex.read(dataset.root / "index.parquet")
    pack_dataset(dataset.root, tmp_path / "packed", index)
    source = verify_dataset(dataset.root, "flair-hub", tmp_path / "source")
    packed = verify_dataset(tmp_path / "packed", "packed", tmp_path / "found")
    assert packed.levels == source.levels
    kinds = {(f.kind, f.patch_id) for f in source.findings}
    assert {(f.kind, f.patch_id) for f in packed.findings} == kinds
    shard = next((tmp_path / "packed").rglob("00000.bpk"))
    content = bytearray(shard.read_bytes())
    place = index[0].patch_id.encode()
    content[content.index(place) + 3] ^= 1
    shard.write_bytes(content)
    damaged = verify_dataset(tmp_path / "packed", "packed", tmp_path / "found")
    assert [f.kind for f in damaged.findings].count("file") == 1
    assert "checksum mismatch" in damaged.findings[0].text


@pytest.mark.integration
def test_what_cannot_be_checked_is_refused(tmp_path, one_patch):
    with pytest.raises(DataError, match="no such folder"):
        verify_dataset(tmp_path / "gone", "flair-hub", tmp_path / "out")
    with pytest.raises(ConfigError, match="unknown layout"):
        verify_dataset(tmp_path, "flare", tmp_path / "out")
    one_patch.root.chmod(0o555)
    try:
        with pytest.raises(ConfigError, match="-o"):
            verify_dataset(one_patch.root, "flair-hub")
    finally:
        one_patch.root.chmod(0o755)
    out = tmp_path / "broken"
    out.mkdir()
    (out / "patches.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="--again"):
        verify_dataset(one_patch.root, "flair-hub", out)
