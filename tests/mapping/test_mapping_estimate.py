"""What `--plan-only` says, against what a run does: blocks, windows, bytes and memory."""

import gc
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from mapping_command import run_map
from mapping_stubs import Moody, Output, aerial, bundle, task, write_raster

from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, estimate_map, map_area, merge_shares
from bocage.mapping import estimate as estimate_module
from bocage.mapping.blend import Blender
from bocage.mapping.job import footprint, prepare
from bocage.mapping.outputs import TaskOutput
from bocage.mapping.plan import Footprint, Plan, make_lattice
from bocage.mapping.read import BlockInputs, read_block


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.integration
def test_the_plan_says_what_the_run_does(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(1100, 600, high=255))
    sources, config = [Source("aerial", path)], MapConfig(overlap_px=16, block_px=512)
    said = estimate_map(bundle(Moody()), sources, config)
    done = map_area(bundle(Moody()), sources, tmp_path / "out", config)
    assert (said.blocks, said.windows) == (done.blocks, done.windows)
    assert (said.height, said.width, said.km2) == (1100, 600, pytest.approx(done.km2))
    assert said.device == done.device
    assert said.written_bytes == 2 * 1100 * 600  # classes and confidence
    # Four bands, once and with the margins of six blocks.
    assert 1 < said.read_bytes / (4 * 1100 * 600) < 1.5
    assert said.sample_px == 512 * 512
    assert list(said.seconds) == [
        "start", "read", "prepare", "transfer", "network", "blend", "write", "finish"
    ]  # fmt: skip
    assert min(said.seconds.values()) > 0
    assert said.total_s == pytest.approx(sum(said.seconds.values()))
    assert {p.name for p in tmp_path.iterdir()} == {"a.tif", "out"}


@pytest.mark.integration
def test_a_sample_is_looked_for_where_there_is_imagery(tmp_path: Path):
    image = aerial(2048, 4096, high=255)
    image[:, 512:] = image[:, :, 1024:] = 0
    path = write_raster(tmp_path / "a.tif", image, nodata=0)
    config = MapConfig(block_px=512)
    said = estimate_map(bundle(Moody()), [Source("aerial", path)], config)
    assert said.seconds["network"] > 0
    image[:] = 0
    path = write_raster(tmp_path / "b.tif", image, nodata=0)
    with pytest.raises(DataError, match=r"it has no imagery. 32 of 32 blocks were tried"):
        estimate_map(bundle(Moody()), [Source("aerial", path)], config)


class Slow(Moody):
    """Takes its time, a known one, for each window; answers for as many tasks as asked."""

    def __init__(self, tasks: int = 1) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, **inputs):
        time.sleep(0.01 * len(inputs["images"]["AERIAL_RGBI"]))
        logits = super().forward(**inputs).logits["LC"]
        return Output(dict.fromkeys(("LC", "CROPS")[: self.tasks], logits), {})


@pytest.mark.integration
def test_the_cost_follows_networks_turns_and_tasks(tmp_path: Path):
    """Two networks take twice as long, eight turns eight times; two tasks are written twice."""
    path = write_raster(tmp_path / "a.tif", aerial(512, 1024, high=255))
    sources = [Source("aerial", path)]
    config = MapConfig(window_px=256, overlap_px=64, block_px=512, check_values=False)
    both = (task(), task("CROPS", "crops"))
    once = estimate_map(bundle(Slow(), tile_px=256), sources, config)
    twice = estimate_map([bundle(Slow(), tile_px=256)] * 2, sources, config)
    turned = estimate_map(
        bundle(Slow(), tile_px=256), sources, config.model_copy(update={"d4": True})
    )
    tasks = estimate_map(bundle(Slow(2), tile_px=256, tasks=both), sources, config)
    # No less than the network sleeps, and no more than three times, on a busy machine.
    for said, networks in ((once, 1), (twice, 2), (turned, 8), (tasks, 1)):
        assert said.windows == once.windows
        assert 1 <= said.seconds["network"] / (networks * 0.01 * said.windows) < 3
    assert tasks.written_bytes == 2 * once.written_bytes
    assert once.written_bytes == twice.written_bytes == turned.written_bytes
    assert tasks.memory_bytes > once.memory_bytes
    assert tasks.read_bytes == once.read_bytes


@pytest.mark.integration
def test_a_plan_looks_at_the_folder_and_changes_nothing(tmp_path: Path):
    """What a run would refuse, the plan refuses; `overwrite` is of account to both."""
    path = write_raster(tmp_path / "a.tif", aerial(200, 200, high=255))
    sources, out = [Source("aerial", path)], tmp_path / "out"
    config = MapConfig(overlap_px=16, block_px=512)
    assert estimate_map(bundle(Moody()), sources, config, out).blocks == 1
    assert not out.exists()
    map_area(bundle(Moody()), sources, out, config, share=(1, 1))
    before = {p: p.read_bytes() for p in out.rglob("*.*")}
    other = config.model_copy(update={"overlap_px": 32})
    assert estimate_map(bundle(Moody()), sources, config, out).blocks == 1
    with pytest.raises(ConfigError, match="differs in: overlap_px"):
        estimate_map(bundle(Moody()), sources, other, out)
    assert {p: p.read_bytes() for p in out.rglob("*.*")} == before
    merge_shares(out)
    with pytest.raises(ConfigError, match="holds a finished map"):
        estimate_map(bundle(Moody()), sources, config, out)
    anew = other.model_copy(update={"overwrite": True})
    assert estimate_map(bundle(Moody()), sources, anew, out).blocks == 1
    assert (out / "report.json").exists()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--shard", "2/8"], "--shard 2/8"),
        (["--engine", "ray"], "--engine ray"),
        (["--address", "head:6379"], "--address head:6379"),
        (["workers=4"], "workers=4"),
    ],
)
def test_options_that_change_nothing_are_refused(tmp_path: Path, option, named):
    result = run_map(tmp_path / "no.safetensors", "-o", tmp_path / "out", "--plan-only", *option)
    assert result.code == 2
    assert f"Leave out {named}" in " ".join(result.err.split())


