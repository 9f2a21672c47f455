"""The baselines, written plainly: what one would write in an afternoon, with nothing tuned.

Each follows the ordinary way of the field's public code: every file opened with rasterio and read
whole, normalisation in float64 on the host, labels as one-hot floats, a map made tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from bocage.modalities import MODALITIES, SENTINEL2_MASK


def read_patch(files: dict[str, Path], label_classes: dict[str, int]) -> dict[str, torch.Tensor]:
    """All sensors and labels of a patch as float32 tensors, ready for a network."""
    tensors: dict[str, torch.Tensor] = {}
    for name, path in files.items():
        with rasterio.open(path) as dataset:
            array = dataset.read()
        if name in MODALITIES:
            modality = MODALITIES[name]
            bands = len(modality.bands)
            frames = array.reshape(-1, bands, *array.shape[1:]).astype(np.float64)
            mean = np.array(modality.mean, dtype=np.float64)[:, None, None]
            std = np.array(modality.std, dtype=np.float64)[:, None, None]
            frames = (frames - mean) / std
            tensors[name] = torch.from_numpy(frames).float()
        elif name == SENTINEL2_MASK:
            tensors[name] = torch.from_numpy(array.astype(np.float64)).float()
        else:
            classes = label_classes[name]
            one_hot = np.stack([array[0] == value for value in range(classes)])
            tensors[name] = torch.from_numpy(one_hot.astype(np.float64)).float()
    return tensors


def map_raster(
    source: Path,
    target: Path,
    forward: Callable[[torch.Tensor], torch.Tensor],
    *,
    tile_px: int,
    overlap_px: int,
) -> None:
    """A class map, tile by tile: open, read, normalise, forward, crop, write strips, then a COG.

    `forward` takes (1, C, H, W) float32 and returns (1, K, H, W) logits. Outside the raster the
    context is black, margins are cut off hard, and a second pass makes the COG.
    """
    with rasterio.open(source) as dataset:
        profile: dict[str, Any] = dataset.profile
        height, width = dataset.height, dataset.width
    stripped = target.with_name("strips.tif")
    profile.update(driver="GTiff", count=1, dtype="uint8", compress="lzw", tiled=False, nodata=None)
    for key in ("blockxsize", "blockysize", "interleave"):
        profile.pop(key, None)
    margin = overlap_px // 2
    step = tile_px - overlap_px
    mean = np.array(MODALITIES["AERIAL_RGBI"].mean)[:, None, None]
    std = np.array(MODALITIES["AERIAL_RGBI"].std)[:, None, None]
    with rasterio.open(stripped, "w", **profile) as output:
        for top in range(0, height, step):
            for left in range(0, width, step):
                window = Window(left - margin, top - margin, tile_px, tile_px)
                with rasterio.open(source) as dataset:
                    tile = dataset.read(window=window, boundless=True, fill_value=0)
                image = torch.from_numpy((tile.astype(np.float64) - mean) / std).float()
                logits = forward(image[None])[0]
                shares = torch.softmax(logits, dim=0).numpy()
                classes = shares.argmax(axis=0).astype(np.uint8)
                rows, columns = min(step, height - top), min(step, width - left)
                cut = classes[margin : margin + rows, margin : margin + columns]
                output.write(cut, 1, window=Window(left, top, columns, rows))
    copy_raster(stripped, target, driver="COG", compress="lzw")
    stripped.unlink()
