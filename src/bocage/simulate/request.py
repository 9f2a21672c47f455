"""Sizes, shards and domains as a user writes them."""

from __future__ import annotations

import re

from bocage.errors import ConfigError
from bocage.simulate.area import check_side

_UNITS = {"": 1.0, "m": 1.0, "km": 1000.0}


def parse_side(text: str) -> float:
    """Metres of `5km`, `800m` or `1000`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(km|m|)", text.strip())
    if found is None:
        raise ConfigError(f"--area {text}: write a side such as 5km, 800m or 1000 (metres).")
    size_m = float(found[1]) * _UNITS[found[2]]
    check_side(size_m, f"--area {text}")
    return size_m


def parse_domains(text: str) -> int | list[str]:
    """A number of domains, or the keys of some with commas between."""
    if text.strip().isdecimal():
        return int(text)
    return parse_names(text, ",")


def parse_names(text: str, separator: str) -> list[str]:
    """Names with separators between; none of an empty text."""
    return [name.strip() for name in text.split(separator) if name.strip()]
