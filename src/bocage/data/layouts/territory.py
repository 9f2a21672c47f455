"""One's own imagery (`bocage data cut`): patches read straight out of a territory's rasters.

`ROOT/territory.yaml` names the rasters and the labels. A patch's `window` is its place on the label
grid; files on other grids are aligned as it is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.geotiff import epsg_of
from bocage.data.layouts.base import Layout, make_series, need_folder, wanted_label_sets
from bocage.data.record import PatchRecord
from bocage.data.territory.config import TERRITORY, TerritoryConfig, read_territory
from bocage.data.territory.ground import Territory, survey
from bocage.data.territory.labels import check_labels, read_labels
from bocage.imagery import SensorGrid
from bocage.modalities import get_modality
from bocage.nomenclatures import Task
from bocage.nomenclatures.task import UnknownLabels
from bocage.sample import Sample, Series

SPLIT = "split_blocks"
"""Whole blocks of neighbouring patches are learnt from, or held out."""


class Rasters(Layout):
    """Rasters of a territory. See `bocage.data.layouts.base.Layout`."""

    name = "territory"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every square of the label grid, row by row; no pixel is read."""
        config, territory = _surveyed(root)
        names = list(territory.sensors)
        if config.task is not None:
            assert config.labels is not None
            check_labels(config.labels, config.task)
            names.append(config.task.label_set)
        side = config.tile_px
        dates = {n: s.dates for n, s in territory.sensors.items() if s.dates is not None}
        splits = _block_splits(config, territory)
        for row in range(territory.rows):
            for col in range(territory.cols):
                block = (row // config.block_tiles, col // config.block_tiles)
                tile = territory.tile(row, col)
                yield PatchRecord(
                    patch_id=f"{row}-{col}",
                    domain="territory",
                    roi=f"{block[0]}-{block[1]}",
                    year=territory.year,
                    paths=dict.fromkeys(names, TERRITORY),
                    dates=dates,
                    splits={SPLIT: splits[block]},
                    bounds=tile.bounds,
                    epsg=epsg_of(tile.crs),
                    window=(row * side, col * side, side, side),
                )

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One patch; a sensor that has nothing there is absent."""
        config, territory = _surveyed(root)
        assert record.window is not None
        row, col = record.window[0] // config.tile_px, record.window[1] // config.tile_px
        tile = territory.tile(row, col)
        labels: dict[str, NDArray[np.uint8]] = {}
        for read_by in wanted_label_sets(tasks, record).values():
            assert config.labels is not None
            own = config.task
            assert own is not None
            side = config.tile_px
            rows, cols = (row * side, (row + 1) * side), (col * side, (col + 1) * side)
            label_grid = SensorGrid(territory.grid, Fraction(1))
            raw = read_labels(config.labels, own, label_grid, rows, cols, tile)
            for task in read_by:
                labels[task.name] = task.to_target(raw, config.labels.path, unknown_labels)
        images: dict[str, NDArray[Any]] = {}
        valid: dict[str, NDArray[np.bool_]] = {}
        series: dict[str, Series] = {}
        wanted = [m for m in map(get_modality, modalities) if m.name in territory.sensors]
        # The finest first: its grid is the patch's.
        for modality in sorted(wanted, key=lambda m: m.name != territory.reference):
            if modality.series:
                found = territory.read_series(modality.name, row, col)
                if found.valid is None or found.valid.any():
                    series[modality.name] = make_series(
                        modality, found.values, found.dates, found.snow_cloud, found.valid
                    )
                continue
            image, known = territory.read_image(modality.name, row, col)
            if known is not None and not known.any():
                continue
            images[modality.name] = image
            if known is not None:
                valid[modality.name] = known
        code = epsg_of(tile.crs)
        assert tile.crs is not None
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            images=images,
            valid=valid,
            series=series,
            labels=labels,
            domain=record.domain,
            crs=tile.crs.to_wkt() if code is None else f"EPSG:{code}",
            transform=tile.transform.to_gdal(),
        )

    def own_tasks(self, root: Path) -> tuple[Task, ...]:
        """The task of the labels, where it is of a class list of one's own."""
        if not (root / TERRITORY).is_file():
            # An index may be kept elsewhere.
            return ()
        task = read_territory(root).task
        return (task,) if task is not None and task.source else ()

    def has_official_pixels(self, root: Path) -> bool:
        """No: patches have the pixels of the finest raster, or those that were asked for."""
        return False


def _block_splits(config: TerritoryConfig, territory: Territory) -> dict[tuple[int, int], str]:
    """Block to split: in an order that the seed decides the first test, the next validate."""
    size = config.block_tiles
    blocks = [
        (row, col)
        for row in range(-(-territory.rows // size))
        for col in range(-(-territory.cols // size))
    ]
    order = sorted(blocks, key=lambda block: zlib.crc32(f"{config.seed}/{block}".encode()))
    test = round(config.test * len(blocks))
    valid = test + round(config.valid * len(blocks))
    return {
        block: "test" if place < test else "valid" if place < valid else "train"
        for place, block in enumerate(order)
    }


def _surveyed(root: Path) -> tuple[TerritoryConfig, Territory]:
    """The territory of a folder, opened once per process and version of its description."""
    need_folder(root)
    path = root / TERRITORY
    version = path.stat().st_mtime_ns if path.is_file() else 0
    return _survey(root, version)


@lru_cache(maxsize=8)
def _survey(root: Path, version: int) -> tuple[TerritoryConfig, Territory]:
    config = read_territory(root)
    return config, survey(config)
