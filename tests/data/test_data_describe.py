"""What an index says of its dataset: counts, dates, clouds, leakage, shift; text and pictures."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from bocage.data import PatchIndex, PatchRecord, describe_dataset
from bocage.data.describe.facts import describe_index
from bocage.data.describe.splits import divergence
from bocage.data.describe.text import text_lines

DAYS = np.array(["2020-12-30", "2021-03-01", "2021-03-31", "2021-07-02"], "datetime64[D]")


def counts(**classes: int) -> dict[str, np.ndarray]:
    names = {"building": 0, "water": 6, "maize": 3, "clear_cut": 15}
    table = np.zeros(19, np.int64)
    for name, pixels in classes.items():
        table[names[name]] = pixels
    return {"AERIAL_LABEL-COSIA": table}


def make(domain: str, roi: str, i: int, split: str | None, x: float, **fields) -> PatchRecord:
    return PatchRecord(
        **{
            "patch_id": f"{domain}_{roi}_{i}",
            "domain": domain,
            "roi": roi,
            "year": int(domain[-4:]),
            "paths": {"SENTINEL2_TS": "s.tif"},
            "dates": {"SENTINEL2_TS": DAYS},
            "splits": {} if split is None else {"split_1": split},
            "epsg": 2154,
            "bounds": (850_000 + x, 6_600_000, 850_102.4 + x, 6_600_102.4),
            "class_counts": counts(building=60, water=40),
            **fields,
        }
    )


@pytest.fixture
def index() -> PatchIndex:
    """Two training patches; three validation patches: in their ROI, beside it, and far away."""
    records = [
        make("A-2021", "1", 0, "train", 0),
        make("A-2021", "1", 1, "train", 102.4),
        make("A-2021", "1", 2, "valid", 1000),
        make("A-2021", "2", 0, "valid", 204.8),
        make("A-2021", "3", 0, "valid", 50_000),
        make("B-2019", "1", 0, "test", 90_000, class_counts=counts(water=100, clear_cut=50)),
        make("B-2019", "1", 1, None, 90_102.4, class_counts=None, dates={}, paths={}),
    ]
    index = PatchIndex.from_records(records, "flair-hub")
    shares = [bytes([100, 95, 94, 100]), bytes([0, 0, 0, 0]), *[bytes([100] * 4)] * 4, None]
    numbers = [3, 0, 4, 4, 4, 4, None]
    index = index.with_column("clear:SENTINEL2_TS", pa.array(shares, pa.binary()))
    return index.with_column("clear_dates:SENTINEL2_TS", pa.array(numbers, pa.int16()))


@pytest.mark.unit
def test_classes_dates_and_clouds_are_counted(index):
    d = describe_index(index)
    assert (d.patches, d.rois, [x.name for x in d.domains]) == (7, 4, ["A-2021", "B-2019"])
    assert d.years == {"2019": 2, "2021": 5}
    building, water = (d.classes["AERIAL_LABEL-COSIA"][k] for k in (0, 6))
    assert (building.pixels, building.patches) == (300, 5)
    assert building.share == pytest.approx(300 / 650)
    assert (water.pixels, water.patches) == (300, 6)
    assert set(d.classes) == {"AERIAL_LABEL-COSIA"}
    dates = d.dates["SENTINEL2_TS"]
    assert dates.per_month == (0, 0, 12, 0, 0, 0, 6, 0, 0, 0, 0, 6)
    assert dates.years == {"2020": 6, "2021": 18}
    assert (dates.fewest, dates.median, dates.most) == (4, 4, 4)
    clouds = d.clouds["SENTINEL2_TS"]
    assert clouds.clear_per_month[2] == pytest.approx((1 + 0 + 4 * 2) / 12)
    assert clouds.clear_per_month[11] == pytest.approx(5 / 6)
    assert clouds.clear_per_month[0] is None
    assert (clouds.patches, clouds.without, clouds.fewest, clouds.most) == (6, 1, 0, 4)
    assert clouds.clear == pytest.approx(19 / 24)
    second = d.domains[1]
    assert second.labelled_pixels == {"AERIAL_LABEL-COSIA": 150}
    assert second.splits == {"split_1": {"test": 1}}


@pytest.mark.unit
def test_leakage_and_shift_of_a_split(index):
    split = describe_index(index).splits["split_1"]
    assert split.leaks
    assert split.unused == 1
    assert list(split.parts) == ["train", "valid", "test"]
    valid, test = split.parts["valid"], split.parts["test"]
    assert valid.same_roi == pytest.approx(1 / 3)
    assert valid.beside == pytest.approx(1 / 3)
    assert valid.divergence["AERIAL_LABEL-COSIA"] == pytest.approx(0)
    assert (test.same_roi, test.beside) == (0, 0)
    # Clear cut is not scored: the test patch is all water.
    assert test.shifted["AERIAL_LABEL-COSIA"]["building"] == (pytest.approx(0.6), 0)
    expected = (0.4 * np.log2(0.4 / 0.7) + 0.6 * np.log2(0.6 / 0.3) + np.log2(1 / 0.7)) / 2
    assert test.divergence["AERIAL_LABEL-COSIA"] == pytest.approx(expected)
    assert (test.years, test.domains) == ({"2019": 1}, 1)
    assert valid.clear_dates == {"SENTINEL2_TS": 4}
    sound = describe_index(index.select({"train", "test"}, "split_1")).splits["split_1"]
    assert not sound.leaks


@pytest.mark.property
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
def test_divergence_is_a_symmetric_number_from_0_to_1(pairs):
    first, second = (np.array(column) + 1e-6 for column in zip(*pairs, strict=True))
    first, second = first / first.sum(), second / second.sum()
    value = divergence(first, second)
    assert 0 <= value <= 1
    assert value == pytest.approx(divergence(second, first))
    assert divergence(first, first) == pytest.approx(0, abs=1e-12)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1


@pytest.mark.unit
def test_the_text_says_it_all(index):
    text = "\n".join(text_lines(describe_index(index)))
    for wanted in (
        "7 patches, 4 ROIs, 2 domains (flair-hub)",
        "years: 2019 (2), 2021 (5)",
        "building                       46.1538%         5 patches",
        "clear cut                       7.6923%         1 patches  █████ (not scored)",
        "nowhere: greenhouse, swimming pool",
        "clear dates of SENTINEL2_TS: 79.2% of all; per patch 0 4 4; 1 of 6 patches have none",
        "split_1: parts share ground with the training part, 1 patches in no part",
        "leakage: 33.3% of its patches lie in ROIs that are trained on, 33.3% beside",
        "shift of land-cover: 0.396 bits (building 60.0% → 0.0%; water 40.0% → 100.0%)",
    ):
        assert wanted in text
    bare = index.narrow(["SENTINEL2_TS"]).table.drop_columns(["clear_dates:SENTINEL2_TS"])
    text = "\n".join(text_lines(describe_index(PatchIndex(bare, "flair-hub"))))
    assert "clear dates: unknown. Build the index" in text


@pytest.mark.integration
def test_files_and_pictures(index, tmp_path):
    index.write(tmp_path / "index.parquet")
    out = tmp_path / "described"
    d = describe_dataset(tmp_path / "index.parquet", "flair-hub", out)
    pictures = {"classes.png", "dates.png", "clouds.png", "domains.png", "shift_split_1.png"}
    assert {p.name for p in out.iterdir()} == {*pictures, "describe.txt", "describe.json"}
    for name in pictures:
        picture = imread(out / name)
        assert min(picture.shape[:2]) > 150
        assert picture[..., :3].std() > 0.05
    numbers = json.loads((out / "describe.json").read_text())
    assert numbers["patches"] == d.patches
    assert numbers["splits"]["split_1"]["parts"]["valid"]["same_roi"] == pytest.approx(1 / 3)
    assert (out / "describe.txt").read_text().splitlines() == text_lines(d)


@pytest.mark.integration
def test_a_folder_with_nothing_but_photographs_is_described_too(hub, tmp_path):
    hub.patch(products=["AERIAL_RGBI"])
    d = describe_dataset(hub.root, "flair-hub", tmp_path / "out")
    assert (d.patches, d.classes, d.dates, d.splits) == (1, {}, {}, {})
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"domains.png"}
