"""The loopback hub against the real client library: what it plays, it plays well enough."""

from pathlib import Path

import pytest
from hub_server import (
    TOKEN,
    Change,
    Corrupt,
    LoopbackHub,
    Stall,
    Status,
    Truncate,
    Vanish,
    git_blob_id,
    sha256,
)
from huggingface_hub import HfApi, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

pytestmark = pytest.mark.integration

WEIGHTS = bytes(range(256)) * 400


def test_the_library_lists_sizes_and_checksums(hub: LoopbackHub) -> None:
    hub.add_repo("owner/data", {"a.txt": b"small", "data/b.zip": WEIGHTS}, "dataset")
    info = HfApi(hub.url).dataset_info("owner/data", files_metadata=True)
    small, large = info.siblings
    assert (small.rfilename, small.size, small.blob_id) == ("a.txt", 5, git_blob_id(b"small"))
    assert (large.rfilename, large.lfs.sha256) == ("data/b.zip", sha256(WEIGHTS))
    tree = HfApi(hub.url).list_repo_tree("owner/data", repo_type="dataset", recursive=True)
    assert [file.path for file in tree] == ["a.txt", "data/b.zip"]


def test_the_library_downloads_small_and_large_files(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add_repo("owner/name", {"config.json": b"{}", "w.safetensors": WEIGHTS})
    path = hf_hub_download("owner/name", "w.safetensors")
    assert Path(path).read_bytes() == WEIGHTS
    folder = Path(snapshot_download("owner/name", local_dir=tmp_path / "copy"))
    assert (folder / "config.json").read_bytes() == b"{}"
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("owner/name", "absent.bin")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("owner/absent", "w.safetensors")


def test_storage_is_another_host_and_refuses_a_token(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("owner/name", {"w.safetensors": WEIGHTS}, private=True)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("owner/name", "w.safetensors")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert Path(hf_hub_download("owner/name", "w.safetensors")).read_bytes() == WEIGHTS
    cdn = [seen for seen in hub.seen if seen.path.startswith("/cdn/")]
    assert cdn
    assert not any(seen.authorized for seen in cdn)


def test_the_library_uploads(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    api = HfApi(hub.url)
    api.create_repo("tester/new", private=True)
    (tmp_path / "w.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "README.md").write_text("---\nlicense: etalab-2.0\n---\n# Card\n")
    api.upload_folder(repo_id="tester/new", folder_path=tmp_path, allow_patterns=["w.*", "*.md"])
    assert hub.files("tester/new")["w.safetensors"] == WEIGHTS
    assert hub.files("tester/new")["README.md"].endswith(b"# Card\n")
    assert hub.repos["model", "tester/new"].private


def test_ranges_and_faults(hub: LoopbackHub) -> None:
    url = hub.serve("toy.zip", WEIGHTS)
    session = get_session()
    part = session.get(url, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, WEIGHTS[100:])
    etag = part.headers["etag"]
    fresh = session.get(url, headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (fresh.status_code, len(fresh.content)) == (200, len(WEIGHTS))

    hub.misbehave("toy.zip", Status(429, retry_after=3), Corrupt(5), Change(b"new"))
    busy = session.get(url)
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "3")
    assert session.get(url).content[5] == 5 ^ 0xFF
    changed = session.get(url)
    assert (changed.content, changed.headers["etag"] == etag) == (b"new", False)

    hub.serve("toy.zip", WEIGHTS)
    hub.misbehave("toy.zip", Truncate(1000), Stall(10, seconds=0.01), Vanish(10))
    for _ in range(3):
        with pytest.raises(Exception, match="closed connection"):
            session.get(url)
    assert session.get(url).status_code == 404


def test_a_hub_that_goes_away_refuses_connections(hub: LoopbackHub) -> None:
    url = hub.serve("toy.zip", WEIGHTS)
    hub.go_away()
    with pytest.raises(Exception, match="refused"):
        get_session().get(url)
    hub.come_back()
    assert get_session().get(url).content == WEIGHTS
