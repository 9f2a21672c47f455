"""Resuming, refusing and reporting."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import rasterio

from bocage.errors import ConfigError, DataError
from bocage.simulate import simulate_area, simulate_dataset

pytestmark = pytest.mark.integration


def pixels(root: Path) -> dict[str, int]:
    found = {}
    for path in sorted(root.rglob("*.tif")):
        with rasterio.open(path) as raster:
            found[str(path.relative_to(root))] = zlib.crc32(raster.read().tobytes())
    return found


def test_two_runs_are_equal_and_a_resumed_run_restores_what_is_missing(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for out in (first, second):
        simulate_dataset(out, domains=1, patches=2, seed=5)
    before = pixels(first)
    assert len(before) == 20
    assert pixels(second) == before

    lost = sorted(first.rglob("*_SENTINEL2_TS_*.tif"))[0]
    kept = sorted(first.rglob("*_AERIAL_RGBI_*.tif"))[1]
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    (first / "GLOBAL_ALL_MTD" / "GLOBAL_SPOT_MTD_DATES.gpkg").unlink()
    calls = []
    simulate_dataset(
        first,
        domains=1,
        patches=2,
        seed=5,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert pixels(first) == before
    assert kept.stat().st_mtime_ns == stamp
    assert (first / "GLOBAL_ALL_MTD" / "GLOBAL_SPOT_MTD_DATES.gpkg").is_file()
    assert calls == [(1, 2), (2, 2)]
    assert not [p for p in first.rglob(".*") if p.is_file()]
    assert json.loads((first / "simulation.json").read_text())["complete"] is True


def test_a_killed_run_is_not_complete_and_goes_on(tmp_path):
    out = tmp_path / "killed"

    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        simulate_dataset(out, domains=1, patches=2, seed=5, progress=kill)
    assert json.loads((out / "simulation.json").read_text())["complete"] is False
    simulate_dataset(out, domains=1, patches=2, seed=5)
    assert len(pixels(out)) == 20


def test_an_area_resumes_by_raster_and_reports_progress(tmp_path):
    out = tmp_path / "area"
    calls = []
    simulate_area(out, size_m=51.2, seed=3, progress=lambda d, t: calls.append((d, t)))
    before = pixels(out)
    assert len(before) == 10
    # Three blocks to draw, ten rasters to join.
    assert calls == [(k, 13) for k in range(1, 14)]
    (out / "spot.tif").unlink()
    stamp = (out / "sentinel2.tif").stat().st_mtime_ns
    simulate_area(out, size_m=51.2, seed=3)
    assert pixels(out) == before
    assert (out / "sentinel2.tif").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("change", [{"seed": 6}, {"domains": 2}, {"patches": 3}])
def test_a_folder_of_another_simulation_is_refused_and_both_are_named(tmp_path, change):
    simulate_dataset(tmp_path, domains=1, patches=1, seed=5)
    with pytest.raises(ConfigError) as caught:
        simulate_dataset(tmp_path, **{"domains": 1, "patches": 1, "seed": 5, **change})
    name, value = next(iter(change.items()))
    assert f"{name} {value}" in str(caught.value)
    assert f"{name} {({'seed': 5, 'domains': 1, 'patches': 1})[name]}" in str(caught.value)
    with pytest.raises(ConfigError, match="kind area"):
        simulate_area(tmp_path)


def test_another_version_is_refused(tmp_path):
    manifest = tmp_path / "simulation.json"
    held = {"version": 0, "kind": "area", "seed": 7, "side_m": 1024.0, "complete": True}
    manifest.write_text(json.dumps(held))
    with pytest.raises(ConfigError, match=r"version 0.*asked for \(version"):
        simulate_area(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}'])
def test_a_broken_manifest_is_refused(tmp_path, content):
    (tmp_path / "simulation.json").write_text(content)
    with pytest.raises(ConfigError, match="not a simulation's manifest"):
        simulate_dataset(tmp_path)


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        simulate_dataset(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        simulate_area(tmp_path / "thesis.txt")
    with pytest.raises(DataError, match="cannot be created"):
        simulate_area(tmp_path / "thesis.txt" / "below")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "arguments", [{"domains": 0}, {"domains": 17}, {"patches": 0}, {"patches": 7681}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments):
    name, value = next(iter(arguments.items()))
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        simulate_dataset(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size_m", [0, -1, 51.1, 20_001, float("nan"), float("inf")])
def test_sizes_out_of_range_are_refused(tmp_path, size_m):
    with pytest.raises(ConfigError, match="size_m is"):
        simulate_area(tmp_path / "out", size_m=size_m)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_cannot_be_written_is_a_data_error_and_leaves_nothing_half_written(tmp_path):
    limit = 200_000  # bytes a file may have: stands in for a full disk
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bocage.errors import DataError\n"
        "from bocage.simulate import simulate_dataset\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        "    simulate_dataset(Path(sys.argv[1]), domains=1, patches=1, seed=5)\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    out = tmp_path / "full"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True
    )
    assert "AERIAL_RGBI" in ran.stdout
    assert "could not be written" in ran.stdout
    assert not list(out.rglob("*.tif"))
    assert not [p for p in out.rglob(".*") if p.is_file()]
    simulate_dataset(out, domains=1, patches=1, seed=5)
    assert len(pixels(out)) == 10
