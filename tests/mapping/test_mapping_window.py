"""`window_px=auto`: within memory, no more work, one choice for all who map, and what is said."""

import gc
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_command import run_map
from mapping_stubs import Moody, Output, aerial, bundle, read_map, write_raster
from pydantic import ValidationError

from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, estimate_map, map_area, merge_shares
from bocage.mapping import engine as engine_module
from bocage.mapping import window as window_module
from bocage.mapping.job import prepare
from bocage.mapping.plan import MAX_WINDOW_PX, Footprint, Plan, make_lattice
from bocage.mapping.window import (
    ENOUGH,
    CannotRunError,
    Limits,
    LiveBytes,
    Machine,
    Pass,
    candidates,
    choose_lattice,
    machine_of,
)

AUTO = MapConfig(window_px="auto", overlap_px=16, check_values=False)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _even_time(monkeypatch: pytest.MonkeyPatch):
    """A pixel takes as long in any window, so that no test hangs on what else the machine does."""
    monkeypatch.setattr(
        window_module, "_seconds_on_cpu", lambda _, inputs: float(inputs["output_hw"][0] ** 2)
    )


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    return [Source("aerial", write_raster(tmp_path / "a.tif", aerial(1200, 1200, high=255)))]


@pytest.mark.property
@settings(deadline=None, max_examples=150)
@given(
    tile_px=st.sampled_from([64, 100, 256, 500, 512, 2500, 5000]),
    unit_px=st.sampled_from([1, 4, 8, 256]),
    pass_bytes=st.integers(1, 2**34),
    block_bytes=st.sampled_from([2**28, 2**32]),
    per_pixel=st.integers(50, 4000),
    constant=st.integers(0, 10**8),
    exponent=st.floats(0.8, 1.6),
    block_px=st.sampled_from([None, 512, 4096]),
    classes=st.integers(2, 40),
    on_gpu=st.booleans(),
    largest_px=st.sampled_from([0, 600, 10**6]),
    slowness=st.floats(0.9, 1.4),
    map_px=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    process_bytes=st.sampled_from([math.inf, 2**33, 2**31]),
)
def test_what_is_chosen_fits_and_takes_the_least_time(
    tile_px, unit_px, pass_bytes, block_bytes, per_pixel, constant, exponent, block_px, classes,
    on_gpu, largest_px, slowness, map_px, process_bytes,
):  # fmt: skip
    """Also where memory does not grow with the area as it should, and where sizes are refused."""
    lattices = candidates(tile_px, unit_px, None)
    first = lattices[0]
    asked: list[int] = []

    def peak(window_px: int) -> int:
        return int(constant + per_pixel * window_px ** (2 * exponent))

    def measure(window_px: int) -> Pass:
        asked.append(window_px)
        if window_px > largest_px:
            raise CannotRunError("too large")
        return Pass(peak(window_px), window_px ** (2 * slowness))

    needs = Footprint(4, 5, 5, classes, 2)
    limits = Limits(needs, map_px, pass_bytes, block_bytes, block_px, on_gpu, process_bytes)
    choice = choose_lattice(lattices, limits, measure)
    lattice = choice.lattice
    assert lattice.window_px % first.window_px == 0
    assert lattice.window_px % unit_px == 0
    assert lattice.overlap_px == first.overlap_px
    assert lattice.window_px <= max(first.window_px, min(4 * tile_px, MAX_WINDOW_PX))
    assert "window_px=auto" in choice.note
    assert len(asked) == len(set(asked))

    work = limits.work

    def duration(one):
        return work(one) * one.window_px ** (2 * slowness - 2)

    if lattice is not first:
        assert limits.demand(lattice, peak(lattice.window_px)) <= pass_bytes
        arrays = needs.total_bytes(lattice, *limits.block_of(lattice))
        assert arrays <= block_bytes
        assert limits.demand(lattice, peak(lattice.window_px)) + arrays <= process_bytes
        assert work(lattice) < work(first)
        assert duration(lattice) < ENOUGH * duration(first)
    # Whatever takes less time was not allowed: by a trial, or by what the smallest promised.
    for other in lattices[1:] if largest_px >= first.window_px else ():
        quicker = duration(other) < duration(lattice) * (1 - 1e-9)
        if work(other) < work(first) and quicker and duration(other) < ENOUGH * duration(first):
            least = peak(first.window_px) * (other.window_px / first.window_px) ** 2
            assert (
                other.window_px > largest_px
                or limits.demand(other, max(least, peak(other.window_px))) > limits.room(other)
                or not limits.holds_block(other)
            )


