"""One shard: a file of many patches' records, and its own index.

    0   8   magic 89 "BOCAGE" 0A
    8   4   format version, unsigned, little-endian
    12  4   number of the shard
    16  32  SHA-256 of what the shard was made from
    48  12  zero
    60  4   CRC-32 of the bytes before
    64      parts (`bocage.data.pack.part`), each at a multiple of 64 bytes
            directory: the shard's rows of the index, a Parquet file
    -32 8   start of the directory
    -24 8   length of the directory
    -16 4   CRC-32 of the directory
    -12 4   zero
    -8  8   magic 89 "BOCEND" 0A

The directory's `path:` columns say where a part lies: `shards/00000.bpk@OFFSET+LENGTH`, relative
to the data set's folder.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bocage.data.pack.codecs import crc32
from bocage.errors import DataError

FORMAT_VERSION = 1
PACKED = "packed"
"""The layout's name."""
FOLDER, PLAN, MANIFEST, CLASSES = "shards", "pack.json", "manifest.json", "classes"
"""Where shards lie; what a folder was begun to be packed for; what was packed, written last."""
_MAGIC = b"\x89BOCAGE\n"
_END_MAGIC = b"\x89BOCEND\n"
_HEADER = struct.Struct("<8sII32s12xI")
_FOOTER = struct.Struct("<QQI4x8s")
_ALIGNMENT = 64
_PROBLEMS = b"bocage-problems"
_LOCATION = re.compile(r"(.+)@(\d+)\+(\d+)")


@dataclass(frozen=True)
class Location:
    """Where a part lies: `length` bytes from `offset` of a file below the data set's folder."""

    file: str
    offset: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Location:
        """A location as it stands in the index."""
        match = _LOCATION.fullmatch(text)
        if match is None:
            raise DataError(
                f"the index points to '{text}', which is no place in a shard. Copy the index that "
                "belongs to the packed folder."
            )
        return cls(match[1], int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.file}@{self.offset}+{self.length}"


@dataclass(frozen=True)
class Directory:
    """What a finished shard says of itself.

    `table` holds the shard's rows of the index; `problems` the patches that could not be read when
    it was packed, in sentences; `size` the file's bytes.
    """

    table: pa.Table
    problems: tuple[str, ...]
    size: int


def shard_name(number: int) -> str:
    """The file of a shard, relative to the data set's folder."""
    return f"{FOLDER}/{number:05d}.bpk"


class ShardWriter:
    """Writes one shard from front to back into an open file."""

    def __init__(self, file: BinaryIO, number: int, fingerprint: bytes) -> None:
        self._file = file
        self._name = shard_name(number)
        head = _HEADER.pack(_MAGIC, FORMAT_VERSION, number, fingerprint, 0)[:-4]
        self._offset = file.write(head + struct.pack("<I", crc32(head)))

    def add(self, part: bytes) -> Location:
        """Append a part; returns where it lies."""
        self._pad()
        location = Location(self._name, self._offset, len(part))
        self._offset += self._file.write(part)
        return location

    def finish(self, table: pa.Table, problems: Sequence[str]) -> None:
        """Append the directory: the shard's rows of the index, and what could not be packed."""
        self._pad()
        metadata = {**(table.schema.metadata or {}), _PROBLEMS: json.dumps(list(problems)).encode()}
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
        data = buffer.getbuffer()
        self._file.write(data)
        self._file.write(_FOOTER.pack(self._offset, len(data), crc32(data), _END_MAGIC))

    def _pad(self) -> None:
        self._offset += self._file.write(bytes(-self._offset % _ALIGNMENT))


def read_fingerprint(path: Path) -> bytes:
    """What a shard was made from. Raises `DataError` when it is no shard of this version."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if not head.startswith(_MAGIC):
        raise DataError(
            f"{path}: not a shard of packed data. Pack into an empty folder, or remove the file."
        )
    if len(head) < _HEADER.size or crc32(head[:-4]) != _HEADER.unpack(head)[-1]:
        raise DataError(f"{path}: the shard's header is damaged. Remove the file and pack again.")
    _, version, _, fingerprint, _ = _HEADER.unpack(head)
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: packed in format version {version}; this Bocage reads version "
            f"{FORMAT_VERSION}. Use the Bocage that packed it, or pack again into an empty folder."
        )
    digest: bytes = fingerprint
    return digest


def read_directory(path: Path) -> Directory:
    """The directory of a finished shard. Raises `DataError` for a truncated or damaged file."""
    read_fingerprint(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _FOOTER.size, 0))
        foot = file.read(_FOOTER.size)
        if len(foot) < _FOOTER.size or not foot.endswith(_END_MAGIC):
            raise DataError(
                f"{path}: the shard is truncated after {size} bytes. Remove the file and pack "
                "again, or copy it again."
            )
        start, length, checksum, _ = _FOOTER.unpack(foot)
        file.seek(start)
        data = file.read(length)
    if len(data) != length or crc32(data) != checksum:
        raise DataError(
            f"{path}: the shard's directory has a checksum mismatch. Remove the file and pack "
            "again, or copy it again."
        )
    table = pq.read_table(io.BytesIO(data))
    metadata = dict(table.schema.metadata or {})
    problems = json.loads(metadata.pop(_PROBLEMS, b"[]"))
    return Directory(table.replace_schema_metadata(metadata or None), tuple(problems), size)
