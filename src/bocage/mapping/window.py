"""`window_px=auto`: how large a window may be, from a trial of the real network.

Candidates are the window that a map has by default and two to four times it, up to `MAX_TILES`
tiles: multiples of it suit the inputs' pixels and whatever grid of cells the network needs. All
overlap by as much as the smallest. Of those that fit, the one with the least time per pixel of the
map is taken: that of a pass, measured, times the pixels that pass through the network for this map.
Larger windows have less overlap, but more of them reaches over the borders of blocks and of the
map.

What a window takes, where p(w) is the peak of a pass through the network with windows of w pixels,
without its weights:

- on a CPU p(w), within `CPU_PASS_BYTES` and what the machine has: `MEMORY_SHARE` of what is free,
  divided by the processes, less the arrays of a block. p is what the operations' results that live
  at one moment take together, counted as they are made and dropped (`LiveBytes`). Unlike the
  process's memory that does not depend on what ran before; it misses only what libraries take
  within an operation;
- on a GPU p(w) by its own allocator's count, the windows whose logits are held for blending,
  and the bytes of a block, within `MEMORY_SHARE` of what is free, divided by the processes that
  share it, less the weights.

p is measured with the smallest window, scaled by area to see what may fit, then measured again with
the chosen one. The arrays of a block (`bocage.mapping.engine`) must stay within their own budget.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from bocage.errors import DataError
from bocage.imagery import Sensor
from bocage.mapping.backends import TorchPredictor
from bocage.mapping.coarse import in_map_pixels
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import averaged, sides_of
from bocage.mapping.outputs import TaskOutput
from bocage.mapping.plan import (
    ANY_SIDE,
    MAX_WINDOW_PX,
    Footprint,
    Lattice,
    Plan,
    alignment_unit,
    choose_block_px,
    make_lattice,
)
from bocage.mapping.predict import (
    GPU_BATCH,
    WindowInputs,
    network_inputs,
    windows_together,
)
from bocage.memory import available_bytes, keep_freed_memory
from bocage.modalities import get_modality
from bocage.models.kinds import WindowSides
from bocage.sample import Series
from bocage.series import usable_dates

if TYPE_CHECKING:
    from bocage.models import Bundle

MAX_TILES = 4
"""How many times the tile that a network was trained on a chosen window may be."""
CPU_PASS_BYTES = 4 * 2**30
"""What a pass through the network may take on a CPU at most, beside the arrays of a block."""
MEMORY_SHARE = 0.8
"""Of what is free: the rest is for the allocator's gaps and the libraries' own needs."""
ENOUGH = 0.95
"""Share of the default window's time below which another is worth taking: less may be chance."""
_YEAR = 2000
"""Of the trial's dates; any would do."""


@dataclass(frozen=True)
class Machine:
    """Where the network will run."""

    device: torch.device
    batch: int
    """Windows per pass."""
    processes: int = 1
    """That share the device."""
    seen: bool = True
    """Whether the run is here, and not on machines of a cluster."""


