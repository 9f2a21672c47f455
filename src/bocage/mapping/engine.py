"""`map_area`: from rasters and a model bundle to georeferenced maps.

Working memory, whatever the area: with b the block's side and w the window's in output pixels, K
the scored classes of all tasks together, and per sensor C bands (times T dates) of s bytes on
pixels of r output pixels,

    2 (b + w)² Σ C T s / r²  +  4 (K + 1) b w  +  what the network needs for one batch

bytes: inputs of this block and of the next one, which is read meanwhile, and the sums of logits.
A sensor that has to be resampled needs up to 256 MiB more while it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bocage.errors import DataError
from bocage.imagery import Source
from bocage.mapping.backends import backend_packages, choose_backend, open_predictor
from bocage.mapping.blend import Blender, BlockResult
from bocage.mapping.config import MapConfig
from bocage.mapping.job import Job, plan_record, prepare
from bocage.mapping.plan import Block
from bocage.mapping.predict import (
    Predictor,
    batches,
    network_inputs,
    window_inputs,
)
from bocage.mapping.read import BlockInputs, read_block
from bocage.mapping.report import Clock, FailedBlock, MapReport, versions
from bocage.mapping.workspace import Workspace, open_workspace
from bocage.mapping.write import write_block, write_cog

if TYPE_CHECKING:
    from bocage.models import Bundle

GPU_BATCH = 8
"""Windows per pass on a GPU, unless the configuration says otherwise."""

Progress = Callable[[int, int | None], None]

# What reading, the network and the numbers of one block may fail with; anything else is a defect
# of this program, or the user's interrupt, and ends the run.
_BLOCK_FAILURES = (DataError, OSError, RuntimeError, MemoryError)


def map_area(
    bundle: Bundle,
    sources: Sequence[Source],
    out: Path,
    config: MapConfig | None = None,
    progress: Progress | None = None,
) -> MapReport:
    """Map the area of the finest source, on exactly its grid.

    Writes per task `OUT/<task>.tif` (class ids, uint8, with colours) and
    `OUT/<task>_confidence.tif` (probability of the class), 255 = nodata, and `OUT/report.json`.
    A killed run goes on where it stopped when it is repeated.

    A block that fails twice does not end the run: it is nodata in the map, listed in the report,
    and computed again when the run is repeated. Only when no block at all succeeds there is no
    map, but the first block's `DataError`.

    Args:
        bundle: Network and what it was trained on.
        sources: At most one per input of the bundle. An input without one counts as absent.
        out: Folder for the map.
        config: How to cut and predict; None for the defaults.
        progress: Called with the numbers of finished and of all blocks.

    Raises:
        ConfigError: sources or options that do not fit the bundle or the folder.
        DataError: a source that is not what it should be, or a folder that cannot be written.
    """
    config = config or MapConfig()
    began = time.perf_counter()
    device = choose_backend(config)
    job = prepare(bundle, sources, config)
    record = plan_record(job, bundle, sources, config)
    work = open_workspace(out, record, job.stems, config.overwrite)
    clock = Clock(device)
    blocks = job.plan.blocks
    todo = [block for block in blocks if not work.is_complete(block)]
    failed: list[FailedBlock] = []
    if todo:
        window_px = job.plan.lattice.window_px
        network_file = work.network_file(record["weights"], window_px)
        with clock.stage("start"):
            predictor = open_predictor(bundle, config, device, window_px, network_file)
        if progress:
            progress(len(blocks) - len(todo), len(blocks))
        outcomes = _run_blocks(job, bundle, todo, work, predictor, config, clock)
        for count, failure in enumerate(outcomes, start=len(blocks) - len(todo) + 1):
            if failure is not None:
                failed.append(failure)
            if progress:
                progress(count, len(blocks))
    if len(failed) == len(blocks):
        raise DataError(f"no block of {len(blocks)} could be mapped. The first: {failed[0].reason}")
    with clock.stage("write"):
        maps = _write_maps(job, work)
    report = _report(job, work, todo, failed, maps, config, clock, time.perf_counter() - began)
    work.finish(report)
    return report


def _run_blocks(
    job: Job,
    bundle: Bundle,
    todo: Sequence[Block],
    work: Workspace,
    predictor: Predictor,
    config: MapConfig,
    clock: Clock,
) -> Iterator[FailedBlock | None]:
    """Compute and store the blocks; while one is computed the next is read.

    Yields per block None, or what it failed with twice.
    """

    def read(block: Block) -> BlockInputs:
        with clock.stage("read"):
            return read_block(job.sensors, job.grids, job.plan, block)

    plan = job.plan
    blender = Blender(
        plan.lattice,
        job.tasks,
        predictor.device,
        min(plan.block_px, plan.width),
        config.confidence,
    )

    def compute(inputs: BlockInputs, block: Block) -> tuple[BlockResult, int]:
        return _compute(job, bundle, inputs, block, predictor, blender, config, clock)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as reader:
        ahead = reader.submit(read, todo[0])
        for position, block in enumerate(todo):
            current = ahead
            if position + 1 < len(todo):
                ahead = reader.submit(read, todo[position + 1])
            try:
                with clock.stage("wait"):
                    inputs = current.result()
                del current
                result, windows = compute(inputs, block)
                del inputs
            except _BLOCK_FAILURES:
                # Once more: a full device or a share that hung for a moment is common.
                try:
                    result, windows = compute(read(block), block)
                except _BLOCK_FAILURES as error:
                    yield _failure(block, error)
                    continue
            with clock.stage("write"):
                _store(job, work, block, result, windows)
            yield None


def _failure(block: Block, error: BaseException) -> FailedBlock:
    reason = str(error).strip() or type(error).__name__
    return FailedBlock(
        block.index, (block.row0, block.row1), (block.col0, block.col1), reason[:1000]
    )


def _compute(
    job: Job,
    bundle: Bundle,
    inputs: BlockInputs,
    block: Block,
    predictor: Predictor,
    blender: Blender,
    config: MapConfig,
    clock: Clock,
) -> tuple[BlockResult, int]:
    """All windows of one block through the network; the result and the number of windows."""
    side = job.plan.lattice.window_px
    with clock.stage("blend"):
        blender.begin(block, inputs.data_HW)
    windows = (
        window_inputs(inputs, row, col, side, bundle.meta.series)
        for row, col in job.plan.windows(block)
    )
    count = 0
    together = config.batch_size or (1 if predictor.device.type == "cpu" else GPU_BATCH)
    for group in batches(windows, together, job.required):
        with clock.stage("prepare"):
            batch = network_inputs(group, job.inputs, job.year, side)
        with clock.stage("network"):
            logits = predictor(batch)
        with clock.stage("blend"):
            for i, window in enumerate(group):
                blender.add(window.row, window.col, {name: t[i] for name, t in logits.items()})
        count += len(group)
    with clock.stage("blend"):
        return blender.finish(), count


def _store(job: Job, work: Workspace, block: Block, result: BlockResult, windows: int) -> None:
    grid = job.reference.raster.grid
    for name, (classes, sure) in job.layers.items():
        write_block(work.block_file(block, classes.stem), result.classes[name], grid, block)
        if sure is not None:
            write_block(work.block_file(block, sure.stem), result.confidence[name], grid, block)
    work.complete(block, windows)


def _write_maps(job: Job, work: Workspace) -> dict[str, str]:
    grid = job.reference.raster.grid
    complete = [block for block in job.plan.blocks if work.is_complete(block)]
    maps: dict[str, str] = {}
    for pair in job.layers.values():
        for layer in pair:
            if layer is not None:
                parts = [(block, work.block_file(block, layer.stem)) for block in complete]
                target = work.map_file(layer.stem)
                write_cog(target, layer, grid, parts, work.folder)
                maps[layer.stem] = str(target)
    return maps


def _report(
    job: Job,
    work: Workspace,
    todo: Sequence[Block],
    failed: Sequence[FailedBlock],
    maps: dict[str, str],
    config: MapConfig,
    clock: Clock,
    total_s: float,
) -> MapReport:
    plan, grid = job.plan, job.reference.raster.grid
    assert grid.crs is not None
    pixel_km2 = grid.resolution[0] * grid.resolution[1] / 1e6
    missing = {failure.index for failure in failed}
    computed = sum(b.shape[0] * b.shape[1] for b in todo if b.index not in missing)
    return MapReport(
        maps=maps,
        reference=job.reference.raster.path,
        crs=grid.crs.to_string(),
        resolution_m=grid.resolution[0],
        height=plan.height,
        width=plan.width,
        km2=plan.height * plan.width * pixel_km2,
        window_px=plan.lattice.window_px,
        overlap_px=plan.lattice.overlap_px,
        block_px=plan.block_px,
        blocks=len(plan.blocks),
        blocks_resumed=len(plan.blocks) - len(todo),
        windows=sum(work.windows_of(b) for b in plan.blocks if b.index not in missing),
        failed=tuple(failed),
        absent_inputs=job.absent,
        warnings=job.warnings,
        year=job.year if any(s.dates is not None for s in job.sensors) else None,
        device=str(clock.device),
        backend=config.backend,
        precision=config.precision,
        seconds={**clock.seconds, "total": total_s},
        km2_per_s=computed * pixel_km2 / total_s,
        versions=versions(*backend_packages(config.backend)),
    )
