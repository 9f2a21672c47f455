"""What a mapping run will do: sources checked against the bundle, the area laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from bocage.errors import ConfigError, unknown_name
from bocage.imagery import (
    SNOW_CLOUD,
    Raster,
    Sensor,
    SensorGrid,
    Source,
    Target,
    Wanted,
    approximate_resolution_m,
    bounds_in,
    check_cover,
    doubts,
    files_of,
    goes_around,
    inspect,
    lay_target,
)
from bocage.mapping.config import MapConfig
from bocage.mapping.ensemble import sides_of
from bocage.mapping.outputs import Layer, TaskOutput, map_layers, task_outputs
from bocage.mapping.plan import (
    Footprint,
    Lattice,
    Plan,
    alignment_unit,
    as_fraction,
    choose_block_px,
    make_lattice,
)
from bocage.mapping.scales import Demands, check_scale
from bocage.mapping.suitability import check_suits
from bocage.mapping.window import Choice, Machine, choose_window, machine_of
from bocage.modalities import SENTINEL2_TS, get_modality
from bocage.models.kinds import required_inputs
from bocage.rasters import GDAL_OPTIONS

if TYPE_CHECKING:
    from bocage.models import Bundle
    from bocage.models.inputs import InputConfig

BLOCK_MEMORY_BYTES = 4 * 2**30
"""What a process's arrays may take where no block size is given."""
MAX_BLOCKS = 4_000_000
"""Five times the blocks of France at 20 cm; each is a few hundred bytes in memory."""
COARSER = 1.5
"""How many times the map's pixels imagery may be before a word is said."""


