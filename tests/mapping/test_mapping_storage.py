"""Imagery in object storage: read where it lies, or refused in words that name what is wrong."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mapping_stubs import ORIGIN, ByValue, aerial, bundle, read_map, write_raster
from object_store import BREAKS, BY_FOLDER, CLOSED, PRIVATE, ObjectStore

from bocage.errors import ConfigError, DataError
from bocage.imagery import inspect, storage
from bocage.imagery.locate import ManyTiles, OneRaster, locate
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
    for name in ("readme.txt", "a.tif.aux.xml"):
        (root / "imagery" / "tiles" / name).write_text("no raster")
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
    ("s3://imagery/none/", ["no raster below it (.jp2, .tif, .tiff)"]),
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


NAMES = (
    "imagery/release-1.0/a.tif",
    "imagery/release-1.0/b.JP2",
    "imagery/release-1.0/a.tif.aux.xml",
    "imagery/release-1.0/c.img",
    "imagery/release-1.0/.a.tif",
    "imagery/release-1.0/east/d.tif",
    "imagery/letters/a.tif",
    "imagery/letters/b.tif",
    "imagery/letters/c.tif",
    "imagery/letters/[ab].jp2",
    "imagery/x[1] é#/a.tif",
    "my.bucket/a.tif",
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("release-1.0", ["a.tif", "b.JP2", "east/d.tif"]),
        ("release-1.0/", ["a.tif", "b.JP2", "east/d.tif"]),
        ("release-1.0/*", ["a.tif", "b.JP2"]),
        ("release-1.0/**", ["a.tif", "b.JP2", "east/d.tif"]),
        ("release-?.*/", ["a.tif", "b.JP2", "east/d.tif"]),
        ("release-1.0/*.tif*", ["a.tif"]),
        ("release-1.0/*.img", ["c.img"]),
        ("letters/[ab].tif", ["a.tif", "b.tif"]),
        ("letters/[!a-b].tif", ["c.tif"]),
        ("letters/[ab].jp2", ["[ab].jp2"]),
        ("x[1] é#/", ["a.tif"]),
    ],
)
def test_prefixes_and_patterns_of_odd_names(buckets, store, path: str, expected: list[str]) -> None:
    for name in NAMES:
        (buckets / name).parent.mkdir(parents=True, exist_ok=True)
        (buckets / name).write_bytes(b"II")
    found = locate(f"s3://imagery/{path}")
    assert isinstance(found, ManyTiles)
    assert [p.removeprefix("/vsis3/imagery/").split("/", 1)[1] for p in found.paths] == expected
    assert locate("s3://my.bucket") == ManyTiles(("/vsis3/my.bucket/a.tif",))


SYSTEMS = {"s3": "/vsis3", "gs": "/vsigs", "az": "/vsiaz"}


@pytest.mark.parametrize("scheme", SYSTEMS)
def test_one_raster_is_not_listed(monkeypatch, scheme: str) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("a.tif", "release-1.0/a.vrt", "a.b/c.jp2"):
        place = f"{SYSTEMS[scheme]}/imagery/{name}"
        assert locate(f"{scheme}://imagery/{name}") == OneRaster(place)


@pytest.mark.parametrize("scheme", SYSTEMS)
def test_every_kind_of_storage_is_listed(monkeypatch, scheme: str) -> None:
    from obstore.store import MemoryStore

    kept, asked = MemoryStore(), []
    for name in ("tiles/b.tif", "tiles/a.TIF", "tiles/east/c.jp2", "tiles/a.txt", "other/d.tif"):
        kept.put(name, b"II")

    def connect(address: str) -> MemoryStore:
        asked.append(address)
        return kept

    monkeypatch.setattr(storage, "connect", connect)
    below = f"{SYSTEMS[scheme]}/imagery/tiles/"
    every = ManyTiles((f"{below}a.TIF", f"{below}b.tif", f"{below}east/c.jp2"))
    assert locate(f"{scheme}://imagery/tiles/") == every
    assert locate(f"{scheme}://imagery/**/c.*") == ManyTiles((f"{below}east/c.jp2",))
    with pytest.raises(DataError, match="no object matches this pattern"):
        locate(f"{scheme}://imagery/tiles/z*.tif")
    assert asked == [f"{scheme}://imagery"] * 3


def test_folders_that_do_not_match_are_not_listed(buckets, store) -> None:
    for name in ("2021/D01/a.tif", "2021/D02/b.tif", "2021/E01/c.tif", f"{CLOSED}/D01/d.tif"):
        (buckets / BY_FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (buckets / BY_FOLDER / name).write_bytes(b"II")
    found = locate(f"s3://{BY_FOLDER}/20*/D*/?.tif")
    assert found == ManyTiles(
        (f"/vsis3/{BY_FOLDER}/2021/D01/a.tif", f"/vsis3/{BY_FOLDER}/2021/D02/b.tif")
    )
    assert locate(f"s3://{BY_FOLDER}/2021/*/c.tif") == ManyTiles(
        (f"/vsis3/{BY_FOLDER}/2021/E01/c.tif",)
    )


@pytest.mark.parametrize("status", [403, 500, 503])
@pytest.mark.parametrize("path", ["tiles/", "tiles/*.tif", "**/*.tif"])
def test_a_listing_that_breaks_is_no_shorter_list(buckets, store, status: int, path: str) -> None:
    bucket = f"{BREAKS}{status}"
    (buckets / bucket / "tiles").mkdir(parents=True)
    for name in "abcd":
        (buckets / bucket / "tiles" / f"{name}.tif").write_bytes(b"II")
    with pytest.raises(DataError, match=r"nothing can be listed there \(SlowDown\)"):
        locate(f"s3://{bucket}/{path}")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_the_endpoint_of_other_tools_is_read_from_too(store, monkeypatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://{os.environ['AWS_S3_ENDPOINT']}/")
    for gdals in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"):
        monkeypatch.delenv(gdals)
    tiles = inspect(Source("aerial", "s3://imagery/tiles/")).raster
    assert isinstance(tiles, Mosaic)
    assert tiles.grid.width == 4 * SIDE
    assert inspect(Source("aerial", "s3://imagery/whole.tif")).raster.grid.width == 4 * SIDE


@pytest.fixture
def silent(monkeypatch) -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        for name, value in {
            "AWS_S3_ENDPOINT": place,
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "NO",
            "AWS_NO_SIGN_REQUEST": "YES",
        }.items():
            monkeypatch.setenv(name, value)
        yield place


def test_a_silent_server_is_not_waited_for(silent, monkeypatch) -> None:
    from bocage import rasters

    monkeypatch.setitem(rasters.GDAL_OPTIONS, "GDAL_HTTP_TIMEOUT", "0.3")
    monkeypatch.setitem(rasters.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", "1")
    monkeypatch.setitem(rasters.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", "0.1")
    for path in ("tiles/", "tiles/*.tif"):
        begin = time.monotonic()
        with pytest.raises(DataError, match=r"listed there \(no answer in time\)"):
            locate(f"s3://imagery/{path}")
        assert time.monotonic() - begin < 10


def test_a_listing_can_be_interrupted(silent) -> None:
    main = threading.main_thread().ident
    assert main is not None
    begin = time.monotonic()
    # A program that was started in the background may have been told to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            locate("s3://imagery/tiles/")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begin < 10


def test_listing_is_refused_without_its_library_or_a_bucket(monkeypatch) -> None:
    with pytest.raises(ConfigError, match="name the bucket"):
        locate("s3://*/a.tif")
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigError, match=r"pip install 'bocage\[cloud\]'"):
        locate("s3://imagery/tiles/")


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
