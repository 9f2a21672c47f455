"""Simulate, train twice, evaluate, map a square kilometre, and write the page."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import rasterio
import torch

from bocage.config import RunConfig, load_config
from bocage.data import open_index, show_patch
from bocage.demo.page import Figures, write_page
from bocage.demo.pictures import draw_maps
from bocage.evaluation import ConfusionMatrix, write_report
from bocage.files import write_json
from bocage.mapping import MapConfig, Source, map_area
from bocage.models import load_bundle
from bocage.simulate import simulate_area, simulate_dataset
from bocage.training import RunFolder, evaluate, fit

_log = logging.getLogger("bocage")

DOMAINS, PATCHES, SEED, AREA_M = 3, 24, 7, 1000.0
RUNS = {"fusion": "demo", "aerial": "demo-aerial"}
"""Name on the page: preset."""

Progress = Callable[[str], AbstractContextManager[Callable[[int, int | None], None]]]


def run_demo(out: Path, progress: Progress) -> Path:
    """Run the demonstration into `out`; returns the page, `out/index.html`.

    Finished parts are kept: a second start goes on where the first one stopped. `progress(title)`
    is a context manager whose value takes (done, total).
    """
    started = time.monotonic()
    data, area = out / "data", out / "area"
    workers = os.cpu_count() or 1
    with progress("simulating 72 patches") as advance:
        simulate_dataset(
            data, domains=DOMAINS, patches=PATCHES, seed=SEED, workers=workers, progress=advance
        )
    with progress("simulating 1 km²") as advance:
        simulate_area(area, size_m=AREA_M, seed=SEED, workers=workers, progress=advance)

    scores: dict[str, Any] = {}
    for name, preset in RUNS.items():
        config = load_config(preset, [f"data.root={data}"])
        folder = RunFolder(out / "runs" / name)
        _train(folder, config)
        with progress(f"evaluating {name}") as advance:
            evaluate(
                folder.bundle,
                config,
                split="test",
                target=folder.evaluation("test"),
                progress=advance,
            )
        document = (folder.evaluation("test") / "scores.json").read_text(encoding="utf-8")
        scores[name] = json.loads(document)

    fusion = RunFolder(out / "runs" / "fusion")
    maps = out / "map"
    _map(fusion, area, maps, progress)
    config = load_config(RUNS["fusion"], [f"data.root={data}"])
    scores["map"] = _score_map(maps, area, config, out / "map-scores")

    pictures = out / "pictures"
    index = open_index(data, "flair-hub")
    patch = index.select(splits={"test"}, split_column="split_1").records[0]
    show_patch(data, "flair-hub", patch, pictures / "patch.png")
    for task in config.task_list:
        draw_maps(area, maps, task, pictures / f"map-{task.slug}.png")
        for name in RUNS:
            source = out / "runs" / name / "evaluation" / "test" / f"confusion-{task.slug}.png"
            shutil.copyfile(source, pictures / f"confusion-{name}-{task.slug}.png")

    report = json.loads((maps / "report.json").read_text(encoding="utf-8"))
    seconds = round(time.monotonic() - started)
    write_json(out / "scores.json", {"seconds": seconds, **scores})
    page = out / "index.html"
    write_page(page, Figures(scores=scores, tasks=config.task_list, seconds=seconds, map=report))
    _log.info("the demonstration took %d s", seconds)
    return page


def _train(folder: RunFolder, config: RunConfig) -> None:
    if folder.bundle.is_file():
        return
    resume = folder.last.is_file()
    folder.create(config.to_document(), resume=resume)
    _log.info("training %s: %s", config.name, ", ".join(config.modality_names))
    fit(
        folder,
        config,
        resume=resume,
        progress=False,
    )


def _map(run: RunFolder, area: Path, maps: Path, progress: Progress) -> None:
    if (maps / "report.json").is_file():
        return
    sources = [
        Source("AERIAL_RGBI", area / "aerial.tif"),
        Source("DEM_ELEV", area / "elevation.tif"),
        Source("SPOT_RGBI", area / "spot.tif"),
        Source(
            "SENTINEL2_TS",
            area / "sentinel2.tif",
            dates=area / "sentinel2_dates.txt",
            mask=area / "sentinel2_mask.tif",
        ),
        *(
            Source(
                f"SENTINEL1-{orbit.upper()}_TS",
                area / f"sentinel1_{orbit}.tif",
                dates=area / f"sentinel1_{orbit}_dates.txt",
            )
            for orbit in ("asc", "desc")
        ),
    ]
    with progress("mapping 1 km²") as advance:
        map_area(load_bundle(run.bundle), sources, maps, MapConfig(), progress=advance)


def _score_map(maps: Path, area: Path, config: RunConfig, target: Path) -> dict[str, Any]:
    """Compare the map with the landscape that was simulated, pixel by pixel."""
    matrices = {}
    for task in config.task_list:
        truth = area / ("land_cover.tif" if task.slug == "land-cover" else "crops.tif")
        matrices[task.name] = ConfusionMatrix(task, ["area"])
        with rasterio.open(maps / f"{task.slug}.tif") as mapped, rasterio.open(truth) as true:
            for _, window in mapped.block_windows(1):
                prediction = mapped.read(1, window=window)
                reference = task.to_target(true.read(task.band, window=window), str(truth))
                reference[prediction == 255] = 255
                prediction[prediction == 255] = 0
                matrices[task.name].update(
                    torch.from_numpy(prediction)[None], torch.from_numpy(reference)[None]
                )
    scores = write_report(target, matrices, {"map": "1 km²", "reference": "simulated truth"})
    return {"tasks": {name: {"overall": s.to_json()} for name, s in scores.items()}}
