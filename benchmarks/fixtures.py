"""Patches for the benchmarks, made once per run in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling

from bocage.data import PatchIndex, PatchRecord, build_index
from bocage.modalities import (
    AERIAL_RGBI,
    DEM_ELEV,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
)
from bocage.simulate import simulate_dataset

SENTINEL2_DATES, SENTINEL1_DATES = 60, 70
"""Dates of a full patch; 70 of each of the two orbits."""


@contextlib.contextmanager
def simulated_patches(patches: int) -> Iterator[tuple[Path, PatchIndex]]:
    """A dataset of one domain in FLAIR-HUB's layout, and its index."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        simulate_dataset(root, domains=1, patches=patches, seed=7)
        index = build_index(root, "flair-hub")
        index.write(root / "index.parquet")
        yield root, index


@contextlib.contextmanager
def full_patches(patches: int) -> Iterator[tuple[Path, PatchIndex]]:
    """Patches as heavy as the real ones: 60 Sentinel-2 and 140 Sentinel-1 dates, real texture.

    Simulated content is smoother than the world and would compress too well. Photographs and object
    heights are FLAIR #2's where `BOCAGE_REAL_DATA` is set, else simulated with a camera's noise;
    the surface model is not rounded and has its noise, the terrain model is resampled from 1 m, as
    in FLAIR-HUB; radar has its speckle. Files are LZW GeoTIFFs, pixel-interleaved, in strips.
    """
    with simulated_patches(patches) as (root, index):
        real = _real_images()
        records = []
        for number, record in enumerate(index.records):
            rng = np.random.default_rng(number)
            image = real[number % len(real)] if real else None
            records.append(_fill(root, record, image, rng))
        full = PatchIndex.from_records(records, index.layout)
        full.write(root / "index.parquet")
        yield root, full


def file_bytes(root: Path, index: PatchIndex) -> int:
    """Bytes of the files that an index names, each counted once."""
    return sum(
        (root / path).stat().st_size for path in {p for r in index for p in r.paths.values()}
    )


def _real_images() -> list[NDArray[np.uint8]]:
    """Five-band images of FLAIR #2, (5, 512, 512) uint8; none where they are not at hand."""
    folder = os.environ.get("BOCAGE_REAL_DATA")
    found = sorted((Path(folder) / "flair2").rglob("IMG_*.tif")) if folder else []
    out = []
    for path in found:
        with rasterio.open(path) as file:
            out.append(file.read())
    return out


def _fill(
    root: Path, record: PatchRecord, image: NDArray[np.uint8] | None, rng: np.random.Generator
) -> PatchRecord:
    year = np.datetime64(f"{record.year}-01-01", "D")
    dates = dict(record.dates)
    with rasterio.open(record.path(root, AERIAL_RGBI.name)) as file:
        photograph = file.read().astype(np.float64)
    photograph += rng.normal(0, 4, photograph.shape)
    bands = photograph.clip(0, 255).astype(np.uint8) if image is None else image[:4]
    _rewrite(record.path(root, AERIAL_RGBI.name), bands)
    path = record.path(root, DEM_ELEV.name)
    with rasterio.open(path) as file:
        surface, terrain = file.read()
        coarse = file.read(2, out_shape=(102, 102))
    height = surface - terrain if image is None else image[4] * 0.2
    terrain = _resampled(coarse, terrain.shape)
    surface = terrain + height + rng.normal(0, 0.03, terrain.shape)
    _rewrite(path, np.stack([surface, terrain]).astype(np.float32))
    for modality, count in (
        (SENTINEL2_TS, SENTINEL2_DATES),
        (SENTINEL1_ASC_TS, SENTINEL1_DATES),
        (SENTINEL1_DESC_TS, SENTINEL1_DATES),
    ):
        path = record.path(root, modality.name)
        frames = _frames(path, count, len(modality.bands)).astype(np.float64)
        if modality is SENTINEL2_TS:
            frames *= rng.normal(1, 0.02, frames.shape)
            _rewrite(record.path(root, SENTINEL2_MASK), _mask(root, record, count))
        else:
            # Speckle of some five looks.
            frames *= rng.gamma(5, 1 / 5, frames.shape)
        _rewrite(path, frames.astype(modality.dtype))
        dates[modality.name] = year + np.arange(count) * (365 // count)
    return replace(record, dates=dates)


def _mask(root: Path, record: PatchRecord, count: int) -> NDArray[Any]:
    return _frames(record.path(root, SENTINEL2_MASK), count, 2)


def _frames(path: Path, count: int, bands: int) -> NDArray[Any]:
    """(count * bands, H, W): the file's dates, from the start again where there are too few."""
    with rasterio.open(path) as file:
        flat = file.read()
    frames = flat.reshape(-1, bands, *flat.shape[1:])
    return frames[np.arange(count) % len(frames)].reshape(-1, *flat.shape[1:])


def _resampled(coarse: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    with rasterio.MemoryFile() as memory:
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32"}
        with memory.open(height=len(coarse), width=coarse.shape[1], **profile) as file:
            file.write(coarse, 1)
        with memory.open() as file:
            fine = file.read(1, out_shape=shape, resampling=Resampling.bilinear)
    return np.asarray(fine, dtype=np.float64)


def _rewrite(path: Path, array: NDArray[Any]) -> None:
    """Replace a file's bands; grid, CRS and compression stay."""
    with rasterio.open(path) as file:
        profile = {**file.profile, "count": len(array)}
    profile.update(compress="lzw", interleave="pixel", tiled=False)
    for key in ("blockxsize", "blockysize"):
        profile.pop(key, None)
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
