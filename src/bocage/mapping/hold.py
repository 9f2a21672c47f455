"""One run at a time in an output folder, unless its work is shared out.

The folder itself is locked, as the operating system locks files: a process that is killed lets go
at once, and nothing is left behind. This holds among the processes of one machine; network file
systems seldom tell others of it, and some know no locks at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bocage.errors import ConfigError


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep a folder, if it is there, to this process.

    Raises `ConfigError` where another process of this machine holds it.
    """
    if sys.platform == "win32" or not out.is_dir():
        yield
        return
    import fcntl

    with ExitStack() as stack:
        with suppress(OSError):  # a folder that cannot be read, a file system without locks
            handle = os.open(out, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"{out}: another process is at work on this map. Wait until it has ended, or "
                    "choose another folder."
                ) from error
        yield
