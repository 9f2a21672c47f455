"""What a process does with memory that it frees."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache
from pathlib import Path

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


def available_bytes() -> int | None:
    """Memory that this process could still take, of the machine's and of what its control group (of
    a container or a job, version 2) may have; None where the system does not tell (no Linux)."""
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(told["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError, IndexError):
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line.split(":", 2)[2] for line in groups if line.startswith("0::")), "/")
        folder = Path("/sys/fs/cgroup") / own.strip("/")
        for place in (folder, *folder.parents):
            limit = place / "memory.max"
            if not place.is_relative_to("/sys/fs/cgroup"):
                break
            if limit.is_file() and (most := limit.read_text().strip()) != "max":
                found.append(int(most) - int((place / "memory.current").read_text()))
    return max(0, min(found)) if found else None
