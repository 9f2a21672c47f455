"""FLAIR #1/#2, TreeSatAI and crop cubes, written tiny in their own formats."""

from __future__ import annotations

import builtins
from pathlib import Path

import h5py
import numpy as np
import pytest

from bocage.data import build_index, get_layout
from bocage.data.layouts.flair import official_splits
from bocage.data.layouts.treesatai import merge_slices
from bocage.errors import ConfigError, DataError
from bocage.nomenclatures import FLAIR1_TO_COSIA, IGNORE

# ---- FLAIR #1 and #2 ---------------------------------------------------------------------------


@pytest.fixture
def flair(tmp_path, write_tif):
    """One patch in the official folders; returns (root, image, mask)."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (5, 8, 8), dtype=np.uint8).repeat(64, 1).repeat(64, 2)
    mask = (np.arange(512 * 512, dtype=np.uint32).reshape(1, 512, 512) % 19 + 1).astype(np.uint8)
    zone = "D004_2021/Z10_AU"
    write_tif(tmp_path / "flair_aerial_train" / zone / "img/IMG_000826.tif", image)
    write_tif(tmp_path / "flair_labels_train" / zone / "msk/MSK_000826.tif", mask)
    write_tif(tmp_path / "flair_1_aerial_test/D012_2019/Z1_UU/img/IMG_070000.tif", image)
    return tmp_path, image, mask


@pytest.mark.unit
def test_flair_patches_and_their_official_splits(flair):
    test, learnt = get_layout("flair").scan(flair[0])
    assert (learnt.patch_id, learnt.domain, learnt.roi, learnt.year) == (
        "D004_2021_Z10_AU_000826",
        "D004_2021",
        "Z10_AU",
        2021,
    )
    assert learnt.splits == {"split_flair1": "valid", "split_flair2": "valid"}
    assert test.splits == {"split_flair1": "test"}
    assert set(test.paths) == {"AERIAL_RGBI", "AERIAL_HEIGHT"}


@pytest.mark.unit
def test_flair_splits_differ_where_the_challenges_do():
    assert official_splits("D070") == {"split_flair1": "valid", "split_flair2": "train"}
    assert official_splits("D077") == {"split_flair1": "train", "split_flair2": "valid"}
    assert official_splits("D015") == {"split_flair2": "test"}
    assert official_splits("D099") == {}
    everywhere = [official_splits(f"D{n:03d}") for n in range(1, 100)]
    for column, tests in (("split_flair1", 10), ("split_flair2", 10)):
        found = [s.get(column) for s in everywhere]
        assert [found.count(part) for part in ("train", "valid", "test")] == [32, 8, tests]


@pytest.mark.unit
def test_flair_bands_and_codes(flair):
    root, image, mask = flair
    layout = get_layout("flair")
    _, record = layout.scan(root)
    sample = layout.read(root, record, ["AERIAL_RGBI", "AERIAL_HEIGHT"], ["land-cover", "crops"])
    np.testing.assert_array_equal(sample.images["AERIAL_RGBI"], image[:4])
    np.testing.assert_array_equal(sample.images["AERIAL_HEIGHT"], image[4:])
    assert list(sample.labels) == ["AERIAL_LABEL-COSIA"]
    for code, class_id in FLAIR1_TO_COSIA.items():
        assert (sample.labels["AERIAL_LABEL-COSIA"][mask[0] == code] == class_id).all()
    height_only = layout.read(root, record, ["AERIAL_HEIGHT"], [])
    assert list(height_only.images) == ["AERIAL_HEIGHT"]


@pytest.mark.unit
def test_flair_codes_outside_the_list_are_refused_or_ignored(flair, write_tif):
    root, _, mask = flair
    mask[0, 0, :4] = (0, 20, 254, 255)
    write_tif(root / "flair_labels_train/D004_2021/Z10_AU/msk/MSK_000826.tif", mask)
    layout = get_layout("flair")
    _, record = layout.scan(root)
    with pytest.raises(DataError, match=r"MSK_000826\.tif: 3 label pixels.*\[0, 20, 254\]"):
        layout.read(root, record, [], ["land-cover"])
    label = layout.read(root, record, [], ["land-cover"], "ignore").labels["AERIAL_LABEL-COSIA"]
    assert (label[0, :4] == IGNORE).all()
    assert (label[1:] != IGNORE).all()


@pytest.mark.unit
@pytest.mark.parametrize("layout", ["flair", "treesatai", "crop-cube"])
def test_an_empty_folder_is_not_a_dataset(layout, tmp_path):
    with pytest.raises(DataError, match=r"Point\s+data\.root at the folder"):
        list(get_layout(layout).scan(tmp_path))


# ---- TreeSatAI ---------------------------------------------------------------------------------

OPTICAL_NAMES = ("S2A_MSIL2A_20190103T1_N0211", "S2B_MSIL2A_20190305T1_N0211")
# Two slices of one pass on 3 January, the second date alone.
RADAR_NAMES = (
    "S1A_IW_GRDH_1SDV_20190103T054940_x",
    "S1A_IW_GRDH_1SDV_20190103T054945_x",
    "S1B_IW_GRDH_1SDV_20190109T054040_x",
)


@pytest.fixture
def treesat(tmp_path, write_tif):
    aerial = np.stack([np.full((304, 304), value, np.uint8) for value in (4, 1, 2, 3)])
    write_tif(tmp_path / "aerial/Picea_abies_3_123_WEFL_NLF.tif", aerial, "EPSG:25832")
    stack = tmp_path / "sentinel-ts/Picea_abies_3_123_WEFL_NLF_2019.h5"
    stack.parent.mkdir()
    optical = np.full((2, 10, 6, 6), 1234.0, np.float32)
    optical[0, 2, 0, 0] = np.nan
    optical[1, 2, 0, 1] = 70_000.0
    radar = np.full((3, 2, 6, 6), 0.25, np.float32)
    radar[0, :, 0] = 0.0  # the first slice ends here
    radar[1, :, 1] = 0.75
    radar[0:2, 0, 5, 5] = np.nan
    with h5py.File(stack, "w") as file:
        file["sen-2-data"] = optical
        file["sen-2-masks"] = np.stack([np.full((2, 6, 6), v, np.float32) for v in (3, 40)], 1)
        file["sen-2-products"] = list(OPTICAL_NAMES)
        for orbit in ("asc", "des"):
            file[f"sen-1-{orbit}-data"] = radar
            file[f"sen-1-{orbit}-products"] = list(RADAR_NAMES)
    return tmp_path


@pytest.mark.unit
def test_treesatai_sample(treesat):
    layout = get_layout("treesatai")
    (record,) = layout.scan(treesat)
    assert (record.patch_id, record.year, record.domain) == (
        "Picea_abies_3_123_WEFL_NLF",
        2019,
        "WEFL_NLF",
    )
    assert record.dates["SENTINEL1-ASC_TS"].astype(str).tolist() == ["2019-01-03", "2019-01-09"]
    sample = layout.read(treesat, record, record.sensors, ["land-cover"])
    assert sample.images["AERIAL_RGBI"][:, 0, 0].tolist() == [1, 2, 3, 4]  # R, G, B, NIR
    assert (sample.labels["AERIAL_LABEL-COSIA"] == 13).all()  # spruce is coniferous
    assert sample.labels["AERIAL_LABEL-COSIA"].shape == (304, 304)
    assert sample.crs == "EPSG:25832"

    optical = sample.series["SENTINEL2_TS"]
    assert optical.values.dtype == np.uint16
    assert optical.dates.astype(str).tolist() == ["2019-01-03", "2019-03-05"]
    assert np.argwhere(~optical.valid).tolist() == [[0, 0, 0]]
    assert optical.values[1, 2, 0, 1] == 65534
    assert optical.snow_cloud[0, :, 0, 0].tolist() == [3, 40]

    radar = sample.series["SENTINEL1-DESC_TS"]
    assert len(radar) == 2
    assert radar.values[0, 0, 0, 0] == 0.25  # seen by one slice
    assert radar.values[0, 0, 1, 0] == 0.5  # mean of both
    assert np.argwhere(~radar.valid).tolist() == [[0, 5, 5]]


@pytest.mark.unit
def test_slices_of_a_date_without_a_pixel_stay_empty():
    values = np.zeros((2, 2, 1, 2), np.float32)
    values[1, :, 0, 1] = 0.3
    merged, days = merge_slices(values, np.array(["2019-01-03"] * 2, "datetime64[D]"))
    assert len(days) == 1
    np.testing.assert_allclose(merged[0, :, 0], [[0.0, 0.3], [0.0, 0.3]])


@pytest.mark.unit
def test_treesatai_refusals(treesat, write_tif):
    layout = get_layout("treesatai")
    image = treesat / "aerial/Picea_abies_3_123_WEFL_NLF.tif"
    image.rename(image.with_name("Ginkgo_biloba_3_124_WEFL_NLF.tif"))
    strange = next(r for r in layout.scan(treesat) if r.patch_id.startswith("Ginkgo"))
    with pytest.raises(DataError, match="genus 'Ginkgo' has no land-cover class"):
        layout.read(treesat, strange, [], ["land-cover"])
    label = layout.read(treesat, strange, [], ["land-cover"], "ignore").labels
    assert (label["AERIAL_LABEL-COSIA"] == IGNORE).all()
    stack = next((treesat / "sentinel-ts").glob("*.h5"))
    stack.write_bytes(stack.read_bytes()[:500])
    with pytest.raises(DataError, match=rf"{stack.name}: cannot be read as HDF5"):
        list(layout.scan(treesat))


# ---- Crop cubes --------------------------------------------------------------------------------


def write_cube(root: Path, name: str = "CUBE1", codes: np.ndarray | None = None) -> Path:
    """A cube of 64 x 64 pixels, 3 optical and 2 radar dates."""
    folder = root / name
    folder.mkdir(parents=True)

    def start(stem: str, step: int) -> h5py.File:
        file = h5py.File(folder / f"{stem}_{name}.nc", "w")
        side = 640 // step
        file["x"] = 501_360 + step / 2 + step * np.arange(side, dtype=float)
        file["y"] = 5_629_680 - step / 2 - step * np.arange(side, dtype=float)
        file.attrs.update({"epsg": "32631", "end_date": "2019-11-30"})
        return file

    def stamp(file: h5py.File, days: list[int]) -> None:
        file["timestamp"] = np.array(days) * 86_400 + 40_000
        file["timestamp"].attrs["units"] = "seconds since 2018-08-04 10:53:28"

    fine_grid = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 100
    coarse_grid = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) + 5000
    with start("S2_L2A_10m", 10) as file:
        stamp(file, [0, 10, 20])
        for band in ("B02", "B03", "B04", "B08"):
            file[band] = np.stack([fine_grid] * 3)
        file["B08"][0, 0, 0] = 65535
        file["B04"][1, 0, 1] = 0
    with start("S2_L2A_20m", 20) as file:
        stamp(file, [0, 10, 20])
        for band in ("B05", "B06", "B07", "B8A", "B11", "B12"):
            file[band] = np.stack([coarse_grid] * 3)
        scene = np.full((3, 32, 32), 4, np.uint8)
        scene[0, 0, 1] = 9
        scene[0, 1, 0] = 11
        scene[0, 1, 1] = 3
        scene[2, 7, 7] = 0
        file["SCL"] = scene
    with start("S1_GRD-DESCENDING_20m", 20) as file:
        stamp(file, [1, 7])
        file["VV"] = np.full((2, 32, 32), -100_000, np.int32)  # -10 dB
        file["VH"] = np.full((2, 32, 32), -200_000, np.int32)
        file["VH"][1, 0, 0] = 0
    with start("OUTPUT_POLY-110_10m", 10) as file:
        default = np.full((64, 64), 1110, np.uint16)
        default[0, :6] = (0, 1500, 1520, 8100, 9120, 7900)
        file["CT"] = default if codes is None else codes
    return folder


@pytest.mark.unit
def test_a_cube_becomes_tiles_that_cover_it(tmp_path):
    write_cube(tmp_path)
    records = list(get_layout("crop-cube").scan(tmp_path))
    assert len(records) == 16
    assert records[5].patch_id == "CUBE1_1-1"
    assert records[5].window == (16, 16, 16, 16)
    assert {(r.domain, r.year, r.splits["split_cube"]) for r in records} == {
        ("CUBE1", 2019, "CUBE1")
    }
    assert records[0].dates["SENTINEL2_TS"].astype(str).tolist() == [
        "2018-08-04",
        "2018-08-14",
        "2018-08-24",
    ]
    covered = np.zeros((64, 64), int)
    for r in records:
        row, column, height, width = r.window
        covered[row : row + height, column : column + width] += 1
    assert (covered == 1).all()


@pytest.mark.unit
def test_cube_pixels(tmp_path):
    write_cube(tmp_path)
    layout = get_layout("crop-cube")
    first, *_, last = layout.scan(tmp_path)
    tasks = ["crops", "crops-2", "crops-3"]
    sample = layout.read(tmp_path, first, ["SENTINEL2_TS", "SENTINEL1-DESC_TS"], tasks)
    optical = sample.series["SENTINEL2_TS"]
    assert optical.values.shape == (3, 10, 16, 16)
    assert optical.values.dtype == np.uint16
    assert optical.values[2, 0, 1, 2] == 100 + 64 + 2  # B02 on its own grid
    assert optical.values[2, 3, 3, 2] == 5000 + 32 + 1  # B05 of the 20 m pixel around it
    snow, cloud = optical.snow_cloud[0, 0], optical.snow_cloud[0, 1]
    assert np.argwhere(snow).tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]
    assert cloud[:4, :4].tolist() == [[0, 0, 100, 100]] * 2 + [[0, 0, 100, 100]] * 2
    holes = np.argwhere(~optical.valid).tolist()
    assert holes == [[0, 0, 0], [1, 0, 1], *([2, y, x] for y in (14, 15) for x in (14, 15))]

    radar = sample.series["SENTINEL1-DESC_TS"]
    assert radar.values.shape == (2, 2, 16, 16)
    assert radar.values.dtype == np.float32
    np.testing.assert_allclose(radar.values[0, :, 0, 0], [0.1, 0.01], rtol=1e-5)
    assert np.argwhere(~radar.valid).tolist() == [[1, y, x] for y in (0, 1) for x in (0, 1)]

    levels = [sample.labels[n] for n in ("ALL_LABEL-LPIS", "ALL_LABEL-LPIS-2", "ALL_LABEL-LPIS-3")]
    assert [level[0, :6].tolist() for level in levels] == [
        [IGNORE, 2, 2, 13, 0, 11],
        [IGNORE, 2, 2, 18, 0, 15],
        [IGNORE, IGNORE, 5, 31, IGNORE, IGNORE],
    ]
    assert [int(level[1, 0]) for level in levels] == [1, 1, 2]
    assert sample.crs == "EPSG:32631"
    assert sample.transform == (501_360.0, 10.0, 0.0, 5_629_680.0, 0.0, -10.0)
    corner = layout.read(tmp_path, last, ["SENTINEL2_TS"], [])
    assert corner.series["SENTINEL2_TS"].values[0, 0, -1, -1] == 100 + 64 * 64 - 1
    assert corner.transform == (501_840.0, 10.0, 0.0, 5_629_200.0, 0.0, -10.0)


@pytest.mark.unit
def test_unknown_crop_codes_are_refused_or_ignored(tmp_path):
    codes = np.full((64, 64), 1200, np.uint16)
    codes[:16, :16] = 4242
    write_cube(tmp_path, codes=codes)
    layout = get_layout("crop-cube")
    first, second, *_ = layout.scan(tmp_path)
    with pytest.raises(DataError, match=r"256 label pixels hold codes.*\[4242\]"):
        layout.read(tmp_path, first, [], ["crops"])
    label = layout.read(tmp_path, first, [], ["crops"], "ignore").labels["ALL_LABEL-LPIS"]
    assert (label == IGNORE).all()
    assert (layout.read(tmp_path, second, [], ["crops"]).labels["ALL_LABEL-LPIS"] == 3).all()


@pytest.mark.integration
def test_a_cube_indexes_with_the_footprints_of_its_tiles(tmp_path):
    write_cube(tmp_path)
    index = build_index(tmp_path, "crop-cube")
    assert index[1].bounds == (501_520.0, 5_629_520.0, 501_680.0, 5_629_680.0)
    assert index[1].epsg == 32631
    assert index.class_counts("crops").sum() == 64 * 64 - 1
    assert index.available()["SENTINEL1-DESC_TS"] == 16


@pytest.mark.unit
def test_missing_h5py_says_how_to_get_it(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_h5py(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(ConfigError, match=r"pip install 'bocage\[hdf5\]'"):
        list(get_layout("crop-cube").scan(tmp_path))
