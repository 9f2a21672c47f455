"""A simulated territory as large rasters with its true map, to map and to measure against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

from bocage.errors import ConfigError
from bocage.files import write_text
from bocage.modalities import (
    AERIAL_RGBI,
    AERIAL_RLT_PAN,
    DEM_ELEV,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
    SPOT_RGBI,
)
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.simulate import folder
from bocage.simulate.dataset import Progress
from bocage.simulate.domains import DOMAINS
from bocage.simulate.jobs import check_share, run_jobs
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import METRE, Window
from bocage.simulate.render import (
    Rendered,
    orbit_of,
    render_past,
    render_present,
    render_series,
    step_cm,
)
from bocage.simulate.sites import PATCH_CM, area_corner
from bocage.simulate.sky import Granule, sentinel1_days, sentinel2_days, to_dates

UNIT_CM = PATCH_CM // 2
"""Territories are whole multiples of 51.2 m, the smallest side that every pixel size divides."""
MAX_SIDE_M = 20_000

AREA_DOMAIN = next(domain for domain in DOMAINS if domain.held_out)
"""Territories lie in a domain that no simulated data set trains on."""

# File stem, pixel size in cm and type of every raster; bands and tiles follow from what is drawn.
_PRESENT = {
    AERIAL_RGBI.name: ("aerial", step_cm(AERIAL_RGBI), 4, "uint8"),
    DEM_ELEV.name: ("elevation", step_cm(DEM_ELEV), 2, "float32"),
    SPOT_RGBI.name: ("spot", step_cm(SPOT_RGBI), 4, "uint16"),
    LAND_COVER.label_set: ("land_cover", step_cm(AERIAL_RGBI), 1, "uint8"),
    CROPS.label_set: ("crops", step_cm(AERIAL_RGBI), 3, "uint8"),
}
_PAST = {AERIAL_RLT_PAN.name: ("historical", step_cm(AERIAL_RLT_PAN), 1, "uint8")}
_SERIES_BLOCK_PATCHES = 8
"""Patches along a block of a series: 80 pixels, a multiple of 16 as tiles must be."""

_Layers = dict[str, tuple[str, int, int, str]]


def simulate_area(
    out: Path,
    *,
    size_m: float = 1000.0,
    seed: int = 7,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write a square territory of about `size_m` metres a side, all sensors and the truth.

    `aerial`, `historical`, `elevation`, `spot`, `sentinel2` (T x 10 bands, date by date),
    `sentinel2_mask`, `sentinel1_asc`, `sentinel1_desc` and the truth `land_cover` and `crops`
    (three levels), each `.tif`, in EPSG:2154 with one common top-left corner; dates in
    `sentinel2_dates.txt` and so on, one YYYYMMDD per line. The side is rounded up to a multiple of
    51.2 m. Memory is bounded by one block per worker, whatever the side. Started again, it draws
    only the rasters that are missing.

    Raises `ConfigError` for a number out of range and for a folder that holds anything else.
    """
    smallest = UNIT_CM / METRE
    if not smallest <= size_m <= MAX_SIDE_M:
        raise ConfigError(
            f"size_m is {size_m:g}; a territory is between {smallest:g} and {MAX_SIDE_M:,} m wide."
        )
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more.")
    check_share(workers, (1, 1))
    side_cm = -(-round(size_m * METRE) // UNIT_CM) * UNIT_CM
    request = {"kind": "area", "seed": seed, "side_m": side_cm / METRE}
    folder.claim(out, request)

    u, v = area_corner(AREA_DOMAIN, seed, side_cm)
    granule = Granule.at(AREA_DOMAIN, seed, u, v)
    # What is drawn together, the side of a block of it, and the rasters that it fills.
    passes: list[tuple[str, int, _Layers]] = [
        ("present", PATCH_CM, _PRESENT),
        ("past", PATCH_CM, _PAST),
        ("series", _SERIES_BLOCK_PATCHES * PATCH_CM, _series_layers(granule)),
    ]
    total = sum((-(-side_cm // block)) ** 2 for _, block, _ in passes)
    done = 0
    for view, block_cm, layers in passes:
        blocks = _blocks(view, granule, u, v, side_cm, block_cm, layers)
        for _ in _fill(out, u, v, side_cm, block_cm, blocks, layers, workers):
            done += 1
            if progress is not None:
                progress(done, total)
    year = AREA_DOMAIN.year
    write_text(
        out / "sentinel2_dates.txt", "\n".join(to_dates(sentinel2_days(granule), year)) + "\n"
    )
    for modality in (SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
        orbit = orbit_of(modality)
        dates = to_dates(sentinel1_days(granule, orbit), year)
        write_text(out / f"sentinel1_{orbit.lower()}_dates.txt", "\n".join(dates) + "\n")
    folder.finish(out, request)


def _series_layers(granule: Granule) -> _Layers:
    pixel = step_cm(SENTINEL2_TS)
    times = len(sentinel2_days(granule))
    layers: _Layers = {
        SENTINEL2_TS.name: ("sentinel2", pixel, 10 * times, "uint16"),
        SENTINEL2_MASK: ("sentinel2_mask", pixel, 2 * times, "uint16"),
    }
    for modality in (SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
        orbit = orbit_of(modality)
        count = 2 * len(sentinel1_days(granule, orbit))
        layers[modality.name] = (f"sentinel1_{orbit.lower()}", pixel, count, "float32")
    return layers


@dataclass(frozen=True)
class _Block:
    """One window to draw for a pass: the present, the past or the series."""

    view: str
    window: Window
    granule: Granule


def _blocks(
    view: str, granule: Granule, u: int, v: int, side_cm: int, block_cm: int, layers: _Layers
) -> list[_Block]:
    """The blocks of a pass, row by row, each on its finest grid (the past on the present's)."""
    finest = min(pixel for _, pixel, _, _ in layers.values())
    finest = step_cm(AERIAL_RGBI) if view == "past" else finest
    starts = range(0, side_cm, block_cm)
    return [
        _Block(
            view,
            Window(
                u + left,
                v + top,
                finest,
                min(block_cm, side_cm - left) // finest,
                min(block_cm, side_cm - top) // finest,
            ),
            granule,
        )
        for top in starts
        for left in starts
    ]


def _draw(block: _Block) -> Rendered:
    seed = block.granule.seed
    if block.view == "past":
        return render_past(Landscape(AREA_DOMAIN, seed, past=True), block.window)
    land = Landscape(AREA_DOMAIN, seed)
    if block.view == "present":
        return render_present(land, block.window, truth=True)
    return _series(land, block.window, block.granule)


def _fill(
    out: Path, u: int, v: int, side_cm: int, block_cm: int, blocks: list[_Block], layers: _Layers,
    workers: int,
) -> Iterator[None]:  # fmt: skip
    """Draw block after block into the rasters of `layers`, unless all of them exist already."""
    if all((out / f"{stem}.tif").is_file() for stem, *_ in layers.values()):
        yield from (None for _ in blocks)
        return
    with contextlib.ExitStack() as stack:
        targets = {}
        for name, (stem, pixel, count, dtype) in layers.items():
            whole = Window(u, v, pixel, side_cm // pixel, side_cm // pixel)
            targets[name] = stack.enter_context(
                folder.territory(
                    out / f"{stem}.tif", whole, AREA_DOMAIN, count, dtype, block_cm // pixel
                )
            )
        for block, images in zip(blocks, run_jobs(_draw, blocks, workers), strict=True):
            for name, image in images.items():
                pixel = layers[name][1]
                left, top = (block.window.u0 - u) // pixel, (block.window.v0 - v) // pixel
                _write_block(targets[name], image, left, top)
            yield


def _write_block(target: Any, image: NDArray[Any], left: int, top: int) -> None:
    _, height, width = image.shape
    target.write(image, window=RasterWindow(left, top, width, height))


def _series(land: Landscape, window: Window, granule: Granule) -> Rendered:
    """All series over a block, drawn patch by patch so that few kinds of cover meet at a time."""
    side = PATCH_CM // window.step_cm
    rows = []
    for top in range(0, window.height, side):
        row = []
        for left in range(0, window.width, side):
            part = Window(
                window.u0 + left * window.step_cm,
                window.v0 + top * window.step_cm,
                window.step_cm,
                min(side, window.width - left),
                min(side, window.height - top),
            )
            row.append(render_series(land, part, granule))
        rows.append({name: np.concatenate([part[name] for part in row], axis=2) for name in row[0]})
    return {name: np.concatenate([row[name] for row in rows], axis=1) for name in rows[0]}
