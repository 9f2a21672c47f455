"""Tiny fake datasets, written by the functions below."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import Point

from bocage.data import PatchIndex, build_index
from bocage.modalities import FLAIR_HUB_INPUTS, PATCH_SIZE_M, SENTINEL2_MASK, get_modality

LABELS = ("AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS")
PRODUCTS = (*(m.name for m in FLAIR_HUB_INPUTS), SENTINEL2_MASK, *LABELS)
DAYS = {
    "SENTINEL2_TS": ("20201228", "20210315", "20210601", "20210715"),
    "SENTINEL1-ASC_TS": ("20210102", "20210108", "20210714"),
    "SENTINEL1-DESC_TS": ("20210104", "20210710"),
}
CLASSES = {"AERIAL_LABEL-COSIA": (19,), "ALL_LABEL-LPIS": (23, 31, 46)}


def write_tif(path: Path, array: np.ndarray, crs: Any = "EPSG:2154", **options: Any) -> Path:
    """(C, H, W) as a GeoTIFF of 102.4 m."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"compress": "lzw", "interleave": "pixel", **options}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=array.dtype,
        crs=crs,
        transform=from_origin(850_000.0, 6_600_000.0, *[PATCH_SIZE_M / array.shape[1]] * 2),
        **settings,
    ) as dataset:
        dataset.write(array)
    return path


def fake_product(product: str, seed: int, days: dict[str, tuple[str, ...]]) -> np.ndarray:
    """(C, H, W) of plausible numbers; blocks, so that it compresses and is read fast."""
    rng = np.random.default_rng((seed, PRODUCTS.index(product)))
    if product in LABELS:
        blocks = [rng.integers(0, n, (16, 16), dtype=np.uint8) for n in CLASSES[product]]
        return np.stack(blocks).repeat(32, axis=1).repeat(32, axis=2)
    if product == SENTINEL2_MASK:
        mask = np.zeros((len(days["SENTINEL2_TS"]), 2, 10, 10), dtype=np.uint16)
        mask[1, 1] = 100  # the second date is cloudy, the others clear
        return mask.reshape(-1, 10, 10)
    modality = get_modality(product)
    frames = len(days[product]) if modality.series else 1
    side = modality.size_px
    small = min(side, 16)
    shape = (frames * len(modality.bands), small, small)
    if modality.dtype == "float32":
        values = rng.uniform(0.01, 0.5, shape).astype(np.float32)
        values += 300 if modality.quantity == "elevation" else 0
    else:
        values = rng.integers(1, 250, shape).astype(modality.dtype)
    return values.repeat(side // small, axis=1).repeat(side // small, axis=2)


@dataclass
class Hub:
    """A FLAIR-HUB dataset under construction."""

    root: Path
    days: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(DAYS))

    def path(self, product: str, domain: str, roi: str, position: str) -> Path:
        if product == "AERIAL-RLT_PAN":
            domain = domain.split("-")[0] + "-195X"
        folder = f"{domain}_{product}"
        return self.root / folder / roi / f"{folder}_{roi}_{position}.tif"

    def patch(
        self,
        domain: str = "D004-2021",
        roi: str = "AA-S1-32",
        position: str = "1-1",
        products: Iterable[str] = PRODUCTS,
        seed: int = 1,
    ) -> str:
        for product in products:
            array = fake_product(product, seed, self.days)
            write_tif(self.path(product, domain, roi, position), array)
        return f"{domain}_{roi}_{position}"

    def replace(self, product: str, array: np.ndarray, crs: Any = "EPSG:2154") -> Path:
        return write_tif(self.path(product, "D004-2021", "AA-S1-32", "1-1"), array, crs)

    def _table(self, name: str, columns: dict[str, list[Any]]) -> None:
        folder = self.root / "GLOBAL_ALL_MTD"
        folder.mkdir(exist_ok=True)
        points = [Point(0, 0)] * len(columns["patch_id"])
        frame = gpd.GeoDataFrame(columns, geometry=points, crs="EPSG:2154")
        frame.to_file(folder / name, driver="GPKG")

    def dates(self, keys: list[str], products: Iterable[str] = tuple(DAYS)) -> None:
        for product in products:
            listed = {str(i + 1): day for i, day in enumerate(self.days[product])}
            # Numbers are not in order in the text: order is that of the keys.
            text = json.dumps(dict(reversed(listed.items())))
            name = f"GLOBAL_{product.removesuffix('_TS')}_MTD_DATES.gpkg"
            self._table(name, {"patch_id": keys, "acquisition_dates": [text] * len(keys)})

    def image_dates(self, keys: list[str], day: str, product: str = "AERIAL") -> None:
        columns = {"patch_id": keys, "date": [day] * len(keys)}
        self._table(f"GLOBAL_{product}_MTD_DATES.gpkg", columns)

    def splits(self, table: dict[str, str]) -> None:
        columns = {"patch_id": list(table), "split_1": list(table.values())}
        self._table("GLOBAL_ALL_MTD_SPLIT.gpkg", {**columns, "split_toy": [None] * len(table)})

    def index(self) -> PatchIndex:
        return build_index(self.root, "flair-hub")


@pytest.fixture(name="write_tif")
def _write_tif() -> Any:
    """`write_tif` itself: test files cannot import one conftest among many."""
    return write_tif


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """An empty FLAIR-HUB folder."""
    root = tmp_path / "hub"
    root.mkdir()
    return Hub(root)


@pytest.fixture
def one_patch(hub: Hub) -> Hub:
    """One complete patch with its metadata."""
    patch = hub.patch()
    hub.dates([patch])
    hub.splits({patch: "train"})
    return hub


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """Three patches, two domains, two ROIs; one without radar. Not to be changed."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    ids = [
        hub.patch(seed=1),
        hub.patch(position="1-2", seed=2),
        hub.patch(
            "D024047-2021",
            "FF-S2-N14",
            "10-3",
            [p for p in PRODUCTS if not p.startswith("SENTINEL1")],
            seed=3,
        ),
    ]
    hub.dates([ids[0], ids[2]])
    hub.image_dates(ids, "20210629")
    hub.splits(dict(zip(ids, ("train", "valid", "test"), strict=True)))
    hub.index().write(hub.root / "index.parquet")
    return hub
