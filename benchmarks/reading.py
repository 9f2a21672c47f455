"""From the files of a patch to tensors ready for the device: GeoTIFFs, all sensors, warm cache.

Ours keeps the stored types (the device normalises) and reads series with tifffile; the baseline
opens every file with rasterio, normalises in float64 and makes one-hot float labels.
"""

from __future__ import annotations

from benchmarks import naive
from benchmarks.fixtures import simulated_patches
from benchmarks.measure import Row, amounts, compare
from bocage.data import DataConfig, PatchDataset, collate
from bocage.modalities import FLAIR_HUB_INPUTS
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.sample import Batch

PATCHES = 4


def run() -> list[Row]:
    inputs = [modality.name for modality in FLAIR_HUB_INPUTS]
    tasks = [LAND_COVER.name, CROPS.name]
    classes = {task.label_set: task.num_classes for task in (LAND_COVER, CROPS)}
    with simulated_patches(PATCHES) as (root, index):
        config = DataConfig(root=root, series={"min_clear": 0})
        dataset = PatchDataset(index, config, inputs, tasks)
        files = [{name: root / path for name, path in r.paths.items()} for r in index.records]

        def ours() -> list[Batch]:
            return [collate([dataset[i]], inputs, tasks) for i in range(PATCHES)]

        def baseline() -> list[dict[str, object]]:
            return [dict(naive.read_patch(patch, classes)) for patch in files]

        rows = [compare("read a patch, all sensors, GeoTIFF", ours, baseline, items=PATCHES)]
        # Both hold every date, so that only the types differ.
        batch, plain = ours()[0], naive.read_patch(files[0], classes)
        parts = (batch.images, batch.series, batch.labels, batch.valid, batch.series_valid)
        held = sum(t.numel() * t.element_size() for part in parts for t in part.values())
        naively = sum(t.numel() * t.element_size() for t in plain.values())
        rows.append(amounts("bytes per patch for the device", held / 1e6, naively / 1e6, "MB"))
        return rows
