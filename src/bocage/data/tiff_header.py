"""The first directory of a TIFF file, parsed in a tenth of a millisecond.

A series declares its type and meaning once per band, hundreds of times; general parsers make an
object of each (2 ms for 600 bands). Here values stay arrays, and only the tags that say where the
pixels are and what they mean are looked at. Source: TIFF 6.0, and BigTIFF's changes to it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.errors import DataError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_SAMPLES, _PLANAR, _FORMAT, _DEPTH = 277, 284, 339, 32997
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_TYPES = {1: "u1", 2: "S1", 3: "u2", 4: "u4", 11: "f4", 12: "f8", 16: "u8"}
"""Types of tag values that matter here; others (rationals, …) are passed over."""
_KINDS = {1: "u", 2: "i", 3: "f"}
_MOST_TAGS = 4096
# By version, classic and Big TIFF: how the first directory's place and its number of entries are
# written, and how many bytes of a value stand in its entry.
_VERSIONS = {42: ("I", "H", 4), 43: ("Q", "Q", 8)}


class NotPlainError(DataError):
    """No TIFF, a damaged one, or one that is not laid out as most are."""


@dataclass(frozen=True)
class TiffHeader:
    """What a file declares of its first image. `dtype` is in the machine's byte order."""

    width: int
    height: int
    count: int
    dtype: np.dtype[Any]
    compression: int
    photometric: int
    planar: bool
    offsets: NDArray[Any]
    sizes: NDArray[Any]
    tags: dict[int, NDArray[Any]]

    def numbers(self, tag: int) -> tuple[float, ...]:
        """A tag's values, empty without it."""
        return tuple(self.tags[tag].tolist()) if tag in self.tags else ()


def parse_header(data: bytes) -> TiffHeader:
    """The first directory of the file whose bytes these are; `NotPlainError` for what is odd."""
    try:
        tags = _directory(data)
        bits, kinds = tags[_BITS], tags.get(_FORMAT, np.ones(1, "u2"))
        if (bits != bits[0]).any() or (kinds != kinds[0]).any():
            raise NotPlainError("bands of several types")
        dtype = np.dtype(f"{_KINDS[int(kinds[0])]}{int(bits[0]) // 8}")
        if dtype.itemsize * 8 != bits[0] or _one(tags, _DEPTH) != 1 or _one(tags, _FILL_ORDER) != 1:
            raise NotPlainError("pixels of parts of bytes, or of several layers")
        tiled = _TILES in tags
        return TiffHeader(
            width=_one(tags, _WIDTH, 0),
            height=_one(tags, _HEIGHT, 0),
            count=_one(tags, _SAMPLES),
            dtype=dtype,
            compression=_one(tags, _COMPRESSION),
            photometric=_one(tags, _PHOTOMETRIC, -1),
            planar=_one(tags, _PLANAR) == 2,
            offsets=tags[_TILES if tiled else _STRIPS],
            sizes=tags[_TILE_BYTES if tiled else _STRIP_BYTES],
            tags=tags,
        )
    except (struct.error, LookupError, ValueError, TypeError, OverflowError) as error:
        raise NotPlainError(f"no sound TIFF header ({error})") from error


def _one(tags: dict[int, NDArray[Any]], tag: int, default: int = 1) -> int:
    return int(tags[tag][0]) if tag in tags else default


def _directory(data: bytes) -> dict[int, NDArray[Any]]:
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version not in _VERSIONS:
        raise NotPlainError(f"version {version} of TIFF is not known")
    pointer, counter, inline = _VERSIONS[version]
    (start,) = struct.unpack_from(f"{order}{pointer}", data, inline)
    (count,) = struct.unpack_from(f"{order}{counter}", data, start)
    wide = f"{order}u{inline}"
    entry = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("n", wide), ("at", wide)])
    first = start + struct.calcsize(f"{order}{counter}")
    if count > _MOST_TAGS:
        raise NotPlainError(f"{count} tags")
    tags = {}
    for place, (tag, kind, n, at) in enumerate(np.frombuffer(data, entry, count, first).tolist()):
        if kind in _TYPES:
            dtype = np.dtype(f"{order}{_TYPES[kind]}")
            small = n * dtype.itemsize <= inline
            value_at = first + place * entry.itemsize + entry.itemsize - inline if small else at
            tags[tag] = np.frombuffer(data, dtype, n, value_at)
    return tags
