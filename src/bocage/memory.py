"""What a process does with memory that it frees."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache

# Parameters of glibc's mallopt: how much it keeps at the end of its heap, and how many pieces it
# may take outside of it, each of which goes back to the system as soon as it is free.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT_BYTES = 256 * 2**20


@cache
def keep_freed_memory() -> None:
    """Keep up to 256 MiB of freed memory for what comes next; elsewhere than on glibc nothing.

    A patch is some 5 MB in a dozen arrays, a batch eight times that, and a network on a CPU
    allocates each layer's output anew. By default the allocator hands such pieces back to the
    system as soon as they are free, and asks for them again: page faults that cost more than
    decoding a patch, and up to half of a forward pass.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_MMAP_MAX, 0)


def give_back_freed_memory() -> None:
    """Return what is free to the system, between two jobs of different sizes.

    What is kept breaks into pieces that the next job's arrays do not fit in: over a hundred blocks
    of a map it doubled a process's memory.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
