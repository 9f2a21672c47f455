"""Repositories: listed, fetched, uploaded, and every refusal in words."""

from pathlib import Path

import pytest
from hub_server import TOKEN, LoopbackHub, Status, Truncate, git_blob_id, sha256
from huggingface_hub import constants

from bocage import hub as bocage_hub
from bocage.errors import ConfigError, DataError
from bocage.hub import endpoint, fetch_file, list_files, upload
from bocage.transfer import Checksum, Patience

pytestmark = pytest.mark.integration

WEIGHTS = bytes(range(256)) * 400
SWIFT = Patience(failures=2, first_wait_s=0.005)


@pytest.fixture
def logged_in(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_listing_tells_size_and_checksum(hub: LoopbackHub) -> None:
    hub.add_repo("owner/data", {"a.txt": b"small", "data/b.zip": WEIGHTS}, "dataset")
    listing = list_files("owner/data", "dataset")
    assert listing.commit == hub.repos["dataset", "owner/data"].head
    assert listing.files["a.txt"].checksum == Checksum("git-sha1", git_blob_id(b"small"))
    large = listing.files["data/b.zip"]
    assert (large.size, large.checksum) == (len(WEIGHTS), Checksum("sha256", sha256(WEIGHTS)))
    with pytest.raises(ConfigError, match=r"unknown file 'data/c.zip'; did you mean 'data/b.zip'"):
        listing.source("data/c.zip")


def test_listed_files_are_of_one_commit(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add_repo("owner/name", {"w.safetensors": WEIGHTS, "README.md": b"card"})
    listing = list_files("owner/name")
    hub.put("owner/name", "README.md", b"another card")
    hub.misbehave("w.safetensors", Truncate(5000), Status(503))
    for path in listing.files:
        fetch_file(listing, path, tmp_path / path, patience=SWIFT)
    assert (tmp_path / "w.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "README.md").read_bytes() == b"card"


@pytest.mark.usefixtures("logged_in")
def test_a_token_goes_to_the_hub_and_not_to_its_storage(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add_repo("owner/name", {"w.safetensors": WEIGHTS}, private=True)
    listing = list_files("owner/name")
    fetch_file(listing, "w.safetensors", tmp_path / "w.safetensors")
    asked = {seen.path.split("/")[1]: seen.authorized for seen in hub.sent("w.safetensors")}
    assert asked == {"owner": True, "cdn": False}
    assert TOKEN not in repr(listing.source("w.safetensors"))


def test_a_busy_hub_is_asked_again(hub: LoopbackHub) -> None:
    hub.add_repo("owner/name", {"w.safetensors": WEIGHTS})
    hub.misbehave("api/models/owner/name", Status(429, retry_after=0), Status(502))
    assert list(list_files("owner/name", patience=SWIFT).files) == ["w.safetensors"]
    hub.misbehave("api/models/owner/name", *[Status(500)] * 3)
    with pytest.raises(DataError, match="answers 500, 3 times in a row"):
        list_files("owner/name", patience=SWIFT)


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        ("owner/absent", "not found on .*or private.*Log in with `hf auth login`"),
        ("owner/private", "not found on .*or private"),
        ("owner/gated", "grants access on request"),
        ("no//name", "no repository name, which is OWNER/NAME"),
    ],
)
def test_refusals_of_a_listing(hub: LoopbackHub, repo: str, words: str) -> None:
    hub.add_repo("owner/private", {"a": b""}, private=True)
    hub.add_repo("owner/gated", {"a": b""}, gated=True)
    with pytest.raises(ConfigError, match=words):
        list_files(repo)


def test_refusals_of_a_listing_need_no_second_try(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("owner/name", {"a": b""})
    with pytest.raises(ConfigError, match="no such revision"):
        list_files("owner/name", revision="v9")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(ConfigError, match=r"access refused \(401\)"):
        list_files("owner/name")
    assert len(hub.seen) == 2


def test_offline(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.go_away()
    with pytest.raises(DataError, match=r"owner/name on http.*cannot be reached"):
        list_files("owner/name", patience=SWIFT)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(DataError, match=r"the upload to .* failed"):
        upload("tester/new", {"a": b"x"}, message="m")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for action in (lambda: list_files("o/n"), lambda: upload("o/n", {"a": b"x"}, message="m")):
        with pytest.raises(DataError, match="Unset HF_HUB_OFFLINE"):
            action()


@pytest.mark.usefixtures("logged_in")
def test_upload_makes_one_commit(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    files = {
        "model.safetensors": tmp_path / "model.safetensors",
        "README.md": b"---\nlicense: etalab-2.0\n---\n# Card\n",
    }
    address = upload("tester/new", files, message="LC-A", private=True)
    assert address == f"{hub.url}/tester/new"
    repo = hub.repos["model", "tester/new"]
    assert len(repo.commits) == 2
    assert repo.private
    assert hub.files("tester/new")["model.safetensors"] == WEIGHTS
    fetched = tmp_path / "again.safetensors"
    fetch_file(list_files("tester/new"), "model.safetensors", fetched)
    assert fetched.read_bytes() == WEIGHTS
    upload("tester/new", {"README.md": b"---\na: 1\n---\nnew"}, message="card", private=True)
    assert hub.files("tester/new")["README.md"] == b"---\na: 1\n---\nnew"


def test_upload_needs_a_token(hub: LoopbackHub) -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        upload("tester/new", {"a": b"x"}, message="m")
    assert hub.seen == []


@pytest.mark.usefixtures("logged_in")
def test_refusals_of_an_upload(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"your token may not write there \(403\)"):
        upload("stranger/new", {"a": b"x"}, message="m")
    hub.add_repo("tester/public", {})
    with pytest.raises(ConfigError, match="exists already and is public"):
        upload("tester/public", {"a": b"x"}, message="m", private=True)
    with pytest.raises(ConfigError, match="no repository name"):
        upload("bad//name", {"a": b"x"}, message="m")
    with pytest.raises(DataError, match=r"failed .*Invalid metadata"):
        upload("tester/public", {"README.md": b"---\n: [\n---\n"}, message="m")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(ConfigError, match=r"may not write there \(401\)"):
        upload("tester/other", {"a": b"x"}, message="m")
    hub.misbehave("lfs-upload", *[Status(400)] * 9)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(DataError, match="Run the same command again"):
        upload("tester/public", {"w.zip": b"x"}, message="m")


@pytest.mark.unit
def test_the_endpoint_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert endpoint() == "https://mirror.example"
    monkeypatch.delenv("HF_ENDPOINT")
    assert endpoint() == constants.ENDPOINT
    assert bocage_hub._api().endpoint == constants.ENDPOINT
