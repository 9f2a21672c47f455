"""The mapping engine on a 4096×4096 raster with a stub network, so that only the engine counts.

The stub scores a pixel by its own bands. Ours blends overlapping windows, carries nodata and writes
class and confidence as COG; the baseline goes tile by tile (see `naive.map_raster`) and writes the
class only.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from torch import Tensor, nn

from benchmarks import naive
from benchmarks.measure import Row, compare
from bocage.mapping import MapConfig, Source, map_area
from bocage.models import Bundle, BundleMeta, NetworkConfig, NetworkOutput
from bocage.nomenclatures import LAND_COVER
from bocage.series import SeriesConfig
from bocage.training.bundling import bundle_tasks

SIDE_PX, TILE_PX, OVERLAP_PX = 4096, 512, 128


class PixelStub(nn.Module):
    """19 logits, each a fixed multiple of the pixel's red: as little work as logits can be."""

    factors: Tensor

    def __init__(self) -> None:
        super().__init__()
        factors = torch.linspace(-1.0, 1.0, LAND_COVER.num_classes).view(1, -1, 1, 1)
        self.register_buffer("factors", factors)

    def score(self, image_BCHW: Tensor) -> Tensor:
        """(B, 19, H, W) from normalised images."""
        return image_BCHW[:, :1] * self.factors

    def forward(self, images: dict[str, Tensor], **_: Any) -> NetworkOutput:
        """Logits of the land cover task."""
        image_BCHW = (images["AERIAL_RGBI"].float() - 106.0) / 45.0
        return NetworkOutput({LAND_COVER.name: self.score(image_BCHW)}, {}, {})


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raster = folder / "ortho.tif"
        write_raster(raster, SIDE_PX)
        stub = PixelStub().eval()
        bundle = Bundle(network=stub, meta=_meta())  # type: ignore[arg-type]
        config = MapConfig(window_px=TILE_PX, overlap_px=OVERLAP_PX, device="cpu")

        def ours() -> None:
            shutil.rmtree(folder / "ours", ignore_errors=True)
            map_area(bundle, [Source("AERIAL_RGBI", raster)], folder / "ours", config)

        def baseline() -> None:
            with torch.inference_mode():
                naive.map_raster(
                    raster, folder / "naive.tif", stub.score, tile_px=TILE_PX, overlap_px=OVERLAP_PX
                )

        megapixels = SIDE_PX**2 / 1e6
        return [
            compare(
                "map 4096×4096, stub network, equal overlap",
                ours,
                baseline,
                rounds=3,
                items=megapixels,
                unit="ms/megapixel",
            )
        ]


def write_raster(path: Path, side_px: int) -> None:
    """A photograph of random fields, four bands of 8 bits."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 230, (4, side_px // 32, side_px // 32)).astype(np.uint8)
    image = coarse.repeat(32, axis=1).repeat(32, axis=2)
    image += rng.integers(0, 20, image.shape).astype(np.uint8)
    profile = {
        "driver": "GTiff", "count": 4, "dtype": "uint8", "width": side_px, "height": side_px,
        "crs": "EPSG:2154", "transform": from_origin(700000, 6600000, 0.2, 0.2),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(image)


def _meta() -> BundleMeta:
    network = NetworkConfig(
        inputs=[{"modality": "AERIAL_RGBI"}],
        tasks=[{"name": LAND_COVER.name, "num_classes": LAND_COVER.num_classes}],
    )
    return BundleMeta(
        network=network,
        tasks=bundle_tasks([LAND_COVER]),
        tile_px=TILE_PX,
        series=SeriesConfig(),
        data="benchmark",
    )