@dataclass(frozen=True)
class Job:
    """A mapping run, checked and laid out, before its first pixel."""

    sensors: tuple[Sensor, ...]
    reference: Sensor
    grids: dict[str, SensorGrid]
    inputs: tuple[str, ...]
    required: tuple[str, ...]
    tasks: tuple[TaskOutput, ...]
    layers: tuple[Layer, ...]
    plan: Plan
    year: int
    warnings: tuple[str, ...]
    target: Target

    @property
    def absent(self) -> tuple[str, ...]:
        """Inputs of the network that no source was given for."""
        given = {sensor.modality.name for sensor in self.sensors}
        return tuple(name for name in self.inputs if name not in given)

    @property
    def ratios(self) -> dict[str, Fraction]:
        """The sensors' pixel sizes in pixels of the map."""
        return {name: grid.ratio for name, grid in self.grids.items()}

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of all layers that will be written."""
        return tuple(layer.stem for layer in self.layers)


def prepare(
    bundles: Sequence[Bundle],
    sources: Sequence[Source],
    config: MapConfig,
    machine: Machine | None = None,
    planned: Lattice | None = None,
) -> Job:
    """Check the sources against the bundles and each other, and lay out the work.

    Several bundles are an ensemble, whose members `bocage.mapping.ensemble` has found to agree.
    With `window_px=auto` the lattice is that of the run that is `planned` already, or chosen for
    `machine` (None: a CPU).
    """
    meta = bundles[0].meta
    learnt = [(name_of(i), i) for bundle in bundles for i in bundle.meta.network.inputs]
    resolutions = {
        name: given.resolution_m or get_modality(name).resolution_m for name, given in learnt
    }
    required = tuple(dict.fromkeys(n for b in bundles for n in required_inputs(b.meta.network)))
    _check_request(sources, tuple(resolutions), required)
    output_m = meta.network.output_resolution_m
    wanted = Wanted(config.crs, config.resolution_m, config.bounds, config.aoi)
    scale = wanted.scale(output_m)
    sides = sides_of(bundles)
    sensors = [inspect(source, config.missing_tiles) for source in sources]
    for sensor in sensors if config.check_values else ():
        for name, given in learnt:
            if name == sensor.modality.name:
                check_suits(sensor, given)
    ratios = {
        s.modality.name: as_fraction(resolutions[s.modality.name]) / as_fraction(output_m) / scale
        for s in sensors
    }
    unit = alignment_unit(ratios.values())
    if config.window_px in (None, "auto"):
        own = tuple(ratio * scale for ratio in ratios.values())
        check_scale(scale, Demands(meta.tile_px, sides, own), output_m)
    tasks = task_outputs(meta.tasks, config)
    layers = map_layers(meta.tasks, tasks, tuple(resolutions), config)
    needs = footprint(sensors, ratios, tasks, layers)
    target = lay_target(sensors, output_m, wanted)
    if config.window_px != "auto":
        chosen = Choice(
            make_lattice(meta.tile_px, unit, config.window_px, config.overlap_px, scale, sides)
        )
    elif planned is not None and planned.window_px % unit == 0 and planned.scale == scale:
        overlap_px = planned.overlap_px if config.overlap_px is None else config.overlap_px
        chosen = Choice(
            make_lattice(meta.tile_px, unit, planned.window_px, overlap_px, scale, sides)
        )
    else:
        machine = machine or machine_of(config, torch.device("cpu"))
        chosen = choose_window(
            bundles, sensors, ratios, needs, (target.grid.height, target.grid.width), config,
            machine, BLOCK_MEMORY_BYTES, scale, tasks,
        )  # fmt: skip
    lattice, reference = chosen.lattice, target.reference
    sensors = [_covering(sensor, target, sensor.modality.name in required) for sensor in sensors]
    # Of the whole, not of the map: a part sees the pixels that the whole does.
    grids = {name: SensorGrid(target.whole, ratio) for name, ratio in ratios.items()}
    block_px = config.block_px or choose_block_px(needs, lattice, BLOCK_MEMORY_BYTES)
    warnings = _warnings(sensors, target, tuple(resolutions), required, scale)
    warnings += [] if chosen.note is None else [chosen.note]
    if "missing_tiles" in config.model_fields_set and not any(map(_has_tiles, sensors)):
        warnings.append(
            f"missing_tiles={config.missing_tiles} has no effect: every source is one file. What "
            "cannot be read of it costs the blocks that show it, which the report lists."
        )
    warnings += [doubt for s in sensors if config.check_values for doubt in doubts(s)]
    usual_px = make_lattice(meta.tile_px, unit, scale=scale, sides=sides).seen_px
    if config.window_px in (None, "auto") and usual_px != meta.tile_px:
        meeting = "those of the map and the inputs meet" if scale > 1 else "the inputs' pixels meet"
        warnings.append(
            f"windows are {lattice.seen_px} px where the network was trained on {meta.tile_px} "
            f"px: {meeting} every {unit * scale} px only."
        )
    block = [min(block_px, side_px) for side_px in (target.grid.height, target.grid.width)]
    block_bytes = needs.total_bytes(lattice, *block)
    if config.block_px is None and block_bytes > BLOCK_MEMORY_BYTES:
        remedy = " Larger pixels take more ground each: ask for smaller ones." if scale > 1 else ""
        warnings.append(
            f"a process needs {block_bytes / 1e9:.1f} GB beside the network: blocks are of "
            f"{block_px} pixels at least.{remedy}"
        )
    years = [
        s.dates.astype("datetime64[Y]").astype(int) + 1970 for s in sensors if s.dates is not None
    ]
    if config.year is not None and not years:
        raise ConfigError(
            f"year={config.year} has no effect: days count from it, and no series is given. Leave "
            "it out."
        )
    year = config.year or (int(np.median(np.concatenate(years))) if years else 1970)
    return Job(
        tuple(sensors),
        reference,
        grids,
        tuple(resolutions),
        required,
        tasks,
        layers,
        _plan(target, lattice, block_px),
        year,
        tuple(warnings),
        target,
    )


def _check_request(
    sources: Sequence[Source], inputs: tuple[str, ...], required: tuple[str, ...]
) -> None:
    slugs = ", ".join(f"{name} ({get_modality(name).slug})" for name in inputs)
    if not sources:
        raise ConfigError(f"no imagery is given. This network takes: {slugs}.")
    seen: set[str] = set()
    for source in sources:
        name = get_modality(source.modality).name
        if name not in inputs:
            raise ConfigError(
                f"{source.path}: {unknown_name('input of this network', name, inputs)}"
            )
        if not get_modality(name).covers_patch:
            raise ConfigError(
                f"{source.path}: {name} is no image of the ground that is mapped, window by "
                "window. Leave it out: it then counts as absent."
            )
        if name in seen:
            raise ConfigError(
                f"{source.path}: a second source for {name}. Give one: a folder, a pattern or a "
                "list of tiles is one, and so is a mosaic made by gdalbuildvrt."
            )
        seen.add(name)
    lacking = [name for name in required if name not in seen]
    if lacking:
        raise ConfigError(
            f"{', '.join(lacking)} is not given, and this network knows no absence: it takes "
            f"{slugs}. Give all of them, or map with a network that has learnt to do without."
        )


def _plan(target: Target, lattice: Lattice, block_px: int) -> Plan:
    """The cut of the target's grid, without the blocks of which nothing is wanted."""
    grid, whole, place = target.grid, target.whole, target.place
    count = math.ceil(grid.height / block_px) * math.ceil(grid.width / block_px)
    if count > MAX_BLOCKS:
        raise ConfigError(
            f"{target.reference.raster.path}: the map would have {grid.height} x {grid.width} "
            f"pixels in {count} blocks, at most {MAX_BLOCKS} can be planned. "
            "Name a part of it with bounds=… or aoi=…"
        )
    origin, whole_px = (place.row0, place.col0), (whole.height, whole.width)
    plan = Plan(grid.height, grid.width, lattice, block_px, origin=origin, whole_px=whole_px)
    unwanted = (b for b in plan.blocks if not target.wants((b.row0, b.row1), (b.col0, b.col1)))
    return replace(plan, left_out=frozenset(block.index for block in unwanted))


