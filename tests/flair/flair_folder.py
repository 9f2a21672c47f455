"""A tiny FLAIR #2 as the archives unpack: four patches, three departments, one area each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

SIDE = 512
AREA = (64, 72)
"""Rows and columns of a super-area."""
SENSED = ("20200112", "20200229", "20200612", "20200807")
"""The second date is a leap day, the third is under clouds."""
PATCHES = {
    # image: (archive of aerial, domain, zone, centre in the super-area)
    "000001": ("flair_aerial_train", "D006_2020", "Z1_AU", (24, 30)),
    "000002": ("flair_aerial_train", "D006_2020", "Z1_AU", (24, 40)),
    "000003": ("flair_aerial_train", "D004_2021", "Z2_NN", (30, 30)),
    "061713": ("flair_2_aerial_test", "D015_2020", "Z3_UU", (40, 44)),
}
METADATA = {
    "patch_centroid_x": 924009.6,
    "patch_centroid_y": 6339451.2,
    "patch_centroid_z": 1661.94,
    "date": "2021-05-28",
    "time": "08h06",
    "camera": "UCE-M3-f120-s07",
}


def write_flair2(root: Path) -> Path:
    """All of it; returns `root`."""
    for image, (archive, domain, zone, _) in PATCHES.items():
        rng = np.random.default_rng(int(image))
        # Codes 1 to 19 in blocks; the photograph shows them, so that there is something to learn.
        codes = rng.integers(1, 20, (1, 16, 16), dtype=np.uint8).repeat(32, 1).repeat(32, 2)
        shades = np.arange(1, 6, dtype=np.uint8).reshape(5, 1, 1) * 9
        folder = root / archive / domain / zone / "img"
        _write(folder / f"IMG_{image}.tif", codes * shades // 4)
        labels = root / archive.replace("aerial", "labels") / domain / zone / "msk"
        _write(labels / f"MSK_{image}.tif", codes)
        series = root / archive.replace("aerial", "sen") / domain / zone / "sen"
        if not series.is_dir():
            write_series(series, f"SEN2_sp_{domain}-{zone}", rng)
    centroids = {f"IMG_{image}.tif": list(patch[3]) for image, patch in PATCHES.items()}
    write_json(root / "flair-2_centroids_sp_to_patch.json", centroids)
    entries = {
        f"IMG_{image}": {**METADATA, "domain": domain, "zone": zone}
        for image, (_, domain, zone, _) in PATCHES.items()
    }
    write_json(root / "flair_aerial_metadata.json", entries)
    return root


def write_series(folder: Path, stem: str, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    dates = len(SENSED)
    # Band 0 counts the pixels, so that a piece says where it comes from.
    data = rng.integers(1, 4000, (dates, 10, *AREA), dtype=np.uint16)
    data[:, 0] = 1 + np.arange(AREA[0] * AREA[1]).reshape(AREA)
    masks = np.zeros((dates, 2, *AREA), dtype=np.uint8)
    masks[2, 1] = 90
    np.save(folder / f"{stem}_data.npy", data)
    np.save(folder / f"{stem}_masks.npy", masks)
    names = [f"S2A_MSIL2A_{day}T105031_N0213_R051_T31TGJ_{day}T135921" for day in SENSED]
    (folder / f"{stem}_products.txt").write_text("\n".join(names) + "\n")


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(array),
        height=SIDE,
        width=SIDE,
        dtype="uint8",
        crs="EPSG:2154",
        transform=from_origin(924_000.0, 6_339_500.0, 0.2, 0.2),
        compress="lzw",
    ) as dataset:
        dataset.write(array)
