"""One file over HTTP from a server that does not make it easy."""

import hashlib
import resource
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from hub_server import (
    Change,
    Corrupt,
    Fault,
    IgnoreRange,
    LoopbackHub,
    Stall,
    Status,
    Throttle,
    Truncate,
    Vanish,
    WrongRange,
    git_blob_id,
)

from bocage import transfer
from bocage.errors import BocageError, ConfigError, DataError
from bocage.transfer import Checksum, Patience, Source, exclusive, fetch, persist, probe

pytestmark = pytest.mark.integration

CONTENT = bytes(i * 7 % 251 for i in range(300_000))
SHA = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
SWIFT = Patience(failures=3, first_wait_s=0.005)


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)


def known(url: str) -> Source:
    return Source(url, len(CONTENT), SHA)


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (Truncate(100_000), Truncate(50_000)),
        (Stall(100_000, seconds=5),),
        (Stall(0, seconds=5),),
        (Status(429, retry_after=0), Status(429), Status(500), Truncate(9), Status(503)),
        (Corrupt(150_000),),
        (Truncate(100_000), IgnoreRange()),
        (Truncate(100_000), WrongRange()),
        (Throttle(100_000, 0.01),),
    ],
    ids=lambda faults: "+".join(type(fault).__name__ for fault in faults) or "none",
)
def test_what_can_be_had_is_had(
    hub: LoopbackHub, tmp_path: Path, faults: tuple[Fault, ...]
) -> None:
    url = hub.serve("a/file.zip", CONTENT)
    target = tmp_path / "new" / "file.zip"
    for source in (known(url), probe(url)):
        if source.checksum is None and Corrupt(150_000) in faults:
            continue  # a wrong byte is told by a checksum alone; an archive has its own
        hub.misbehave("a/file.zip", *faults)
        fetch(source, target, patience=SWIFT)
        assert target.read_bytes() == CONTENT
        assert [path.name for path in target.parent.iterdir()] == ["file.zip"]
        target.unlink()


