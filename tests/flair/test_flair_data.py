"""FLAIR #2's series and metadata as they lie on disk, and what may be wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flair_folder import AREA, METADATA, PATCHES, SENSED, write_flair2, write_json

from bocage.data import DataConfig, PatchDataset, build_index, collate, get_layout, show_patch
from bocage.data.layouts.flair_series import read_products, read_superpatch
from bocage.data.layouts.flair_tables import read_acquisition, read_centroid
from bocage.errors import DataError
from bocage.modalities import AERIAL_METADATA, SENTINEL2_SUPERPATCH, get_modality

pytestmark = pytest.mark.unit

SERIES, METADATA_NAME = SENTINEL2_SUPERPATCH.name, AERIAL_METADATA.name
INPUTS = ("AERIAL_RGBI", "AERIAL_HEIGHT", METADATA_NAME, SERIES)
SEN = Path("flair_sen_train/D006_2020/Z1_AU/sen")
STEM = "SEN2_sp_D006_2020-Z1_AU"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLAIR #2. Not to be changed."""
    return write_flair2(tmp_path_factory.mktemp("flair2"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "flair2"))


def _first(root: Path, inputs: tuple[str, ...] = INPUTS, tasks: tuple[str, ...] = ()) -> Any:
    layout = get_layout("flair")
    record = next(r for r in layout.scan(root) if r.patch_id.endswith("000001"))
    return layout.read(root, record, inputs, tasks)


def test_what_the_index_knows(whole: Path) -> None:
    index = build_index(whole, "flair")
    assert index.problems == ()
    assert len(index) == len(PATCHES)
    record = index.record("D006_2020_Z1_AU_000001")
    assert record.paths[SERIES] == f"{SEN.as_posix()}/{STEM}_data.npy"
    assert record.paths["SENTINEL2_MSK-SC"].endswith("_masks.npy")
    assert record.paths[METADATA_NAME] == "flair_aerial_metadata.json"
    assert record.dates[SERIES].astype(str).tolist() == [
        f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in SENSED
    ]
    assert index.record("D015_2020_Z3_UU_061713").paths[SERIES].startswith("flair_2_sen_test/")
    counts = index.class_counts("AERIAL_LABEL-FLAIR")
    cosia = index.class_counts("AERIAL_LABEL-COSIA")
    assert (counts.sum(1) == 512 * 512).all()
    assert (counts[:, 0] == cosia[:, 0]).all()  # building
    assert (counts[:, 11] == cosia[:, 10]).all()  # plowed land


def test_a_patch_gets_its_own_piece_of_the_area(whole: Path) -> None:
    series = _first(whole).series[SERIES]
    assert series.values.shape == (4, 10, 40, 40)
    assert series.values.dtype == np.uint16
    assert series.valid is None
    row, column = PATCHES["000001"][3]
    assert series.values[0, 0, 0, 0] == 1 + (row - 20) * AREA[1] + (column - 20)
    assert series.values[0, 0, 39, 39] == 1 + (row + 19) * AREA[1] + (column + 19)
    assert series.snow_cloud is not None
    assert series.snow_cloud[:, 1].max(axis=(1, 2)).tolist() == [0, 0, 90, 0]


@pytest.mark.parametrize("centroid", [(0, 0), (5, 70), (63, 71)])
def test_beyond_the_area_nothing_is_known(whole: Path, centroid: tuple[int, int]) -> None:
    folder = whole / SEN
    dates = read_products(folder / f"{STEM}_products.txt")
    paths = folder / f"{STEM}_data.npy", folder / f"{STEM}_masks.npy"
    series = read_superpatch(*paths, dates, centroid, "IMG_000001")
    rows, columns = np.ogrid[:40, :40]
    rows, columns = rows + centroid[0] - 20, columns + centroid[1] - 20
    inside = (rows >= 0) & (rows < AREA[0]) & (columns >= 0) & (columns < AREA[1])
    assert series.valid is not None
    assert (series.valid == inside).all()
    numbers = 1 + rows * AREA[1] + columns
    assert (series.values[:, 0][:, inside] == np.broadcast_to(numbers, (40, 40))[inside]).all()
    assert (series.values[:, :, ~inside] == 0).all()


