"""Fetching one file over HTTP so that nothing corrupt ever stands under its final name.

A file grows under a hidden name beside its target, which carries what identifies the content: an
interrupted fetch goes on where it stopped, in this run or the next, and never on top of another
version. It gets its final name when size and checksum are right. Connections are the hub
library's: proxies, certificates and HF_HUB_OFFLINE apply.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import httpx2
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from bocage.errors import ConfigError, DataError

_log = logging.getLogger(__name__)

T = TypeVar("T")
Advance = Callable[[int, int | None], None]
"""Is told bytes so far, and in all where that is known."""

_CHUNK = 1 << 20
_BUSY = (408, 425, 429)
"""Answers that ask to come back later, beside every 5xx."""
_QUOTA = re.compile(r"\br=0\s*;\s*t=(\d+)")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Checksum:
    """What a content must hash to: SHA-256, or the name that git gives to a blob."""

    kind: Literal["sha256", "git-sha1"]
    digest: str

    def of(self, path: Path) -> str:
        """The digest of a file, of this kind."""
        with path.open("rb") as handle:
            if self.kind == "sha256":
                return hashlib.file_digest(handle, "sha256").hexdigest()
            digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
            return digest.hexdigest()


@dataclass(frozen=True)
class Source:
    """One file elsewhere, and what is known about it."""

    url: str
    size: int | None = None
    """Bytes."""
    checksum: Checksum | None = None
    etag: str = ""
    """The server's name of this version, with its quotes."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What a request must carry: it may hold a token, which no message shows."""

    @property
    def version(self) -> str:
        """What identifies the content; empty if nothing does, and then no fetch is continued."""
        known = self.checksum.digest if self.checksum else self.etag
        return hashlib.sha256(f"{known} {self.size}".encode()).hexdigest()[:12] if known else ""


@dataclass(frozen=True)
class Patience:
    """How long to try again. Failures count from the last byte that arrived."""

    failures: int = 6
    """One more in a row ends the attempt."""
    first_wait_s: float = 1.0
    """Seconds before the first repetition; doubled each time."""
    longest_wait_s: float = 60.0
    """Never wait longer by our own choice."""
    longest_asked_s: float = 600.0
    """Never wait longer when the server asks to (`Retry-After`)."""

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """Seconds to wait after so many failures, with a spread so that clients do not march."""
        if asked_s is not None:
            return min(asked_s, self.longest_asked_s)
        doubled = min(self.first_wait_s * 2.0 ** (failures - 1), self.longest_wait_s)
        return doubled * random.uniform(0.75, 1.25)


PATIENT = Patience()
"""For bytes on their way: an outage of two minutes is survived."""
BRIEF = Patience(failures=2)
"""For the first question of a command: who is offline wants to be told."""


class _TryAgainError(Exception):
    """An answer that is no use, from a server that may do better next time."""


def probe(url: str, patience: Patience = BRIEF) -> Source:
    """Ask a server for size and version of a file.

    A file that is not there, or that may not be read, is a `ConfigError`; a server that cannot be
    reached or fails is a `DataError`.
    """

    def ask() -> Source:
        answer = get_session().head(url, follow_redirects=True, timeout=_silence())
        answer.raise_for_status()
        length = answer.headers.get("Content-Length")
        return Source(url, int(length) if length else None, etag=_strong_etag(answer))

    return persist(ask, url, patience)


