"""What lies in object storage: the rasters below a prefix, or those that a pattern matches.

GDAL lists and reads with the same credentials, from the environment (`AWS_ACCESS_KEY_ID`,
`AWS_PROFILE`, `GOOGLE_APPLICATION_CREDENTIALS`, …) or from the files that the providers' own tools
write.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from pathlib import PurePosixPath

import pyogrio

from bocage.errors import DataError
from bocage.rasters import open_raster

STORAGE = ("/vsis3/", "/vsigs/", "/vsiaz/")
"""File systems of GDAL whose folders can be listed."""
_SIGNS = "*?"
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def names_many(address: str) -> bool:
    """Whether an address is a prefix or a pattern of storage: no ending, a slash, or such signs."""
    many = address.endswith("/") or not PurePosixPath(address).suffix
    return address.startswith(STORAGE) and (many or any(sign in address for sign in _SIGNS))


def list_storage(address: str, suffixes: Collection[str]) -> tuple[str, ...]:
    """Rasters below the prefix, or matching the pattern, in the order of their names.

    `**` of a pattern goes into folders. Raises `DataError` for a place that cannot be listed and
    one that holds no such raster.
    """
    firm = re.split(r"[*?]", address, maxsplit=1)[0]
    folder = firm if firm == address else firm.rpartition("/")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # answers of the server, as words
            names = pyogrio.vsi_listtree(folder.rstrip("/"))
    except OSError as error:
        raise DataError(
            f"{address}: nothing can be listed there ({_reason(folder)}). Check the address, and "
            "the credentials: for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
            "or AWS_NO_SIGN_REQUEST=YES where everybody may read."
        ) from error
    if firm == address:
        chosen = [n for n in names if PurePosixPath(n).suffix.lower() in suffixes]
        what = f"no raster below it ({', '.join(sorted(suffixes))})"
    else:
        wild = "|".join(re.escape(sign) for sign in _WILD)
        parts = re.split(f"({wild})", address)
        pattern = re.compile("".join(_WILD.get(part) or re.escape(part) for part in parts))
        chosen = [n for n in names if pattern.fullmatch(n)]
        what = "no object matches this pattern"
    found = tuple(sorted(n for n in chosen if not PurePosixPath(n).name.startswith(".")))
    if not found:
        raise DataError(f"{address}: {what}. Check the address.")
    return found


def _reason(folder: str) -> str:
    """What opening says of a place that listing knows nothing of."""
    try:
        with open_raster(folder):
            return "it is no folder"
    except DataError as error:
        # In brackets stands what the server, or GDAL, has answered.
        answer = re.search(r"\((.*)\)\. ", str(error))
        return answer[1] if answer else str(error)
