"""Local processes that cannot start, or fail otherwise than by their block."""

import os
import resource
from pathlib import Path

import pytest
import torch
from mapping_stubs import Moody, aerial, bundle, write_raster

from bocage.errors import DataError
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping import processes as processes_module

pytestmark = pytest.mark.integration

CONFIG = MapConfig(window_px=128, overlap_px=0, block_px=512, workers=2)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    torch.set_num_threads(1)
    return [Source("aerial", write_raster(tmp_path / "a.tif", aerial(512, 1100, high=255)))]


def _end(status: int) -> Moody:
    os._exit(status)


class Stillborn(Moody):
    """Ends every process into which it is unpickled, as a lack of memory would."""

    def __reduce__(self):
        return _end, (9,)


def test_processes_that_end_before_they_are_ready_end_the_run(tmp_path: Path, sources) -> None:
    with pytest.raises(DataError, match=r"end before they can map anything \(exit status 9\)") as e:
        map_area(bundle(Stillborn()), sources, tmp_path / "out", CONFIG)
    assert "try workers=1" in str(e.value)
    assert '`if __name__ == "__main__":`' in str(e.value)
    assert not list((tmp_path / "out" / "blocks").glob("0*.json"))


def test_a_machine_that_starts_no_process_is_an_error(tmp_path: Path, sources, monkeypatch) -> None:
    def full(self) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(processes_module.BaseProcess, "start", full)
    with pytest.raises(DataError, match=r"cannot be started \(Resource temporarily unavailable\)"):
        map_area(bundle(Moody()), sources, tmp_path / "out", CONFIG)


class Defective(Moody):
    """Fails with what no block is to blame for."""

    def forward(self, **inputs):
        raise KeyError("a defect of the program")


def test_a_defect_in_a_process_ends_the_run_with_its_traceback(tmp_path: Path, sources) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)has failed:\nTraceback.*in forward.*a defect of"):
        map_area(bundle(Defective()), sources, tmp_path / "out", CONFIG)


class Wide(Moody):
    """Of more tensors than a process may open files."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.many = torch.nn.ParameterList(torch.zeros(8) for _ in range(count))


def test_weights_take_no_file_descriptors_and_no_shared_memory(tmp_path: Path, sources) -> None:
    """Sent as tensors, each would take a descriptor per process and a file in /dev/shm."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = len(list(Path("/proc/self/fd").iterdir()))
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()
    fresh: set[Path] = set()

    def look(done: int, total: int) -> None:
        if shared.is_dir():
            fresh.update(p for p in shared.iterdir() if p.name.startswith("torch_"))

    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 150, limits[1]))
    try:
        report = map_area(bundle(Wide(600)), sources, tmp_path / "out", CONFIG, look)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert report.exit_code == 0
    assert not fresh - before