@pytest.mark.property
@settings(deadline=None, max_examples=30)
@given(
    window=st.integers(8, 64),
    overlap=st.integers(0, 24),
    block=st.sampled_from([512, 1024]),
    map_px=st.tuples(st.integers(1, 1600), st.integers(1, 1600)),
)
def test_the_work_is_what_the_map_does(window, overlap, block, map_px):
    """Pixels of all windows of all blocks over pixels of the map, however small it is."""
    lattice = make_lattice(window, 1, window, min(overlap, window - 1))
    limits = Limits(Footprint(4, 5, 5, 3, 2), map_px, 2**32, 2**32, block, False)
    plan = Plan(*map_px, lattice, block)
    windows = sum(len(plan.windows(b)) for b in plan.blocks)
    work = windows * window**2 / (map_px[0] * map_px[1])
    assert limits.work(lattice) == pytest.approx(work)


@pytest.mark.unit
def test_live_bytes_are_those_of_tensors_that_live():
    known = torch.zeros(1000)
    with LiveBytes([known]) as live:
        one = known + 1
        two = one.view(10, 100)[2:5].add_(1)  # no new memory
        assert live.peak_bytes == 4000
        del one, two
        gc.collect()
        pair = torch.zeros(500).chunk(2)
        assert live.peak_bytes == 4000
        kept = [torch.ones(1000) for _ in range(3)]
        assert live.peak_bytes == 2000 + 3 * 4000
        known.t()
        with torch.inference_mode():
            kept.append(torch.ones(1000) * 2)  # two more at once
        assert live.peak_bytes == 2000 + 5 * 4000
    assert pair[0].sum() == 0


class Hungry(Moody):
    """Holds so many bytes per pixel while it answers; no more than `most_px` to a side."""

    def __init__(self, bytes_per_pixel: int = 4, most_px: int = 10**6) -> None:
        super().__init__()
        self.floats, self.most_px = bytes_per_pixel // 4, most_px
        self.sides: list[int] = []

    def forward(self, **inputs):
        height, width = inputs["output_hw"]
        if width > self.most_px:
            raise DataError(f"windows of {width} px are too large for me. Take fewer.")
        self.sides.append(width)
        held = torch.ones(self.floats, height, width)
        output = super().forward(**inputs)
        assert held.sum() > 0
        return output


@pytest.mark.integration
def test_the_map_is_that_of_the_window_as_a_number(tmp_path: Path, sources):
    report = map_area(bundle(Moody()), sources, tmp_path / "auto", AUTO)
    assert (report.window_px, report.overlap_px) == (256, 16)
    (note,) = [w for w in report.warnings if "window_px=auto" in w]
    assert "windows of 256 px, overlap 16 px; a pass needs 0.00 GB of 4.29 GB" in note
    assert "of the time of windows of 64 px" in note
    config = MapConfig(window_px=256, overlap_px=16, check_values=False)
    plain = map_area(bundle(Moody()), sources, tmp_path / "plain", config)
    assert report.windows == plain.windows
    for stem, path in report.maps.items():
        np.testing.assert_array_equal(read_map(Path(path)), read_map(Path(plain.maps[stem])))


