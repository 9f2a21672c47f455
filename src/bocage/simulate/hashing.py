"""Randomness as a function of place: hashed counters instead of a generator with a state.

Every number depends on a key and on integer counters (a cell, a date, a pixel) alone, so that any
part of a landscape can be computed first, last or twice, with the same result on every machine.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Hashes = NDArray[np.uint64]
Floats = NDArray[np.floating[Any]]
"""Real numbers: float32 throughout, which the arithmetic keeps and type checkers cannot follow."""
Ints = NDArray[np.int64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def make_key(*parts: int | str) -> int:
    """One 64-bit key from names and numbers, by BLAKE2b: equal parts, equal key, everywhere."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(state: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every bit."""
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def hash_at(key: int | Hashes, *counters: ArrayLike) -> Hashes:
    """64-bit hashes of integer counters that broadcast against each other (and against `key`)."""
    state = np.atleast_1d(np.asarray(key, dtype=np.uint64))
    for counter in counters:
        bits = np.atleast_1d(np.asarray(counter))
        if bits.dtype != np.uint64:
            bits = bits.astype(np.int64).view(np.uint64)
        state = _mix((state + _STEP) ^ (bits * _MIX_2))
    return state


def draw(hashes: Hashes, stream: int) -> Floats:
    """Uniform numbers in [0, 1), float32, one per hash; each `stream` is independent.

    24 bits of the hash, so that the float32 is exact and never rounds up to 1.
    """
    salt = np.atleast_1d(np.uint64((stream * 0xD1342543DE82EF95) % 2**64))
    bits = _mix(hashes + salt) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def choose(uniform: Floats, weights: ArrayLike) -> NDArray[np.intp]:
    """Index drawn with the given weights (any positive total), for each uniform number."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.searchsorted(edges[:-1] / edges[-1], uniform.astype(np.float64), side="right")


def choose_each(uniform: Floats, weights: Floats) -> NDArray[np.intp]:
    """Index drawn with its own weights (N, K) for each uniform number (N,)."""
    edges = np.cumsum(weights.astype(np.float64), axis=1)
    reached = uniform[:, None] * edges[:, -1:] >= edges[:, :-1]
    return np.asarray(reached.sum(axis=1), dtype=np.intp)
