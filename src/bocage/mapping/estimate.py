"""What a map will cost, before it is made: blocks, bytes, memory, and time from a sample."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.transform import Affine

from bocage.errors import DataError
from bocage.imagery import Source
from bocage.mapping.backends import choose_backend
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import check_members
from bocage.mapping.job import Job, footprint, memory_bytes, prepare
from bocage.mapping.plan import BLOCK_STEP_PX, Block, Plan
from bocage.mapping.request import plan_record
from bocage.mapping.window import machine_of
from bocage.mapping.worker import Assignment, Worker
from bocage.mapping.workspace import Workspace, check_folder, planned_lattice
from bocage.mapping.write import write_cog

if TYPE_CHECKING:
    from bocage.models import Bundle

_HALVINGS = 6
"""Where along the list of blocks a sample is looked for, the first with imagery: in its middle, in
the middles of the halves, and so on so many times."""
_COPIES = 4
"""The sample's files are finished once, and once this many times to a side: what a file costs by
itself is told from what its pixels do."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a map on one process of this machine.

    Windows and pixels are those of all blocks: less is done where there is no data. Bytes are of
    pixels, before compression. `seconds` per stage are scaled from a sample that was read,
    predicted, blended, written and, as `finish`, made a Cloud-Optimised GeoTIFF: reading by the
    pixels read, `prepare`, `transfer` and `network` by windows, the rest by pixels of the map.
    `total_s` assumes that a CPU does one after the other, and that beside a GPU reading and writing
    hide behind the network; finishing comes at the end, when all blocks are there.
    """

    blocks: int
    windows: int
    window_px: int
    overlap_px: int
    height: int
    width: int
    km2: float
    read_bytes: int
    written_bytes: int
    memory_bytes: int
    """Of one process, by the formula of `bocage.mapping.engine`, without the network's own needs
    and what resampling takes."""
    device: str
    sample_px: int
    """Pixels of the sample."""
    seconds: dict[str, float]
    total_s: float
    warnings: tuple[str, ...]
    """What the run's report would tell before its first block."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def estimate_map(
    bundle: Bundle | list[Bundle],
    sources: Sequence[Source],
    config: MapConfig | None = None,
    out: Path | None = None,
) -> Estimate:
    """Check everything as `map_area` does, map a sample into a temporary folder, and scale.

    `out` is the folder that the map is meant for: only looked at, None: not even that. Raises the
    errors of `map_area`, before any work.
    """
    config = config or MapConfig()
    bundles = tuple(bundle) if isinstance(bundle, list) else (bundle,)
    device = choose_backend(config)
    check_members(bundles, [source.modality for source in sources])
    planned = None if out is None or config.overwrite else planned_lattice(out)
    job = prepare(bundles, sources, config, machine_of(config, device), planned)
    if out is not None:
        check_folder(out, plan_record(job, bundles, sources, config), job.stems, config.overwrite)
    plan = job.plan
    needs = footprint(job.sensors, job.ratios, job.tasks, job.layers)
    with tempfile.TemporaryDirectory(prefix="bocage-plan-") as folder:
        work = Workspace(Path(folder))
        work.begin({}, {})
        worker = Worker(Assignment(job, bundles, config, work), device)
        sample, spent = _measure(worker, plan)
        once, whole = plan.amounts(sample), plan.amounts()
        by_pixels = whole.pixels / once.pixels
        finish_s = _finishing(job, work, sample, by_pixels)
    by_windows = whole.windows / once.windows
    seconds = {
        "start": worker.clock.seconds["start"],
        "read": spent["read"] * whole.halo_px / once.halo_px,
        "prepare": spent["prepare"] * by_windows,
        "transfer": spent["transfer"] * by_windows,
        "network": spent["network"] * by_windows,
        "blend": spent["blend"] * by_pixels,
        "write": spent["write"] * by_pixels,
        "finish": finish_s,
    }
    compute_s = sum(seconds[stage] for stage in ("prepare", "transfer", "network", "blend"))
    beside = (seconds["read"], compute_s, seconds["write"])
    on_cpu = worker.clock.device.type == "cpu"
    resolution_m = job.target.grid.resolution
    return Estimate(
        blocks=len(plan.blocks),
        windows=whole.windows,
        window_px=plan.lattice.window_px,
        overlap_px=plan.lattice.overlap_px,
        height=plan.height,
        width=plan.width,
        km2=whole.pixels * resolution_m[0] * resolution_m[1] / 1e6,
        read_bytes=round(whole.halo_px * needs.read_bytes),
        written_bytes=whole.pixels * needs.layer_bytes,
        memory_bytes=memory_bytes(job),
        device=str(worker.clock.device),
        sample_px=once.pixels,
        seconds=seconds,
        total_s=seconds["start"] + (sum(beside) if on_cpu else max(beside)) + seconds["finish"],
        warnings=job.warnings,
    )


