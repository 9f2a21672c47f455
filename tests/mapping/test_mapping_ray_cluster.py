"""`bocage map --engine ray --address` on a cluster that runs already, of which a machine is lost.

The machines are two of Ray's own node managers, each with its processes, on this one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mapping_stubs import aerial, read_map, write_raster

from bocage.mapping import MapConfig, Source, map_area
from bocage.models import (
    BundleMeta,
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    load_bundle,
    save_bundle,
)
from bocage.nomenclatures import LAND_COVER
from bocage.training.bundling import bundle_tasks

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]

PATIENCE_S = 240
CONFIG = {"window_px": 256, "overlap_px": 128, "block_px": 512}


@pytest.fixture
def machines() -> Iterator[Any]:
    """A head and one more machine, of a core each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    resources = {"num_cpus": 1, "memory": 3 * 10**9, "object_store_memory": 10**8}
    cluster = utils.Cluster(
        initialize_head=True, head_node_args={**resources, "include_dashboard": False}
    )
    cluster.add_node(**resources)
    yield cluster
    cluster.shutdown()


def test_a_machine_that_is_lost_costs_nothing_but_time(tmp_path: Path, machines: Any) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = NetworkConfig(
        inputs=(InputConfig(modality="aerial"),),
        tasks=(TaskHead(name=LAND_COVER.name, num_classes=LAND_COVER.num_classes),),
        encoder=EncoderConfig(width=32),
        fusion=FusionConfig(width=32),
        decoder=DecoderConfig(width=32),
    )
    network, photo = tmp_path / "model.safetensors", tmp_path / "a.tif"
    meta = BundleMeta(network=config, tasks=bundle_tasks([LAND_COVER]), tile_px=256, data="a test")
    save_bundle(network, Network(config), meta)
    write_raster(photo, aerial(2048, 2048, high=255))
    out, expected = tmp_path / "out", tmp_path / "expected"
    words = [f"{key}={value}" for key, value in CONFIG.items()]
    command = [
        sys.executable, "-c", "from bocage.cli import main; main()", "map", network,
        "--aerial", photo, "-o", out, "--engine", "ray", "--address", machines.address, *words,
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
        try:
            # Until both machines have mapped something.
            _wait(lambda: len(_done(out)) >= 4, driver)
            (other,) = machines.worker_nodes
            before = len(_done(out))
            machines.remove_node(other, allow_graceful=False)
            assert driver.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
        finally:
            driver.kill()
    assert before < 16, "all was done before the machine was lost"
    report = map_area(load_bundle(network), [Source("aerial", photo)], expected,
                      MapConfig(**CONFIG))  # fmt: skip
    assert report.exit_code == 0
    for layer in ("land-cover", "land-cover_confidence"):
        found = read_map(out / f"{layer}.tif")
        assert (found == read_map(expected / f"{layer}.tif")).all()
        assert len(set(found.ravel()[::1009])) > 1
    assert (out / "land-cover.tif").read_bytes() == (expected / "land-cover.tif").read_bytes()


def _done(out: Path) -> list[Path]:
    """Markers of complete blocks."""
    return list((out / "blocks").glob("[0-9]*.json"))


def _wait(until: Any, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert driver.poll() is None, "the driver has ended"
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.05)
