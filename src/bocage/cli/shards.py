"""Shares of a job as a user writes them."""

from __future__ import annotations

import re

from bocage.errors import ConfigError


def parse_shard(text: str) -> tuple[int, int]:
    """Part and number of parts of `2/8`; `ConfigError` for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"--shard {text}: write part and number of parts, counted from 1, such as 2/8."
        )
    return int(found[1]), int(found[2])