def _measure(worker: Worker, plan: Plan) -> tuple[Block, dict[str, float]]:
    """A sample that has imagery, and the seconds of each stage on it."""
    reason = "it has no imagery"
    for place in _places(len(plan.blocks)):
        sample = _sample(plan, plan.blocks[place])
        # Twice: the first time pays for memory and for what libraries do once.
        for _ in range(2):
            before = dict(worker.clock.seconds)
            (outcome,) = worker.run([sample])
        if outcome.reason is not None:
            reason = outcome.reason
            continue
        spent = {stage: s - before[stage] for stage, s in worker.clock.seconds.items()}
        if spent["network"] > 0:
            return sample, spent
    raise DataError(
        f"no sample of the area could be mapped: {reason}. {len(_places(len(plan.blocks)))} of "
        f"{len(plan.blocks)} blocks were tried; name a part that has imagery with bounds=… or aoi=…"
    )


def _places(count: int) -> list[int]:
    """Of so many blocks those to try, each once.

    >>> _places(5), _places(100)[:5]
    ([2, 1, 3, 0, 4], [50, 25, 75, 12, 37])
    """
    halvings = range(1, _HALVINGS + 1)
    shares = [odd / 2**n for n in halvings for odd in range(1, 2**n, 2)]
    return list(dict.fromkeys([*(int(share * count) for share in shares), 0]))


def _sample(plan: Plan, block: Block) -> Block:
    """The middle of a block: two windows or more to a side, in whole steps, where there is room."""
    side_px = min(plan.block_px, BLOCK_STEP_PX * -(-2 * plan.lattice.window_px // BLOCK_STEP_PX))
    middles = (block.row0 + block.row1) // 2, (block.col0 + block.col1) // 2
    rows, cols = (
        _around(*axis, side_px)
        for axis in zip(
            middles, plan.origin, (plan.height, plan.width), plan.ground_px, strict=True
        )
    )
    return Block(block.index, *rows, *cols)


def _around(middle: int, first: int, size_px: int, ground_px: int, side_px: int) -> tuple[int, int]:
    """So many pixels around one, at most, of a map's [first, first + size) with some of the
    whole's `ground_px`."""
    side_px = min(side_px, size_px)
    inside = max(max(first, 0), min(middle, first + size_px - 1, ground_px - 1))
    start = max(first, min(inside - side_px // 2, first + size_px - side_px))
    return start, start + side_px


def _finishing(job: Job, work: Workspace, sample: Block, by_pixels: float) -> float:
    """Seconds that finishing a map so many times the sample will take."""
    once_s = _finish(job, work, sample, 1)
    times = min(_COPIES, math.isqrt(int(by_pixels)))
    if times < 2:
        return once_s * by_pixels
    each_s = max(0.0, _finish(job, work, sample, times) - once_s) / (times**2 - 1)
    return once_s + each_s * (by_pixels - 1)


def _finish(job: Job, work: Workspace, sample: Block, times: int) -> float:
    """Seconds that it takes to make a map of the sample's files, so many times to a side."""
    height, width = sample.shape
    origin = job.target.whole.transform @ Affine.translation(sample.col0, sample.row0)
    size = {"height": times * height, "width": times * width}
    grid = replace(job.target.grid, transform=origin, **size)
    places = [
        Block(i, row * height, (row + 1) * height, col * width, (col + 1) * width)
        for i, (row, col) in enumerate(itertools.product(range(times), repeat=2))
    ]
    began = time.perf_counter()
    for layer in job.layers:
        parts = [(place, work.block_file(sample, layer.stem)) for place in places]
        write_cog(work.map_file(layer.stem), layer, grid, parts, work.folder)
    return time.perf_counter() - began
