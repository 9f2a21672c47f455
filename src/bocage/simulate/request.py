"""Sizes, shards and domains as a user writes them."""

from __future__ import annotations

import re

from bocage.errors import ConfigError

_UNITS = {"": 1.0, "m": 1.0, "km": 1000.0}


def parse_side(text: str) -> float:
    """Metres of `5km`, `800m` or `1000`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(km|m|)", text.strip())
    if found is None:
        raise ConfigError(f"area is {text!r}; write a side such as 5km, 800m or 1000 (metres).")
    return float(found[1]) * _UNITS[found[2]]


def parse_domains(text: str) -> int | list[str]:
    """A number of domains, or the keys of some with commas between."""
    if text.strip().isdecimal():
        return int(text)
    return [key.strip() for key in text.split(",")]


def parse_names(text: str, separator: str) -> list[str]:
    """Names with separators between; none of an empty text."""
    return [name.strip() for name in text.split(separator) if name.strip()]
