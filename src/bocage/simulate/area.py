"""A simulated territory as large rasters with its true map, to map and to measure against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

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
from bocage.simulate import folder, territory
from bocage.simulate.dataset import Shard
from bocage.simulate.domains import DOMAINS
from bocage.simulate.jobs import Progress, check_share, run_jobs
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
from bocage.simulate.territory import Layer, Place

UNIT_CM = PATCH_CM // 2
"""Territories are whole multiples of 51.2 m, the smallest side that every pixel size divides."""
MAX_SIDE_M = 20_000

AREA_DOMAIN = next(domain for domain in DOMAINS if domain.held_out)
"""Territories lie in a domain that no simulated data set trains on."""

_PRESENT = {
    AERIAL_RGBI.name: Layer("aerial", step_cm(AERIAL_RGBI), 4, "uint8"),
    DEM_ELEV.name: Layer("elevation", step_cm(DEM_ELEV), 2, "float32"),
    SPOT_RGBI.name: Layer("spot", step_cm(SPOT_RGBI), 4, "uint16"),
    LAND_COVER.label_set: Layer("land_cover", step_cm(AERIAL_RGBI), 1, "uint8"),
    CROPS.label_set: Layer("crops", step_cm(AERIAL_RGBI), 3, "uint8"),
}
_PAST = {AERIAL_RLT_PAN.name: Layer("historical", step_cm(AERIAL_RLT_PAN), 1, "uint8")}
_SERIES_BLOCK_PATCHES = 8
"""Patches along a block of a series: 80 pixels, a multiple of 16 as tiles must be."""

_Layers = dict[str, Layer]


def simulate_area(
    out: Path,
    *,
    size_m: float = 1000.0,
    seed: int = 7,
    workers: int = 1,
    shard: Shard = (1, 1),
    progress: Progress | None = None,
) -> bool:
    """Write a square territory of about `size_m` metres a side; True when it is whole.

    `aerial`, `historical`, `elevation`, `spot`, `sentinel2` (T x 10 bands, date by date),
    `sentinel2_mask`, `sentinel1_asc`, `sentinel1_desc` and the truth `land_cover` and `crops`
    (three levels), each `.tif`, in EPSG:2154 with one common top-left corner; dates in
    `sentinel2_dates.txt` and so on, one YYYYMMDD per line. The side is rounded up to a multiple of
    51.2 m. Memory is bounded by one block per worker, whatever the side. Started again, it draws
    only the blocks that are missing. Of several shards the last to end joins the blocks of all.

    Raises `ConfigError` for a number out of range and for a folder that holds anything else;
    `DataError` when a file cannot be written.
    """
    check_side(size_m, f"size_m is {size_m:g}")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more.")
    check_share(workers, shard)
    side_cm = -(-round(size_m * METRE) // UNIT_CM) * UNIT_CM
    request = {"kind": "area", "seed": seed, "side_m": side_cm / METRE}
    complete = folder.claim(out, request)

    u, v = area_corner(AREA_DOMAIN, seed, side_cm)
    granule = Granule.at(AREA_DOMAIN, seed, u, v)
    views = [
        _View("present", PATCH_CM, _PRESENT),
        _View("past", PATCH_CM, _PAST),
        _View("series", _SERIES_BLOCK_PATCHES * PATCH_CM, _series_layers(granule)),
    ]
    every = [
        _Block(out, view, granule, place)
        for view in views
        for place in _places(view, u, v, side_cm)
    ]
    rasters = [layer for view in views for layer in view.layers.values()]
    dates = _dates(out, granule)
    if complete and not all(path.is_file() for path in [*(r.raster(out) for r in rasters), *dates]):
        folder.reopen(out, request)
    blocks = every[shard[0] - 1 :: shard[1]]
    lacking = [block for block in blocks if block.lacking]
    # Each raster to join is one step more; which of several shards joins is not known before.
    steps = len(blocks) + (len(rasters) if shard[1] == 1 else 0)
    for number, _ in enumerate(run_jobs(_draw, lacking, workers), start=1):
        if progress is not None:
            progress(len(blocks) - len(lacking) + number, steps)
    if any(block.lacking for block in every):
        return False
    # One process joins; another that ends at the same time waits and finds it done.
    with folder.writing(out, alone=True):
        joined = chain.from_iterable(_join(out, view, u, v, side_cm) for view in views)
        for number, _ in enumerate(joined, start=1):
            if progress is not None:
                progress(len(blocks) + number, len(blocks) + len(rasters))
        for path, text in dates.items():
            write_text(path, text)
        territory.remove_pieces(out)
    folder.finish(out, request)
    return True


def check_side(size_m: float, given: str) -> None:
    """`ConfigError` for a side that cannot be; `given` is what the user wrote."""
    smallest = UNIT_CM / METRE
    if not smallest <= size_m <= MAX_SIDE_M:
        raise ConfigError(
            f"{given}; a territory is between {smallest:g} and {MAX_SIDE_M:,} m wide."
        )


def _series_layers(granule: Granule) -> _Layers:
    pixel = step_cm(SENTINEL2_TS)
    times = len(sentinel2_days(granule))
    layers: _Layers = {
        SENTINEL2_TS.name: Layer("sentinel2", pixel, 10 * times, "uint16"),
        SENTINEL2_MASK: Layer("sentinel2_mask", pixel, 2 * times, "uint16"),
    }
    for modality in (SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
        orbit = orbit_of(modality)
        count = 2 * len(sentinel1_days(granule, orbit))
        layers[modality.name] = Layer(f"sentinel1_{orbit.lower()}", pixel, count, "float32")
    return layers


@dataclass(frozen=True)
class _View:
    """What is drawn together: the present, the past or the series, in blocks of a side."""

    name: str
    block_cm: int
    layers: _Layers


@dataclass(frozen=True)
class _Block:
    """One block of a view, to be drawn into the folder `out`."""

    out: Path
    view: _View
    granule: Granule
    place: Place

    @property
    def lacking(self) -> list[str]:
        """The layers of which neither this piece nor the raster is there."""
        row, col = self.place.row, self.place.col
        return [
            name
            for name, layer in self.view.layers.items()
            if not (layer.piece(self.out, row, col).is_file() or layer.raster(self.out).is_file())
        ]


def _places(view: _View, u: int, v: int, side_cm: int) -> list[Place]:
    """The blocks of a view, row by row, each on its finest grid (the past on the present's)."""
    finest = min(layer.pixel_cm for layer in view.layers.values())
    finest = step_cm(AERIAL_RGBI) if view.name == "past" else finest
    starts = range(0, side_cm, view.block_cm)
    return [
        Place(
            row,
            col,
            Window(
                u + left,
                v + top,
                finest,
                min(view.block_cm, side_cm - left) // finest,
                min(view.block_cm, side_cm - top) // finest,
            ),
        )
        for row, top in enumerate(starts)
        for col, left in enumerate(starts)
    ]


def _draw(block: _Block) -> None:
    """Draw a block and write the pieces that are lacking."""
    names = block.lacking
    if not names:
        return
    images = _render(block)
    with folder.writing(block.out):
        for name in names:
            layer = block.view.layers[name]
            territory.write_piece(block.out, layer, block.place, images[name], AREA_DOMAIN)


def _render(block: _Block) -> Rendered:
    seed, window = block.granule.seed, block.place.window
    if block.view.name == "past":
        return render_past(Landscape(AREA_DOMAIN, seed, past=True), window)
    land = Landscape(AREA_DOMAIN, seed)
    if block.view.name == "present":
        return render_present(land, window, truth=True)
    return _series(land, window, block.granule)


def _join(out: Path, view: _View, u: int, v: int, side_cm: int) -> Iterator[Layer]:
    """The rasters of a view that are not there yet; pieces go as soon as they are joined.

    Yields each layer once it is there.
    """
    places = _places(view, u, v, side_cm)
    for layer in view.layers.values():
        if not layer.raster(out).is_file():
            side = side_cm // layer.pixel_cm
            whole = Window(u, v, layer.pixel_cm, side, side)
            block_px = view.block_cm // layer.pixel_cm
            territory.join(out, layer, whole, places, block_px, AREA_DOMAIN)
        territory.remove_pieces(out, layer)
        yield layer


def _dates(out: Path, granule: Granule) -> dict[Path, str]:
    """The files of the series' dates and what they say."""
    days = {"sentinel2": sentinel2_days(granule)}
    for modality in (SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
        orbit = orbit_of(modality)
        days[f"sentinel1_{orbit.lower()}"] = sentinel1_days(granule, orbit)
    return {
        out / f"{stem}_dates.txt": "\n".join(to_dates(passes, AREA_DOMAIN.year)) + "\n"
        for stem, passes in days.items()
    }


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
