"""What a map will cost, before it is made: blocks, bytes, memory, and time from a sample."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bocage.errors import DataError
from bocage.imagery import Source
from bocage.mapping.backends import choose_backend
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import check_members
from bocage.mapping.job import Job, prepare
from bocage.mapping.plan import BLOCK_STEP_PX, Block, Plan
from bocage.mapping.worker import Assignment, Worker
from bocage.mapping.workspace import Workspace
from bocage.rasters import GDAL_OPTIONS

if TYPE_CHECKING:
    from bocage.models import Bundle

_SAMPLES = (0.5, 0.25, 0.75)
"""Where along the list of blocks a sample is looked for, the first with imagery."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a map on one process of this machine.

    Bytes are of pixels, before compression. `seconds` per stage are scaled from a sample block that
    was read, predicted, blended and written: reading by the pixels read, the network by windows,
    the rest by pixels of the map. `total_s` assumes that a CPU does one after the other, and that
    beside a GPU reading and writing hide behind the network.
    """

    blocks: int
    windows: int
    height: int
    width: int
    km2: float
    read_bytes: int
    written_bytes: int
    memory_bytes: int
    """Arrays of one process, by the formula of the engine, without the network's own needs."""
    device: str
    sample_px: int
    """Pixels of the sample."""
    seconds: dict[str, float]
    total_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def estimate_map(
    bundle: Bundle | list[Bundle], sources: Sequence[Source], config: MapConfig | None = None
) -> Estimate:
    """Check everything as `map_area` does, map a sample into a temporary folder, and scale.

    Raises the errors of `map_area`, before any work.
    """
    config = config or MapConfig()
    bundles = tuple(bundle) if isinstance(bundle, list) else (bundle,)
    device = choose_backend(config)
    check_members(bundles)
    job = prepare(bundles, sources, config)
    plan = job.plan
    pixels = sum(b.shape[0] * b.shape[1] for b in plan.blocks)
    halo = sum(_halo_px(plan, block) for block in plan.blocks)
    windows = sum(len(plan.windows(block)) for block in plan.blocks)
    resolution_m = job.target.grid.resolution
    input_bytes = _input_bytes_per_px(job)
    layer_bytes = sum(len(layer.bands) for layer in job.layers)
    with tempfile.TemporaryDirectory(prefix="bocage-plan-") as folder:
        worker = Worker(Assignment(job, bundles, config, Workspace(Path(folder))), device)
        sample, spent = _measure(worker, plan)
    sample_px = sample.shape[0] * sample.shape[1]
    sampled = replace(plan, block_px=_sample_px(plan))
    per = {
        "read": halo / _halo_px(sampled, sample),
        "prepare": windows / len(sampled.windows(sample)),
        "network": windows / len(sampled.windows(sample)),
        "blend": pixels / sample_px,
        "write": pixels / sample_px,
    }
    seconds = {stage: spent[stage] * factor for stage, factor in per.items()}
    compute_s = seconds["prepare"] + seconds["network"] + seconds["blend"]
    on_cpu = worker.clock.device.type == "cpu"
    total_s = (
        seconds["read"] + compute_s + seconds["write"]
        if on_cpu
        else max(seconds["read"], compute_s, seconds["write"])
    )
    start_s = worker.clock.seconds["start"]
    return Estimate(
        blocks=len(plan.blocks),
        windows=windows,
        height=plan.height,
        width=plan.width,
        km2=pixels * resolution_m[0] * resolution_m[1] / 1e6,
        read_bytes=round(halo * input_bytes),
        written_bytes=pixels * layer_bytes,
        memory_bytes=_memory_bytes(job, input_bytes, layer_bytes),
        device=str(worker.clock.device),
        sample_px=sample_px,
        seconds={"start": start_s, **seconds},
        total_s=start_s + total_s,
    )


def _measure(worker: Worker, plan: Plan) -> tuple[Block, dict[str, float]]:
    """A block of a finer cut that has imagery, and the seconds of each stage on it."""
    small = replace(plan, block_px=_sample_px(plan), left_out=frozenset())
    inside = [b for b in small.blocks if _in_plan(plan, b)]
    reason = "it has no imagery"
    for place in _SAMPLES:
        block = inside[int(place * (len(inside) - 1))]
        # Twice: the first time pays for memory and for what libraries do once.
        for _ in range(2):
            before = dict(worker.clock.seconds)
            (outcome,) = worker.run([block])
        if outcome.reason is not None:
            reason = outcome.reason
            continue
        spent = {stage: s - before[stage] for stage, s in worker.clock.seconds.items()}
        if spent["network"] > 0:
            return block, spent
    raise DataError(f"no sample of the area could be mapped: {reason}")


def _sample_px(plan: Plan) -> int:
    """Side of the sample: two windows or more, in whole steps."""
    return min(plan.block_px, BLOCK_STEP_PX * -(-2 * plan.lattice.window_px // BLOCK_STEP_PX))


def _in_plan(plan: Plan, sample: Block) -> bool:
    """Whether a sample lies in a block that is to be mapped."""
    across = -(-plan.width // plan.block_px)
    index = sample.row0 // plan.block_px * across + sample.col0 // plan.block_px
    return index not in plan.left_out


def _halo_px(plan: Plan, block: Block) -> int:
    top, bottom, left, right = plan.halo(block)
    return (bottom - top) * (right - left)


def _input_bytes_per_px(job: Job) -> float:
    return sum(
        len(s.raster.bands)
        * np.dtype(s.modality.dtype).itemsize
        / float(job.grids[s.modality.name].ratio) ** 2
        for s in job.sensors
    )


def _memory_bytes(job: Job, input_bytes: float, layer_bytes: int) -> int:
    """The formula of `bocage.mapping.engine`."""
    plan, lattice = job.plan, job.plan.lattice
    block_px = min(plan.block_px, max(plan.height, plan.width))
    classes = sum(len(task.scored) for task in job.tasks)
    inputs = 2 * input_bytes * (block_px + lattice.window_px) ** 2
    row = 4 * classes * lattice.window_px**2 * (block_px + lattice.window_px) / lattice.stride_px
    tiles = int(GDAL_OPTIONS["GDAL_CACHEMAX"])
    return round(inputs + row + 2 * layer_bytes * block_px**2) + tiles
