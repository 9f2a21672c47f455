"""One run at a time in an output folder, where no shares are made for several machines.

The folder itself is locked, as the operating system locks files: a process that is killed lets go
at once, and nothing is left behind. On file systems that know no such locks nothing is held.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from bocage.errors import ConfigError


def hold(out: Path, stack: ExitStack) -> None:
    """Keep the folder, which exists, until `stack` is closed.

    Raises `ConfigError` where another process holds it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        handle = os.open(out, os.O_RDONLY)
    except OSError:
        return
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"{out}: another process is at work on this map. Wait until it has ended, or choose "
            "another folder."
        ) from error
    except OSError:  # a file system without locks
        return
