"""What lies in object storage: the rasters below a prefix, or those that a pattern matches.

GDAL's listing answers with what it has when a page of it fails, so that tiles would be missing
without a word: obstore lists, which raises. Both take the same credentials (`connect`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from bocage.errors import ConfigError, DataError
from bocage.imagery.connect import ask, connect

_STORAGE = {"/vsis3/": "s3", "/vsigs/": "gs", "/vsiaz/": "az"}
"""File systems of GDAL whose folders can be listed, and their schemes."""
_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")
"""The ending of a file; that of `release-1.0` is none."""
_SIGNS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_SIGN = re.compile(r"(\*\*/|\*\*|\*|\?|\[!?[^]/]+\])")


def names_many(address: str) -> bool:
    """Whether an address is a prefix or a pattern of storage: no ending of a file, or such signs.

    A bucket alone is a prefix, however it is named.
    """
    if not address.startswith(tuple(_STORAGE)):
        return False
    _, bucket, key = _parts(address)
    return _SIGN.search(f"{bucket}/{key}") is not None or not _FILE.search(key)


def list_storage(address: str, suffixes: Collection[str]) -> tuple[str, ...]:
    """Rasters below the prefix, or matching the pattern, in the order of their names.

    `**` of a pattern goes into folders; one that ends with a slash, into those it names. A pattern
    without an ending takes rasters only. Raises `DataError` for a place that cannot be listed and
    one that holds no such raster, `ConfigError` without obstore and for a pattern of buckets.
    """
    root, bucket, key = _parts(address)
    if not bucket or _SIGN.search(bucket):
        raise ConfigError(f"{address}: name the bucket; patterns are for what is in it.")
    # Brackets are a choice of letters only where a file is named.
    pattern = "*" in key or "?" in key or _FILE.search(key) is not None
    try:
        store = connect(f"{_STORAGE[root]}://{bucket}")
        if pattern:
            names = _matching(store, key + "**" * key.endswith("/"))
        else:
            names = _below(store, key.strip("/"))
    except OSError as error:
        raise DataError(
            f"{address}: nothing can be listed there ({error}). Check the address, and the "
            "credentials: for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or "
            "AWS_NO_SIGN_REQUEST=YES where everybody may read."
        ) from error
    if not (pattern and _FILE.search(key)):
        names = [n for n in names if PurePosixPath(n).suffix.lower() in suffixes]
    found = sorted(n for n in names if not PurePosixPath(n).name.startswith("."))
    if not found:
        endings = ", ".join(sorted(suffixes))
        what = "no object matches this pattern" if pattern else f"no raster below it ({endings})"
        raise DataError(f"{address}: {what}. Check the address.")
    return tuple(f"{root}{bucket}/{name}" for name in found)


def _parts(address: str) -> tuple[str, str, str]:
    """GDAL's file system, the bucket, and what is named in it."""
    _, system, rest = address.split("/", 2)
    bucket, _, key = rest.partition("/")
    return f"/{system}/", bucket, key


def _matching(store: Any, key: str) -> list[str]:
    """Objects that match a pattern; only folders that can hold them are listed."""
    parts = key.split("/")
    folders = [""]
    for place, part in enumerate(parts):
        if "**" in part:
            whole = _expression("/".join(parts[place:]))
            return [
                name
                for folder in folders
                for name in _below(store, folder)
                if whole.fullmatch(name.removeprefix(f"{folder}/"))
            ]
        own = _expression(part)
        last = place == len(parts) - 1
        if not last and not _SIGN.search(part):
            folders = [f"{folder}/{part}".lstrip("/") for folder in folders]
            continue
        found: list[str] = []
        for folder in folders:
            listed = _listed(store, folder)
            names = [o["path"] for o in listed["objects"]] if last else listed["common_prefixes"]
            for name in names:
                # What is spelled with brackets is found, too.
                tail = name.rpartition("/")[2]
                if tail == part or own.fullmatch(tail):
                    found.append(name)
        folders = found
    return folders


def _listed(store: Any, folder: str) -> Any:
    """Objects and folders in a folder, all pages of them."""
    import obstore

    return ask(lambda: obstore.list_with_delimiter(store, folder or None))


def _below(store: Any, folder: str) -> list[str]:
    """Objects in a folder and below it, all pages of them."""
    import obstore

    return [o["path"] for o in ask(lambda: obstore.list(store, folder or None).collect())]


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of names as a regular expression."""

    def translated(sign: str) -> str:
        # Of "(?s:[ab])" and the end that it stands at, the choice.
        return _SIGNS.get(sign) or fnmatch.translate(sign)[4:].rpartition(")")[0]

    parts = _SIGN.split(pattern)
    return re.compile(
        "".join(translated(p) if i % 2 else re.escape(p) for i, p in enumerate(parts))
    )
