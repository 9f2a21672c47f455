"""What a mapping run will do: sources checked against the bundle, the area laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bocage import __version__
from bocage.errors import ConfigError, unknown_name
from bocage.imagery import (
    Sensor,
    SensorGrid,
    Source,
    bounds_in,
    check_cover,
    choose_reference,
    inspect,
)
from bocage.mapping.blend import TaskOutput
from bocage.mapping.config import MapConfig
from bocage.mapping.plan import Plan, alignment_unit, as_fraction, choose_block_px, make_lattice
from bocage.mapping.suitability import check_suits
from bocage.mapping.workspace import file_identity, network_digest
from bocage.mapping.write import Layer
from bocage.modalities import SENTINEL2_TS, get_modality
from bocage.models.kinds import required_inputs

if TYPE_CHECKING:
    from bocage.models import Bundle

BLOCK_MEMORY_BYTES = 4 * 2**30
"""What the block size is chosen for when none is given."""


@dataclass(frozen=True)
class Job:
    """A mapping run, checked and laid out, before its first pixel."""

    sensors: tuple[Sensor, ...]
    reference: Sensor
    grids: dict[str, SensorGrid]
    inputs: tuple[str, ...]
    required: tuple[str, ...]
    tasks: tuple[TaskOutput, ...]
    layers: dict[str, tuple[Layer, Layer | None]]
    plan: Plan
    year: int
    warnings: tuple[str, ...]

    @property
    def absent(self) -> tuple[str, ...]:
        """Inputs of the network that no source was given for."""
        given = {sensor.modality.name for sensor in self.sensors}
        return tuple(name for name in self.inputs if name not in given)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of all layers that will be written."""
        return tuple(layer.stem for pair in self.layers.values() for layer in pair if layer)


def prepare(bundle: Bundle, sources: Sequence[Source], config: MapConfig) -> Job:
    """Check the sources against the bundle and each other, and lay out the work."""
    meta = bundle.meta
    resolutions = {
        get_modality(i.modality).name: i.resolution_m or get_modality(i.modality).resolution_m
        for i in meta.network.inputs
    }
    required = required_inputs(meta.network)
    _check_request(sources, tuple(resolutions), required)
    output_m = meta.network.output_resolution_m
    sensors = [inspect(source) for source in sources]
    learnt = {config.modality: config for config in meta.network.inputs}
    for sensor in sensors if config.check_values else ():
        check_suits(sensor, learnt[sensor.modality.name])
    reference = choose_reference(sensors, output_m)
    sensors = [_covering(sensor, reference) for sensor in sensors]
    grids = {
        s.modality.name: SensorGrid(
            reference.raster.grid, as_fraction(resolutions[s.modality.name]) / as_fraction(output_m)
        )
        for s in sensors
    }
    unit = alignment_unit(grid.ratio for grid in grids.values())
    lattice = make_lattice(meta.tile_px, unit, config.window_px, config.overlap_px)
    tasks = tuple(
        TaskOutput(
            task.name,
            task.slug,
            len(task.classes),
            tuple(i for i, c in enumerate(task.classes) if c.scored),
            tuple(c.id for c in task.classes if c.scored),
        )
        for task in meta.tasks
    )
    grid = reference.raster.grid
    block_px = config.block_px or choose_block_px(
        _bytes_per_px(sensors, grids), BLOCK_MEMORY_BYTES, lattice.window_px
    )
    warnings = _warnings(sensors, reference, tuple(resolutions), required)
    if config.window_px is None and lattice.window_px != meta.tile_px:
        warnings.append(
            f"windows are {lattice.window_px} px where the network was trained on {meta.tile_px} "
            f"px: the inputs' pixels meet every {unit} px only."
        )
    years = [
        s.dates.astype("datetime64[Y]").astype(int) + 1970 for s in sensors if s.dates is not None
    ]
    year = config.year or (int(np.median(np.concatenate(years))) if years else 1970)
    return Job(
        tuple(sensors),
        next(s for s in sensors if s.modality is reference.modality),
        grids,
        tuple(resolutions),
        required,
        tasks,
        {task.name: _layers(task, config.confidence) for task in meta.tasks},
        Plan(grid.height, grid.width, lattice, block_px),
        year,
        tuple(warnings),
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
                f"{source.path}: a second source for {name}. Give one; join tiles with "
                "'gdalbuildvrt mosaic.vrt *.tif'."
            )
        seen.add(name)
    lacking = [name for name in required if name not in seen]
    if lacking:
        raise ConfigError(
            f"{', '.join(lacking)} is not given, and this network knows no absence: it takes "
            f"{slugs}. Give all of them, or map with a network that has learnt to do without."
        )