def _covering(sensor: Sensor, target: Target, required: bool) -> Sensor:
    """The sensor, which must reach into the whole: a part of it may lie elsewhere, as for the
    whole's map. What the network cannot do without must reach into the map."""
    ground = replace(target.reference.raster, grid=target.grid if required else target.whole)
    raster = check_cover(sensor.raster, ground)
    mask = None if sensor.mask is None else check_cover(sensor.mask, ground)
    return replace(sensor, raster=raster, mask=mask)


def _warnings(
    sensors: Sequence[Sensor],
    target: Target,
    inputs: Sequence[str],
    required: Sequence[str],
    scale: int,
) -> list[str]:
    given = {sensor.modality.name for sensor in sensors}
    reference = target.reference
    found = [note for sensor in sensors for note in sensor.notes]
    found += [] if target.area is None else target.area.notes
    own = next(s.raster for s in sensors if s.modality is reference.modality)
    own_m, seen_m = approximate_resolution_m(own.grid), target.grid.resolution[0] / scale
    if own_m > seen_m * COARSER:
        found.append(
            f"{own.path}: pixels of {own_m:.3g} m are resampled to {seen_m:g} m, which the network "
            "has learnt from: the map shows no more than they do."
        )
    found += [
        f"{name} is an input of the network but not given: it counts as absent."
        for name in inputs
        if name not in given
    ]
    found += [
        f"{sensor.raster.path}: no snow and cloud mask is given, so every date counts as clear."
        for sensor in sensors
        if sensor.modality is SENTINEL2_TS and sensor.mask is None
    ]
    found += [
        f"{sensor.raster.path}: does not cover all of the area; elsewhere "
        + ("is no map." if sensor.modality.name in required else "it counts as absent.")
        for sensor in sensors
        if not _covers(sensor, reference)
    ]
    return found


def _covers(sensor: Sensor, reference: Sensor) -> bool:
    """Whether the sensor's bounds hold the reference's, to half of its pixel or one of the
    map's."""
    grid, area = sensor.raster.grid, reference.raster.grid
    assert grid.crs is not None
    assert area.crs is not None
    inner, outer = bounds_in(area.bounds, area.crs, grid.crs), grid.bounds
    map_px = area.resolution[0] * max(grid.resolution) / approximate_resolution_m(grid)
    slack = max(max(grid.resolution) / 2, map_px)
    return inner is not None and all(
        (a >= b - slack) if side < 2 else (a <= b + slack)
        for side, (a, b) in enumerate(zip(inner, outer, strict=True))
        if side % 2 or not goes_around(grid)
    )


def _has_tiles(sensor: Sensor) -> bool:
    return any(file.tile is not None for raster in _rasters(sensor) for file in files_of(raster))


def _rasters(sensor: Sensor) -> tuple[Raster, ...]:
    return (sensor.raster,) if sensor.mask is None else (sensor.raster, sensor.mask)


def footprint(
    sensors: Sequence[Sensor],
    ratios: Mapping[str, Fraction],
    tasks: Sequence[TaskOutput],
    layers: Sequence[Layer],
) -> Footprint:
    """What a process holds per pixel of the map, with a mask of holes for every sensor and date.

    `ratios` are the sensors' pixel sizes in pixels of the map.
    """
    areas = [float(ratios[s.modality.name]) ** 2 for s in sensors]
    read = [_stored_bytes(s) / area for s, area in zip(sensors, areas, strict=True)]
    masks = [_dates(s) / area for s, area in zip(sensors, areas, strict=True)]
    return Footprint(
        sum(read),
        sum(read) + sum(masks),
        max(map(sum, zip(read, masks, strict=True))),
        sum(task.num_classes for task in tasks),
        sum(len(layer.bands) for layer in layers),
    )


def memory_bytes(job: Job) -> int:
    """Of one process, by the formula of `bocage.mapping.engine`: without the network, and what
    resampling takes."""
    plan, needs = job.plan, footprint(job.sensors, job.ratios, job.tasks, job.layers)
    block = [min(plan.block_px, size_px) for size_px in (plan.height, plan.width)]
    return needs.total_bytes(plan.lattice, *block) + int(GDAL_OPTIONS["GDAL_CACHEMAX"])


def _stored_bytes(sensor: Sensor) -> int:
    """Bytes per pixel of the sensor: its numbers on all dates, and those of snow and cloud."""
    numbers = len(sensor.modality.bands) * np.dtype(sensor.modality.dtype).itemsize
    clouds = 0 if sensor.mask is None else SNOW_CLOUD.bands * SNOW_CLOUD.dtype.itemsize
    return _dates(sensor) * (numbers + clouds)


def _dates(sensor: Sensor) -> int:
    return 1 if sensor.dates is None else len(sensor.dates)


def name_of(given: InputConfig) -> str:
    """Official name of an input's sensor."""
    return get_modality(given.modality).name
