"""`FILE:FIELD`, as options take vector files."""

from __future__ import annotations


def split_field(text: str) -> tuple[str, str | None]:
    """A file and the field behind its colon, None where there is none."""
    path, colon, field = text.rpartition(":")
    # A lone drive letter or the scheme of an address is no file.
    if colon and field and "/" not in field and "\\" not in field and len(path) > 1:
        return path, field
    return text, None
