"""Where packed bytes come from: a folder, or an object store; read by range, never as a whole.

A folder's file is opened for each read and closed again, at some ten microseconds: nothing is
shared between threads or processes, and nothing must be reopened after a fork. A store's
connections are kept, one pool per process. Its library must not be used before a fork of the same
process; the loaders here start their workers from a server that has not (`forkserver`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from bocage.errors import DataError
from bocage.imagery.connect import connect

Ranges = Sequence[tuple[int, int]]
"""(offset, length) pairs."""

# Reading a little too much is cheaper than asking twice.
_GAP_BYTES = 64 * 1024
_REMOTE = re.compile(r"(s3|gs|az|abfs|abfss|https?):/+(.+)")


class ByteSource(Protocol):
    """Files below one place, read by range. Safe to use from several threads."""

    def ranges(self, name: str, ranges: Ranges) -> list[memoryview]:
        """The bytes of each range of the file `name`, in order of `ranges`.

        Raises `DataError` when the file is missing, unreachable, or ends before a range does.
        """

    def whole(self, name: str) -> bytes:
        """The whole file `name`."""

    def describe(self, name: str) -> str:
        """The file's full path or address, for messages."""


def remote_address(path: Path | str) -> str | None:
    """The address that `path` spells, or None for a local path.

    A `Path` folds the two slashes of `s3://bucket` into one; here they come back.
    """
    match = _REMOTE.fullmatch(str(path))
    return None if match is None else f"{match[1]}://{match[2]}"


def byte_source(root: Path | str) -> ByteSource:
    """The source of the files below `root`, a folder or an address such as `s3://bucket/folder`."""
    address = remote_address(root)
    return LocalFolder(Path(root)) if address is None else _object_store(address, os.getpid())


class LocalFolder:
    """Files of a folder. See `ByteSource`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def ranges(self, name: str, ranges: Ranges) -> list[memoryview]:
        """See `ByteSource`; neighbouring ranges are read at once."""
        path = self._root / name
        out: list[memoryview] = [memoryview(b"")] * len(ranges)
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                for start, end, members in _merge(ranges):
                    block = memoryview(_read_fully(handle, start, end - start))
                    if len(block) < end - start:
                        raise _too_short(str(path), end)
                    for i in members:
                        offset, length = ranges[i]
                        out[i] = block[offset - start : offset - start + length]
            finally:
                os.close(handle)
        except OSError as error:
            raise _unreadable(str(path), error) from error
        return out

    def whole(self, name: str) -> bytes:
        """See `ByteSource`."""
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise _unreadable(str(self._root / name), error) from error

    def describe(self, name: str) -> str:
        """See `ByteSource`."""
        return str(self._root / name)


class ObjectStore:
    """Files of a bucket or of a web server that knows ranges. See `ByteSource`."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        # An index may take minutes; a connection that is silent for half a minute is dead.
        client = {"timeout": timedelta(minutes=10), "read_timeout": timedelta(seconds=30)}
        # Server errors and dropped connections are tried again.
        retry = {"max_retries": 5, "retry_timeout": timedelta(minutes=2)}
        try:
            self._store = connect(self._address, client, retry)
        except OSError as error:
            raise _unreadable(self._address, error) from error
        import obstore

        self._obstore: Any = obstore

    def ranges(self, name: str, ranges: Ranges) -> list[memoryview]:
        """See `ByteSource`; ranges go out together, neighbours as one."""
        starts = [offset for offset, _ in ranges]
        lengths = [length for _, length in ranges]
        try:
            found = self._obstore.get_ranges(
                self._store, name, starts=starts, lengths=lengths, coalesce=_GAP_BYTES
            )
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise _unreadable(self.describe(name), error) from error
        out = [memoryview(data) for data in found]
        for data, (offset, length) in zip(out, ranges, strict=True):
            if len(data) < length:
                raise _too_short(self.describe(name), offset + length)
        return out

    def whole(self, name: str) -> bytes:
        """See `ByteSource`."""
        try:
            return bytes(self._obstore.get(self._store, name).bytes())
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise _unreadable(self.describe(name), error) from error

    def describe(self, name: str) -> str:
        """See `ByteSource`."""
        return f"{self._address}/{name}"


@lru_cache(maxsize=8)
def _object_store(address: str, process: int) -> ObjectStore:
    # `process` is part of the key: a forked child must not use its parent's connections.
    return ObjectStore(address)


def _merge(ranges: Ranges) -> list[tuple[int, int, list[int]]]:
    """(start, end, positions in `ranges`) of what is read at once."""
    out: list[tuple[int, int, list[int]]] = []
    for i in sorted(range(len(ranges)), key=lambda i: ranges[i]):
        offset, length = ranges[i]
        if out and offset <= out[-1][1] + _GAP_BYTES:
            start, end, members = out[-1]
            out[-1] = (start, max(end, offset + length), [*members, i])
        else:
            out.append((offset, offset + length, [i]))
    return out


def _read_fully(handle: int, offset: int, length: int) -> bytes:
    data = os.pread(handle, length, offset)
    while len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _unreadable(place: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
    return DataError(
        f"{place}: cannot be read ({reason}). Check the address, the permissions and that the "
        "packed folder is complete."
    )


def _too_short(place: str, end: int) -> DataError:
    return DataError(
        f"{place}: ends before byte {end}. The file is truncated: copy or pack it again."
    )
