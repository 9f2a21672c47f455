"""From complete blocks to finished files: at the end of a run, or when all shares are done.

Needs the output folder alone: what the map is, `plan.json` says, and neither the imagery nor the
network is opened again.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.crs import CRS
from rasterio.transform import Affine

from bocage.errors import DataError
from bocage.files import write_text
from bocage.mapping.backends import backend_packages
from bocage.mapping.config import MapConfig
from bocage.mapping.hold import held
from bocage.mapping.job import Job
from bocage.mapping.outputs import Layer
from bocage.mapping.plan import Block, Lattice, Plan
from bocage.mapping.report import STAGES, FailedBlock, MapReport, versions
from bocage.mapping.stac import write_item
from bocage.mapping.styles import style_file, write_share_style
from bocage.mapping.workspace import REPORT, Workspace
from bocage.mapping.write import write_cog
from bocage.nomenclatures.qgis import class_style
from bocage.rasters import Grid

_LISTED = 8


@dataclass(frozen=True)
class Told:
    """What one share of the work tells about itself."""

    device: str
    resumed: int
    failed: tuple[FailedBlock, ...]
    seconds: dict[str, float]
    """Per stage, over all its processes."""
    total_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for its file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Told:
        """From the values of its file."""
        failed = tuple(
            FailedBlock(f["index"], tuple(f["rows"]), tuple(f["cols"]), f["reason"])
            for f in given["failed"]
        )
        return cls(given["device"], given["resumed"], failed, given["seconds"], given["total_s"])


def product_of(
    job: Job, config: MapConfig, models: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """What a run comes to, as plain values; `models` are the STAC items of its networks."""
    grid, plan = job.target.grid, job.plan
    assert grid.crs is not None
    return {
        "crs": grid.crs.to_wkt(),
        "transform": list(grid.transform.to_gdal()),
        "height": plan.height,
        "width": plan.width,
        "lattice": dataclasses.asdict(plan.lattice),
        "block_px": plan.block_px,
        "left_out": sorted(plan.left_out),
        "origin": plan.origin,
        "whole_px": plan.ground_px,
        "layers": [layer.to_json() for layer in job.layers],
        "reference": job.reference.raster.path,
        "absent_inputs": list(job.absent),
        "warnings": list(job.warnings),
        "year": job.year if any(s.dates is not None for s in job.sensors) else None,
        "backend": config.backend,
        "precision": config.precision,
        "dates": sorted({str(d) for s in job.sensors if s.dates is not None for d in s.dates}),
        "models": list(models),
    }


def merge_shares(out: Path, partial: bool = False) -> MapReport:
    """Finish a map whose blocks were computed in shares.

    Blocks that no share has made are an error that counts them, or nodata and listed in the report
    if `partial`. Raises `DataError` also where `out` holds no unfinished map.
    """
    work = Workspace(out)
    with held(out):
        return _merge(work, partial)


def _merge(work: Workspace, partial: bool) -> MapReport:
    work.tidy()
    plan = _plan(work.product)
    told = [Told.from_json(share) for share in work.declared()]
    known = {failure.index for one in told for failure in one.failed}
    missing = [b for b in plan.blocks if not work.is_complete(b) and b.index not in known]
    if missing and not partial:
        numbers = ", ".join(str(b.index) for b in missing[:_LISTED])
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise DataError(
            f"{work.out}: {len(missing)} of {len(plan.blocks)} blocks have not been computed "
            f"(numbers {numbers}{more}). Run the missing shares, or those that were killed, again; "
            "or finish without them with --partial."
        )
    return finish_map(work, told, alone=not missing)


def finish_map(work: Workspace, told: Sequence[Told], alone: bool = True) -> MapReport:
    """Write the files and the report of what is complete; blocks are removed if all are.

    `alone` says that no share may still be at work. Where no block is complete there is a report
    only, and a `DataError` that tells what failed.
    """
    began = time.perf_counter()
    product = work.product
    grid, plan = _grid(product), _plan(product)
    layers = [Layer.from_json(layer) for layer in product["layers"]]
    if alone:
        work.clear_leftovers([layer.stem for layer in layers])
    blocks = [plan.on_map(block) for block in plan.blocks]
    # From here on they stand fast: a share that is still at work changes nothing of this map.
    complete = work.complete_of(blocks)
    if not complete:
        if not plan.blocks:
            raise DataError(f"{work.out}: no block is to be mapped, so there is no map to finish.")
        report = make_report(work, {}, told, plan.blocks, [])
        work.finish(report)
        raise DataError(
            f"no block of {report.blocks} could be mapped; see {work.out / REPORT}\n"
            f"{report.complaint}"
        )
    _check_files(work, complete, layers)
    maps: dict[str, str] = {}
    for layer in layers:
        target = work.map_file(layer.stem)
        _join(work, target, layer, grid, complete)
        maps[layer.stem] = str(target)
        _write_style(target, layer)
    finishing_s = time.perf_counter() - began
    report = make_report(work, maps, told, plan.blocks, complete, finishing_s)
    dates = [datetime.date.fromisoformat(day) for day in product["dates"]]
    write_item(work.out, report, product["models"], dates)
    work.finish(report)
    return report


def _check_files(work: Workspace, complete: Sequence[Block], layers: Sequence[Layer]) -> None:
    """Give up blocks whose files have been lost or spoilt (`DataError`)."""
    broken = {
        block.index: (block, work.block_file(block, layer.stem))
        for block in complete
        for layer in layers
        if not work.is_sound(block, layer.stem)
    }
    if not broken:
        return
    for block, _ in broken.values():
        work.forget(block)
    (_, first), *_ = broken.values()
    raise DataError(
        f"{first}: is missing or damaged, though the block was complete; {len(broken)} blocks are "
        "no more. Run the same command again: they are computed anew."
    )


def _join(
    work: Workspace, target: Path, layer: Layer, grid: Grid, complete: Sequence[Block]
) -> None:
    """Write a layer."""
    parts = [(block, work.block_file(block, layer.stem)) for block in complete]
    write_cog(target, layer, grid, parts, work.folder)


def _write_style(target: Path, layer: Layer) -> None:
    """What QGIS shows the layer with: its legend, or a ramp."""
    if layer.product == "classes":
        colors = {i: "#{:02x}{:02x}{:02x}".format(*rgba[:3]) for i, rgba in layer.colors.items()}
        entries = [(i, name, colors[i]) for i, name in layer.classes.items()]
        write_text(style_file(target), class_style(entries))
    elif layer.product in ("confidence", "entropy"):
        write_share_style(target)


def make_report(
    work: Workspace,
    maps: dict[str, str],
    told: Sequence[Told],
    blocks: Sequence[Block],
    complete: Sequence[Block],
    finishing_s: float = 0.0,
) -> MapReport:
    """The report over `blocks`, of which some are `complete`, from what the shares have told."""
    product = work.product
    grid, plan = _grid(product), _plan(product)
    assert grid.crs is not None
    pixel_km2 = grid.resolution[0] * grid.resolution[1] / 1e6
    reasons = {failure.index: failure.reason for one in told for failure in one.failed}
    blocks = [plan.on_map(block) for block in blocks]
    done = {block.index for block in complete}
    found = sorted({text for block in complete for text in work.found_in(block)})
    failed = [
        FailedBlock(
            b.index, (b.row0, b.row1), (b.col0, b.col1), reasons.get(b.index, "not computed")
        )
        for b in blocks
        if b.index not in done
    ]
    resumed = sum(one.resumed for one in told)
    seconds = dict.fromkeys((*STAGES, "wait"), 0.0)
    for one in told:
        for stage, spent in one.seconds.items():
            seconds[stage] += spent
    seconds["write"] += finishing_s
    # Shares run beside each other, each at its own time: the sum is machine time.
    total_s = sum(one.total_s for one in told) + finishing_s
    pixels = sum(b.shape[0] * b.shape[1] for b in complete)
    share = 1 - resumed / len(complete) if complete else 0.0
    return MapReport(
        maps=maps,
        reference=product["reference"],
        crs=grid.crs.to_string(),
        resolution_m=grid.resolution[0],
        height=plan.height,
        width=plan.width,
        km2=plan.height * plan.width * pixel_km2,
        window_px=plan.lattice.window_px,
        overlap_px=plan.lattice.overlap_px,
        block_px=plan.block_px,
        blocks=len(blocks),
        blocks_resumed=resumed,
        windows=sum(work.windows_of(b) for b in complete),
        failed=tuple(failed),
        absent_inputs=tuple(product["absent_inputs"]),
        warnings=(*product["warnings"], *found),
        year=product["year"],
        device=", ".join(sorted({one.device for one in told})),
        backend=product["backend"],
        precision=product["precision"],
        seconds={**seconds, "total": total_s},
        km2_per_s=pixels * share * pixel_km2 / total_s if total_s else 0.0,
        versions=versions(*backend_packages(product["backend"])),
    )


def _grid(product: Mapping[str, Any]) -> Grid:
    transform = Affine.from_gdal(*product["transform"])
    return Grid(CRS.from_wkt(product["crs"]), transform, product["width"], product["height"])


def _plan(product: Mapping[str, Any]) -> Plan:
    origin, whole_px = product["origin"], product["whole_px"]
    return Plan(
        product["height"],
        product["width"],
        Lattice(**product["lattice"]),
        product["block_px"],
        frozenset(product["left_out"]),
        (origin[0], origin[1]),
        (whole_px[0], whole_px[1]),
    )
