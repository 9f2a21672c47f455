"""How the loopback hub can misbehave, and how a hub names contents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

TOKEN = "hf_loopback"
"""The token that may do everything in the namespaces of `LoopbackHub.writable`."""
LARGE_SUFFIXES = (".safetensors", ".zip", ".ckpt", ".pth", ".bin")
"""Files that the hub keeps as LFS objects; others are regular git blobs."""


@dataclass(frozen=True)
class Truncate:
    """Promise everything, send `after` bytes of the answer, close the connection."""

    after: int


@dataclass(frozen=True)
class Stall:
    """Send `after` bytes of the answer, then nothing for `seconds`, and close."""

    after: int = 0
    seconds: float = 30.0


@dataclass(frozen=True)
class Status:
    """Answer with an error, with `Retry-After` if given."""

    code: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Change:
    """From this answer on the file has another content, whichever revision is asked for."""

    content: bytes


@dataclass(frozen=True)
class Corrupt:
    """Right length, one wrong byte."""

    at: int = 0


@dataclass(frozen=True)
class Vanish:
    """Send `after` bytes, close, and know nothing of the file from then on."""

    after: int = 0


@dataclass(frozen=True)
class IgnoreRange:
    """Answer a request for a part with the whole."""


@dataclass(frozen=True)
class WrongRange:
    """Answer a request for a part with another part than the one asked for."""


@dataclass(frozen=True)
class Throttle:
    """Send everything, slowly: `chunk` bytes at a time, `seconds` apart."""

    chunk: int
    seconds: float


Fault = Truncate | Stall | Status | Change | Corrupt | Vanish | IgnoreRange | WrongRange | Throttle


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    range: str | None
    authorized: bool


def git_blob_id(content: bytes) -> str:
    """The name that git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    """The name that LFS gives to a content."""
    return hashlib.sha256(content).hexdigest()


def is_large(path: str) -> bool:
    """Whether the hub keeps a file as an LFS object."""
    return path.endswith(LARGE_SUFFIXES)