@pytest.mark.integration
def test_memory_decides(tmp_path: Path, sources, monkeypatch):
    """96 x 96 is not among the windows, 128 x 128 needs 8 MB and more, 192 x 192 over 18."""
    monkeypatch.setattr(window_module, "CPU_PASS_BYTES", 14_000_000)
    network = Hungry(512)
    said = estimate_map(bundle(network), sources, AUTO)
    assert (said.window_px, said.overlap_px) == (128, 16)
    assert set(network.sides) == {64, 128}
    monkeypatch.setattr(window_module, "CPU_PASS_BYTES", 1_000_000)
    said = estimate_map(bundle(Hungry(512)), sources, AUTO)
    assert said.window_px == 64
    (note,) = [w for w in said.warnings if "window_px=auto" in w]
    assert "windows stay at 64 px" in note
    assert "GB of 0.00 GB" in note


@pytest.mark.integration
def test_a_network_of_one_size_keeps_it_and_says_so(tmp_path: Path, sources):
    said = estimate_map(bundle(Hungry(most_px=64)), sources, AUTO)
    assert said.window_px == 64
    (note,) = [w for w in said.warnings if "window_px=auto" in w]
    assert "windows stay at 64 px: 256 px failed in a trial (windows of 256 px are" in note


@pytest.mark.integration
def test_shares_and_resumes_take_the_plans_window(tmp_path: Path, sources, monkeypatch):
    """The second machine has less memory, and would have chosen another size."""
    out = tmp_path / "out"
    config = MapConfig(window_px="auto", check_values=False, block_px=512)
    first = map_area(bundle(Hungry(512)), sources, out, config, share=(1, 2))
    assert first.window_px == 128
    stated = json.loads((out / "blocks" / "plan.json").read_text())["request"]
    assert (stated["window_px"], stated["overlap_px"]) == (128, 16)
    monkeypatch.setattr(window_module, "CPU_PASS_BYTES", 1_000_000)
    small = Hungry(512)
    second = map_area(bundle(small), sources, out, config, share=(2, 2))
    assert second.window_px == 128
    assert set(small.sides) == {128}, "a trial was made though the plan stands"
    assert estimate_map(bundle(small), sources, config, out).window_px == 128
    number = config.model_copy(update={"window_px": 64, "overlap_px": 16})
    with pytest.raises(ConfigError, match=r"differs in: .*window_px"):
        map_area(bundle(small), sources, out, number, share=(2, 2))
    with pytest.raises(ConfigError, match="differs in: overlap_px"):
        map_area(bundle(small), sources, out, config.model_copy(update={"overlap_px": 32}))
    assert merge_shares(out).exit_code == 0
    whole = config.model_copy(update={"window_px": 128, "overlap_px": 16})
    map_area(bundle(Hungry(512)), sources, tmp_path / "whole", whole)
    for file in (tmp_path / "whole").glob("*.tif"):
        assert (out / file.name).read_bytes() == file.read_bytes()


@pytest.mark.integration
def test_a_share_that_loses_the_race_takes_the_winners_window(tmp_path: Path, sources, monkeypatch):
    """Between its look for a plan and its own plan another share has written one."""
    out, config = tmp_path / "out", AUTO.model_copy(update={"block_px": 512})
    real, began = engine_module.open_workspace, []

    def late(*rest):
        if not began:
            began.append(True)
            with monkeypatch.context() as roomy:
                roomy.setattr(window_module, "CPU_PASS_BYTES", 4 * 2**30)
                map_area(bundle(Hungry(512)), sources, out, config, share=(1, 2))
        return real(*rest)

    monkeypatch.setattr(engine_module, "open_workspace", late)
    monkeypatch.setattr(window_module, "CPU_PASS_BYTES", 1_000_000)
    assert map_area(bundle(Hungry(512)), sources, out, config, share=(2, 2)).window_px == 128
    assert merge_shares(out).exit_code == 0


