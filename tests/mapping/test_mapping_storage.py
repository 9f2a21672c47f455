"""Imagery in object storage: read where it lies, or refused in words that name what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mapping_stubs import ORIGIN, ByValue, aerial, bundle, read_map, write_raster
from object_store import PRIVATE, ObjectStore

from bocage.errors import DataError
from bocage.imagery import inspect
from bocage.imagery.mosaic import Mosaic
from bocage.mapping import MapConfig, Source, map_area

pytestmark = pytest.mark.integration

SIDE = 128
# Looking at the numbers would fetch all of images as small as these.
CONFIG = MapConfig(block_px=512, overlap_px=0, window_px=128, check_values=False)


@pytest.fixture
def buckets(tmp_path: Path) -> Path:
    """`imagery` with `whole.tif` and the same in tiles, one of them a folder deeper."""
    root = tmp_path / "buckets"
    (root / PRIVATE).mkdir(parents=True)
    (root / "imagery" / "tiles" / "east").mkdir(parents=True)
    image = aerial(SIDE, 4 * SIDE)
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    write_raster(root / "imagery" / "whole.tif", image, **layout)
    write_raster(root / PRIVATE / "whole.tif", image, **layout)
    for i, name in enumerate(("a.tif", "b.tif", "c.TIF", "east/d.tif")):
        part = image[:, :, SIDE * i : SIDE * (i + 1)]
        place = (ORIGIN[0] + 0.2 * SIDE * i, ORIGIN[1])
        write_raster(root / "imagery" / "tiles" / name, part, origin=place)
    (root / "imagery" / "tiles" / "readme.txt").write_text("no raster")
    (root / "imagery" / "papers").mkdir()
    (root / "imagery" / "papers" / "readme.txt").write_text("no raster")
    return root


@pytest.fixture
def store(buckets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    from bocage import rasters

    monkeypatch.setitem(rasters.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", "0")
    made = ObjectStore(buckets, monkeypatch)
    yield made
    made.die()


@pytest.mark.parametrize(
    "path",
    [
        "s3://imagery/whole.tif",
        "s3://imagery/whole.tif:1,2,3,4",
        "s3://imagery/tiles/",
        "s3://imagery/tiles",
        "s3://imagery/tiles/**/?.???",
    ],
)
def test_the_map_is_that_of_the_local_file(tmp_path: Path, buckets, store, path: str) -> None:
    from bocage.cli.imagery import split_bands

    local, out = tmp_path / "local", tmp_path / "out"
    map_area(bundle(ByValue()), [Source("aerial", buckets / "imagery" / "whole.tif")], local)
    address, bands = split_bands(path)
    report = map_area(bundle(ByValue()), [Source("aerial", address, bands=bands)], out)
    assert report.exit_code == 0
    assert report.warnings == ()
    for layer in ("cover.tif", "cover_confidence.tif"):
        np.testing.assert_array_equal(read_map(out / layer), read_map(local / layer))


def test_a_pattern_stays_in_its_folder_unless_told(store) -> None:
    flat = inspect(Source("aerial", "s3://imagery/tiles/*.tif")).raster
    deep = inspect(Source("aerial", "s3://imagery/tiles/**/*.tif")).raster
    assert isinstance(flat, Mosaic)
    assert isinstance(deep, Mosaic)
    assert [Path(t.path).name for t in flat.tiles] == ["a.tif", "b.tif"]
    assert [Path(t.path).name for t in deep.tiles] == ["a.tif", "b.tif", "d.tif"]


def test_items_of_a_catalogue_lie_in_storage(tmp_path: Path, buckets, store) -> None:
    colours = [{"name": n} for n in ("red", "green", "blue", "nir")]
    names = ("a.tif", "b.tif", "c.TIF", "east/d.tif")
    features = [
        {"type": "Feature", "id": name, "properties": {"datetime": "2021-07-01T00:00:00Z"},
         "assets": {"image": {"href": f"s3://imagery/tiles/{name}", "eo:bands": colours}}}
        for name in names
    ]  # fmt: skip
    items = tmp_path / "items.json"
    items.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    map_area(bundle(ByValue()), [Source("aerial", items)], tmp_path / "out")
    map_area(
        bundle(ByValue()), [Source("aerial", buckets / "imagery" / "whole.tif")], tmp_path / "local"
    )
    np.testing.assert_array_equal(
        read_map(tmp_path / "out" / "cover.tif"), read_map(tmp_path / "local" / "cover.tif")
    )


NOT_THERE = [
    ("s3://nobody/whole.tif", ["NoSuchBucket", "Check the address"]),
    ("s3://imagery/gone.tif", ["gone.tif", "NoSuchKey"]),
    (f"s3://{PRIVATE}/whole.tif", ["AccessDenied", "credentials"]),
    ("s3://nobody/tiles/", ["nothing can be listed there (NoSuchBucket)", "credentials"]),
    ("s3://imagery/none/", ["nothing can be listed there (NoSuchKey)"]),
    (f"s3://{PRIVATE}/tiles/", ["nothing can be listed there (AccessDenied)"]),
    ("s3://imagery/papers/", ["no raster below it (.jp2, .tif, .tiff)"]),
    ("s3://imagery/tiles/z*.tif", ["no object matches this pattern"]),
    ("s3://imagery/tiles.txt", ["read from disk only. Fetch it"]),
    ("s3://imagery/items.json", ["STAC documents are read from disk or over HTTP"]),
]


def test_what_is_not_there_is_said(store) -> None:
    for path, words in NOT_THERE:
        with pytest.raises(DataError) as caught:
            inspect(Source("aerial", path))
        for word in words:
            assert word in str(caught.value), path


@pytest.mark.parametrize("path", ["s3://imagery/whole.tif", "s3://imagery/tiles/east/"])
def test_without_credentials_the_remedy_is_named(store, monkeypatch, path: str) -> None:
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST")
    with pytest.raises(DataError, match=r"(?s)AWS_SECRET_ACCESS_KEY.*AWS_NO_SIGN_REQUEST=YES"):
        inspect(Source("aerial", path))


def test_with_credentials_requests_are_signed(tmp_path: Path, store, monkeypatch) -> None:
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "password")
    source = Source("aerial", f"s3://{PRIVATE}/whole.tif")
    assert map_area(bundle(ByValue()), [source], tmp_path / "out").exit_code == 0


class Fatal(ByValue):
    """The store vanishes when the first block is at work."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self.store = store

    def forward(self, **inputs):
        if len(self.calls) == 4:
            self.store.die()
        return super().forward(**inputs)


