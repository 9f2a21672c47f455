"""The FLAIR-HUB layout: names, dates, splits, pixels, and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from bocage.data import PatchIndex, get_layout
from bocage.data.build import build_index
from bocage.errors import DataError
from bocage.modalities import FLAIR_HUB_INPUTS
from bocage.nomenclatures import IGNORE
from bocage.sample import Sample

LAYOUT = get_layout("flair-hub")
ALL_INPUTS = [m.name for m in FLAIR_HUB_INPUTS]
ALL_TASKS = ["land-cover", "crops", "crops-2", "crops-3"]


def read_only(hub, inputs=ALL_INPUTS, tasks=ALL_TASKS, unknown="refuse") -> Sample:
    (record,) = LAYOUT.scan(hub.root)
    return LAYOUT.read(hub.root, record, inputs, tasks, unknown)


@pytest.mark.unit
def test_patches_are_found_with_merged_departments_and_the_fake_year(dataset):
    records = list(LAYOUT.scan(dataset.root))
    assert [r.patch_id for r in records] == [
        "D004-2021_AA-S1-32_1-1",
        "D004-2021_AA-S1-32_1-2",
        "D024047-2021_FF-S2-N14_10-3",
    ]
    merged = records[2]
    assert (merged.domain, merged.roi, merged.year) == ("D024047-2021", "FF-S2-N14", 2021)
    assert merged.paths["AERIAL-RLT_PAN"] == (
        "D024047-195X_AERIAL-RLT_PAN/FF-S2-N14/D024047-195X_AERIAL-RLT_PAN_FF-S2-N14_10-3.tif"
    )
    assert "SENTINEL1-ASC_TS" not in merged.paths
    assert merged.splits == {"split_1": "test"}


@pytest.mark.unit
def test_dates_come_in_the_order_of_their_numbers_and_by_roi_where_a_patch_is_not_listed(dataset):
    first, unlisted, _ = LAYOUT.scan(dataset.root)
    expected = np.array(["2020-12-28", "2021-03-15", "2021-06-01", "2021-07-15"], "datetime64[D]")
    np.testing.assert_array_equal(first.dates["SENTINEL2_TS"], expected)
    np.testing.assert_array_equal(unlisted.dates["SENTINEL2_TS"], expected)
    np.testing.assert_array_equal(
        first.dates["AERIAL_RGBI"], np.array(["2021-06-29"], "datetime64[D]")
    )
    assert "DEM_ELEV" not in first.dates


@pytest.mark.unit
def test_historical_images_of_a_domain_with_two_years_go_where_they_belong(hub):
    hub.patch("D017-2018", "AA-S1-1", "1-1", ["AERIAL_RGBI", "AERIAL-RLT_PAN"])
    hub.patch("D017-2021", "UU-S1-2", "1-1", ["AERIAL_RGBI", "AERIAL-RLT_PAN"])
    hub.patch("D017-2021", "NN-S1-3", "4-2", ["AERIAL-RLT_PAN"])
    found = {r.patch_id: (r.year, sorted(r.paths)) for r in LAYOUT.scan(hub.root)}
    both = ["AERIAL-RLT_PAN", "AERIAL_RGBI"]
    assert found == {
        "D017-2018_AA-S1-1_1-1": (2018, both),
        "D017-2021_UU-S1-2_1-1": (2021, both),
        "D017-195X_NN-S1-3_4-2": (1950, ["AERIAL-RLT_PAN"]),
    }


@pytest.mark.unit
def test_metadata_in_a_folder_of_its_own_archive_are_found(one_patch):
    folder = one_patch.root / "GLOBAL_ALL_MTD"
    folder.rename(one_patch.root / "inner")
    folder.mkdir()
    (one_patch.root / "inner").rename(folder / "GLOBAL_ALL_MTD")
    (record,) = LAYOUT.scan(one_patch.root)
    assert len(record.dates["SENTINEL1-ASC_TS"]) == 3
    assert record.splits == {"split_1": "train"}


@pytest.mark.unit
def test_missing_dates_are_named_and_only_needed_by_series(hub):
    hub.patch(products=["AERIAL_RGBI", "DEM_ELEV"])
    assert len(list(LAYOUT.scan(hub.root))) == 1
    hub.patch(products=["SENTINEL1-ASC_TS"])
    with pytest.raises(DataError, match=r"GLOBAL_SENTINEL1-ASC_MTD_DATES\.gpkg: missing.*Unpack"):
        list(LAYOUT.scan(hub.root))


@pytest.mark.unit
@pytest.mark.parametrize("text", ["{not json", '{"1": "2021"}', "soon"])
def test_unreadable_dates_name_file_patch_and_text(hub, text):
    patch = hub.patch(products=["SENTINEL1-ASC_TS"])
    hub._table(
        "GLOBAL_SENTINEL1-ASC_MTD_DATES.gpkg", {"patch_id": [patch], "acquisition_dates": [text]}
    )
    with pytest.raises(DataError, match=rf"SENTINEL1-ASC_MTD.*{patch}.*unreadable dates"):
        list(LAYOUT.scan(hub.root))


@pytest.mark.unit
def test_a_date_table_without_its_column_lists_those_it_has(hub):
    hub.patch(products=["SENTINEL1-ASC_TS"])
    hub._table("GLOBAL_SENTINEL1-ASC_MTD_DATES.gpkg", {"patch_id": ["x"], "days": ["20210101"]})
    with pytest.raises(DataError, match="no column 'acquisition_dates', only patch_id, days"):
        list(LAYOUT.scan(hub.root))


@pytest.mark.unit
def test_a_folder_that_is_not_flair_hub_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no FLAIR-HUB product folder here.*data\.root"):
        list(LAYOUT.scan(tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        list(LAYOUT.scan(tmp_path / "absent"))


@pytest.mark.unit
@pytest.mark.parametrize("name", ALL_INPUTS)
def test_every_sensor_is_read_as_it_was_written(dataset, name):
    record = next(iter(LAYOUT.scan(dataset.root)))
    sample = LAYOUT.read(dataset.root, record, [name], [])
    with rasterio.open(record.path(dataset.root, name)) as file:
        written = file.read()
    if name in sample.series:
        series = sample.series[name]
        got = series.values.reshape(written.shape)
        assert len(series) == len(record.dates[name])
        assert series.valid is None
    else:
        got = sample.images[name]
    assert got.dtype == written.dtype
    np.testing.assert_array_equal(got, written)
    assert sample.crs == "EPSG:2154"
    assert sample.transform is not None
    assert sample.transform[0] == 850_000.0
    assert sample.transform[3] == 6_600_000.0


@pytest.mark.unit
def test_labels_are_read_once_per_level(dataset):
    record = next(iter(LAYOUT.scan(dataset.root)))
    sample = LAYOUT.read(dataset.root, record, [], ALL_TASKS)
    with rasterio.open(record.path(dataset.root, "ALL_LABEL-LPIS")) as file:
        levels = file.read()
    names = ("ALL_LABEL-LPIS", "ALL_LABEL-LPIS-2", "ALL_LABEL-LPIS-3")
    for name, level in zip(names, levels, strict=True):
        np.testing.assert_array_equal(sample.labels[name], level)
    assert sample.labels["AERIAL_LABEL-COSIA"].max() <= 18


@pytest.mark.unit
def test_a_series_out_of_order_is_sorted_with_its_mask(hub):
    hub.days["SENTINEL2_TS"] = ("20210601", "20210301", "20210801", "20210401")
    patch = hub.patch(products=["SENTINEL2_TS", "SENTINEL2_MSK-SC"])
    hub.dates([patch], ["SENTINEL2_TS"])
    series = read_only(hub, tasks=[]).series["SENTINEL2_TS"]
    assert (np.diff(series.dates) > np.timedelta64(0)).all()
    with rasterio.open(hub.path("SENTINEL2_TS", "D004-2021", "AA-S1-32", "1-1")) as file:
        frames = file.read().reshape(4, 10, 10, 10)
    np.testing.assert_array_equal(series.values, frames[[1, 3, 0, 2]])
    # The cloud lay over the second frame of the file.
    assert series.snow_cloud is not None
    assert series.snow_cloud[:, 1].max(axis=(1, 2)).tolist() == [100, 0, 0, 0]


@pytest.mark.unit
def test_holes_in_the_elevation_are_marked(one_patch):
    dem = np.full((2, 512, 512), 250.0, dtype=np.float32)
    dem[0, 0, 0] = -9999
    dem[1, 0, 1] = np.nan
    dem[0, 0, 2] = np.inf
    dem[1, 0, 3] = np.float32(-3.4e38)
    one_patch.replace("DEM_ELEV", dem)
    valid = read_only(one_patch, ["DEM_ELEV"], []).valid["DEM_ELEV"]
    assert not valid[0, :4].any()
    assert valid.sum() == 512 * 512 - 4


@pytest.mark.unit
def test_nodata_in_series_is_marked(one_patch):
    optical = np.full((4, 10, 10, 10), 900, dtype=np.uint16)
    optical[0, :, 0, 0] = 0
    optical[1, 3, 0, 1] = 65535
    optical[2, 5, 0, 2] = 0  # dark in one band is a measurement
    one_patch.replace("SENTINEL2_TS", optical.reshape(-1, 10, 10))
    radar = np.full((3, 2, 10, 10), 0.1, dtype=np.float32)
    radar[0, 0, 1, 1] = 0
    radar[2, 1, 1, 2] = np.nan
    one_patch.replace("SENTINEL1-ASC_TS", radar.reshape(-1, 10, 10))
    sample = read_only(one_patch, ["SENTINEL2_TS", "SENTINEL1-ASC_TS"], [])
    holes = np.argwhere(~sample.series["SENTINEL2_TS"].valid).tolist()
    assert holes == [[0, 0, 0], [1, 0, 1]]
    assert np.argwhere(~sample.series["SENTINEL1-ASC_TS"].valid).tolist() == [[0, 1, 1], [2, 1, 2]]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("product", "array", "message"),
    [
        ("AERIAL_RGBI", np.ones((3, 512, 512), np.uint8), "3 bands where AERIAL_RGBI has 4"),
        ("AERIAL_RGBI", np.ones((4, 512, 512), np.uint16), "uint16 where AERIAL_RGBI has uint8"),
        ("SPOT_RGBI", np.ones((4, 60, 60), np.uint16), "60 x 60 pixels where SPOT_RGBI has 64"),
        ("ALL_LABEL-LPIS", np.ones((1, 512, 512), np.uint8), "1 bands where ALL_LABEL-LPIS has 3"),
        (
            "SENTINEL2_TS",
            np.ones((30, 10, 10), np.uint16),
            "D004-2021_AA-S1-32_1-1.*30 bands, 3 dates of 10 bands, but GLOBAL_SENTINEL2_MTD_DATES"
            r"\.gpkg lists 4 dates.*rebuild the index",
        ),
        ("SENTINEL2_MSK-SC", np.ones((7, 10, 10), np.uint16), r"7 bands, 3\.5 dates of 2 bands"),
    ],
)
def test_a_wrong_product_is_refused_before_decoding(one_patch, product, array, message):
    one_patch.replace(product, array)
    with pytest.raises(DataError, match=message):
        read_only(one_patch)


@pytest.mark.unit
@pytest.mark.parametrize("product", ["AERIAL_RGBI", "SENTINEL2_TS", "AERIAL_LABEL-COSIA"])
def test_a_truncated_file_is_named_never_read_as_zeros(one_patch, product):
    path = one_patch.path(product, "D004-2021", "AA-S1-32", "1-1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{path.name}.*(truncated or\s+corrupt|cannot be read)"):
        read_only(one_patch)


@pytest.mark.unit
def test_a_label_outside_the_nomenclature_is_refused_or_ignored_never_class_0(one_patch):
    label = np.full((1, 512, 512), 9, dtype=np.uint8)
    label[0, :2] = 19
    label[0, 2] = IGNORE
    one_patch.replace("AERIAL_LABEL-COSIA", label)
    with pytest.raises(DataError, match=r"COSIA_AA-S1-32_1-1\.tif: 1024 label pixels.*\[19\]"):
        read_only(one_patch, [], ["land-cover"])
    target = read_only(one_patch, [], ["land-cover"], "ignore").labels["AERIAL_LABEL-COSIA"]
    assert (target[:3] == IGNORE).all()
    assert (target[3:] == 9).all()


@pytest.mark.unit
def test_a_crs_spelt_differently_is_accepted(one_patch):
    local = CRS.from_wkt('LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]')
    one_patch.replace("AERIAL_LABEL-COSIA", np.ones((1, 512, 512), np.uint8), local)
    sample = read_only(one_patch)
    assert sample.crs == "EPSG:2154"


@pytest.mark.unit
def test_a_truly_different_crs_is_refused_naming_both(one_patch):
    one_patch.replace("SPOT_RGBI", np.ones((4, 64, 64), np.uint16), "EPSG:32631")
    with pytest.raises(DataError) as caught:
        read_only(one_patch)
    text = str(caught.value)
    assert "D004-2021_AA-S1-32_1-1" in text
    assert "EPSG:32631" in text
    assert "EPSG:2154" in text
    assert "SPOT_RGBI" in text


@pytest.mark.integration
def test_building_an_index_leaves_out_what_cannot_be_read_and_says_so(hub, caplog):
    good = hub.patch(position="1-1", products=["AERIAL_RGBI", "AERIAL_LABEL-COSIA"])
    bad = hub.patch(position="1-2", products=["AERIAL_RGBI", "AERIAL_LABEL-COSIA"])
    undated = hub.patch(position="1-3", products=["AERIAL_RGBI", "SENTINEL1-ASC_TS"])
    hub.dates(["D099-2021_AA-S1-1_1-1"], ["SENTINEL1-ASC_TS"])
    path = hub.path("AERIAL_LABEL-COSIA", "D004-2021", "AA-S1-32", "1-2")
    path.write_bytes(path.read_bytes()[:300])
    seen: list[tuple[int, int | None]] = []
    index = build_index(
        hub.root, "flair-hub", progress=lambda done, total: seen.append((done, total))
    )
    assert [r.patch_id for r in index] == [good, undated]
    assert index.record(undated).sensors == ("AERIAL_RGBI",)
    assert len(index.problems) == 2
    assert any(bad in problem and path.name in problem for problem in index.problems)
    assert any(undated in problem and "no dates" in problem for problem in index.problems)
    assert all(problem in caplog.text for problem in index.problems)
    assert seen[-1] == (3, 3)


@pytest.mark.integration
def test_the_index_holds_footprints_and_class_counts(dataset):
    index = PatchIndex.read(dataset.root / "index.parquet")
    record = index[0]
    assert record.epsg == 2154
    assert record.bounds == pytest.approx((850_000.0, 6_599_897.6, 850_102.4, 6_600_000.0))
    label = LAYOUT.read(dataset.root, record, [], ["crops-2"]).labels["ALL_LABEL-LPIS-2"]
    expected = np.bincount(label.ravel(), minlength=31)
    assert record.class_counts is not None
    np.testing.assert_array_equal(record.class_counts["ALL_LABEL-LPIS-2"], expected)
    np.testing.assert_array_equal(index.class_counts("crops-2")[0], expected)
    assert index.class_counts("land-cover").sum(axis=1).tolist() == [512 * 512] * 3


@pytest.mark.unit
def test_nothing_readable_at_all_is_an_error(hub):
    hub.patch(products=["AERIAL_LABEL-COSIA"])
    path = hub.path("AERIAL_LABEL-COSIA", "D004-2021", "AA-S1-32", "1-1")
    path.write_bytes(Path(path).read_bytes()[:200])
    with pytest.raises(DataError, match="not one of 1 patches can be read"):
        build_index(hub.root, "flair-hub")