def fetch(
    source: Source,
    target: Path,
    *,
    advance: Advance | None = None,
    patience: Patience = PATIENT,
    stop: threading.Event | None = None,
) -> None:
    """Bring a file to `target`, whole and right, or not at all.

    Continues an interrupted fetch of the same version. A target that is already there with the
    right checksum is left alone; any other is replaced. `stop`, once set, ends it with
    `CancelledError`; what has arrived stays for the next run.

    Raises `DataError` when the server cannot be reached, fails or sends something else than was
    promised, when nothing can be written, or when another process fetches the same file;
    `ConfigError` when the file may not be read or is not there.
    """
    if source.checksum and target.is_file() and _finding(target, source) is None:
        return
    part = target.with_name(f".{target.name}.{source.version or 'unversioned'}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for other in target.parent.glob(f".{_literal(target.name)}.*.part"):
            if other != part:
                other.unlink()
        with exclusive(part, target) as handle:
            if not source.version:
                _empty(handle)
            download = _Download(source, handle, advance, stop or threading.Event())
            for last in (False, True):
                persist(download.receive, source.url, patience, download.stop, handle.tell)
                handle.flush()
                finding = _finding(part, source)
                if finding is None:
                    os.fsync(handle.fileno())
                    part.replace(target)
                    return
                # Once more from the start: an earlier run may have left a damaged beginning.
                _empty(handle)
                if last:
                    part.unlink()
                    raise DataError(
                        f"{source.url}: {finding}, twice. It was not kept. The file changed on "
                        "the server, or something in between damages it: run the same command "
                        "again, later or over another connection."
                    )
    except OSError as error:
        raise DataError(
            f"{target}: could not be written ({error.strerror or error}). Check free space and "
            "permissions, then run the same command again; what has arrived is kept."
        ) from error


class _Download:
    """One file on its way into an open, appending handle."""

    def __init__(
        self, source: Source, handle: BinaryIO, advance: Advance | None, stop: threading.Event
    ) -> None:
        self.source = source
        self.handle = handle
        self.advance = advance
        self.stop = stop

    def receive(self) -> None:
        """One request: append to what is there until nothing is missing."""
        source, have = self.source, self.handle.seek(0, os.SEEK_END)
        if source.size is not None and have >= source.size:
            return
        headers = {**source.headers, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if source.etag:
                headers["If-Range"] = source.etag
        with get_session().stream(
            "GET", source.url, headers=headers, follow_redirects=True, timeout=_silence()
        ) as answer:
            if answer.status_code == 416:
                _empty(self.handle)
                raise _TryAgainError("does not have the part that is missing here")
            answer.raise_for_status()
            total = self._accept(answer, have)
            for chunk in answer.iter_bytes():
                if self.stop.is_set():
                    raise CancelledError
                self.handle.write(chunk)
                if self.advance is not None:
                    self.advance(self.handle.tell(), total)
        if total is not None and self.handle.tell() < total:
            raise _TryAgainError(f"ended after {self.handle.tell()} of {total} bytes")

    def _accept(self, answer: httpx2.Response, have: int) -> int | None:
        """Size of the whole file, after making sure that what comes continues what is here."""
        source = self.source
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status_code == 206 and (match is None or int(match[1]) != have):
            raise _TryAgainError("sent another part than the one that is missing here")
        length = match[2] if match else answer.headers.get("Content-Length")
        total = int(length) if length and length != "*" else source.size
        if source.checksum is None and source.etag and _strong_etag(answer) != source.etag:
            raise _changed(source.url)
        if source.size is not None and total != source.size:
            raise _changed(source.url)
        if answer.status_code != 206:
            _empty(self.handle)
        return total


def check_space(folder: Path, needed: int) -> None:
    """`DataError` unless the disk of `folder`, which need not exist yet, has room for that many
    bytes."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DataError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free. Nothing "
            "was fetched. Make room, or choose another disk."
        )


def persist(
    action: Callable[[], T],
    what: str,
    patience: Patience = PATIENT,
    stop: threading.Event | None = None,
    reached: Callable[[], int] = lambda: 0,
) -> T:
    """Do `action` until it succeeds, fails for good, or patience ends.

    Tried again: no connection, silence, a connection that breaks, 408, 429 and 5xx, which may say
    how long to wait. `reached` tells how far it came: whoever gets further is not failing.

    Raises `ConfigError` when the server says that `what` is not there or not for us, `DataError`
    when it cannot be had now, `CancelledError` once `stop` is set.
    """
    stop = stop or threading.Event()
    failures, best = 0, reached()
    while True:
        if stop.is_set():
            raise CancelledError
        asked_s = None
        try:
            return action()
        except OfflineModeIsEnabled as error:
            raise DataError(f"{what}: offline mode is on. Unset HF_HUB_OFFLINE.") from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise ConfigError(f"{what}: no address of a file ({error}).") from error
        except (httpx2.HTTPStatusError, HfHubHTTPError) as error:
            status = error.response.status_code
            if status not in _BUSY and status < 500:
                raise _refused(what, status) from error
            asked_s = _asked_s(error.response)
            finding = f"answers {status}"
            cause: Exception = error
        except (httpx2.HTTPError, _TryAgainError) as error:
            finding, cause = _in_words(error), error
        failures = 1 if reached() > best else failures + 1
        best = max(best, reached())
        if failures > patience.failures:
            raise DataError(
                f"{what}: {finding}, {failures} times in a row. Check the connection (proxy: "
                "HTTPS_PROXY, hub: HF_ENDPOINT) and run the same command again; what has arrived "
                "is kept."
            ) from cause
        wait_s = patience.wait_s(failures, asked_s)
        _log.info("%s: %s, trying again in %.0f s", what, finding, wait_s)
        stop.wait(wait_s)


@contextlib.contextmanager
def exclusive(path: Path, what: Path) -> Iterator[BinaryIO]:
    """`path`, open for appending by this process alone; a second one gets a `DataError`.

    `what` is named in the error. The lock dies with the process. Where the system has none
    (Windows), an open file cannot be replaced by others either.
    """
    with path.open("ab") as handle:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who held it may just have finished and given the file another name.
                own = os.path.samestat(os.fstat(handle.fileno()), path.stat())
            except (BlockingIOError, FileNotFoundError):
                own = False
            if not own:
                raise DataError(f"{what}: another process is fetching it. Wait for it, or end it.")
        yield handle


def _finding(path: Path, source: Source) -> str | None:
    """What is wrong with a complete file, or None."""
    size = path.stat().st_size
    if source.size is not None and size != source.size:
        return f"{size} bytes arrived where {source.size} were promised"
    if source.checksum is not None and source.checksum.of(path) != source.checksum.digest:
        return f"the content does not have the promised checksum ({source.checksum.kind})"
    return None


def _empty(handle: BinaryIO) -> None:
    handle.seek(0)
    handle.truncate()


def _changed(url: str) -> DataError:
    return DataError(
        f"{url}: changed on the server while it was fetched. Run the same command again for the "
        "new version."
    )


def _refused(what: str, status: int) -> ConfigError | DataError:
    if status in (401, 403):
        return ConfigError(
            f"{what}: access refused ({status}). Log in with `hf auth login` or set HF_TOKEN, and "
            "ask the owner for access where it is needed."
        )
    if status in (404, 410):
        return ConfigError(f"{what}: not there ({status}). Check the name.")
    return DataError(f"{what}: refused with status {status}. Report it with this message.")


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return f"cannot be reached ({error or 'no answer'})"
    if isinstance(error, httpx2.TimeoutException):
        return f"sent nothing for {_silence():g} s"
    if isinstance(error, _TryAgainError):
        return str(error)
    return f"the connection broke ({error})"


def _asked_s(answer: httpx2.Response) -> float | None:
    """Seconds that the server wants us to wait, if it says so in seconds.

    The hub says when its quota is renewed in the header of the IETF's draft on rate limits:
    `"resolvers";r=0;t=55` is none left for 55 seconds.
    """
    quota = _QUOTA.search(answer.headers.get("RateLimit", ""))
    text = quota[1] if quota else answer.headers.get("Retry-After", "").strip()
    return float(text) if text.isdigit() else None


def _strong_etag(answer: httpx2.Response) -> str:
    """The entity tag, unless it is a weak one, which says nothing about bytes."""
    etag = str(answer.headers.get("ETag", ""))
    return "" if etag.startswith("W/") else etag


def _silence() -> float:
    """Seconds without a byte after which a connection counts as dead: HF_HUB_DOWNLOAD_TIMEOUT."""
    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def _literal(name: str) -> str:
    """A file name for use in a glob pattern."""
    return re.sub(r"([*?[])", r"[\1]", name)
