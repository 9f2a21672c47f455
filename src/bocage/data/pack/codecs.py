"""Lossless codecs for one array, and which array gets which.

Every stored array names its codec, so that data packed with another choice stays readable. The
choice was measured on real photographs and on elevation models: `docs/packing.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError, unknown_name

Profile = Literal["small", "fast"]
"""`small`: fewest bytes, for shared disks and object storage; `fast`: fewest cycles."""

PROFILES: tuple[Profile, ...] = get_args(Profile)

Bytes = bytes | memoryview
Array = NDArray[Any]

RAW = "raw"
# Its stub knows bytes only; arrays and memoryviews are taken as well.
_library: Any = imagecodecs
# The band from which the others are subtracted: green, for photographs in red, green, blue, NIR.
_REFERENCE_BAND = 1
# What a damaged stream sets off in the codecs. Checksums catch nearly all of it before.
FAILURES = (imagecodecs.BloscError, imagecodecs.PcodecError, ValueError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Codec:
    """`encode` turns a C-contiguous array into bytes; `decode` fills an empty one from them."""

    encode: Callable[[Array], Bytes]
    decode: Callable[[Bytes, Array], None]


def _bytes_of(array: Array) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def _blosc(compressor: str, level: int, shuffle: str) -> Codec:
    def encode(array: Array) -> Bytes:
        # The type's size comes from the array itself: bytes would not be shuffled.
        encoded: bytes = _library.blosc_encode(
            array,
            level=level,
            compressor=compressor,
            shuffle=shuffle,
            typesize=array.itemsize,
            numthreads=1,
        )
        return encoded

    def decode(data: Bytes, out: Array) -> None:
        _library.blosc_decode(data, numthreads=1, out=_bytes_of(out))

    return Codec(encode, decode)


def _lz4(shuffle: str) -> Codec:
    """Written slowly (HC), which makes it smaller, and a little faster to read."""
    return _blosc("lz4hc", 4, shuffle)


def _band_differences(inner: Codec) -> Codec:
    """Bands of a photograph rise and fall together: keep one, and what the others differ by.

    Differences wrap around in the array's own unsigned type, so nothing is lost.
    """

    def encode(array: Array) -> Bytes:
        shifted = array.copy()
        for band in range(len(array)):
            if band != _REFERENCE_BAND:
                shifted[band] -= array[_REFERENCE_BAND]
        return inner.encode(shifted)

    def decode(data: Bytes, out: Array) -> None:
        inner.decode(data, out)
        for band in range(len(out)):
            if band != _REFERENCE_BAND:
                out[band] += out[_REFERENCE_BAND]

    return Codec(encode, decode)


def _encode_pcodec(array: Array) -> Bytes:
    encoded: bytes = _library.pcodec_encode(array.reshape(-1), level=8)
    return encoded


def _decode_pcodec(data: Bytes, out: Array) -> None:
    _library.pcodec_decode(data, out=out.reshape(-1))


def _decode_raw(data: Bytes, out: Array) -> None:
    _bytes_of(out)[:] = np.frombuffer(data, dtype=np.uint8)


CODECS: dict[str, Codec] = {
    RAW: Codec(lambda array: _bytes_of(array).data, _decode_raw),
    "lz4": _lz4("noshuffle"),
    "lz4-byte": _lz4("shuffle"),
    "lz4-bit": _lz4("bitshuffle"),
    "bands-lz4": _band_differences(_lz4("noshuffle")),
    "bands-zstd": _band_differences(_blosc("zstd", 1, "noshuffle")),
    "pcodec": Codec(_encode_pcodec, _decode_pcodec),
}
"""Codec by the name that stands in the records."""

_PCODEC_TYPES = frozenset({"u1", "u2", "u4", "i2", "i4", "f4", "f8"})


def get_profile(name: str) -> Profile:
    """The profile of that name; `ConfigError` lists the valid ones."""
    for profile in PROFILES:
        if name == profile:
            return profile
    raise ConfigError(unknown_name("codec", name, PROFILES))


def crc32(data: Bytes) -> int:
    """CRC-32 as in zlib and PNG, at some 40 GB/s."""
    value: int = _library.deflate_crc32(data)
    return value


def choose(array: Array, categorical: bool, profile: Profile) -> str:
    """Name of the codec for an array; `categorical` holds classes or masks, not measurements."""
    kind = array.dtype.kind
    if array.dtype.kind not in "uifb" or array.dtype.byteorder == ">" or not array.size:
        return RAW
    if categorical or kind == "b":
        return "lz4"
    if array.dtype == np.uint8 and array.ndim == 3 and len(array) > _REFERENCE_BAND + 1:
        return "bands-zstd" if profile == "small" else "bands-lz4"
    if profile == "small" and array.dtype.str[1:] in _PCODEC_TYPES:
        return "pcodec"
    return "lz4-byte" if kind == "f" else "lz4-bit"


def encode(array: Array, categorical: bool, profile: Profile) -> tuple[str, Bytes]:
    """Codec name and stored bytes; raw where compressing gains nothing."""
    name = choose(array, categorical, profile)
    array = np.ascontiguousarray(array)
    encoded = CODECS[name].encode(array)
    if len(encoded) >= array.nbytes:
        return RAW, CODECS[RAW].encode(array)
    return name, encoded


def decode(name: str, data: Bytes, out: Array) -> None:
    """Fill `out`, C-contiguous, with the array that `encode` was given.

    Raises `DataError` for an unknown codec or a bad stream.
    """
    if name not in CODECS:
        raise DataError(
            f"codec '{name}', which this version of Bocage does not know. Read it with the version "
            "that packed it, or a newer one."
        )
    try:
        CODECS[name].decode(data, out)
    except FAILURES as error:
        raise DataError(f"a stream that codec '{name}' cannot decode ({error})") from error
