"""Loops that numba compiles at their first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any], signature: Any) -> Any:
    """The function for arguments of these types, kept on disk for later processes where there is
    room for it; other threads run beside it."""
    try:
        return numba.njit(signature, nogil=True, cache=True)(function)
    except (RuntimeError, OSError):  # nowhere to keep it: no home, or a full disk
        return numba.njit(signature, nogil=True)(function)
