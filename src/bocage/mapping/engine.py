"""`map_area`: from rasters and a model bundle to georeferenced maps.

Working memory of a process, whatever the area: with b the block's side, w the window's and s the
stride in pixels of the map, n = ⌈(b + w) / s⌉ windows to a side, which cover h = (n - 1) s + w
pixels (about b + 2 w - s), and K classes of all tasks, scored or not,

    (2 I + J) h²  +  4 K w² (n (q - 1) + q)  +  2 (L + 2) b²  +  128 MiB  +  network

bytes. I are the inputs per pixel of the map, for every sensor T (C m + 1) / r² with T dates (or 1)
of C bands of m bytes and a mask of holes, on pixels of r map pixels; a snow and cloud mask adds 4 T
/ r². They are held of this block and of the next one, which is read meanwhile; J is the largest
sensor's part, held twice while it is read. Of windows, whose logits are kept whole (on a GPU in its
memory), q - 1 rows and q windows are held, where q = ⌈w / s⌉ rows reach a pixel; L bytes per pixel
are written, held of this block with what is wanted of it and of the one before, and of one band as
it is written with its overviews; GDAL keeps tiles. A sensor that has to be resampled needs up to
256 MiB more while it is read, a window in which data end 24 w² (in the network's pixels, where the
map's are larger) and a copy of what it shows, a batch of several windows their inputs twice, their
logits, and 2 b² for each of up to three blocks that wait for it to fill; glibc keeps up to 256 MiB
of what was freed. Unless it is given, b is the largest of 512 to 4096 for which all this but the
last two terms stays within 4 GiB.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bocage.cluster import Engine, check_engine, ray_cluster
from bocage.errors import ConfigError
from bocage.imagery import Source
from bocage.mapping.backends import choose_backend
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import check_members
from bocage.mapping.finish import Told, finish_map, make_report, product_of
from bocage.mapping.job import memory_bytes, prepare
from bocage.mapping.on_ray import PROCESS_BYTES, choose_crew, map_on_ray
from bocage.mapping.plan import Block
from bocage.mapping.processes import map_in_processes
from bocage.mapping.report import FailedBlock, MapReport
from bocage.mapping.request import plan_record
from bocage.mapping.stac import describe_models
from bocage.mapping.window import machine_of
from bocage.mapping.worker import Assignment, Outcome, Worker
from bocage.mapping.workspace import Share, open_workspace, planned_lattice

if TYPE_CHECKING:
    from bocage.models import Bundle

Progress = Callable[[int, int | None], None]
_Hands = Callable[[Assignment, Sequence[Block], dict[str, float]], Iterator[Outcome]]
"""Who maps blocks, and adds the seconds of each stage."""


def map_area(
    bundle: Bundle | list[Bundle],
    sources: Sequence[Source],
    out: Path,
    config: MapConfig | None = None,
    progress: Progress | None = None,
    *,
    share: Share | None = None,
    engine: Engine = "local",
    address: str | None = None,
    weights: Sequence[Path] = (),
) -> MapReport:
    """Map the area of the finest source, on exactly its grid.

    Writes the layers of `bocage.mapping.outputs` to `OUT`, above all per task `OUT/<task>.tif`
    (class ids, uint8, with colours), and `OUT/report.json`. A killed run goes on where it stopped
    when it is repeated.

    A block that fails twice does not end the run: it is nodata in the map, listed in the report,
    and computed again when the run is repeated. Only when no block at all succeeds there is no
    map, but the report, and a `DataError` that tells what failed.

    Args:
        bundle: Network and what it was trained on; several are an ensemble.
        sources: At most one per input. An input without one counts as absent.
        out: Folder for the map.
        config: How to cut and predict; None for the defaults.
        progress: Called with the numbers of finished and of all blocks.
        share: (i, n) to compute only every n-th block, beginning with the i-th: n machines make
            one map in a folder that they share, and `merge_shares` finishes it. The report
            then lists no maps.
        engine: `local` processes of this machine, or a `ray` cluster.
        address: Of the cluster; None starts one on this machine.
        weights: Where the bundles lie, for the STAC items of the networks.

    Raises:
        ConfigError: sources or options that do not fit the bundle or the folder.
        DataError: a source that is not what it should be, or a folder that cannot be written.
    """
    config = config or MapConfig()
    began = time.perf_counter()
    bundles = tuple(bundle) if isinstance(bundle, list) else (bundle,)
    _check_engine(share, engine, address)
    on_cluster = engine == "ray" and config.backend == "torch"
    # On a cluster its hardware decides, not what this machine has.
    device = torch.device("cpu") if on_cluster else choose_backend(config)
    check_members(bundles, [source.modality for source in sources])
    planned = None if config.overwrite else planned_lattice(out)
    machine = machine_of(config, device, on_cluster)
    job = prepare(bundles, sources, config, machine, planned)
    with contextlib.ExitStack() as holding, contextlib.ExitStack() as stack:
        outcomes_of: _Hands = functools.partial(_map_here, device)
        if engine == "ray":
            ray = stack.enter_context(ray_cluster(address))
            needed = PROCESS_BYTES + memory_bytes(job) + _weight_bytes(bundles)
            crew = choose_crew(ray.nodes(), config, needed)
            device, outcomes_of = crew.device, functools.partial(map_on_ray, ray, crew)
        request = plan_record(job, bundles, sources, config)
        product = product_of(job, config, describe_models(bundles, weights, out))
        mine = holding if share is None else None
        try:
            work = open_workspace(out, request, product, job.stems, config.overwrite, mine)
        except ConfigError:
            late = planned is None and not config.overwrite and planned_lattice(out) is not None
            if config.window_px != "auto" or not late:
                raise
            # Another share has begun meanwhile, and chose its windows by its own memory.
            holding.close()
            return map_area(
                bundle, sources, out, config, progress,
                share=share, engine=engine, address=address, weights=weights,
            )  # fmt: skip
        blocks = job.plan.blocks[share[0] - 1 :: share[1]] if share else job.plan.blocks
        todo = [block for block in blocks if not work.is_complete(block)]
        seconds: dict[str, float] = {}
        failed: list[FailedBlock] = []
        done = len(blocks) - len(todo)
        if todo:
            if progress:
                progress(done, len(blocks))
            for outcome in outcomes_of(Assignment(job, bundles, config, work), todo, seconds):
                done += 1
                if outcome.failure is not None:
                    failed.append(outcome.failure)
                if progress:
                    progress(done, len(blocks))
        stack.close()  # the cluster has done its part
        total_s = time.perf_counter() - began
        told = Told(str(device), len(blocks) - len(todo), tuple(failed), seconds, total_s)
        work.declare(share or (1, 1), told.to_json())
        if share is not None:
            return make_report(work, {}, [told], blocks, work.complete_of(blocks))
        return finish_map(work, [told])


def _map_here(
    device: torch.device, assignment: Assignment, todo: Sequence[Block], seconds: dict[str, float]
) -> Iterator[Outcome]:
    """Map the blocks on this machine; `seconds` are those of the stages in the end."""
    devices = _devices(device, assignment.config.workers)[: len(todo)]
    if len(devices) > 1:
        yield from map_in_processes(assignment, todo, devices, seconds)
        return
    worker = Worker(assignment, devices[0])
    yield from worker.run(todo)
    seconds.update(worker.clock.seconds)


def _weight_bytes(bundles: Sequence[Bundle]) -> int:
    return sum(t.nbytes for bundle in bundles for t in bundle.network.state_dict().values())


def _devices(device: torch.device, workers: int | None) -> list[torch.device]:
    """A device per process: every GPU once unless one is named or a number is asked for."""
    if device.type != "cuda" or device.index is not None:
        return [device] * (workers or 1)
    count = torch.cuda.device_count()
    return [torch.device("cuda", k % count) for k in range(workers or count)]


def _check_engine(share: Share | None, engine: Engine, address: str | None) -> None:
    if share is not None and not 1 <= share[0] <= share[1]:
        raise ConfigError(
            f"share {share[0]}/{share[1]}: the first number is one of 1 to {share[1]}."
        )
    check_engine(engine, address)
