"""The bytes of one sensor or one label set of one patch: a header, then each array by itself.

    0   4  magic "BLOB"
    4   4  length of the header, unsigned, little-endian
    8   4  CRC-32 of the header
    12  4  zero
    16     header, JSON in UTF-8
           arrays, each at a multiple of 8 bytes from the start

The header says what each array is (type, shape, codec, place, CRC-32 of the stored bytes) and where
the pixels lie on Earth. A reader ignores entries and arrays that it does not know, so that what
samples may carry one day needs no new format version.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.pack.codecs import Bytes, Profile, crc32, decode, encode
from bocage.errors import DataError

_MAGIC = b"BLOB"
_PREFIX = struct.Struct("<4sII4x")
_ALIGNMENT = 8
_MEMORY_ALIGNMENT = 64
_REMEDY = "The file is damaged: pack the data set again into an empty folder, or copy it again."


@dataclass(frozen=True)
class Part:
    """What is stored together and read together: one sensor, or one label set.

    `arrays` by what they are: `values`, `valid`, `dates`, `snow_cloud`, or `band1` … for labels.
    `crs` and `transform` are those of a `Sample` that holds nothing else.
    """

    patch_id: str
    name: str
    arrays: Mapping[str, NDArray[Any]]
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None


def to_bytes(part: Part, categorical: Collection[str], profile: Profile) -> bytes:
    """A part as it is stored; arrays named in `categorical` hold classes or masks."""
    entries: dict[str, dict[str, Any]] = {}
    stored: list[Bytes] = []
    offset = 0
    for name, array in part.arrays.items():
        codec, data = encode(array, name in categorical, profile)
        entries[name] = {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "codec": codec,
            # From the end of the header, whose length is not known yet.
            "offset": offset,
            "length": len(data),
            "crc32": crc32(data),
        }
        stored += [data, bytes(-len(data) % _ALIGNMENT)]
        offset += len(data) + -len(data) % _ALIGNMENT
    header: dict[str, Any] = {"patch": part.patch_id, "name": part.name, "arrays": entries}
    if part.crs is not None:
        header["crs"] = part.crs
    if part.transform is not None:
        header["transform"] = list(part.transform)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    # Blanks after JSON mean nothing; the arrays then begin at a multiple of the alignment.
    text += b" " * (-(_PREFIX.size + len(text)) % _ALIGNMENT)
    return b"".join((_PREFIX.pack(_MAGIC, len(text), crc32(text)), text, *stored))


class StoredPart:
    """A part as it lies in a shard, its header read and checked, nothing decoded yet."""

    def __init__(self, data: Bytes, patch_id: str, name: str, source: str) -> None:
        """Raises `DataError` that names `source` when these are not the bytes of that part."""
        self._view = memoryview(data)
        self._what = f"{source}: patch {patch_id}, {name}"
        self._header, self._start = _header(self._view, source)
        found = (self._header.get("patch"), self._header.get("name"))
        if found != (patch_id, name):
            raise DataError(
                f"{source}: holds {found[1]} of patch {found[0]} where the index says {name} of "
                f"patch {patch_id}. Index and shards are of different packings: copy the whole "
                "folder again."
            )

    def size(self, wanted: Collection[str] | None = None) -> int:
        """Bytes of memory that `decode` takes from an arena."""
        entries = self._entries(wanted).values()
        return sum(Arena.room(tuple(e["shape"]), np.dtype(e["dtype"])) for e in entries)

    def decode(self, arena: Arena, wanted: Collection[str] | None = None) -> Part:
        """The part that `to_bytes` was given; of its arrays only the `wanted` ones (default: all).

        Checksums are compared before anything is decoded: damage is a `DataError`.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for key, entry in self._entries(wanted).items():
            begin = self._start + int(entry["offset"])
            stored = self._view[begin : begin + int(entry["length"])]
            if len(stored) != entry["length"] or crc32(stored) != entry["crc32"]:
                raise DataError(f"{self._what}, {key}: checksum mismatch. {_REMEDY}")
            arrays[key] = arena.empty(tuple(entry["shape"]), np.dtype(entry["dtype"]))
            try:
                decode(entry["codec"], stored, arrays[key])
            except DataError as error:
                raise DataError(f"{self._what}, {key}: {error}") from error
        header = self._header
        transform = header.get("transform")
        return Part(
            patch_id=header["patch"],
            name=header["name"],
            arrays=arrays,
            crs=header.get("crs"),
            transform=None if transform is None else tuple(transform),
        )

    def _entries(self, wanted: Collection[str] | None) -> dict[str, dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = self._header["arrays"]
        if wanted is None:
            return entries
        return {key: entry for key, entry in entries.items() if key in wanted}


class Arena:
    """One piece of memory for all arrays of a patch: one call of the allocator, not twenty."""

    def __init__(self, size: int) -> None:
        self._memory = np.empty(size, dtype=np.uint8)
        self._used = 0

    @staticmethod
    def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
        """Bytes that an array takes, its alignment included."""
        return -(-math.prod(shape) * dtype.itemsize // _MEMORY_ALIGNMENT) * _MEMORY_ALIGNMENT

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A C-contiguous array whose numbers mean nothing yet."""
        begin = self._used
        self._used += self.room(shape, dtype)
        size = math.prod(shape) * dtype.itemsize
        return self._memory[begin : begin + size].view(dtype).reshape(shape)


def decode_parts(
    stored: Sequence[StoredPart], wanted: Sequence[Collection[str] | None]
) -> list[Part]:
    """Parts of one patch, in one piece of memory; `wanted` arrays of each, None for all."""
    pairs = list(zip(stored, wanted, strict=True))
    arena = Arena(sum(part.size(keys) for part, keys in pairs))
    return [part.decode(arena, keys) for part, keys in pairs]


def _header(view: memoryview, source: str) -> tuple[dict[str, Any], int]:
    if len(view) < _PREFIX.size:
        raise DataError(f"{source}: ends inside a record. {_REMEDY}")
    magic, length, checksum = _PREFIX.unpack_from(view)
    end = _PREFIX.size + length
    if magic != _MAGIC:
        raise DataError(f"{source}: no record begins where the index says. {_REMEDY}")
    text = view[_PREFIX.size : end]
    if len(text) != length or crc32(text) != checksum:
        raise DataError(f"{source}: a record's header has a checksum mismatch. {_REMEDY}")
    header: dict[str, Any] = json.loads(bytes(text))
    return header, end