def machine_of(config: MapConfig, device: torch.device, on_cluster: bool = False) -> Machine:
    """The machine of a run on `device`.

    A cluster's devices are not seen from where the run is started: windows are chosen for a CPU
    of which only `CPU_PASS_BYTES` counts, in batches as a GPU gets them.
    """
    if on_cluster:
        return Machine(torch.device("cpu"), config.batch_size or GPU_BATCH, seen=False)
    processes = config.workers or 1
    if device.type == "cuda":
        devices = 1 if device.index is not None else torch.cuda.device_count()
        processes = -(-processes // devices)
    return Machine(device, windows_together(config, device), processes)


@dataclass(frozen=True)
class Choice:
    """The lattice to map with, and how it came about."""

    lattice: Lattice
    note: str | None = None
    """None: it was not chosen here."""


@dataclass(frozen=True)
class Limits:
    """What decides whether a window fits a map of `map_px`, height and width."""

    needs: Footprint
    map_px: tuple[int, int]
    pass_bytes: int
    """For a pass through the network and, on a GPU, what else lies in its memory."""
    block_bytes: int
    """For the arrays of a block."""
    block_px: int | None
    """A block's side, if it was asked for."""
    on_gpu: bool
    process_bytes: float = math.inf
    """For a pass and the arrays of a block together, on a CPU."""

    def block_of(self, lattice: Lattice) -> tuple[int, int]:
        """Height and width of the blocks that such windows are blended in."""
        side = self.block_px or choose_block_px(self.needs, lattice, self.block_bytes)
        return min(side, self.map_px[0]), min(side, self.map_px[1])

    def work(self, lattice: Lattice) -> float:
        """Pixels that pass through the network for one of the map."""
        side = self.block_px or choose_block_px(self.needs, lattice, self.block_bytes)
        whole = Plan(*self.map_px, lattice, side).amounts()
        return whole.windows * lattice.window_px**2 / whole.pixels

    def demand(self, lattice: Lattice, peak_bytes: float) -> float:
        """Of `room`, with a pass that takes so much at its peak."""
        if not self.on_gpu:
            return peak_bytes
        height, width = self.block_of(lattice)
        layers = (self.needs.layer_bytes + 1) * height * width
        return peak_bytes + self.needs.logits_bytes(lattice, width) + layers

    def room(self, lattice: Lattice) -> float:
        """What there is for `demand`."""
        arrays = self.needs.total_bytes(lattice, *self.block_of(lattice))
        return max(0.0, min(self.pass_bytes, self.process_bytes - arrays))

    def holds_block(self, lattice: Lattice) -> bool:
        """Whether the arrays of a block stay within their budget."""
        return self.needs.total_bytes(lattice, *self.block_of(lattice)) <= self.block_bytes


def candidates(
    tile_px: int,
    unit_px: int,
    overlap_px: int | None,
    scale: int = 1,
    sides: WindowSides = ANY_SIDE,
) -> list[Lattice]:
    """The default lattice, and those of windows that are multiples of its, with its overlap.

    Raises `ConfigError` where the overlap does not suit the unit or the smallest window.
    """
    first = make_lattice(tile_px, unit_px, None, overlap_px, scale, sides)
    if sides.only_px is not None:
        return [first]
    largest_px = min(MAX_WINDOW_PX, MAX_TILES * tile_px) // scale
    sizes = range(2 * first.window_px, largest_px + 1, first.window_px)
    return [
        first,
        *(make_lattice(tile_px, unit_px, size, first.overlap_px, scale, sides) for size in sizes),
    ]


class CannotRunError(Exception):
    """The network does not take windows of that size, or the device cannot hold them."""


class Pass(NamedTuple):
    """What a batch of windows takes on its way through the network."""

    peak_bytes: int
    seconds: float
    """Of all cores together on a CPU, so that what else runs there matters little."""


Measure = Callable[[int], Pass]
"""A pass with windows of so many pixels of the map; raises `CannotRunError`."""


def choose_lattice(lattices: Sequence[Lattice], limits: Limits, measure: Measure) -> Choice:
    """Of lattices, the default one first, the one that fits with the least time per pixel."""
    first = lattices[0]
    work = functools.cache(limits.work)

    def duration(lattice: Lattice, seconds: float) -> float:
        return work(lattice) * seconds / lattice.window_px**2

    try:
        least = measure(first.window_px)
    except CannotRunError as error:
        return _kept(first, f"a trial failed ({error})")
    chosen, share, needed = first, ENOUGH, 0.0
    better = [x for x in lattices[1:] if work(x) < work(first) and limits.holds_block(x)]
    blocks = " x ".join(map(str, limits.block_of(first)))
    against = "" if better else f"on this map, in blocks of {blocks}, larger ones do no less work"
    for lattice in sorted(better, key=work):
        side = lattice.window_px
        demand = limits.demand(lattice, least.peak_bytes * (side / first.window_px) ** 2)
        if demand <= limits.room(lattice):
            try:
                found = measure(side)
            except CannotRunError as error:
                against = against or f"{side} px failed in a trial ({error})"
                continue
            demand = limits.demand(lattice, found.peak_bytes)
        if demand > limits.room(lattice):
            against = against or f"{side} px need {_size(demand)} of {_size(limits.room(lattice))}"
            continue
        its_share = duration(lattice, found.seconds) / duration(first, least.seconds)
        if its_share < share:
            chosen, share, needed = lattice, its_share, demand
        else:
            against = against or f"{side} px take {its_share:.2f} of its time"
    if chosen is first:
        return _kept(first, against)
    return Choice(
        chosen,
        f"window_px=auto: windows of {chosen.window_px} px, overlap {chosen.overlap_px} px; a pass "
        f"needs {_size(needed)} of {_size(limits.room(chosen))}, and a pixel {share:.2f} of the "
        f"time of windows of {first.window_px} px.",
    )


def _kept(first: Lattice, reason: str) -> Choice:
    return Choice(first, f"window_px=auto: windows stay at {first.window_px} px: {reason}.")


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def choose_window(
    bundles: Sequence[Bundle],
    sensors: Sequence[Sensor],
    ratios: Mapping[str, Fraction],
    needs: Footprint,
    map_px: tuple[int, int],
    config: MapConfig,
    machine: Machine,
    block_bytes: int,
    scale: int,
    tasks: Sequence[TaskOutput],
) -> Choice:
    """The lattice of a run with `window_px=auto`.

    `ratios` are the sensors' pixel sizes in pixels of the map, `needs` what the arrays take, within
    `block_bytes`, `map_px` the map's height and width, `scale` as in `Lattice`, `tasks` what is
    mapped.
    """
    tile_px, unit_px = bundles[0].meta.tile_px, alignment_unit(ratios.values())
    lattices = candidates(tile_px, unit_px, config.overlap_px, scale, sides_of(bundles))
    with trial(bundles, sensors, ratios, config, machine, tasks, scale) as (measure, budget):
        on_gpu = machine.device.type == "cuda"
        free = None if on_gpu or not machine.seen else available_bytes()
        share = math.inf if free is None else MEMORY_SHARE * free / machine.processes
        limits = Limits(needs, map_px, budget, block_bytes, config.block_px, on_gpu, share)
        return choose_lattice(lattices, limits, measure)


@contextlib.contextmanager
def trial(
    bundles: Sequence[Bundle],
    sensors: Sequence[Sensor],
    ratios: Mapping[str, Fraction],
    config: MapConfig,
    machine: Machine,
    tasks: Sequence[TaskOutput],
    scale: int = 1,
) -> Iterator[tuple[Measure, int]]:
    """What measures a pass of the run's networks, and how many bytes it may take.

    Windows hold zeros, of all `sensors` and as many dates as the network's settings leave. Whatever
    will run the network, torch does here, and without compiling. On leaving, a GPU is as before.
    """
    device = machine.device
    on_gpu = device.type == "cuda"
    budget, before = CPU_PASS_BYTES, 0
    if not on_gpu:
        keep_freed_memory()  # as a worker does
    else:
        before = torch.cuda.memory_allocated(device)
        budget = int(MEMORY_SHARE * torch.cuda.mem_get_info(device)[0] / machine.processes)
    learnt = (get_modality(i.modality).name for b in bundles for i in b.meta.network.inputs)
    names = tuple(dict.fromkeys(learnt))
    weights = [t for b in bundles for t in (*b.network.parameters(), *b.network.buffers())]

    def measure(window_px: int) -> Pass:
        window = _window(sensors, ratios, bundles[0], window_px)
        inputs = network_inputs([window] * machine.batch, names, _YEAR, window_px * scale)
        try:
            if on_gpu:
                return _pass_on_gpu(predictor, inputs, device)
            peak_bytes = _peak_on_cpu(predictor, inputs, weights)
            return Pass(peak_bytes, _seconds_on_cpu(predictor, inputs))
        except (DataError, RuntimeError, MemoryError) as error:
            lines = str(error).strip().splitlines()
            reason = lines[0][:300].rstrip(".") if lines else type(error).__name__
            raise CannotRunError(reason) from error

    try:
        predictor = in_map_pixels(
            averaged(
                lambda b: TorchPredictor(b.network, device, config.precision), bundles, config.d4
            ),
            scale,
            tasks,
        )
        if on_gpu:
            budget -= torch.cuda.memory_allocated(device) - before
        yield measure, budget
    finally:
        if on_gpu:
            for bundle in bundles:
                bundle.network.cpu()
            torch.cuda.empty_cache()


def _window(
    sensors: Sequence[Sensor], ratios: Mapping[str, Fraction], bundle: Bundle, window_px: int
) -> WindowInputs:
    images: dict[str, Any] = {}
    series: dict[str, Series] = {}
    for sensor in sensors:
        name, modality = sensor.modality.name, sensor.modality
        side = int(window_px / ratios[name])
        shape = (len(modality.bands), side, side)
        if sensor.dates is None:
            images[name] = np.zeros(shape, modality.dtype)
        else:
            values = np.zeros((len(sensor.dates), *shape), modality.dtype)
            usable = usable_dates(Series(values, sensor.dates), bundle.meta.series)
            series[name] = usable
    return WindowInputs(0, 0, images, {}, series)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Counts the memory of tensors that torch's operations make, on a CPU: now and at its peak.

    Of storage, however many views share it, and without that of `known` tensors. What is kept
    alive inside one operation, its own scratch memory, is not seen.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._seen = WeakIdKeyDictionary(ref_type=weakref.ref)
        self._now = self.peak_bytes = 0
        for tensor in known:
            self._seen[tensor.untyped_storage()] = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count its results."""
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor) and (storage := value.untyped_storage()) not in self._seen:
                self._seen[storage] = None
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes()).atexit = False
        return result

    def _add(self, count: int) -> None:
        self._now += count
        self.peak_bytes = max(self.peak_bytes, self._now)


_Run = Callable[[dict[str, Any]], dict[str, Tensor]]


def _peak_on_cpu(run: _Run, inputs: dict[str, Any], known: Iterable[Tensor]) -> int:
    given = [t for part in inputs.values() if isinstance(part, dict) for t in part.values()]
    live = LiveBytes([*known, *given])
    with live:
        run(inputs)
    given_bytes: int = sum(tensor.nbytes for tensor in given)
    return live.peak_bytes + given_bytes


def _seconds_on_cpu(run: _Run, inputs: dict[str, Any]) -> float:
    began = time.process_time()
    run(inputs)
    return time.process_time() - began


def _pass_on_gpu(run: _Run, inputs: dict[str, Any], device: torch.device) -> Pass:
    # A trial that failed may have left its memory in pieces.
    torch.cuda.empty_cache()
    # The first pass of a process pays for what libraries then keep.
    run(inputs)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    began = time.perf_counter()
    run(inputs)
    torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    return Pass(torch.cuda.max_memory_allocated(device) - before, seconds)
