"""`bocage data cut`: a territory's rasters become a dataset that trains.

The folder gets the territory's description, the class list, an index, the packed patches, and a
configuration to train with:

    OUT/territory/territory.yaml   what it was made of; layout `territory`, no pixel is copied
    OUT/territory/index.parquet
    OUT/patches/                   the same patches, packed; layout `packed`
    OUT/classes.yaml               the class list, if it is one of one's own
    OUT/run.yaml                   bocage train OUT/run.yaml
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from bocage.data.build import build_index
from bocage.data.config import index_path
from bocage.data.index import PatchIndex
from bocage.data.layouts.territory import SPLIT, Rasters
from bocage.data.pack.writer import PackReport, pack_dataset
from bocage.data.territory.config import TERRITORY, TerritoryConfig, read_territory
from bocage.data.territory.ground import Territory, survey
from bocage.errors import ConfigError, DataError
from bocage.files import write_text
from bocage.imagery import absolute, declares_holes, doubts

Progress = Callable[[str, int, int | None], None]
"""Is told what is done, how far, and of how much."""

RUN, CLASSES, PATCHES, DESCRIPTION = "run.yaml", "classes.yaml", "patches", "territory"


@dataclass(frozen=True)
class CutReport:
    """What was cut: patches in all and by split, those left out, and the files to go on with.

    `notes` are what the sources gave reason to tell: gaps, numbers that are not taken as stored.
    """

    patches: int
    splits: dict[str, int]
    empty: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    run: Path
    packed: PackReport | None


def cut_territory(
    config: TerritoryConfig,
    out: Path,
    *,
    pack: bool = True,
    keep_unlabelled: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> CutReport:
    """Cut the territory into `out`; see the module for what that gets.

    Squares without imagery are left out, and those without any label unless `keep_unlabelled`.
    Started again with the same request it goes on; another one in the same folder is a
    `ConfigError`. `pack=False` leaves the pixels where they are.
    """
    root = out / DESCRIPTION
    config = _resolved(config, out)
    territory = survey(config)
    _claim(root, config)

    def tell(what: str) -> Callable[[int, int | None], None]:
        return lambda done, total: None if progress is None else progress(what, done, total)

    path = index_path(root)
    if path.is_file():
        index, dropped = PatchIndex.read(path), 0
    else:
        whole = build_index(root, Rasters.name, tell("reading labels"))
        index = _with_content(whole, config, territory, keep_unlabelled)
        dropped = len(whole) - len(index)
        index.write(path)
    report = None
    if pack:
        report = pack_dataset(root, out / PATCHES, index, workers=workers, progress=tell("packing"))
    data = (out / PATCHES, "packed") if pack else (root, Rasters.name)
    write_text(out / RUN, _run(config, territory, index, *data))
    column = index.table.column(SPLIT).to_pylist()
    return CutReport(
        len(index),
        {split: column.count(split) for split in ("train", "valid", "test")},
        dropped,
        (*index.problems, *(report.problems if report else ())),
        tuple(n for s in territory.sensors.values() for n in (*s.notes, *doubts(s))),
        out / RUN,
        report,
    )


def _resolved(config: TerritoryConfig, out: Path) -> TerritoryConfig:
    """The same with absolute paths, and the class list copied beside the data."""

    sources = {
        name: source.model_copy(
            update={
                "path": absolute(source.path),
                "dates": source.dates and source.dates.resolve(),
                "mask": source.mask and absolute(source.mask),
            }
        )
        for name, source in config.sources.items()
    }
    labels = config.labels
    task = config.task
    if labels is not None and task is not None:
        update = {"path": absolute(labels.path)}
        if task.source:
            target = out.resolve() / CLASSES
            if Path(task.source) != target:
                out.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(task.source, target)
            update["task"] = str(target)
        labels = labels.model_copy(update=update)
    return config.model_copy(update={"sources": sources, "labels": labels})


def _claim(root: Path, config: TerritoryConfig) -> None:
    if (root / TERRITORY).is_file():
        if read_territory(root) != config:
            raise ConfigError(
                f"{root.parent}: holds another territory, or the same cut differently. Choose "
                "another folder, or remove this one."
            )
        return
    if root.exists() and any(root.iterdir()):
        raise ConfigError(f"{root}: not empty, and no {TERRITORY} in it. Choose another folder.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{root}: cannot be created ({error.strerror}).") from error
    config.write(root)


def _with_content(
    index: PatchIndex, config: TerritoryConfig, territory: Territory, keep_unlabelled: bool
) -> PatchIndex:
    """The patches that show something, and something of which is known."""
    keep = np.ones(len(index), bool)
    task = config.task
    if task is not None and not keep_unlabelled:
        keep &= index.class_counts(task)[:, task.scored].any(axis=1)
    for place in np.flatnonzero(keep):
        row, col = (int(text) for text in index[int(place)].patch_id.split("-"))
        keep[place] = _shows(territory, row, col)
    if not keep.any():
        raise DataError(
            "no square of this territory has both imagery and labels. Check that they overlap, and "
            "that the labels' classes are scored."
        )
    return PatchIndex(
        index.table.filter(pa.array(keep)).combine_chunks(), index.layout, index.problems
    )


def _shows(territory: Territory, row: int, col: int) -> bool:
    """Whether the finest sensor has a pixel there. Only files that declare holes are read."""
    raster = territory.sensors[territory.reference].raster
    if territory.grid == raster.grid and not declares_holes(raster):
        return True
    if territory.sensors[territory.reference].dates is not None:
        seen = territory.read_series(territory.reference, row, col).valid
    else:
        _, seen = territory.read_image(territory.reference, row, col)
    return seen is None or bool(seen.any())


def _run(
    config: TerritoryConfig, territory: Territory, index: PatchIndex, root: Path, layout: str
) -> str:
    """A configuration that trains on these patches, as YAML."""
    resolution = territory.grid.resolution[0]
    document: dict[str, Any] = {
        "name": root.resolve().parent.name,
        "inputs": [
            {"modality": name, "resolution_m": territory.resolution_m(name)}
            for name in territory.sensors
        ],
        "tasks": [] if config.task is None else [config.task.reference],
        "network": {"output_resolution_m": resolution},
        "data": {
            "root": str(root.resolve()),
            "layout": layout,
            "split_column": SPLIT,
            "batch_size": 4,
        },
    }
    unmasked = [n for n, s in territory.sensors.items() if s.dates is not None and s.mask is None]
    if any(name.startswith("SENTINEL2") for name in unmasked):
        # Without a snow and cloud raster there is nothing to tell clear dates by.
        document["data"]["series"] = {"min_clear": 0}
    if not (np.asarray(index.table.column(SPLIT).to_pylist()) == "valid").any():
        document["data"]["valid_splits"] = []
        document["training"] = {"select": "last"}
    head = f"# Cut from {', '.join(s.path for s in config.sources.values())}\n"
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
