"""The index: what is written comes back, selects and refuses."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bocage.data import PatchIndex, PatchRecord, index_path
from bocage.data.build import open_index
from bocage.errors import ConfigError, DataError


def record(i: int, **fields) -> PatchRecord:
    return PatchRecord(
        **{
            "patch_id": f"D00{i % 3}-2021_AA-S1-{i % 2}_1-{i}",
            "domain": f"D00{i % 3}-2021",
            "roi": f"AA-S1-{i % 2}",
            "year": 2021,
            "paths": {"AERIAL_RGBI": f"a/{i}.tif"} | ({"SPOT_RGBI": "s.tif"} if i % 2 else {}),
            "dates": {"SENTINEL2_TS": np.array(["2020-12-31", "2021-01-05"], "datetime64[D]")},
            "splits": {"split_1": ("train", "valid", "test")[i % 3]},
            "bounds": (850_000.0, 6_599_897.6, 850_102.4, 6_600_000.0),
            "epsg": 2154,
            "class_counts": {"AERIAL_LABEL-COSIA": np.arange(19) + i},
            **fields,
        }
    )


def same(a: PatchRecord, b: PatchRecord) -> bool:
    plain = ("patch_id", "domain", "roi", "year", "paths", "splits", "bounds", "epsg", "window")
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and a.dates.keys() == b.dates.keys()
        and all(np.array_equal(a.dates[n], b.dates[n]) for n in a.dates)
        and (a.class_counts or {}).keys() == (b.class_counts or {}).keys()
        and all(
            np.array_equal(v, (b.class_counts or {})[n]) for n, v in (a.class_counts or {}).items()
        )
    )


@pytest.fixture
def records() -> list[PatchRecord]:
    bare = PatchRecord("lonely", "D9", "Z1", 2019)
    empty_series = np.array([], "datetime64[D]")
    odd = record(7, window=(0, 16, 16, 16), dates={"SENTINEL1-ASC_TS": empty_series}, epsg=25832)
    return [*(record(i) for i in range(6)), bare, odd]


@pytest.mark.unit
def test_records_survive_the_file(tmp_path, records):
    path = tmp_path / "deep" / "index.parquet"
    PatchIndex.from_records(records, "flair-hub").write(path)
    index = PatchIndex.read(path)
    assert index.layout == "flair-hub"
    assert len(index) == len(records)
    assert all(same(a, b) for a, b in zip(records, index, strict=True))
    assert same(index[-1], records[-1])
    with pytest.raises(IndexError):
        index[len(records)]
    # A second generation is the same as the first.
    index_again = PatchIndex.from_records(index.records, index.layout)
    assert all(same(a, b) for a, b in zip(records, index_again, strict=True))


@pytest.mark.unit
def test_the_file_is_geoparquet_without_the_root(tmp_path, records):
    path = tmp_path / "index.parquet"
    PatchIndex.from_records(records, "flair-hub").write(path)
    frame = gpd.read_parquet(path)
    assert frame.crs == "OGC:CRS84"
    assert frame.geometry.isna().tolist() == [False] * 6 + [True, False]
    back = frame.geometry.iloc[:1].to_crs(2154).iloc[0]
    assert back.bounds == pytest.approx((850_000.0, 6_599_897.6, 850_102.4, 6_600_000.0), abs=0.01)
    assert str(tmp_path) not in str(pq.read_schema(path).metadata)


@pytest.mark.unit
def test_selecting(records):
    index = PatchIndex.from_records(records, "flair-hub")
    assert index.split_columns == ("split_1",)
    assert index.domains == ("D000-2021", "D001-2021", "D002-2021", "D9")
    train = index.select({"train"}, "split_1")
    assert [r.splits["split_1"] for r in train] == ["train"] * len(train)
    assert len(train) == 2
    assert len(index.select({"train", "test"}, "split_1", domains=["D002-2021"])) == 2
    assert len(index.select(rois=["AA-S1-1"], present=["SPOT_RGBI"])) == 4
    assert len(index.select(present=["DEM_ELEV"])) == 0
    assert index.available() == {"AERIAL_RGBI": 7, "SPOT_RGBI": 4}
    assert index.record("lonely").year == 2019
    assert index.class_counts("land-cover")[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 7]
    assert not index.class_counts("crops").any()


@pytest.mark.unit
def test_selecting_what_is_not_there_names_what_is(records):
    index = PatchIndex.from_records(records, "flair-hub")
    with pytest.raises(ConfigError, match=r"split_2.*did you mean 'split_1'"):
        index.select({"train"}, "split_2")
    with pytest.raises(ConfigError, match="unknown domain 'D001-2020'; did you mean 'D001-2021'"):
        index.select(domains=["D001-2020"])
    with pytest.raises(ConfigError, match="unknown patch 'lonly'; did you mean 'lonely'"):
        index.record("lonly")
    bare = PatchIndex.from_records([records[6]], "flair-hub")
    with pytest.raises(ConfigError, match="no split column"):
        bare.select({"train"}, "split_1")


@pytest.mark.unit
def test_a_run_opens_only_what_it_uses(tmp_path, records):
    path = tmp_path / "index.parquet"
    PatchIndex.from_records(records, "flair-hub").write(path)
    index = PatchIndex.read(path, names={"AERIAL_RGBI"}, counts=False)
    assert index[1].paths == {"AERIAL_RGBI": "a/1.tif"}
    assert index[1].dates == {}
    assert index[1].class_counts is None
    assert index[1].splits == records[1].splits
    assert index[7].window == (0, 16, 16, 16)
    assert index.table.equals(PatchIndex.read(path).narrow({"AERIAL_RGBI"}).table)
    with pytest.raises(ConfigError, match="opened in part"):
        index.write(path)


@pytest.mark.unit
def test_dates_are_held_once_per_roi(tmp_path):
    days = np.arange("2021-01-01", "2021-12-31", 4, dtype="datetime64[D]")
    path = tmp_path / "index.parquet"
    many = [record(i, dates={"SENTINEL2_TS": days}, class_counts=None) for i in range(4000)]
    PatchIndex.from_records(many, "flair-hub").write(path)
    column = PatchIndex.read(path).table.column("dates:SENTINEL2_TS")
    assert pa.types.is_dictionary(column.type)
    assert column.nbytes < 4000 * 5 + 2000


@pytest.mark.unit
def test_files_that_are_no_index_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no index there.*bocage data index"):
        PatchIndex.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        PatchIndex.read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no Bocage index, expected an index of version 1"):
        PatchIndex.read(tmp_path / "other.parquet")


@pytest.mark.integration
def test_an_index_is_built_once_then_opened(one_patch, monkeypatch):
    built = open_index(one_patch.root, "flair-hub", names={"AERIAL_RGBI"})
    monkeypatch.setattr("bocage.data.build.build_index", None)
    opened = open_index(one_patch.root, "flair-hub", names={"AERIAL_RGBI"})
    assert same(built[0], opened[0])
    assert opened.available() == {"AERIAL_RGBI": 1}
    with pytest.raises(ConfigError, match="layout 'flair-hub', not 'flair'"):
        open_index(one_patch.root, "flair")


@pytest.mark.integration
def test_a_read_only_folder_stays_as_it_is(one_patch, caplog):
    one_patch.root.chmod(0o555)
    try:
        index = open_index(one_patch.root, "flair-hub")
    finally:
        one_patch.root.chmod(0o755)
    assert len(index) == 1
    assert not index_path(one_patch.root).exists()
    assert "the index is not kept" in caplog.text
