"""Packed data behind HTTP and S3, played by a server on loopback."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from bocage.data import DataConfig, PatchDataModule, PatchIndex, pack_dataset
from bocage.data.layouts.packed import Packed
from bocage.data.pack.shard import Location
from bocage.data.pack.source import byte_source, remote_address
from bocage.errors import DataError

pytestmark = pytest.mark.integration


class Store(ThreadingHTTPServer):
    """A folder behind HTTP: ranges, and mistakes that a test asks for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.served: list[tuple[str, int]] = []
        self.failures: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_GET(self) -> None:
        path = self.server.folder / self.path.lstrip("/").split("?")[0]
        if self.server.failures:
            self.answer(self.server.failures.pop(0), b"try later")
            return
        if not path.is_file():
            self.answer(404, b"no such key")
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            self.answer(200, data)
            return
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        if first >= len(data):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        part = data[first : last + 1]
        self.answer(206, part, {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.server.served.append((self.path, len(body)))
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory) -> Path:
    """A bucket's folder with packed data in it."""
    out = tmp_path_factory.mktemp("store")
    index = PatchIndex.read(dataset.root / "index.parquet")
    pack_dataset(dataset.root, out / "bucket/hub", index, codec="small", patches_per_shard=2)
    return out


@pytest.fixture
def store(folder, tmp_path) -> Iterator[Store]:
    """A server of a copy of that folder, which a test may damage."""
    shutil.copytree(folder, tmp_path / "copy")
    server = Store(tmp_path / "copy")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("path", "address"),
    [
        (Path("s3://bucket/a/b"), "s3://bucket/a/b"),
        ("https://host:81/a", "https://host:81/a"),
        (Path("gs://bucket"), "gs://bucket"),
        (Path("/data/s3/x"), None),
        (Path("relative/http"), None),
    ],
)
def test_addresses_survive_being_paths(path, address):
    assert remote_address(path) == address


def batches(root, workers=0):
    config = DataConfig(
        root=root, layout="packed", batch_size=3, num_workers=workers,
        train_splits=("train", "valid", "test"),
    )  # fmt: skip
    data = PatchDataModule(config, ["AERIAL_RGBI", "SENTINEL2_TS"], ["crops"], seed=3)
    data.setup("fit")
    return list(data.train_dataloader())


@pytest.mark.parametrize("workers", [0, 1])
def test_training_reads_through_http_what_it_would_read_from_disk(store, folder, workers):
    (remote,) = batches(f"{store.url}/bucket/hub", workers)
    (local,) = batches(folder / "bucket/hub")
    assert remote.patch_ids == local.patch_ids
    assert torch.equal(remote.images["AERIAL_RGBI"], local.images["AERIAL_RGBI"])
    assert torch.equal(remote.labels["ALL_LABEL-LPIS"], local.labels["ALL_LABEL-LPIS"])
    assert torch.equal(remote.days["SENTINEL2_TS"], local.days["SENTINEL2_TS"])


def test_buckets_are_read_like_folders(store, folder, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT": store.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "eu-west-3",
    }.items():
        monkeypatch.setenv(name, value)
    (remote,) = batches("s3://bucket/hub")
    (local,) = batches(folder / "bucket/hub")
    assert torch.equal(remote.images["AERIAL_RGBI"], local.images["AERIAL_RGBI"])


def test_only_wanted_ranges_travel(store):
    root = Path(f"{store.url}/bucket/hub")
    record = PatchIndex.read(root / "index.parquet")[0]
    store.served.clear()
    Packed().read(root, record, ["SENTINEL2_TS"], ["crops"])
    wanted = [Location.parse(record.paths[n]).length for n in ("SENTINEL2_TS", "ALL_LABEL-LPIS")]
    assert sum(size for _, size in store.served) <= sum(wanted) + 64 * 1024
    assert {path for path, _ in store.served} == {"/bucket/hub/shards/00000.bpk"}


def test_server_errors_are_tried_again(store):
    root = Path(f"{store.url}/bucket/hub")
    record = PatchIndex.read(root / "index.parquet")[0]
    store.failures = [503, 500]
    sample = Packed().read(root, record, ["AERIAL_RGBI"], [])
    assert sample.present == ("AERIAL_RGBI",)
    assert store.failures == []


def test_what_is_not_there_is_said_with_its_address(store):
    root = Path(f"{store.url}/bucket/hub")
    record = PatchIndex.read(root / "index.parquet")[0]
    shard = store.folder / "bucket/hub/shards/00000.bpk"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(DataError, match=rf"{store.url}/bucket/hub/shards/00000\.bpk: "):
        Packed().read(root, record, ["DEM_ELEV"], [])
    shard.unlink()
    with pytest.raises(DataError, match=r"00000\.bpk: cannot be read .*Check the address"):
        Packed().read(root, record, ["DEM_ELEV"], [])
    with pytest.raises(DataError, match=r"index\.parquet: cannot be read"):
        batches(f"{store.url}/bucket/elsewhere")
    with pytest.raises(DataError, match="cannot be read"):
        byte_source(root).whole("manifest.txt")


def test_a_flipped_bit_on_the_way_is_noticed(store):
    root = Path(f"{store.url}/bucket/hub")
    record = PatchIndex.read(root / "index.parquet")[0]
    shard = store.folder / "bucket/hub/shards/00000.bpk"
    data = bytearray(shard.read_bytes())
    place = Location.parse(record.paths["DEM_ELEV"])
    data[place.offset + place.length // 2] ^= 2
    shard.write_bytes(data)
    with pytest.raises(DataError, match="DEM_ELEV, values: checksum mismatch"):
        Packed().read(root, record, ["DEM_ELEV"], [])