def _covering(sensor: Sensor, reference: Sensor) -> Sensor:
    raster = check_cover(sensor.raster, reference.raster)
    mask = sensor.mask and check_cover(sensor.mask, reference.raster)
    return Sensor(sensor.modality, raster, sensor.dates, mask)


def _warnings(
    sensors: Sequence[Sensor],
    reference: Sensor,
    inputs: Sequence[str],
    required: Sequence[str],
) -> list[str]:
    given = {sensor.modality.name for sensor in sensors}
    found = [
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
        f"{sensor.raster.path}: covers only part of the area; elsewhere "
        + ("is no map." if sensor.modality.name in required else "it counts as absent.")
        for sensor in sensors
        if not _covers(sensor, reference)
    ]
    return found


def _covers(sensor: Sensor, reference: Sensor) -> bool:
    """Whether the sensor's bounds hold the reference's, to half of the sensor's pixel."""
    grid, area = sensor.raster.grid, reference.raster.grid
    assert grid.crs is not None
    assert area.crs is not None
    inner, outer = bounds_in(area.bounds, area.crs, grid.crs), grid.bounds
    slack = max(grid.resolution) / 2
    return inner is not None and all(
        (a >= b - slack) if side < 2 else (a <= b + slack)
        for side, (a, b) in enumerate(zip(inner, outer, strict=True))
    )


def _layers(task: Any, confidence: bool) -> tuple[Layer, Layer | None]:
    tags = {"bocage_version": __version__, "task": task.name}
    colors = {
        c.id: (int(c.color[1:3], 16), int(c.color[3:5], 16), int(c.color[5:7], 16), 255)
        for c in task.classes
    }
    classes = Layer(task.slug, task.slug, {c.id: c.name for c in task.classes}, colors, tags)
    sure = Layer(
        f"{task.slug}_confidence", f"probability of the mapped class, {task.slug}", tags=tags
    )
    return classes, sure if confidence else None


def _bytes_per_px(sensors: Sequence[Sensor], grids: dict[str, SensorGrid]) -> float:
    """Inputs held per output pixel: of the block that is computed and of the one being read."""
    return 2 * sum(
        len(s.raster.bands)
        * np.dtype(s.modality.dtype).itemsize
        / float(grids[s.modality.name].ratio) ** 2
        for s in sensors
    )


def plan_record(
    job: Job, bundle: Bundle, sources: Sequence[Source], config: MapConfig
) -> dict[str, Any]:
    """All that decides the bytes of the result; batch size and device are free to change."""
    lattice, grid = job.plan.lattice, job.reference.raster.grid
    files = [f for s in sources for f in (s.path, s.dates, s.mask) if f is not None]
    return {
        "version": __version__,
        "weights": network_digest(bundle.network),
        "bundle": bundle.meta.model_dump(mode="json"),
        "inputs": [{"modality": s.modality, "bands": s.bands and list(s.bands)} for s in sources],
        "files": [file_identity(path) for path in files],
        "grid": [grid.width, grid.height, *grid.transform.to_gdal()],
        "window_px": lattice.window_px,
        "overlap_px": lattice.overlap_px,
        "block_px": job.plan.block_px,
        "backend": config.backend,
        "precision": config.precision,
        "confidence": config.confidence,
        "year": job.year,
    }
