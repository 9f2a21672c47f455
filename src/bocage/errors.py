"""The two ways in which a user's request can fail, and the exit code that each stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BocageError(Exception):
    """Base of every error whose message is written for the user: what, where, remedy."""

    exit_code = 1


class ConfigError(BocageError):
    """A request that cannot be carried out as written. Raised before any work (exit code 2)."""

    exit_code = 2


class DataError(BocageError):
    """A file or a value that is not what it should be: names the file, the finding, the remedy."""

    exit_code = 1


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """Message for an unknown name: the nearest valid one, then all of them.

    >>> unknown_name("modality", "SPOT_RGB", ["SPOT_RGBI", "DEM_ELEV"])
    "unknown modality 'SPOT_RGB'; did you mean 'SPOT_RGBI'? Valid: DEM_ELEV, SPOT_RGBI"
    """
    options = sorted(valid)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Valid: {', '.join(options)}"