@pytest.mark.integration
def test_series_are_in_the_trial(tmp_path: Path):
    """Windows of the trial hold every date and sensor, as a real one would at most."""

    class Nosy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shapes = set()

        def forward(self, **inputs):
            self.shapes.add(tuple(inputs["series"]["SENTINEL2_TS"].shape))
            assert inputs["dates_present"]["SENTINEL2_TS"].all()
            height, width = inputs["output_hw"]
            return Output(
                {"LC": torch.zeros(len(inputs["days"]["SENTINEL2_TS"]), 4, height, width)}, {}
            )

    (tmp_path / "d.txt").write_text("20230105\n20230405\n20230705\n")
    values = np.random.default_rng(0).integers(200, 3000, (30, 40, 40)).astype(np.uint16)
    path = write_raster(tmp_path / "s2.tif", values, 10.24)
    source = Source("sentinel2", path, tmp_path / "d.txt")
    network = Nosy()
    model = bundle(network, ("AERIAL_RGBI", "SENTINEL2_TS"), output_m=10.24, tile_px=16)
    config = MapConfig(window_px="auto", batch_size=3)
    report = map_area(model, [source], tmp_path / "out", config)
    assert report.window_px == 48
    assert {(3, 3, 10, 16, 16), (3, 3, 10, 48, 48)} <= network.shapes


@pytest.mark.unit
def test_the_machine_that_windows_are_chosen_for(monkeypatch):
    config = MapConfig(workers=4)
    assert machine_of(config, CPU) == Machine(CPU, 1, 4)
    assert machine_of(MapConfig(batch_size=3), CPU).batch == 3
    assert machine_of(config, CPU, on_cluster=True) == Machine(CPU, 8, 1, seen=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine_of(config, torch.device("cuda")) == Machine(torch.device("cuda"), 8, 2)
    assert machine_of(config, torch.device("cuda:1")).processes == 4


@pytest.mark.unit
@pytest.mark.parametrize("value", ["largest", 0, -64])
def test_other_words_are_refused(value):
    with pytest.raises(ValidationError, match="window_px"):
        MapConfig(window_px=value)


@pytest.mark.unit
def test_the_command_takes_it(tmp_path: Path):
    """It passes as an option; what stops the command is the network, which is not there."""
    result = run_map(tmp_path / "no.safetensors", "-o", tmp_path / "out", "window_px=auto")
    assert result.code == 1
    assert "no.safetensors" in result.err.replace("\n", "")


@pytest.mark.integration
def test_processes_share_the_machines_memory(sources, monkeypatch):
    """One of four has no room for what one alone takes."""
    monkeypatch.setattr(window_module, "available_bytes", lambda: 120_000_000)
    alone = estimate_map(bundle(Hungry(512)), sources, AUTO)
    assert alone.window_px > 64
    limits = []
    real = window_module.choose_lattice

    def listen(lattices, given, measure):
        limits.append(given)
        return real(lattices, given, measure)

    monkeypatch.setattr(window_module, "choose_lattice", listen)
    config = AUTO.model_copy(update={"workers": 4})
    machine = machine_of(config, CPU)
    job = prepare((bundle(Hungry(512)),), sources, config, machine)
    assert limits[0].process_bytes == 0.8 * 120_000_000 / 4
    assert job.plan.lattice.window_px == 64
    assert any("of 0.00 GB" in note and "stay at 64 px" in note for note in job.warnings)


@pytest.mark.integration
@pytest.mark.parametrize("side", [60, 130, 200])
def test_a_small_map_is_not_made_larger_by_its_windows(tmp_path: Path, side):
    """Where the default window takes fewer pixels for this very map, it stays."""
    path = write_raster(tmp_path / "s.tif", aerial(side, side, high=255))
    sources = [Source("aerial", path)]
    chosen = estimate_map(bundle(Moody()), sources, AUTO)
    usual = estimate_map(bundle(Moody()), sources, AUTO.model_copy(update={"window_px": 64}))
    pixels = [e.windows * e.window_px**2 for e in (chosen, usual)]
    assert pixels[0] <= pixels[1]
    assert not any("where the network was trained" in note for note in chosen.warnings)
