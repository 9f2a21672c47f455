"""Workers, shards, kills and checksums: always the same bytes, or a clear error."""

from __future__ import annotations

import json
import os
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
    simulate_area,
    simulate_benchmark,
    simulate_dataset,
    verify_benchmark,
)
from bocage.simulate.checksums import CHECKSUMS, file_digest
from bocage.simulate.folder import SIMULATOR_VERSION
from bocage.simulate.jobs import run_jobs
from bocage.simulate.request import parse_domains, parse_names, parse_side
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
    assert parse_names("rice; grasses, monoculture;", ";") == ["rice", "grasses, monoculture"]
    for parse, text in ((parse_side, "5 miles"), (parse_side, "-5km")):
        with pytest.raises(ConfigError, match=text):
            parse(text)


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
    with pytest.raises(DataError, match=rf"1 files .*{kept.name}"):
        verify_benchmark(tmp_path)
    kept.unlink()
    with pytest.raises(DataError, match=kept.name):
        verify_benchmark(tmp_path)
    assert simulate_benchmark(tmp_path) == total


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
