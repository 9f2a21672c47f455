"""Clear dates in the index: measured as a run filters, kept, and selected by."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from bocage.data import PatchIndex, get_layout
from bocage.data.clearness import add_clear_dates, percents
from bocage.errors import ConfigError
from bocage.series import SeriesConfig, select_clear


@pytest.mark.integration
def test_clear_dates_are_those_that_a_run_uses(hub, tmp_path, write_tif):
    # The metadata lists the newest date first: the index keeps the file's order.
    hub.days["SENTINEL2_TS"] = ("20210715", "20210601", "20210315", "20201228")
    ids = [hub.patch(), hub.patch(position="1-2"), hub.patch(position="1-3")]
    hub.dates(ids)
    mask = np.zeros((4, 2, 10, 10), np.uint16)
    mask[0, 1, 0, :6] = 50  # 94 clear
    mask[1, 0, 0, :5] = 50  # 95 clear, the least that counts
    mask[3, 1] = 2
    write_tif(hub.path("SENTINEL2_MSK-SC", "D004-2021", "AA-S1-32", "1-1"), mask.reshape(8, 10, 10))
    broken = hub.path("SENTINEL2_TS", "D004-2021", "AA-S1-32", "1-3")
    plain = hub.index()
    broken.write_bytes(b"II*\0")
    index = add_clear_dates(hub.root, plain)
    stored = index.table.column("clear:SENTINEL2_TS")
    assert percents(stored[0].as_py()).tolist() == [94, 95, 100, 0]
    assert index.clear_dates().tolist() == [2, 3, -1]
    assert len(index.problems) == 1
    assert ids[2] in index.problems[0]
    for record, count in zip(index, [2, 3], strict=False):
        sample = get_layout("flair-hub").read(hub.root, record, ["SENTINEL2_TS"], [])
        assert len(select_clear(sample.series["SENTINEL2_TS"], SeriesConfig())) == count
    assert [r.patch_id for r in index.select(clear_dates=3)] == [ids[1]]
    assert len(index.select(clear_dates=0)) == 2
    # It survives the file; a run opens the count, not the shares.
    path = tmp_path / "index.parquet"
    index.write(path)
    assert PatchIndex.read(path).table.column("clear:SENTINEL2_TS").equals(stored)
    slim = PatchIndex.read(path, names={"SENTINEL2_TS"}, counts=False)
    assert "clear:SENTINEL2_TS" not in slim.table.column_names
    assert slim.clear_dates().tolist() == [2, 3, -1]
    assert pq.read_schema(path).field("clear_dates:SENTINEL2_TS").type == "int16"


@pytest.mark.integration
def test_an_index_without_is_told_how_to_get_it(dataset):
    index = PatchIndex.read(dataset.root / "index.parquet")
    with pytest.raises(ConfigError, match="does not know how many dates"):
        index.select(clear_dates=1)


@pytest.mark.integration
def test_class_shares_select_by_labelled_pixels(one_patch, hub):
    labels = np.full((1, 512, 512), 255, np.uint8)
    labels[0, :10] = 8
    labels[0, :1] = 1
    one_patch.replace("AERIAL_LABEL-COSIA", labels)
    index = one_patch.index()
    assert len(index.select(class_share={"land-cover": {"greenhouse": 0.1}})) == 1
    assert len(index.select(class_share={"land-cover": {"greenhouse": 0.101}})) == 0
    both = {"greenhouse": 0.05, "herbaceous vegetation": 0.9}
    assert len(index.select(class_share={"land-cover": both})) == 1
    assert len(index.select(class_share={"land-cover": {"water": 0.0}})) == 0
    with pytest.raises(ConfigError, match="did you mean 'greenhouse'"):
        index.select(class_share={"land-cover": {"green house": 0.1}})
    with pytest.raises(ConfigError, match="unknown task"):
        index.select(class_share={"covers": {"water": 0.1}})
    path = one_patch.root / "index.parquet"
    index.write(path)
    slim = PatchIndex.read(path, names=(), counts={"land-cover"})
    assert [c for c in slim.table.column_names if c.startswith("counts:")] == [
        "counts:AERIAL_LABEL-COSIA"
    ]
    with pytest.raises(ConfigError, match="no class counts"):
        slim.select(class_share={"crops": {"wheat": 0.1}})
