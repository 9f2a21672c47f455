"""Batches that go on over the borders of blocks: how many, what they hold, and what fails."""

import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mapping_stubs import ByValue, Moody, Output, aerial, bundle, read_map, write_raster

from bocage.imagery import Source
from bocage.mapping import MapConfig, MapReport, map_area
from bocage.mapping import stream as stream_module
from bocage.mapping import worker as worker_module
from bocage.mapping.read import BlockInputs
from bocage.mapping.stream import MOST_WAITING
from bocage.mapping.worker import blocks_held

pytestmark = pytest.mark.integration

RGBI, TOGETHER, BLOCKS = "AERIAL_RGBI", 8, 7
FEW: dict[str, Any] = {"window_px": 256, "overlap_px": 0, "block_px": 512, "check_values": False}
"""Blocks of two windows each, in a strip of `BLOCKS`."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def strip() -> np.ndarray:
    return aerial(100, 512 * BLOCKS, high=4)


class Counted(Moody):
    """Notes how many windows every batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, **inputs: Any) -> Output:
        self.batches.append(len(inputs["images"][RGBI]))
        return super().forward(**inputs)


def mapped(network: torch.nn.Module, path: Path, out: Path, **options: Any) -> MapReport:
    config = MapConfig(**{**FEW, **options})
    return map_area(bundle(network), [Source("aerial", path)], out, config)


@pytest.mark.parametrize(
    ("windows", "per_block"),
    [({}, 2), ({"window_px": 384, "overlap_px": 128}, 3), ({"window_px": 192}, 3)],
)
def test_batches_are_filled_over_the_borders_of_blocks(tmp_path: Path, windows, per_block) -> None:
    path = write_raster(tmp_path / "a.tif", aerial(100, 512 * BLOCKS, high=255))
    alone, together = Counted(), Counted()
    one = mapped(alone, path, tmp_path / "alone", batch_size=1, **windows)
    other = mapped(together, path, tmp_path / "together", batch_size=TOGETHER, **windows)
    total = one.windows
    assert per_block * BLOCKS <= total == other.windows
    assert alone.batches == [1] * total
    assert len(together.batches) == math.ceil(total / TOGETHER)
    assert set(together.batches[:-1]) == {TOGETHER}
    # Nothing is copied to a CPU or back from it.
    assert 0 < other.seconds["transfer"] < 0.1 * other.seconds["total"]
    for name in ("cover.tif", "cover_confidence.tif"):
        files = [(tmp_path / run / name).read_bytes() for run in ("alone", "together")]
        assert files[0] == files[1]


class Allergic(ByValue):
    """Fails, or answers with nonsense, where it sees the number 7."""

    def __init__(self, nonsense: bool = False, times: int | None = None) -> None:
        super().__init__()
        self.nonsense, self.times = nonsense, times
        self.met: list[int] = []

    def forward(self, **inputs: Any) -> Output:
        answer = super().forward(**inputs)
        bad = (inputs["images"][RGBI] == 7).flatten(1).any(dim=1)
        if bad.any() and (self.times is None or len(self.met) < self.times):
            self.met.append(len(bad))
            if not self.nonsense:
                raise RuntimeError("device on fire")
            answer.logits["LC"][bad] *= float("nan")
        return answer


@pytest.mark.parametrize("nonsense", [False, True])
@pytest.mark.parametrize("batch", [1, 3, TOGETHER])
def test_only_the_block_that_fails_is_lost(tmp_path: Path, strip, nonsense, batch) -> None:
    """Whether the network fails in the middle of a batch, or the blending of one block at the end
    of it: the blocks before and behind are healthy, and so is the batch's other half."""
    strip[:, 40:50, 1100:1110] = 7  # in block 2
    path = write_raster(tmp_path / "a.tif", strip)
    network = Allergic(nonsense)
    report = mapped(network, path, tmp_path / "out", batch_size=batch)
    (failed,) = report.failed
    assert (failed.index, failed.cols) == (2, (1024, 1536))
    assert ("not finite" if nonsense else "device on fire") in failed.reason
    expected = strip[0].copy()
    expected[:, 1024:1536] = 255
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), expected)
    # A second try, and in a batch with other blocks, where it may be innocent, two. A batch of
    # three windows ends with this block: what is wrong with its pixels is its own.
    shared = batch == TOGETHER or (batch == 3 and not nonsense)
    assert network.met == [batch, *[min(batch, 2)] * (2 if shared else 1)]
    assert report.windows == 2 * (BLOCKS - 1)