@pytest.fixture
def long_image(buckets: Path) -> np.ndarray:
    """Five blocks, one below the other, whole and a tile for each."""
    image = aerial(5 * 512, 256)
    (buckets / "imagery" / "rows").mkdir()
    write_raster(buckets / "imagery" / "long.tif", image, tiled=True)
    for i in range(5):
        part, place = image[:, 512 * i : 512 * (i + 1)], (ORIGIN[0], ORIGIN[1] - 102.4 * i)
        write_raster(buckets / "imagery" / "rows" / f"{i}.tif", part, origin=place, tiled=True)
    return image


@pytest.mark.parametrize("missing", [None, "report", "stop"])
def test_a_store_that_vanishes_half_way(tmp_path: Path, store, long_image, missing) -> None:
    """One file: blocks that failed. Tiles: holes that are told, or the end, as configured."""
    path = "s3://imagery/long.tif" if missing is None else "s3://imagery/rows/"
    config = CONFIG.model_copy(update={} if missing is None else {"missing_tiles": missing})
    network, out = bundle(Fatal(store)), tmp_path / "out"
    if missing == "stop":
        with pytest.raises(DataError, match=r"rows/\d\.tif.*missing_tiles=report"):
            map_area(network, [Source("aerial", path)], out, config)
        assert not (out / "cover.tif").exists()
        return
    report = map_area(network, [Source("aerial", path)], out, config)
    found = read_map(out / "cover.tif")
    holes = {i for i in range(5) if (found[512 * i : 512 * (i + 1)] == 255).all()}
    assert holes
    assert 0 not in holes
    for index in set(range(5)) - holes:
        rows = slice(512 * index, 512 * (index + 1))
        np.testing.assert_array_equal(found[rows], long_image[0, rows])
    if missing is None:
        assert report.exit_code == 1
        assert {f.index for f in report.failed} == holes
        assert all("long.tif" in f.reason for f in report.failed)
    else:
        assert report.exit_code == 0
        assert {i for i in range(5) if any(f"{i}.tif" in w for w in report.warnings)} == holes
