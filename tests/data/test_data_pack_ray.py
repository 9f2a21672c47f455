"""Packing on a Ray cluster: the same bytes, though a worker is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bocage.data import PatchIndex, pack_dataset
from bocage.data.pack import writer
from bocage.errors import ConfigError, DataError

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray
    ray.shutdown()


def shards(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_worker_that_is_killed_in_the_middle(dataset, tmp_path, cluster, monkeypatch) -> None:
    index = PatchIndex.read(dataset.root / "index.parquet")
    pack_dataset(dataset.root, tmp_path / "whole", index, patches_per_shard=1)
    flag = str(tmp_path / "killed")
    real = writer.pack_shard

    def deadly(job: writer.ShardJob) -> writer.ShardResult:
        if job.number == 1 and not Path(flag).exists():
            Path(flag).touch()
            job.target.parent.mkdir(parents=True, exist_ok=True)
            job.target.with_name(f".half-{job.target.name}").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job)

    monkeypatch.setattr(writer, "pack_shard", deadly)
    seen: list[tuple[int, int | None]] = []
    report = pack_dataset(
        dataset.root, tmp_path / "ray", index, engine="ray", patches_per_shard=1,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert Path(flag).exists(), "nothing was killed"
    assert (report.patches, report.written, report.complete) == (3, 3, True)
    assert seen[-1] == (3, 3)
    assert shards(tmp_path / "ray") == shards(tmp_path / "whole")
    assert cluster.is_initialized(), "a connection that was there is left"


def test_an_error_on_the_cluster_is_the_error(dataset, tmp_path, cluster, monkeypatch) -> None:
    def full(job: writer.ShardJob) -> writer.ShardResult:
        raise DataError(f"{job.target}: the disk is full.")

    index = PatchIndex.read(dataset.root / "index.parquet")
    monkeypatch.setattr(writer, "pack_shard", full)
    with pytest.raises(DataError, match=r"^[^\n]*bpk: the disk is full\.$"):
        pack_dataset(dataset.root, tmp_path / "ray", index, engine="ray")


def test_requests_that_cannot_be(dataset, tmp_path) -> None:
    index = PatchIndex.read(dataset.root / "index.parquet")
    for options, message in (
        ({"engine": "dask"}, "unknown engine 'dask'"),
        ({"address": "auto"}, "Add --engine ray"),
    ):
        with pytest.raises(ConfigError, match=message):
            pack_dataset(dataset.root, tmp_path / "p", index, **options)
    assert not (tmp_path / "p").exists()