def test_a_series_is_mapped_not_read_whole(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    load = np.load

    def recording(path: Path, mmap_mode: str | None = None, **options: Any) -> Any:
        modes.append(mmap_mode)
        return load(path, mmap_mode=mmap_mode, **options)

    monkeypatch.setattr(np, "load", recording)
    _first(whole)
    assert modes == ["r", "r"]


def test_acquisition_metadata(whole: Path) -> None:
    values = _first(whole).images[METADATA_NAME]
    assert values.shape == (8, 1, 1)
    assert values.dtype == np.float32
    expected = [924009.6, 6339451.2, 1661.94, 0, 2021, 5, 28, 486]
    np.testing.assert_allclose(values.ravel(), expected, rtol=1e-6)


def test_without_its_tables_a_patch_lacks_metadata(folder: Path) -> None:
    (folder / "flair_aerial_metadata.json").unlink()
    index = build_index(folder, "flair")
    assert METADATA_NAME not in index.available()
    dataset = PatchDataset(index, DataConfig(root=folder, layout="flair"), INPUTS, ())
    batch = collate([dataset[0], dataset[1]], INPUTS, ())
    assert batch.present[METADATA_NAME].tolist() == [False, False]
    assert METADATA_NAME not in batch.images


def test_the_batch_of_a_dataset(whole: Path) -> None:
    options = {"max_cloud": 59, "max_snow": 59, "min_clear": 0.5}
    config = DataConfig(root=whole, layout="flair", series=options)
    dataset = PatchDataset(build_index(whole, "flair"), config, INPUTS, ("land-cover-12",))
    batch = collate([dataset[0], dataset[1]], INPUTS, ("land-cover-12",))
    assert batch.output_hw == (512, 512)
    assert batch.series[SERIES].shape == (2, 3, 10, 40, 40)  # the cloudy date is left out
    assert batch.images[METADATA_NAME].shape == (2, 8, 1, 1)
    assert batch.present[METADATA_NAME].all()
    assert batch.labels["AERIAL_LABEL-FLAIR"].unique().tolist() == list(range(13))
    assert get_modality(SERIES).size_px == 40


def test_a_series_without_masks_is_refused_unless_every_date_is_wanted(folder: Path) -> None:
    (folder / SEN / f"{STEM}_masks.npy").unlink()
    index = build_index(folder, "flair").select(domains=["D006_2020"])
    config = DataConfig(root=folder, layout="flair")
    with pytest.raises(DataError, match=f"{SERIES} has no snow and cloud mask"):
        PatchDataset(index, config, INPUTS, ())[0]
    everything = DataConfig(root=folder, layout="flair", series={"min_clear": 0})
    assert len(PatchDataset(index, everything, INPUTS, ())[0].series[SERIES]) == 4


def test_a_picture_of_a_patch(whole: Path, tmp_path: Path) -> None:
    record = next(get_layout("flair").scan(whole))
    show_patch(whole, "flair", record, tmp_path / "patch.png")
    assert (tmp_path / "patch.png").stat().st_size > 10_000


def test_only_the_height_of_objects(whole: Path) -> None:
    index = build_index(whole, "flair").narrow({"AERIAL_HEIGHT"})
    sample = get_layout("flair").read(whole, index[0], ["AERIAL_HEIGHT"], [])
    assert list(sample.images) == ["AERIAL_HEIGHT"]


def test_two_tables_for_two_challenges(folder: Path) -> None:
    table = folder / "flair_aerial_metadata.json"
    entries = json.loads(table.read_text())
    test = {"IMG_061713": {**entries.pop("IMG_061713"), "camera": "CAMERA#030"}}
    write_json(table, entries)
    (folder / "flair-2_metadata_aerial").mkdir()
    write_json(folder / "flair-2_metadata_aerial" / "flair-2_metadata_aerial.json", test)
    layout = get_layout("flair")
    cameras = [
        layout.read(folder, record, [METADATA_NAME], []).images[METADATA_NAME][3].item()
        for record in layout.scan(folder)
    ]
    assert cameras == [1.0, 0.0, 0.0, 0.0]


# ---- What may be wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"camera": "Canon"}, "camera is 'Canon', expected a name such as UCE-M3"),
        ({"camera": None}, "camera is None"),
        ({"date": "28/05/2021"}, "date is '28/05/2021', expected a day of 2018 to 2021"),
        ({"date": "2021-02-30"}, "date is '2021-02-30'"),
        ({"date": "2016-05-28"}, "date is '2016-05-28'"),
        ({"time": "25h06"}, "time is '25h06', expected a time of day such as 08h06"),
        ({"time": "8:06"}, "time is '8:06'"),
        ({"patch_centroid_x": "west"}, "patch_centroid_x is 'west', expected a number"),
        ({"patch_centroid_z": float("nan")}, "patch_centroid_z is nan"),
        ({"patch_centroid_y": True}, "patch_centroid_y is True"),
    ],
)
def test_odd_metadata(tmp_path: Path, change: dict[str, Any], finding: str) -> None:
    table = tmp_path / "flair_aerial_metadata.json"
    write_json(table, {"IMG_000001": {**METADATA, **change}})
    with pytest.raises(DataError, match=rf"flair_aerial_metadata\.json: IMG_000001: {finding}"):
        read_acquisition(table, "IMG_000001")


