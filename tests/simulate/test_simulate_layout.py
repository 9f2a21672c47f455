"""The data set on disk: names, types, sizes and metadata exactly as FLAIR-HUB's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from bocage.modalities import FLAIR_HUB_INPUTS, SENTINEL2_MASK, get_modality
from bocage.nomenclatures import (
    CROPS,
    CROPS_2,
    CROPS_3,
    LAND_COVER,
    LEVEL_2_PARENTS,
    LEVEL_3_PARENTS,
)

pytestmark = pytest.mark.integration

KEYS = ("D024047-2021", "D068-2021")
SERIES_TABLES = {
    "SENTINEL2_TS": ("GLOBAL_SENTINEL2_MTD_DATES", 10),
    "SENTINEL1-ASC_TS": ("GLOBAL_SENTINEL1-ASC_MTD_DATES", 2),
    "SENTINEL1-DESC_TS": ("GLOBAL_SENTINEL1-DESC_MTD_DATES", 2),
}


def files(root: Path, key: str, tag: str) -> list[Path]:
    return sorted((root / f"{key}_{tag}").rglob("*.tif"))


def patch_id(path: Path) -> str:
    stem = path.stem.split("_")
    return "_".join([stem[0], *stem[-2:]])


@pytest.mark.parametrize("modality", FLAIR_HUB_INPUTS, ids=lambda m: m.slug)
def test_every_modality_has_its_folders_names_types_and_sizes(simulated_dataset, modality):
    for key in KEYS:
        name = key.split("-")[0] + "-195X" if modality.name == "AERIAL-RLT_PAN" else key
        found = files(simulated_dataset, name, modality.file_tag)
        assert len(found) == 8
        for path in found:
            region, position = path.parent.name, path.stem.rsplit("_", 1)[1]
            assert path.name == f"{name}_{modality.file_tag}_{region}_{position}.tif"
            assert re.fullmatch(r"[UNAF]{2}-S\d-[A-Z]?\d+", region)
            assert re.fullmatch(r"[12]-[12]", position)
            with rasterio.open(path) as raster:
                assert set(raster.dtypes) == {modality.dtype}
                assert raster.shape == (modality.size_px, modality.size_px)
                assert raster.crs.to_epsg() == 2154
                assert raster.res == pytest.approx((modality.resolution_m,) * 2)
                assert raster.nodata is None
                assert raster.compression.name == "lzw"
                assert not raster.profile["tiled"]
                assert all("alpha" not in c.name for c in raster.colorinterp)
                if not modality.series:
                    assert raster.count == len(modality.bands)


def test_all_files_of_a_patch_cover_the_same_ground(simulated_dataset):
    path = files(simulated_dataset, KEYS[0], "AERIAL_RGBI")[3]
    with rasterio.open(path) as raster:
        bounds = raster.bounds
    assert bounds.right - bounds.left == pytest.approx(102.4)
    tail = path.stem.removeprefix(f"{KEYS[0]}_AERIAL_RGBI")
    others = list(simulated_dataset.rglob(f"D024047-*{tail}.tif"))
    assert len(others) == 10
    for other in others:
        with rasterio.open(other) as raster:
            assert raster.bounds == pytest.approx(bounds)


def test_patches_of_a_region_lie_side_by_side_inside_france(simulated_dataset):
    for key, (x, y) in zip(KEYS, [(505_000, 6_390_000), (1_005_000, 6_745_000)], strict=True):
        for region in (simulated_dataset / f"{key}_AERIAL_RGBI").iterdir():
            corner = {}
            for path in region.iterdir():
                with rasterio.open(path) as raster:
                    corner[path.stem[-3:]] = (raster.bounds.left, raster.bounds.top)
            left, top = corner["1-1"]
            assert corner["1-2"] == pytest.approx((left + 102.4, top))
            assert corner["2-1"] == pytest.approx((left, top - 102.4))
            assert 0 <= left - x < 60_000
            assert -60_000 < top - y <= 0


@pytest.mark.parametrize("name", SERIES_TABLES)
def test_dates_match_the_frames(simulated_dataset, name):
    table_name, bands = SERIES_TABLES[name]
    table = gpd.read_file(simulated_dataset / "GLOBAL_ALL_MTD" / f"{table_name}.gpkg")
    assert list(table.columns) == ["patch_id", "acquisition_dates", "geometry"]
    assert table.crs.to_epsg() == 2154
    assert len(table) == 16
    dates = dict(zip(table["patch_id"], table["acquisition_dates"], strict=True))
    lengths = set()
    for key in KEYS:
        for path in files(simulated_dataset, key, name):
            acquisitions = json.loads(dates[patch_id(path)])
            count = len(acquisitions)
            lengths.add(count)
            assert list(acquisitions) == [str(k) for k in range(1, count + 1)]
            days = list(acquisitions.values())
            assert days == sorted(set(days))
            assert all(re.fullmatch(r"2021\d{4}", day) for day in days)
            with rasterio.open(path) as raster:
                assert raster.count == count * bands
            if name == "SENTINEL2_TS":
                assert 30 <= count <= 110
                with rasterio.open(str(path).replace(name, SENTINEL2_MASK)) as raster:
                    assert raster.count == count * 2
                    assert set(raster.dtypes) == {"uint16"}
    assert len(lengths) > 1, "samples of different lengths are what readers must cope with"


def test_footprints_are_the_patches(simulated_dataset):
    table = gpd.read_file(simulated_dataset / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg")
    shapes = dict(zip(table["patch_id"], table.geometry, strict=True))
    for key in KEYS:
        for path in files(simulated_dataset, key, "AERIAL_RGBI"):
            with rasterio.open(path) as raster:
                assert shapes[patch_id(path)].bounds == pytest.approx(tuple(raster.bounds))


@pytest.mark.parametrize("sensor", ["AERIAL", "AERIAL-RLT", "SPOT"])
def test_single_dates_are_days_of_the_right_time(simulated_dataset, sensor):
    name = f"GLOBAL_{sensor}_MTD_DATES"
    table = gpd.read_file(simulated_dataset / "GLOBAL_ALL_MTD" / f"{name}.gpkg")
    assert list(table.columns) == ["patch_id", "date", "geometry"]
    years = {day[:4] for day in table["date"]}
    assert years <= ({str(y) for y in range(1947, 1966)} if "RLT" in sensor else {"2021"})
    assert all(np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in table["date"])


def test_splits_hold_out_domains_and_whole_regions(simulated_dataset):
    table = gpd.read_file(simulated_dataset / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg")
    assert list(table.columns) == [
        "patch_id", "split_1", "split_2", "split_3", "split_4", "split_5",
        "split_flairchallenge", "geometry",
    ]  # fmt: skip
    assert table["patch_id"].is_unique
    table["domain"] = table["patch_id"].str.split("_").str[0]
    table["region"] = table["patch_id"].str.rsplit("_", n=1).str[0]
    for column in table.columns[1:6]:
        assert set(table[column]) == {"train", "valid", "test"}
        assert set(table[table["domain"] == "D068-2021"][column]) == {"test"}
        assert set(table[table["domain"] == "D024047-2021"][column]) == {"train", "valid"}
        assert (table.groupby("region")[column].nunique() == 1).all()


def test_labels_stay_inside_their_nomenclatures_and_levels_agree(simulated_dataset):
    seen = set()
    for key in KEYS:
        for path in files(simulated_dataset, key, LAND_COVER.label_set):
            with rasterio.open(path) as raster:
                cover = raster.read()
                assert raster.count == 1
                assert raster.dtypes == ("uint8",)
            assert cover.shape == (1, 512, 512)
            assert set(np.unique(cover)) <= set(LAND_COVER.nomenclature.ids)
            seen |= set(np.unique(cover).tolist())
        for path in files(simulated_dataset, key, CROPS.label_set):
            with rasterio.open(path) as raster:
                levels = raster.read()
                assert raster.dtypes == ("uint8",) * 3
            for band, task in enumerate((CROPS, CROPS_2, CROPS_3)):
                assert set(np.unique(levels[band])) <= set(task.nomenclature.ids)
            assert np.array_equal(np.array(LEVEL_3_PARENTS)[levels[2]], levels[1])
            assert np.array_equal(np.array(LEVEL_2_PARENTS)[levels[1]], levels[0])
    assert len(seen) >= 12


def test_values_lie_in_the_sensors_ranges(simulated_dataset):
    for key in KEYS:
        for path in files(simulated_dataset, key, "SENTINEL2_TS"):
            with rasterio.open(path) as raster:
                series = raster.read()
            with rasterio.open(str(path).replace("SENTINEL2_TS", SENTINEL2_MASK)) as raster:
                mask = raster.read()
            assert series.min() >= 1
            assert series.max() <= 10_000
            assert mask.max() <= 100
        for name in ("SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS"):
            for path in files(simulated_dataset, key, name):
                with rasterio.open(path) as raster:
                    power = raster.read()
                assert power.min() > 0
                decibel = 10 * np.log10([power[0::2].mean(), power[1::2].mean()])
                assert -14 < decibel[0] < -4
                assert decibel[1] < decibel[0] - 4
        for path in files(simulated_dataset, key, get_modality("elevation").file_tag):
            with rasterio.open(path) as raster:
                height = np.diff(raster.read()[::-1].astype(np.float64), axis=0)
            # The two models err each on its own: a little below the ground, never far above trees.
            assert height.min() > -3
            assert height.max() < 24
