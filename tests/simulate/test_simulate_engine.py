"""Workers, shards, kills and checksums: always the same bytes, or a clear error."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rasterio

from bocage.errors import ConfigError, DataError
from bocage.simulate import (
    benchmark,
    dataset,
    empty_splits,
    simulate_area,
    simulate_benchmark,
    simulate_dataset,
    verify_benchmark,
)
from bocage.simulate import patches as patches_module
from bocage.simulate.checksums import CHECKSUMS, file_digest
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY
from bocage.simulate.folder import SIMULATOR_VERSION
from bocage.simulate.jobs import run_jobs
from bocage.simulate.patches import draw_up, plan_patches
from bocage.simulate.request import parse_domains, parse_names, parse_side
from bocage.simulate.sites import Region
from bocage.simulate.totals import VERSION

pytestmark = pytest.mark.integration

REQUEST = {"domains": ["D030-2021", "D080-2021"], "patches": 2, "seed": 5}
TINY = benchmark.Benchmark(
    seed=1,
    domains={"train": ("D034-2021",), "valid": ("D021-2020",), "test": ("D012-2019",)},
    classes={"D034-2021": ("olive groves",)},
    sizes={"small": benchmark.Size({"train": 1, "valid": 1, "test": 1}, side=1)},
)


def digests(root: Path) -> dict[str, str]:
    files = [path for kind in ("tif", "gpkg") for path in root.rglob(f"[!.]*.{kind}")]
    return {str(path.relative_to(root)): file_digest(path) for path in sorted(files)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("engine") / "reference"
    assert simulate_dataset(out, **REQUEST)
    found = digests(out)
    assert len(found) == 4 * 10 + 7
    return found


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark.BENCHMARKS, "v1", TINY)
    monkeypatch.setattr(benchmark, "TOTALS", {})


def test_two_workers_write_what_one_writes_and_report_in_order(tmp_path, reference):
    calls = []
    simulate_dataset(
        tmp_path, **REQUEST, workers=2, progress=lambda done, total: calls.append((done, total))
    )
    assert digests(tmp_path) == reference
    assert calls == [(k, 4) for k in range(1, 5)]


def test_shards_in_any_order_write_the_whole_and_the_last_one_completes_it(tmp_path, reference):
    manifest = tmp_path / "simulation.json"
    assert not simulate_dataset(tmp_path, **REQUEST, shard=(3, 3))
    assert not simulate_dataset(tmp_path, **REQUEST, shard=(1, 3))
    assert json.loads(manifest.read_text())["complete"] is False
    assert not (tmp_path / "GLOBAL_ALL_MTD").exists()
    assert simulate_dataset(tmp_path, **REQUEST, shard=(2, 3))
    assert json.loads(manifest.read_text())["complete"] is True
    assert digests(tmp_path) == reference


def test_a_run_that_is_killed_leaves_only_whole_files_and_goes_on(tmp_path, reference):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bocage.simulate import simulate_dataset\n"
        f"simulate_dataset(Path(sys.argv[1]), **{REQUEST!r})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("D*.tif"))) < 12:
        assert time.monotonic() < deadline
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = digests(tmp_path)
    assert 12 <= len(kept) < len(reference)
    assert kept.items() <= reference.items()
    # What a kill in the middle of a write leaves; which file it is depends on the moment.
    missing = next(name for name in reference if name not in kept and name.endswith(".tif"))
    (tmp_path / missing).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / missing).with_name(f".{Path(missing).stem}.0123abcd.tif").write_bytes(b"II*")
    assert simulate_dataset(tmp_path, **REQUEST)
    assert digests(tmp_path) == reference
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from bocage.simulate.jobs import run_jobs\n"
        "def work(job):\n"
        "    time.sleep(0.05)\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for pid in run_jobs(work, range(100_000), 2):\n"
        "        print(pid, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(4)}
    assert len(workers) == 2
    assert parent.pid not in workers
    parent.send_signal(signal.SIGKILL)
    parent.stdout.close()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _fails(job: int) -> int:
    if job == 3:
        raise DataError(f"job {job} failed in {os.getpid()}")
    return job


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_is_raised_where_the_results_are_taken(workers):
    results = run_jobs(_fails, range(8), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="job 3 failed"):
        next(results)


def _dies(job: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job


def test_a_worker_that_dies_is_an_error_and_not_a_wait():
    with pytest.raises(DataError, match="fewer --workers"):
        list(run_jobs(_dies, range(4), 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_area_is_the_same_with_any_number_of_workers(tmp_path, simulated_area, workers):
    simulate_area(tmp_path / "again", size_m=130.0, seed=7, workers=workers)
    again = digests(tmp_path / "again")
    assert again == digests(simulated_area)
    assert len(again) == 10


def test_only_the_wanted_sensors_are_written_with_their_labels(tmp_path):
    request = {"domains": ["D030-2021"], "patches": 1, "sensors": ["SENTINEL2_TS", "SPOT_RGBI"]}
    assert simulate_dataset(tmp_path, **request, classes=["rice"])
    tags = {path.name.partition("_")[2] for path in tmp_path.iterdir() if path.name[0] == "D"}
    assert tags == {
        "SENTINEL2_TS", "SENTINEL2_MSK-SC", "SPOT_RGBI", "AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS",
    }  # fmt: skip
    assert {path.stem for path in (tmp_path / "GLOBAL_ALL_MTD").iterdir()} == {
        "GLOBAL_SENTINEL2_MTD_DATES", "GLOBAL_SPOT_MTD_DATES", "GLOBAL_ALL_MTD_SPLIT",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="asked for"):
        simulate_dataset(tmp_path, **{**request, "sensors": ["SPOT_RGBI"]}, classes=["rice"])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"domains": ["D30-2021"]}, "unknown domain 'D30-2021'; did you mean 'D030-2021'"),
        ({"domains": []}, "name at least one"),
        ({"domains": ["D030-2021", "D030-2021"]}, "each once"),
        ({"sensors": ["SPOT_RGB"]}, "unknown sensor 'SPOT_RGB'; did you mean 'SPOT_RGBI'"),
        ({"classes": ["rize"]}, "unknown class 'rize'; did you mean 'rice'"),
        ({"classes": ["background"]}, "unknown class 'background'"),
        ({"workers": 0}, "workers is 0"),
        ({"shard": (3, 2)}, "shard is 3/2"),
        ({"shard": (0, 2)}, "shard is 0/2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, request_, message):
    with pytest.raises(ConfigError) as caught:
        simulate_dataset(tmp_path / "out", **request_)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_requests_as_users_write_them():
    assert [parse_side(text) for text in ("5km", "0.5 km", "800m", "1000")] == [5e3, 500, 800, 1e3]
    assert parse_domains("3") == 3
    assert parse_domains("D030-2021, D080-2021") == ["D030-2021", "D080-2021"]
    assert parse_domains("D080-2021,") == ["D080-2021"]
    assert parse_names("rice; grasses, monoculture;", ";") == ["rice", "grasses, monoculture"]
    for text in ("5 miles", "-5km", "10m", "21 km"):
        with pytest.raises(ConfigError, match=f"--area {text}[:;]"):
            parse_side(text)


@pytest.mark.parametrize(
    ("domains", "patches", "message"),
    [
        (3, 20, None),
        (["D024047-2021"], 20, None),
        (["D068-2021"], 3, "training or validation: the chosen domains are held out.*D024047-2021"),
        (["D024047-2021", "D051-2019"], 20, "for the test: none of the chosen.* such as D068-2021"),
        (2, 1, "for validation: .*more patches"),
        (["D024047-2021"], 1, "for validation or the test: .*more patches"),
    ],
)
def test_splits_that_get_no_patch_are_named_as_they_are_written(
    tmp_path, monkeypatch, domains, patches, message
):
    told = empty_splits(domains, patches)
    assert (told is None) if message is None else re.search(message, str(told))
    keys = [domain.key for domain in DOMAINS[:domains]] if isinstance(domains, int) else domains
    monkeypatch.setattr(patches_module, "regions", _rows_of_regions)
    written = {
        patch.splits[0]
        for key in keys
        for patch in plan_patches(DOMAINS_BY_KEY[key], 7, patches, alone=len(keys) == 1)
    }
    names = {"train": "training", "valid": "validation", "test": "the test"}
    lacking = [name for split, name in names.items() if split not in written]
    assert str(told).partition(":")[0].endswith(" or ".join(lacking)) or not lacking


def _rows_of_regions(domain: object, seed: int, count: int, *more: object) -> list[Region]:
    """Regions without a search."""
    return [Region(f"AA-S1-{k}", 102_400 * k, 0) for k in range(count)]


def test_a_benchmark_is_checked_file_by_file(tmp_path, tiny):
    total = simulate_benchmark(tmp_path)
    assert total == verify_benchmark(tmp_path, workers=2)
    assert len((tmp_path / CHECKSUMS).read_text().splitlines()) == 3 * 10 + 7
    splits = {path.parts[-3].partition("_")[0] for path in tmp_path.rglob("*_AERIAL_RGBI_*.tif")}
    assert splits == {"D034-2021", "D021-2020", "D012-2019"}

    # The bytes of a file may differ as long as the pixels do not.
    kept = next(tmp_path.rglob("*_SPOT_RGBI_*.tif"))
    with rasterio.open(kept) as source:
        profile, pixels = source.profile, source.read()
    before = kept.stat().st_size
    kept.unlink()
    with rasterio.open(kept, "w", **{**profile, "compress": "deflate"}) as target:
        target.write(pixels)
    assert kept.stat().st_size != before
    assert verify_benchmark(tmp_path) == total

    pixels[0, 5, 5] += 1
    with rasterio.open(kept, "w", **profile) as target:
        target.write(pixels)
    with pytest.raises(DataError, match=rf": 1 changed: \S*{kept.name}\. Delete those"):
        verify_benchmark(tmp_path)
    kept.unlink()
    # What is missing is told apart from what is too many and from what cannot be read.
    spot = kept.relative_to(tmp_path).as_posix()
    broken, other = sorted(tmp_path.rglob("*_DEM_ELEV_*.tif"))[:2]
    broken.write_bytes(b"II*")
    other.write_bytes(b"II*")
    foreign = tmp_path / "foreign.tif"
    foreign.write_bytes(b"II*")
    with pytest.raises(DataError) as caught:
        verify_benchmark(tmp_path)
    told = str(caught.value)
    assert f"1 missing: {spot}; 2 unreadable: " in told
    assert broken.name in told
    assert other.name in told
    assert "; 1 not in the list: foreign.tif. " in told
    # The remedy is a command that writes: the one that found this writes nothing.
    again = f"bocage simulate {tmp_path} --benchmark v1 --size small"
    assert f"Delete those that are there and run `{again}`" in told
    for path in (broken, other, foreign):
        path.unlink()
    with pytest.raises(DataError, match=rf"3 missing: .*\. Run `{again}`"):
        verify_benchmark(tmp_path)
    calls: list[tuple[int, int]] = []
    assert simulate_benchmark(tmp_path) == total
    assert total == verify_benchmark(
        tmp_path, progress=lambda done, every: calls.append((done, every))
    )
    assert calls == [(k, 37) for k in range(1, 38)]
    with pytest.raises(ConfigError, match="workers is 0"):
        verify_benchmark(tmp_path, workers=0)


def test_a_benchmark_is_complete_only_while_files_and_checksums_are_there(
    tmp_path, tiny, monkeypatch
):
    def complete() -> bool:
        return bool(json.loads((tmp_path / "simulation.json").read_text())["complete"])

    def killed(*given: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(benchmark, "write_checksums", killed)
        with pytest.raises(KeyboardInterrupt):
            simulate_benchmark(tmp_path)
    assert not complete()
    total = simulate_benchmark(tmp_path)
    assert complete()
    drawn = {plan.domain.key: draw_up(plan) for plan in TINY.plans("small")}
    monkeypatch.setattr(dataset, "draw_up", lambda plan: drawn[plan.domain.key])
    # Every kind of file that can go: a patch's of the other shard, a table, the list.
    patch = sorted(tmp_path.rglob("*_SPOT_RGBI_*.tif"))[0]
    table = tmp_path / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg"
    for path in (table, tmp_path / CHECKSUMS):
        path.unlink()
        with monkeypatch.context() as patched:
            patched.setattr(benchmark, "write_checksums", killed)
            with pytest.raises(KeyboardInterrupt):
                simulate_benchmark(tmp_path)
        assert not complete(), path
        assert simulate_benchmark(tmp_path) == total
        assert complete()
    shards = [(part, 3) for part in (1, 2, 3)]
    patch.unlink()
    unfinished = [simulate_benchmark(tmp_path, shard=shard) is None for shard in shards]
    # Until the shard came whose patch it was.
    assert unfinished == sorted(unfinished, reverse=True)
    assert complete()
    for path in tmp_path.rglob("*_SPOT_RGBI_*.tif"):
        path.unlink()
    assert simulate_benchmark(tmp_path, shard=(1, 3)) is None
    assert not complete()
    with pytest.raises(DataError, match=r"is not complete\. Run `bocage simulate .* --size small`"):
        verify_benchmark(tmp_path)


def test_folders_of_shards_that_are_copied_together_are_made_whole_by_one_more_run(
    tmp_path, reference, monkeypatch
):
    drawn = {
        key: plan_patches(DOMAINS_BY_KEY[key], REQUEST["seed"], REQUEST["patches"], alone=False)
        for key in REQUEST["domains"]
    }
    monkeypatch.setattr(dataset, "draw_up", lambda plan: drawn[plan.domain.key])
    parts = [tmp_path / "one", tmp_path / "two"]
    for k, out in enumerate(parts, start=1):
        assert not simulate_dataset(out, **REQUEST, shard=(k, 2))
    shutil.copytree(parts[1], parts[0], dirs_exist_ok=True)
    stamps = {path: path.stat().st_mtime_ns for path in parts[0].rglob("*.tif")}
    assert simulate_dataset(parts[0], **REQUEST)
    assert digests(parts[0]) == reference
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_benchmark_unlike_the_published_one_is_an_error(tmp_path, tiny, monkeypatch):
    assert simulate_benchmark(tmp_path, shard=(2, 2)) is None
    with pytest.raises(DataError, match="not complete"):
        verify_benchmark(tmp_path)
    monkeypatch.setattr(benchmark, "TOTALS", {("v1", "small"): "0" * 64})
    with pytest.raises(DataError, match="report the machine"):
        simulate_benchmark(tmp_path)
    with pytest.raises(ConfigError, match=r"unknown benchmark 'v2'.*v1"):
        simulate_benchmark(tmp_path, name="v2")
    with pytest.raises(ConfigError, match=r"unknown size 'large'.*small"):
        simulate_benchmark(tmp_path, size="large")
    manifest = tmp_path / "simulation.json"
    held = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**held, "version": 1}))
    with pytest.raises(DataError, match="version 1 of the simulator"):
        verify_benchmark(tmp_path)
    with pytest.raises(ConfigError, match="Choose another folder"):
        simulate_benchmark(tmp_path)
    manifest.unlink()
    with pytest.raises(DataError, match="not a simulation's folder"):
        verify_benchmark(tmp_path)


def test_totals_belong_to_this_version():
    assert VERSION == SIMULATOR_VERSION, "run: python -m tools.simulation_goldens --size small"
