"""What a process that reads patches does with memory that it frees."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache

# Parameters of glibc's mallopt. It keeps up to the first size at the end of its heap, and takes
# pieces below the second from there; more than 32 MiB it does not accept.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20
_HEAP_BYTES = 32 * 2**20


@cache
def keep_freed_memory() -> None:
    """Keep up to 256 MiB of freed memory for the next patch; elsewhere than on glibc nothing.

    A patch is some 5 MB in a dozen arrays, and a batch eight times that. By default the allocator
    hands such pieces back to the system as soon as they are free, and asks for them again for the
    next patch: 1,000 to 3,000 page faults, which cost more than decoding does.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_MMAP_THRESHOLD, _HEAP_BYTES)
