"""tools/territory.py: a small territory and an untrained network, and a map that is the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from bocage.models import (
    BundleMeta,
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    TemporalConfig,
    save_bundle,
)
from bocage.nomenclatures import CROPS, LAND_COVER, Task
from bocage.simulate import simulate_area
from bocage.training.bundling import bundle_tasks
from tools import territory

pytestmark = pytest.mark.integration

SENSORS = ("aerial", "elevation", "spot", "sentinel2", "sentinel1-asc", "sentinel1-desc")
TASKS = {"land-cover": (LAND_COVER, "land_cover"), "crops": (CROPS, "crops")}


@pytest.fixture(scope="module")
def area(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("territory") / "land"
    simulate_area(folder, size_m=153.6, seed=3, workers=1)
    return folder


def undecided(network: Network) -> Network:
    """An untrained network that says all classes about as often as each other."""
    names = network.config.inputs
    with torch.inference_mode():
        logits = network(
            images={"AERIAL_RGBI": torch.randint(0, 255, (2, 4, 256, 256), dtype=torch.uint8)},
            valid={}, series={}, series_valid={}, days={}, dates_present={},
            present={n.modality: torch.full((2,), n.modality == "AERIAL_RGBI") for n in names},
            output_hw=(256, 256),
        ).logits  # fmt: skip
    with torch.no_grad():
        for task, values in logits.items():
            flat, last = values.transpose(0, 1).flatten(1), network.decoders[task].classes
            last.weight /= flat.std(dim=1).view(-1, 1, 1, 1)
            last.bias.copy_((last.bias - flat.mean(dim=1)) / flat.std(dim=1))
    return network


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, area: Path) -> Path:
    torch.manual_seed(0)
    config = NetworkConfig(
        inputs=tuple(InputConfig(modality=name) for name in SENSORS),
        tasks=tuple(TaskHead(name=t.name, num_classes=t.num_classes) for t, _ in TASKS.values()),
        encoder=EncoderConfig(width=8),
        temporal=TemporalConfig(width=8, heads=2, output_width=8),
        fusion=FusionConfig(width=8),
        decoder=DecoderConfig(width=8),
    )
    folder = tmp_path_factory.mktemp("judged")
    meta = BundleMeta(
        network=config, tasks=bundle_tasks([LAND_COVER, CROPS]), tile_px=256, data="a test"
    )
    save_bundle(folder / "model.safetensors", undecided(Network(config).eval()), meta)
    territory.main(folder / "model.safetensors", area, folder, None, ["overlap_px=256"])
    return folder


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def scores_of(found: np.ndarray, truth: np.ndarray, task: Task) -> tuple[float, float]:
    """Mean IoU over scored classes that are there, and accuracy, plainly."""
    scored = [c.id for c in task.nomenclature if c.scored]
    known = np.isin(truth, scored)
    found, truth = found[known], truth[known]
    ious = [
        ((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum()
        for k in np.unique(truth)
    ]
    return float(np.mean(ious)), float((found == truth).mean())


@pytest.mark.parametrize("slug", list(TASKS))
def test_scores_are_those_of_the_two_maps(area: Path, out: Path, slug: str) -> None:
    task, truth_name = TASKS[slug]
    truth = read(area / f"{truth_name}.tif")
    judged = json.loads((out / "territory.json").read_text())[task.name]
    maps = {name: read(out / name / f"{slug}.tif") for name in ("map", "patches")}
    assert (maps["map"] != maps["patches"]).any(), "an overlap changes something"
    for name, folder in (("map", "map"), ("patch by patch", "patches")):
        miou, accuracy = scores_of(maps[folder], truth, task)
        assert judged[name]["mIoU"] == pytest.approx(miou)
        assert judged[name]["overall accuracy"] == pytest.approx(accuracy)
    hectares = judged["hectares"]
    ids, counts = np.unique(truth, return_counts=True)
    names = {c.id: c.name for c in task.nomenclature if c.scored}
    true_ha = {names[i]: n * 0.04 / 1e4 for i, n in zip(ids, counts, strict=True) if i in names}
    assert hectares["true ha by class"] == pytest.approx(true_ha, abs=0.006)
    for said in ("bounds", "points", "matrix", "rates of the whole"):
        for scope in ("map", "zones"):
            assert 0 <= hectares[f"{said}, {scope}"]["held"] <= 1
    # What supposes least holds most, and pays for it with width.
    narrow, wide = hectares["rates of the whole, zones"], hectares["matrix, zones"]
    assert wide["held"] > narrow["held"]
    assert wide["mean width, ha"] > 2 * narrow["mean width, ha"]


def test_of_a_perfect_map_every_score_is_one(tmp_path: Path, area: Path, out: Path) -> None:
    for name in ("map", "patches"):
        (tmp_path / name).mkdir()
        for layer in ("land-cover", "land-cover_confidence"):
            source = out / name / f"{layer}.tif"
            if not source.exists():  # patches are mapped without it
                continue
            with rasterio.open(source) as made:
                values: Any = made.read(1)
                if layer == "land-cover":
                    with rasterio.open(area / "land_cover.tif") as truth:
                        values = truth.read(1, window=Window(0, 0, made.width, made.height))
                plain = {**made.profile, "driver": "GTiff"}
                with rasterio.open(tmp_path / name / f"{layer}.tif", "w", **plain) as copy:
                    copy.write(values, 1)
                    copy.update_tags(**made.tags())
                    copy.update_tags(1, **made.tags(1))
    judged = territory._judge(LAND_COVER, area / "land_cover.tif", tmp_path, "land-cover")
    assert judged["map"] == judged["patch by patch"] == {"mIoU": 1.0, "overall accuracy": 1.0}
    for said in ("points", "matrix", "rates of the whole"):
        for scope in ("map", "zones"):
            assert judged["hectares"][f"{said}, {scope}"]["held"] == 1
    assert judged["hectares"]["points, map"]["root mean square error, ha"] == pytest.approx(0)
