"""Packed data: codecs, records, and the same samples as the layout that was packed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bocage.data import (
    DataConfig,
    PatchDataModule,
    PatchDataset,
    PatchIndex,
    build_index,
    get_layout,
    pack_dataset,
)
from bocage.data.layouts.packed import Packed
from bocage.data.pack.codecs import PROFILES, decode, encode
from bocage.data.pack.part import Part, StoredPart, decode_parts, to_bytes
from bocage.data.pack.parts import read_parts
from bocage.data.pack.shard import Location
from bocage.errors import DataError
from bocage.modalities import FLAIR_HUB_INPUTS
from bocage.nomenclatures import TASKS
from bocage.sample import Sample, Series

ALL_INPUTS = [m.name for m in FLAIR_HUB_INPUTS]
TYPES = ("u1", "u2", "u4", "i2", "i4", "i8", "f4", "f8", ">u2", "?", "<M8[D]", "f2")


def bits(array: np.ndarray | None) -> tuple | None:
    if array is None:
        return None
    return array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes()


def content(sample: Sample) -> dict[str, object]:
    """Everything that a sample says, comparable with `==`."""
    series = {
        name: [bits(getattr(s, f.name)) for f in dataclasses.fields(Series)]
        for name, s in sample.series.items()
    }
    arrays = {
        part: {name: bits(array) for name, array in getattr(sample, part).items()}
        for part in ("images", "valid", "labels")
    }
    plain = (sample.patch_id, sample.year, sample.domain, sample.crs, sample.transform)
    return {"series": series, "plain": plain, **arrays}


@pytest.fixture(scope="session")
def packed(dataset, tmp_path_factory) -> dict[str, object]:
    """The three patches of `dataset`, packed in either way."""
    index = PatchIndex.read(dataset.root / "index.parquet")
    out = {}
    for codec in PROFILES:
        out[codec] = tmp_path_factory.mktemp("packed") / codec
        pack_dataset(dataset.root, out[codec], index, codec=codec, patches_per_shard=2)
    return out


# Any bits: infinities, every kind of NaN, negative zeros.
arrays = st.sampled_from(TYPES).flatmap(
    lambda dtype: hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9)
    ).map(
        lambda a: (
            (a & 1).astype(bool)
            if dtype == "?"
            else np.repeat(a[..., None], np.dtype(dtype).itemsize, -1).view(dtype)[..., 0]
        )
    )
)


@pytest.mark.property
@settings(max_examples=150, deadline=None)
@given(arrays, st.booleans(), st.sampled_from(PROFILES))
def test_codecs_lose_no_bit(array, categorical, profile):
    name, data = encode(array, categorical, profile)
    out = np.empty(array.shape, array.dtype)
    decode(name, data, out)
    assert bits(out) == bits(array)


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(PROFILES))
def test_codecs_lose_no_bit_of_what_sensors_send(seed, profile):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(0, 0.1, (2, 64, 64)), axis=-1) + 300
    holes = np.where(rng.random((2, 64, 64)) < 0.01, -9999, smooth).astype(np.float32)
    photograph = (100 + rng.normal(0, 20, (4, 64, 64))).clip(0, 255).astype(np.uint8)
    for array in (holes, np.rint(smooth * 100).astype(np.float32) / 100, photograph):
        name, data = encode(array, False, profile)
        out = np.empty(array.shape, array.dtype)
        decode(name, data, out)
        assert bits(out) == bits(array)
        assert len(data) <= array.nbytes


@pytest.mark.unit
def test_arrays_get_codecs_that_shrink_them():
    rng = np.random.default_rng(0)
    grey = rng.integers(40, 200, (1, 128, 128))
    photograph = (grey + rng.integers(0, 2, (4, 128, 128))).astype(np.uint8)
    names = {p: encode(photograph, False, p) for p in PROFILES}
    assert {p: name for p, (name, _) in names.items()} == {
        "small": "bands-zstd",
        "fast": "bands-lz4",
    }
    assert all(len(data) < 0.75 * photograph.nbytes for _, data in names.values())
    noise = rng.integers(0, 2**32, 1000, dtype=np.uint32)
    assert encode(noise, False, "fast")[0] == "raw"


@pytest.mark.unit
def test_an_unknown_codec_is_named():
    with pytest.raises(DataError, match=r"codec 'sperr'.*does not know"):
        decode("sperr", b"", np.empty(1))


def one_part() -> Part:
    values = np.arange(3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16)
    return Part("P1", "DEM_ELEV", {"values": values, "valid": values[0] > 5}, "EPSG:2154", (1,) * 6)


@pytest.mark.unit
def test_a_part_is_what_was_stored_and_only_wanted_arrays_are_decoded():
    part = one_part()
    data = to_bytes(part, {"valid"}, "small")
    (back,) = decode_parts([StoredPart(data, "P1", "DEM_ELEV", "x")], [None])
    assert {k: bits(a) for k, a in back.arrays.items()} == {
        k: bits(a) for k, a in part.arrays.items()
    }
    assert (back.crs, back.transform) == (part.crs, part.transform)
    (less,) = decode_parts([StoredPart(data, "P1", "DEM_ELEV", "x")], [{"valid"}])
    assert list(less.arrays) == ["valid"]
    with pytest.raises(DataError, match="holds DEM_ELEV of patch P1 where the index says"):
        StoredPart(data, "P2", "DEM_ELEV", "x")


@pytest.mark.unit
def test_what_a_later_version_adds_to_a_record_is_left_alone():
    part = one_part()
    more = dataclasses.replace(part, arrays={**part.arrays, "weight": np.ones((16, 16))})
    data = to_bytes(more, (), "fast")
    stored = StoredPart(data, "P1", "DEM_ELEV", "x")
    assert list(decode_parts([stored], [{"values", "valid"}])[0].arrays) == ["values", "valid"]


@pytest.mark.property
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_flipped_bit_goes_unseen(data):
    part = one_part()
    stored = bytearray(to_bytes(part, {"valid"}, "small"))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= 1 << data.draw(st.integers(0, 7))
    found: Part | None = None
    with contextlib.suppress(DataError):
        (found,) = decode_parts([StoredPart(bytes(stored), "P1", "DEM_ELEV", "x")], [None])
    if found is not None:
        # A bit between two arrays, or a reserved one, belongs to nothing.
        assert {k: bits(a) for k, a in found.arrays.items()} == {
            k: bits(a) for k, a in part.arrays.items()
        }
        assert (found.crs, found.transform) == (part.crs, part.transform)


@pytest.mark.unit
@pytest.mark.parametrize("length", [0, 10, 15, 40, 200])
def test_truncated_records_are_refused(length):
    data = to_bytes(one_part(), (), "fast")[:length]
    with pytest.raises(DataError, match=r"x: .*(ends inside|checksum mismatch)"):
        decode_parts([StoredPart(data, "P1", "DEM_ELEV", "x")], [None])


@pytest.mark.unit
def test_every_field_of_a_sample_has_its_place_in_a_record():
    # A new field that is not packed would be lost in silence: give it a place in `pack.parts`.
    assert {f.name for f in dataclasses.fields(Sample)} == {
        "patch_id", "year", "domain",  # the index
        "images", "valid", "series", "labels", "crs", "transform",  # the parts
    }  # fmt: skip


subsets = st.tuples(
    st.integers(0, 2),
    st.lists(st.sampled_from(ALL_INPUTS), unique=True),
    st.lists(st.sampled_from(list(TASKS)), unique=True),
)


@pytest.mark.property
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(subset=subsets, codec=st.sampled_from(PROFILES))
def test_every_subset_reads_the_same_as_from_the_original(dataset, packed, subset, codec):
    position, inputs, tasks = subset
    index = PatchIndex.read(dataset.root / "index.parquet")
    packed_index = PatchIndex.read(packed[codec] / "index.parquet")
    original = get_layout("flair-hub").read(dataset.root, index[position], inputs, tasks)
    found = get_layout("packed").read(packed[codec], packed_index[position], inputs, tasks)
    assert content(found) == content(original)


@pytest.mark.integration
def test_holes_and_missing_dates_are_kept(one_patch, tmp_path):
    elevation = np.full((2, 512, 512), 250.25, np.float32)
    elevation[0, 3, 4] = -9999
    elevation[1, 5, 6] = np.nan
    one_patch.replace("DEM_ELEV", elevation)
    radar = np.full((6, 10, 10), 0.1, np.float32)
    radar[2:4, :3] = 0
    one_patch.replace("SENTINEL1-ASC_TS", radar)
    index = one_patch.index()
    pack_dataset(one_patch.root, tmp_path / "p", index, codec="small")
    packed_index = PatchIndex.read(tmp_path / "p" / "index.parquet")
    found = Packed().read(tmp_path / "p", packed_index[0], ALL_INPUTS, ["crops"])
    original = get_layout("flair-hub").read(one_patch.root, index[0], ALL_INPUTS, ["crops"])
    assert content(found) == content(original)
    assert np.argwhere(~found.valid["DEM_ELEV"]).tolist() == [[3, 4], [5, 6]]
    assert found.series["SENTINEL1-ASC_TS"].valid is not None


@pytest.mark.integration
def test_labels_are_packed_as_they_are_and_judged_when_they_are_read(one_patch, tmp_path):
    label = np.zeros((1, 512, 512), np.uint8)
    label[0, 0, :3] = (200, 255, 7)
    one_patch.replace("AERIAL_LABEL-COSIA", label)
    report = pack_dataset(one_patch.root, tmp_path / "p", one_patch.index())
    assert report.problems == ()
    index = PatchIndex.read(tmp_path / "p" / "index.parquet")
    with pytest.raises(DataError, match=r"1 label pixels hold values outside.*\[200\]"):
        Packed().read(tmp_path / "p", index[0], [], ["land-cover"])
    ignored = Packed().read(tmp_path / "p", index[0], [], ["land-cover"], "ignore")
    assert ignored.labels["AERIAL_LABEL-COSIA"][0, :3].tolist() == [255, 255, 7]


@pytest.mark.integration
def test_codes_that_a_layout_cannot_rename_stay_unknown(tmp_path, write_tif):
    root = tmp_path / "flair"
    zone = "D004_2021/Z1_AU"
    image = np.random.default_rng(0).integers(0, 255, (5, 512, 512), np.uint8)
    mask = np.full((1, 512, 512), 3, np.uint8)
    mask[0, 0, 0] = 77
    write_tif(root / f"flair_aerial_train/{zone}/img/IMG_000001.tif", image)
    write_tif(root / f"flair_labels_train/{zone}/msk/MSK_000001.tif", mask)
    index = build_index(root, "flair")
    pack_dataset(root, tmp_path / "p", index)
    record = PatchIndex.read(tmp_path / "p" / "index.parquet")[0]
    with pytest.raises(DataError, match="1 label pixels"):
        Packed().read(tmp_path / "p", record, [], ["land-cover"])
    for names in (["AERIAL_RGBI"], ["AERIAL_HEIGHT", "AERIAL_RGBI"]):
        found = Packed().read(tmp_path / "p", record, names, ["land-cover"], "ignore")
        original = get_layout("flair").read(root, index[0], names, ["land-cover"], "ignore")
        assert content(found) == content(original)


@pytest.mark.integration
def test_the_index_keeps_all_but_the_places(dataset, packed):
    original = PatchIndex.read(dataset.root / "index.parquet")
    index = PatchIndex.read(packed["fast"] / "index.parquet")
    assert index.layout == "packed"
    assert index.available() == original.available()
    for a, b in zip(original, index, strict=True):
        plain = ("patch_id", "domain", "roi", "year", "splits", "bounds", "epsg")
        assert all(getattr(a, name) == getattr(b, name) for name in plain)
        assert a.paths.keys() == b.paths.keys()
        assert all(np.array_equal(a.dates[n], b.dates[n]) for n in a.dates)
        assert all(np.array_equal(v, b.class_counts[n]) for n, v in a.class_counts.items())
    assert index[0].path(packed["fast"], "AERIAL_RGBI") == packed["fast"] / "shards/00000.bpk"
    (again,) = {PatchIndex.read(packed["fast"] / "index.parquet").layout}
    assert again == "packed"


@pytest.mark.integration
def test_an_index_can_be_made_again_from_the_shards_alone(packed):
    rebuilt = build_index(packed["fast"], "packed")
    assert rebuilt.problems == ()
    assert rebuilt.table.equals(build_index(packed["fast"], "packed").table)
    original = PatchIndex.read(packed["fast"] / "index.parquet")
    assert [r.paths for r in rebuilt] == [r.paths for r in original]
    assert [r.bounds for r in rebuilt] == [r.bounds for r in original]


@pytest.mark.integration
def test_a_run_reads_the_bytes_of_its_sensors_only(packed, monkeypatch):
    index = PatchIndex.read(packed["small"] / "index.parquet")
    record = index[0]
    taken = []
    pread = os.pread

    def counting(handle, length, offset):
        taken.append(length)
        return pread(handle, length, offset)

    monkeypatch.setattr(os, "pread", counting)
    Packed().read(packed["small"], record, ["SENTINEL2_TS"], ["crops"])
    wanted = [Location.parse(record.paths[n]).length for n in ("SENTINEL2_TS", "ALL_LABEL-LPIS")]
    # Not more than what is wanted and one gap that is cheaper read than jumped over.
    assert sum(wanted) <= sum(taken) <= sum(wanted) + 64 * 1024
    taken.clear()
    Packed().read(packed["small"], record, ALL_INPUTS, list(TASKS))
    assert len(taken) == 1


@pytest.mark.integration
@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_give_the_same_batches(dataset, packed, workers):
    batches = []
    for root, layout, processes in (
        (dataset.root, "flair-hub", 0),
        (packed["fast"], "packed", workers),
    ):
        config = DataConfig(
            root=root, layout=layout, batch_size=3, num_workers=processes,
            train_splits=("train", "valid", "test"),
        )  # fmt: skip
        data = PatchDataModule(config, ALL_INPUTS, ["land-cover", "crops-2"], seed=3)
        data.setup("fit")
        batches += list(data.train_dataloader())
    first, second = batches
    assert first.patch_ids == second.patch_ids
    for name, part in first._tensor_parts().items():
        other = second._tensor_parts()[name]
        assert part.keys() == other.keys()
        for key, tensor in part.items():
            assert tensor.dtype == other[key].dtype
            assert torch.equal(tensor.view(torch.uint8), other[key].view(torch.uint8)), (name, key)


@pytest.mark.integration
def test_threads_read_the_same_file_at_once(packed):
    index = PatchIndex.read(packed["small"] / "index.parquet")

    def read(position: int) -> dict[str, object]:
        return content(Packed().read(packed["small"], index[position], ALL_INPUTS, ["crops"]))

    alone = [read(i) for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, [0, 1, 2] * 4)) == alone * 4


@pytest.mark.integration
def test_a_run_takes_its_dates_from_the_index(one_patch):
    index = one_patch.index()
    shutil.rmtree(one_patch.root / "GLOBAL_ALL_MTD")
    config = DataConfig(root=one_patch.root, series={"min_clear": 0})
    sample = PatchDataset(index, config, ["SENTINEL2_TS"], [])[0]
    assert len(sample.series["SENTINEL2_TS"]) == 4


@pytest.mark.integration
def test_a_damaged_shard_names_file_patch_and_sensor(dataset, tmp_path):
    index = PatchIndex.read(dataset.root / "index.parquet")
    pack_dataset(dataset.root, tmp_path / "p", index)
    packed_index = PatchIndex.read(tmp_path / "p" / "index.parquet")
    shard = tmp_path / "p" / "shards/00000.bpk"
    data = bytearray(shard.read_bytes())
    place = Location.parse(packed_index[1].paths["DEM_ELEV"])
    data[place.offset + place.length // 2] ^= 1
    shard.write_bytes(data)
    config = DataConfig(root=tmp_path / "p", layout="packed")
    samples = PatchDataset(packed_index, config, ["DEM_ELEV"], [])
    assert samples[0].present == ("DEM_ELEV",)
    with pytest.raises(DataError, match=r"00000\.bpk: patch D004-2021_AA-S1-32_1-2, DEM_ELEV"):
        samples[1]
    shard.write_bytes(data[: place.offset + 100])
    with pytest.raises(DataError, match=r"patch D004.*00000\.bpk: ends before byte.*truncated"):
        samples[1]
    shard.unlink()
    with pytest.raises(DataError, match=r"patch D004.*00000\.bpk is named by .* but gone"):
        samples[0]


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "layout"),
    [("flair2", "flair"), ("treesatai_ts", "treesatai"), ("crop_cubes", "crop-cube")],
)
def test_real_data_of_every_layout_read_the_same(real_data, tmp_path, folder, layout):
    root = real_data / folder
    whole = build_index(root, layout)
    index = PatchIndex.from_records(whole.records[:4], layout)
    report = pack_dataset(root, tmp_path / "p", index, codec="small", patches_per_shard=3)
    assert report.problems == ()
    packed_index = PatchIndex.read(tmp_path / "p" / "index.parquet")
    reader = get_layout(layout)
    for record, stored in zip(index, packed_index, strict=True):
        # Labels first only: with a coarser sensor alone the place is that sensor's.
        for inputs in (record.sensors, record.sensors[:1], record.sensors[-1:]):
            tasks = [t.name for t in TASKS.values() if t.label_set in record.paths]
            for wanted in ([], tasks):
                found = Packed().read(tmp_path / "p", stored, inputs, wanted)
                original = reader.read(root, record, inputs, wanted)
                kept = {n: a for n, a in found.labels.items() if n in original.labels}
                assert content(dataclasses.replace(found, labels=kept)) == content(original)


@pytest.mark.unit
def test_parts_come_one_per_sensor_and_label_set(dataset):
    index = PatchIndex.read(dataset.root / "index.parquet")
    parts = read_parts(get_layout("flair-hub"), dataset.root, index[0])
    names = [part.name for part in parts]
    assert names[:2] == ["AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS"]
    assert sorted(names[2:]) == sorted(ALL_INPUTS)
    assert [list(p.arrays) for p in parts[:2]] == [["band1"], ["band1", "band2", "band3"]]
    assert list(parts[names.index("SENTINEL2_TS")].arrays) == ["values", "dates", "snow_cloud"]
    resolutions = {p.name: p.transform[1] for p in parts}
    assert resolutions["AERIAL_RGBI"] == pytest.approx(0.2)
    assert resolutions["SENTINEL2_TS"] == pytest.approx(10.24)