def test_metadata_without_the_image_or_the_fields(tmp_path: Path) -> None:
    table = tmp_path / "flair_aerial_metadata.json"
    write_json(table, {"IMG_000001": METADATA, "IMG_000002": {"zone": "Z1"}, "IMG_000003": 7})
    with pytest.raises(DataError, match=r"IMG_000009 is not among its 3 entries.*fetch the one"):
        read_acquisition(table, "IMG_000009")
    for image in ("IMG_000002", "IMG_000003"):
        with pytest.raises(DataError, match=f"{image}: holds .*expected an object with"):
            read_acquisition(table, image)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "", "\x80"])
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    table = tmp_path / "flair-2_centroids_sp_to_patch.json"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"centroids_sp_to_patch\.json: .*Fetch the file again"):
        read_centroid((table,), "IMG_000001")


@pytest.mark.parametrize("place", [[1], [1.5, 2], ["1", "2"], {"row": 1}, [True, 2]])
def test_odd_centroids(tmp_path: Path, place: Any) -> None:
    table = tmp_path / "flair-2_centroids_sp_to_patch.json"
    write_json(table, {"IMG_000001.tif": place})
    with pytest.raises(DataError, match=r"IMG_000001: holds .*expected a row and a column"):
        read_centroid((table,), "IMG_000001")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _save(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, allow_pickle=array.dtype == object)


@pytest.mark.parametrize(
    ("part", "damage", "finding"),
    [
        ("data", _truncate, r"cannot be read as a NumPy array, truncated or of another format"),
        ("data", lambda p: p.write_bytes(b"\x93NUMPY"), "cannot be read as a NumPy array"),
        ("data", lambda p: p.write_bytes(b"version https://git-lfs"), "cannot be read as a NumPy"),
        ("data", _save(np.array([{}] * 4)), "cannot be read as a NumPy array"),
        ("data", _save(np.zeros((4, 9, *AREA), np.uint16)), r"holds \(4, 9, 64, 72\) of uint16"),
        ("data", _save(np.zeros((4, 10, *AREA), np.float32)), r"holds .* of float32, expected"),
        ("data", _save(np.zeros((5, 10, *AREA), np.uint16)), r"holds 5 dates, but .* 4"),
        ("data", _save(np.zeros((4, 10, 64), np.uint16)), r"holds \(4, 10, 64\)"),
        ("masks", _save(np.zeros((4, 3, *AREA), np.uint8)), r"holds \(4, 3, 64, 72\)"),
        ("masks", _save(np.zeros((4, 2, 64, 70), np.uint8)), "64 x 70 pixels, but .*64 x 72"),
        ("masks", _truncate, "cannot be read as a NumPy array"),
    ],
)
def test_damaged_arrays(
    folder: Path, part: str, damage: Callable[[Path], None], finding: str
) -> None:
    path = folder / SEN / f"{STEM}_{part}.npy"
    damage(path)
    with pytest.raises(DataError, match=rf"{path.name}: {finding}"):
        _first(folder)


def test_an_archive_of_arrays_is_none(folder: Path) -> None:
    path = folder / SEN / f"{STEM}_data.npy"
    with path.open("wb") as handle:
        np.savez(handle, data=np.zeros((4, 10, *AREA), np.uint16))
    with pytest.raises(DataError, match=r"data\.npy: holds an archive"):
        _first(folder)


def test_a_centre_outside_the_area(folder: Path) -> None:
    write_json(folder / "flair-2_centroids_sp_to_patch.json", {"IMG_000001.tif": [64, 3]})
    with pytest.raises(DataError, match=r"IMG_000001 is said to be at row 64, column 3, outside"):
        _first(folder)


def test_a_series_needs_the_places_of_its_patches(folder: Path) -> None:
    (folder / "flair-2_centroids_sp_to_patch.json").unlink()
    with pytest.raises(DataError, match=r"Put flair-2_centroids_sp_to_patch\.json into"):
        list(get_layout("flair").scan(folder))


def test_a_series_without_products_is_left_out_with_a_word(folder: Path) -> None:
    (folder / SEN / f"{STEM}_products.txt").unlink()
    index = build_index(folder, "flair")
    assert len(index.problems) == 2
    assert f"no dates for {SERIES}, left out" in index.problems[0]
    assert index.available()[SERIES] == 2


@pytest.mark.parametrize("line", ["S2A_MSIL1C_20200112T1", "notes", "S2A_MSIL2A_20201312T1"])
def test_products_without_a_date(folder: Path, line: str) -> None:
    path = folder / SEN / f"{STEM}_products.txt"
    path.write_text(f"{line}\n")
    with pytest.raises(DataError, match=rf"{path.name}: '{line}' names no product with a date"):
        list(get_layout("flair").scan(folder))


def test_negative_reflectance_stays_a_measurement(folder: Path) -> None:
    data = np.full((4, 10, *AREA), 500, np.int16)
    data[0, 3] = -20
    np.save(folder / SEN / f"{STEM}_data.npy", data)
    series = _first(folder).series[SERIES]
    assert series.values[0, 3].max() == 0
    assert series.valid is None
