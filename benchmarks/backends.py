"""Mapping with a Swin-T UPerNet on a CPU: what the engine and each backend make of it.

The published network LC-A with `swin_tiny` maps a photograph of 704×704 pixels in windows of 512
with 128 of overlap, the same four windows for all. The baseline is the plain one: the same network
from timm's backbone and NCHW maps in float32 eager PyTorch, tile by tile (`naive.map_raster`).
Weights are random, which makes labels a toss-up in many pixels: agreement (with ours in float32,
in the row's name) is a lower bound of what trained weights give. Opening a backend (export, checks,
compilation) happens once per map and is not counted; it is printed in rows of its own.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import naive
from benchmarks.mapping import write_raster
from benchmarks.measure import Row, seconds
from benchmarks.naive_network import NaiveNetwork
from bocage.mapping import MapConfig, Source, map_area
from bocage.modalities import AERIAL_RGBI
from bocage.models import Bundle, BundleMeta, InputConfig
from bocage.models.published import PublishedNetwork, published_config
from bocage.nomenclatures import LAND_COVER
from bocage.training.bundling import bundle_tasks

SIDE_PX, TILE_PX, OVERLAP_PX, ROUNDS = 704, 512, 128, 3
CHANNELS = ("nir", "red", "green")

VARIANTS: dict[str, dict[str, Any]] = {
    "torch float32": {},
    "torch bf16": {"precision": "bf16"},
    "onnxruntime float32": {"backend": "onnxruntime"},
    "openvino float32": {"backend": "openvino"},
    "openvino bf16": {"backend": "openvino", "precision": "bf16"},
}


def run() -> list[Row]:
    network, plain = _networks()
    meta = BundleMeta(
        network=network.config,
        tasks=bundle_tasks([LAND_COVER]),
        tile_px=TILE_PX,
        data="benchmark",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raster = folder / "ortho.tif"
        write_raster(raster, SIDE_PX)

        def baseline() -> float:
            with torch.inference_mode():
                return seconds(
                    lambda: naive.map_raster(
                        raster, folder / "naive.tif", plain, tile_px=TILE_PX, overlap_px=OVERLAP_PX
                    )
                )

        labels: dict[str, NDArray[np.uint8]] = {}
        starts: dict[str, float] = {}

        def ours(variant: str) -> float:
            out = folder / "ours"
            shutil.rmtree(out, ignore_errors=True)
            config = MapConfig(
                window_px=TILE_PX, overlap_px=OVERLAP_PX, device="cpu", **VARIANTS[variant]
            )
            bundle = Bundle(network, meta)
            report = map_area(bundle, [Source("AERIAL_RGBI", raster)], out, config)
            with rasterio.open(report.maps[meta.tasks[0].slug]) as dataset:
                labels[variant] = dataset.read(1)
            starts[variant] = report.seconds["start"]
            return report.seconds["total"] - report.seconds["start"]

        baseline()
        rounds = []
        for _ in range(ROUNDS):
            times = {variant: ours(variant) for variant in VARIANTS}
            rounds.append((baseline(), times))

    sure = labels["torch float32"]
    rows = [
        _row(f"{variant}, {(labels[variant] == sure).mean():.2%} equal", rounds, variant)
        for variant in VARIANTS
    ]
    for variant, start in starts.items():
        eager = statistics.median(slow for slow, _ in rounds)
        rows.append(
            Row(f"opening {variant}, once per map", start * 1000, eager * 1000, eager / start, "ms",
                (eager / start, eager / start))
        )  # fmt: skip
    return rows


def _row(name: str, rounds: list[tuple[float, dict[str, float]]], variant: str) -> Row:
    megapixels = SIDE_PX**2 / 1e6
    fast = statistics.median(times[variant] for _, times in rounds) * 1000 / megapixels
    slow = statistics.median(time for time, _ in rounds) * 1000 / megapixels
    ratios = [time / times[variant] for time, times in rounds]
    return Row(name, fast, slow, slow / fast, "ms/megapixel", (min(ratios), max(ratios)))


def _networks() -> tuple[PublishedNetwork, Callable[[Tensor], Tensor]]:
    """The network, and the same as a plain function of normalised photographs (1, 4, H, W)."""
    torch.manual_seed(0)
    statistics_of = dict(
        zip(AERIAL_RGBI.bands, zip(AERIAL_RGBI.mean, AERIAL_RGBI.std, strict=True), strict=True)
    )
    mean, std = zip(*(statistics_of[name] for name in CHANNELS), strict=True)
    photograph = InputConfig(modality="AERIAL_RGBI", channels=CHANNELS, mean=mean, std=std)
    config = published_config("LC-A", "swin_tiny").model_copy(update={"inputs": (photograph,)})
    network = PublishedNetwork(config).eval()
    whole = NaiveNetwork(config).eval()
    whole.load_state_dict(network.state_dict())
    encoder = whole.encoders["AERIAL_RGBI"].seg_model["model"]
    half = whole.main_decoders[LAND_COVER.name].seg_model
    bands = list(AERIAL_RGBI.band_indices(CHANNELS))

    def forward(image_BCHW: Tensor) -> Tensor:
        maps = [x.permute(0, 3, 1, 2).contiguous() for x in encoder(image_BCHW[:, bands])]
        logits: Tensor = half["segmentation_head"](half["decoder"](maps))
        return logits

    return network, forward
