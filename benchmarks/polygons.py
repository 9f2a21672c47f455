"""Polygons and zonal hectares of a class map, per megapixel, at one and four times the area.

The maps are drawn, not predicted: each of 12 classes is a smooth random field with features of
about 13 m and 3 m, plus noise from pixel to pixel of 2 % of its amplitude, and a pixel has the
class whose field is highest. That gives, per megapixel at 0.2 m, a few hundred patches with
rough borders and crumbs along them, as a network's map has them. The larger map is four different
such maps side by side.

Ours reads the map in strips, absorbs patches below 4 m² and simplifies shared borders within
0.4 m. The baseline polygonises the whole array, collects a list in Python, simplifies polygon by
polygon (which leaves gaps and overlaps), absorbs nothing and writes all at once.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import rasterio.features
import shapely.affinity
import shapely.geometry
import torch
from numpy.typing import NDArray
from rasterio.transform import from_origin

from benchmarks.measure import Row, alternate, row
from bocage.mapping.areas import count_areas
from bocage.mapping.maps import open_map
from bocage.mapping.polygons import PolygonConfig, write_polygons
from bocage.mapping.zones import Zones, read_zones

SIDE_PX, CLASSES, PIXEL_M = 4096, 12, 0.2
MIN_AREA_M2, SIMPLIFY_M = 4.0, 0.4
ROUNDS = 3


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quarters = [draw_map(SIDE_PX, seed) for seed in range(4)]
        small = save_map(folder / "small.tif", quarters[0])
        large = save_map(folder / "large.tif", np.block([quarters[:2], quarters[2:]]))
        target = folder / "polygons.gpkg"
        whole = PolygonConfig(min_area_m2=MIN_AREA_M2, simplify_m=SIMPLIFY_M)
        plain = PolygonConfig()

        works = (
            lambda: write_polygons(small, target, whole),
            lambda: write_polygons(large, target, whole),
            lambda: write_polygons(small, target, plain),
            lambda: naive(small, target),
        )
        for work in works:
            work()
        ours, ours_large, exact, baseline = alternate(works, ROUNDS)
        megapixels = SIDE_PX**2 / 1e6
        options = {"items": megapixels, "unit": "ms/megapixel"}
        quarter = [time / 4 for time in ours_large]
        count = [partial(count_areas, open_map(path), draw_zones(path)) for path in (small, large)]
        for work in count:
            work()
        hectares, hectares_large = alternate(count, ROUNDS)
        hectares_quarter = [time / 4 for time in hectares_large]
        once, four = f"{SIDE_PX}×{SIDE_PX}", f"{2 * SIDE_PX}×{2 * SIDE_PX}"
        return [
            row(f"polygons, {once}", ours, baseline, **options),
            row("the same, nothing absorbed or simplified", exact, baseline, **options),
            row(f"polygons, {four}; baseline: {once}", quarter, ours, **options),
            row(f"hectares, {four}; baseline: {once}", hectares_quarter, hectares, **options),
        ]


def draw_zones(path: Path) -> Zones:
    """Squares of 205 m over a whole map, slightly turned, so that they cut pixels as zones do."""
    grid = open_map(path).grid
    left, bottom, right, top = grid.bounds
    corners = [(x, y) for x in np.arange(left, right, 205) for y in np.arange(bottom, top, 205)]
    squares = [shapely.affinity.rotate(shapely.box(x, y, x + 205, y + 205), 3) for x, y in corners]
    target = path.with_name(f"{path.stem}_zones.gpkg")
    geopandas.GeoDataFrame(geometry=squares, crs=grid.crs.to_wkt()).to_file(target)
    return read_zones(target, grid)


def draw_map(side_px: int, seed: int) -> NDArray[np.uint8]:
    """Class ids of `side_px` x `side_px` pixels; see the module's docstring."""
    generator = torch.Generator().manual_seed(seed)
    best = torch.full((side_px, side_px), -torch.inf)
    winner = torch.zeros((side_px, side_px), dtype=torch.uint8)
    for class_id in range(CLASSES):
        field = torch.zeros(1, 1, side_px, side_px)
        for step_px, weight in ((128, 1.0), (32, 0.25)):
            coarse = torch.randn(1, 1, side_px // step_px, side_px // step_px, generator=generator)
            field += weight * torch.nn.functional.interpolate(
                coarse, (side_px, side_px), mode="bicubic"
            )
        score = field[0, 0] + 0.006 * torch.randn(side_px, side_px, generator=generator)
        winner[score > best] = class_id
        best = torch.maximum(best, score)
    return winner.numpy()


def save_map(path: Path, classes_HW: NDArray[np.uint8]) -> Path:
    """A tiled, compressed GeoTIFF, as `bocage map` writes it."""
    profile = {
        "driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": "EPSG:2154",
        "height": classes_HW.shape[0], "width": classes_HW.shape[1],
        "transform": from_origin(700000, 6600000, PIXEL_M, PIXEL_M),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(classes_HW, 1)
    return path


def naive(source: Path, target: Path) -> None:
    """Polygonise the whole array, simplify polygon by polygon, write."""
    with rasterio.open(source) as dataset:
        classes_HW, transform, crs = dataset.read(1), dataset.transform, dataset.crs
    rows = []
    for shape, value in rasterio.features.shapes(
        classes_HW, mask=classes_HW != 255, transform=transform
    ):
        polygon = shapely.geometry.shape(shape)
        rows.append({"class_id": int(value), "area_m2": polygon.area,
                     "geometry": polygon.simplify(SIMPLIFY_M)})  # fmt: skip
    geopandas.GeoDataFrame(rows, crs=crs).to_file(target, driver="GPKG")