def test_a_broken_fetch_goes_on_where_it_stopped(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    hub.misbehave("file.zip", Truncate(120_000), *[Status(500)] * 9)
    target = tmp_path / "file.zip"
    with pytest.raises(DataError, match=r"answers 500, 4 times in a row.*what has arrived is kept"):
        fetch(known(url), target, patience=SWIFT)
    assert not target.exists()
    hub.faults.clear()
    seen: list[tuple[int, int | None]] = []
    fetch(known(url), target, advance=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert hub.sent("file.zip")[-1].range == "bytes=120000-"
    assert seen[0][0] > 120_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_another_version_is_never_continued(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    target = tmp_path / "file.zip"
    hub.misbehave("file.zip", Truncate(120_000), *[Status(500)] * 9)
    old = probe(url)
    with pytest.raises(DataError):
        fetch(old, target, patience=SWIFT)
    hub.faults.clear()
    hub.serve("file.zip", CONTENT[::-1])
    with pytest.raises(DataError, match="changed on the server"):
        fetch(old, target, patience=SWIFT)
    fetch(probe(url), target, patience=SWIFT)
    assert target.read_bytes() == CONTENT[::-1]
    assert len(list(tmp_path.glob(".file*"))) == 0


def test_a_file_that_changes_under_way_is_not_kept(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    target = tmp_path / "file.zip"
    hub.misbehave("file.zip", Truncate(1000), Change(CONTENT[::-1]))
    with pytest.raises(DataError, match=r"checksum.*not kept"):
        fetch(known(url), target, patience=SWIFT)
    assert list(tmp_path.glob("*")) == []
    assert list(tmp_path.glob(".file*")) == []


def test_a_file_that_vanishes_says_so(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    hub.misbehave("file.zip", Vanish(1000))
    with pytest.raises(ConfigError, match=r"not there \(404\)"):
        fetch(known(url), tmp_path / "file.zip", patience=SWIFT)
    assert not (tmp_path / "file.zip").exists()


def test_an_old_target_stays_until_the_new_one_is_whole(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    target = tmp_path / "file.zip"
    target.write_bytes(b"old")
    hub.misbehave("file.zip", *[Corrupt(1)] * 2)
    with pytest.raises(DataError, match="checksum"):
        fetch(known(url), target, patience=SWIFT)
    assert target.read_bytes() == b"old"
    fetch(known(url), target, patience=SWIFT)
    assert target.read_bytes() == CONTENT
    before = len(hub.sent("file.zip"))
    fetch(known(url), target, patience=SWIFT)
    assert len(hub.sent("file.zip")) == before


def test_without_a_version_nothing_is_continued(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    hub.misbehave("file.zip", *[Status(500)] * 9)
    (tmp_path / ".file.zip.unversioned.part").write_bytes(b"junk")
    with pytest.raises(DataError):
        fetch(Source(url), tmp_path / "file.zip", patience=SWIFT)
    hub.faults.clear()
    fetch(Source(url), tmp_path / "file.zip", patience=SWIFT)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_an_empty_file_is_a_file(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("empty.txt", b"")
    source = Source(url, 0, Checksum("git-sha1", git_blob_id(b"")))
    fetch(source, tmp_path / "empty.txt")
    assert (tmp_path / "empty.txt").read_bytes() == b""


def test_a_second_process_waits_its_turn(hub: LoopbackHub, tmp_path: Path) -> None:
    source = known(hub.serve("file.zip", CONTENT))
    part = tmp_path / f".file.zip.{source.version}.part"
    with (
        exclusive(part, part),
        pytest.raises(DataError, match="another process is fetching"),
    ):
        fetch(source, tmp_path / "file.zip")


def test_a_full_disk_is_said_and_what_arrived_stays(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    target = tmp_path / "file.zip"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to grow any file beyond this, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"could not be written \(File too large\)"):
            fetch(known(url), target, patience=SWIFT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not target.exists()
    fetch(known(url), target, patience=SWIFT)
    assert target.read_bytes() == CONTENT


def test_stop_ends_a_fetch_and_a_wait(hub: LoopbackHub, tmp_path: Path) -> None:
    url = hub.serve("file.zip", CONTENT)
    hub.misbehave("file.zip", Status(429, retry_after=500))
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        fetch(known(url), tmp_path / "file.zip", stop=stop)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, ConfigError, "hf auth login"),
        (403, ConfigError, "access refused"),
        (404, ConfigError, "not there"),
        (418, DataError, "refused with status 418"),
    ],
)
def test_refusals_are_not_tried_again(
    hub: LoopbackHub, tmp_path: Path, status: int, kind: type[BocageError], words: str
) -> None:
    url = hub.serve("file.zip", CONTENT)
    hub.misbehave("file.zip", Status(status))
    with pytest.raises(kind, match=words):
        fetch(known(url), tmp_path / "file.zip", patience=SWIFT)
    assert len(hub.sent("file.zip")) == 1


def test_offline_is_said_soon(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = hub.serve("file.zip", CONTENT)
    hub.go_away()
    with pytest.raises(DataError, match=r"cannot be reached .*Check the connection"):
        probe(url, SWIFT)
    monkeypatch.setattr(transfer.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="Unset HF_HUB_OFFLINE"):
        fetch(known(url), tmp_path / "file.zip")


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigError, match="no address"):
        probe("gopher://somewhere/file")


@pytest.mark.unit
def test_waits_double_and_obey_the_server() -> None:
    patience = Patience()
    waits = [patience.wait_s(failures, None) for failures in range(1, 8)]
    for wait, expected in zip(waits, (1, 2, 4, 8, 16, 32, 60), strict=True):
        assert 0.75 * expected <= wait <= 1.25 * expected
    assert patience.wait_s(1, 30.0) == 30.0
    assert patience.wait_s(1, 86_400.0) == 600.0


@pytest.mark.unit
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"RateLimit": '"resolvers";r=0;t=55', "Retry-After": "12"}, 55.0),
        ({"RateLimit": '"resolvers";r=10;t=55'}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert transfer._asked_s(transfer.httpx2.Response(429, headers=headers)) == seconds


@pytest.mark.unit
def test_progress_renews_patience() -> None:
    reached = [0]

    def crawl() -> int:
        reached[0] += 1
        if reached[0] < 20:
            raise transfer._TryAgainError("stumbled")
        return reached[0]

    assert persist(crawl, "it", SWIFT, reached=lambda: reached[0]) == 20
    with pytest.raises(DataError, match="4 times in a row"):
        persist(_stumble, "it", SWIFT)


def _stumble() -> int:
    raise transfer._TryAgainError("stumbled")