@pytest.mark.unit
@pytest.mark.parametrize(("window", "overlap"), [(64, 0), (64, 16), (64, 32), (60, 40), (64, 56)])
def test_no_more_logits_are_held_than_the_formula_says(window, overlap):
    """Also with an overlap above half a window, where a pixel is seen from more than two rows."""
    lattice = make_lattice(window, 1, window, overlap)
    plan = Plan(700, 768, lattice, 256)
    blender = Blender(lattice, [TaskOutput("t", "t", 3, (0, 1), (0, 1))], torch.device("cpu"))
    logits_bytes = 4 * 3 * window**2
    for block in plan.blocks[3:5]:
        blender.begin(block, None)
        alive: list[weakref.ref] = []
        most = 0
        for row, col in plan.windows(block):
            logits = torch.zeros(3, window, window)
            alive.append(weakref.ref(logits))
            most = max(most, sum(ref() is not None for ref in alive))
            blender.add(row, col, {"t": logits})
            del logits
        blender.finish()
        gc.collect()
        assert not any(ref() is not None for ref in alive)
        said = Footprint(0, 0, 0, 3, -2).total_bytes(lattice, *block.shape)
        assert most * logits_bytes <= said
    # Not far above it either, in a block that lies in the middle of more.
    assert said <= (most + 1) * logits_bytes * 1.35


def held_bytes(inputs: BlockInputs) -> int:
    series = [
        array
        for one in inputs.series.values()
        for array in (one.values, one.snow_cloud, one.valid)
        if array is not None
    ]
    return sum(a.nbytes for a in [*inputs.images.values(), *inputs.valid.values(), *series])


@pytest.mark.integration
def test_inputs_are_as_large_as_the_formula_says(tmp_path: Path):
    """A photograph with holes beside a series with a snow and cloud mask, at the map's edge too."""
    dates = tmp_path / "dates.txt"
    dates.write_text("20230105\n20230405\n20230705\n")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (4, 1280, 1024), dtype=np.uint8)
    image[:, ::50, ::50] = 7
    series = rng.integers(0, 3000, (30, 25, 20)).astype(np.uint16)
    clouds = rng.integers(0, 2, (6, 25, 20)).astype(np.uint16)
    sources = [
        Source("aerial", write_raster(tmp_path / "a.tif", image, nodata=7)),
        Source(
            "SENTINEL2_TS",
            write_raster(tmp_path / "s2.tif", series, 10.24),
            dates=dates,
            mask=write_raster(tmp_path / "m.tif", clouds, 10.24),
        ),
    ]
    network = bundle(Moody(), ("AERIAL_RGBI", "SENTINEL2_TS"), tile_px=512, tasks=(task(count=5),))
    config = MapConfig(block_px=512, check_values=False, confidence=False)
    job = prepare([network], sources, config)
    needs = footprint(job.sensors, job.ratios, job.tasks, job.layers)
    series_bytes = 3 * (10 * 2 + 2 * 2 + 1) / 51.2**2
    assert needs.input_bytes == pytest.approx(4 + 1 + series_bytes)
    assert needs.read_bytes == pytest.approx(4 + 3 * (10 * 2 + 2 * 2) / 51.2**2)
    assert needs.widest_bytes == 5
    assert (needs.classes, needs.layer_bytes) == (5, 2)  # classes and coverage
    for block in job.plan.blocks:
        top, bottom, left, right = job.plan.halo(block)
        inputs = read_block(job.sensors, job.grids, job.plan, block, job.target)
        said = needs.input_bytes * (bottom - top) * (right - left)
        assert 0.9 * said < held_bytes(inputs) <= said


@pytest.mark.integration
def test_finishing_is_not_told_by_what_a_file_costs_by_itself(tmp_path: Path, monkeypatch):
    """Half a second for each, and 10 ms for each block."""

    def slow(target, layer, grid, parts, folder):
        time.sleep(0.5 + 0.01 * len(parts))

    monkeypatch.setattr(estimate_module, "write_cog", slow)
    path = write_raster(tmp_path / "a.tif", aerial(2048, 3072, high=255))
    config = MapConfig(block_px=512, confidence=False)
    said = estimate_map(bundle(Moody()), [Source("aerial", path)], config)
    assert said.sample_px == 512 * 512
    assert 0.5 < said.seconds["finish"] < 1.5, "24 times the sample"