def test_a_batch_that_fails_once_costs_nothing(tmp_path: Path, strip) -> None:
    strip[:, 40:50, 1100:1110] = 7
    path = write_raster(tmp_path / "a.tif", strip)
    network = Allergic(times=1)
    assert mapped(network, path, tmp_path / "out", batch_size=TOGETHER).failed == ()
    found = read_map(tmp_path / "out" / "cover.tif")
    np.testing.assert_array_equal(found, np.where(strip[0] == 7, 0, strip[0]))
    assert network.met == [TOGETHER]


def test_a_block_that_cannot_be_read_does_not_hold_up_the_others(
    tmp_path: Path, strip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster(tmp_path / "a.tif", strip)
    read, tries = worker_module.read_block, []

    def failing(sensors, grids, plan, block, *rest) -> BlockInputs:
        if block.index in (1, BLOCKS - 1):
            tries.append(block.index)
            raise OSError("the share is gone")
        return read(sensors, grids, plan, block, *rest)

    monkeypatch.setattr(worker_module, "read_block", failing)
    report = mapped(ByValue(), path, tmp_path / "out", batch_size=TOGETHER)
    assert [(one.index, one.reason) for one in report.failed] == [
        (1, "the share is gone"), (BLOCKS - 1, "the share is gone"),
    ]  # fmt: skip
    assert tries == [1, 1, BLOCKS - 1, BLOCKS - 1]
    found = read_map(tmp_path / "out" / "cover.tif")
    np.testing.assert_array_equal(found[:, :512], strip[0, :, :512])
    np.testing.assert_array_equal(found[:, 1024:-512], strip[0, :, 1024:-512])


def test_a_window_that_cannot_be_cut_costs_its_block(
    tmp_path: Path, strip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a block, while windows of the block before it wait."""
    path = write_raster(tmp_path / "a.tif", strip)
    cut, tries = stream_module.window_inputs, []

    def failing(inputs, row, col, *rest):
        if col == 1280:
            tries.append(col)
            raise MemoryError
        return cut(inputs, row, col, *rest)

    monkeypatch.setattr(stream_module, "window_inputs", failing)
    report = mapped(ByValue(), path, tmp_path / "out", batch_size=TOGETHER)
    assert [(one.index, one.reason) for one in report.failed] == [(2, "MemoryError")]
    assert len(tries) == 2
    strip[:, :, 1024:1536] = 255
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), strip[0])


@pytest.mark.parametrize("batch", [1, TOGETHER])
def test_windows_that_wait_do_not_keep_what_was_read(
    tmp_path: Path, strip, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The formula counts the inputs of two blocks: one in the network, one being read."""
    path = write_raster(tmp_path / "a.tif", strip)
    read, alive, most = worker_module.read_block, [], []

    def watched(*words) -> BlockInputs:
        # Of the block before this one, and those before it: what is still there.
        most.append(sum(ref() is not None for ref in alive))
        inputs = read(*words)
        alive.append(weakref.ref(inputs.images[RGBI]))
        return inputs

    monkeypatch.setattr(worker_module, "read_block", watched)
    assert mapped(ByValue(), path, tmp_path / "out", batch_size=batch).exit_code == 0
    assert len(most) == BLOCKS
    assert max(most) == 1


def test_blocks_without_windows_do_not_pile_up(tmp_path: Path, monkeypatch) -> None:
    """Sea behind a coast: its blocks wait for nothing that may be far away."""
    image = aerial(100, 512 * 20, high=3) + 1
    image[:, :, 512:-512] = 0
    path = write_raster(tmp_path / "a.tif", image, nodata=0)
    read, ahead = worker_module.read_block, []
    begun = 0

    def watched(*words) -> BlockInputs:
        nonlocal begun
        begun += 1
        ahead.append(begun - len(list((tmp_path / "out" / "blocks").glob("0*.json"))))
        return read(*words)

    monkeypatch.setattr(worker_module, "read_block", watched)
    report = mapped(ByValue(), path, tmp_path / "out", batch_size=TOGETHER)
    assert report.exit_code == 0
    assert report.windows == 4
    np.testing.assert_array_equal(
        read_map(tmp_path / "out" / "cover.tif"), np.where(image[0] == 0, 255, image[0])
    )
    assert max(ahead) <= MOST_WAITING + 3


def test_processes_are_given_what_a_batch_needs(tmp_path: Path, strip) -> None:
    """A process that waits for the next block before it tells of the last must have got it."""
    cpu = torch.device("cpu")
    assert blocks_held(MapConfig(), cpu) == 3
    assert blocks_held(MapConfig(batch_size=2), cpu) == 3 + MOST_WAITING
    path = write_raster(tmp_path / "a.tif", strip)
    report = mapped(ByValue(), path, tmp_path / "out", batch_size=TOGETHER, workers=2)
    assert report.exit_code == 0
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), strip[0])
