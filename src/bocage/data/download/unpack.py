"""Unpacking an archive that nobody vouches for: inside its folder, whole or not at all."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path, PurePosixPath

from bocage.errors import DataError

MOST_EXPANSION = 250
"""Times the archive's size that its content may have. Imagery inside is compressed already, and
expands hardly at all; a bomb reaches a thousand and more."""
ALWAYS_ALLOWED = 1 << 30
"""Bytes that may be unpacked whatever the expansion: small archives of text expand much."""

_CHUNK = 1 << 20
_ENTRY = b"PK\x01\x02"
"""How every entry of an archive's directory begins."""
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises on damaged content, by its several methods of compression."""


def unpack(
    archive: Path,
    target: Path,
    *,
    any_top: bool = False,
    advance: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Unpack into the folder `target`, which gets its name when all is there and right.

    A folder at the archive's top that is called like `target` (any single one, with `any_top`) is
    left out, so that the content lies in `target` itself. Every member's checksum is compared.
    `advance` is told bytes done and in all. `stop`, once set, ends it with `CancelledError`.

    Raises `DataError`, and leaves nothing behind, for a damaged archive, for members that would lie
    outside the folder, links, encrypted or doubled ones, for an expansion beyond reason, and when
    the disk is too small.
    """
    work = archive.with_name(f"{target.name}.unpacking")
    stop = stop or threading.Event()
    try:
        shutil.rmtree(work, ignore_errors=True)
        with zipfile.ZipFile(archive) as content:
            members = _members(content, archive, target.name, any_top)
            total = sum(info.file_size for info, _ in members)
            _check_size(archive, total)
            work.mkdir(parents=True)
            done = 0
            for info, path in members:
                place = work / path
                place.parent.mkdir(parents=True, exist_ok=True)
                with content.open(info) as source, place.open("xb") as out:
                    while chunk := source.read(_CHUNK):
                        if stop.is_set():
                            raise CancelledError
                        out.write(chunk)
                        done += len(chunk)
                        if advance is not None:
                            advance(done, total)
        _settle()
        work.replace(target)
    except _DAMAGE as error:
        raise _damaged(archive, str(error)) from error
    except OSError as error:
        raise DataError(
            f"{target}: could not be unpacked ({error.strerror or error}). Check free space and "
            "permissions, then run the same command again; what was fetched is kept."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _members(
    content: zipfile.ZipFile, archive: Path, name: str, any_top: bool
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Files of an archive with their safe places below the target."""
    found = [(info, _safe_path(info, archive)) for info in content.infolist() if not info.is_dir()]
    if not found:
        raise _damaged(archive, "it holds no file")
    # A damaged length hides the entry that follows, and zipfile does not count entries.
    if any(_ENTRY in info.comment + info.extra for info in content.infolist()):
        raise _damaged(archive, "its directory is not readable")
    tops = {path.parts[0] for _, path in found}
    nested = all(len(path.parts) > 1 for _, path in found)
    if nested and len(tops) == 1 and (any_top or tops == {name}):
        found = [(info, PurePosixPath(*path.parts[1:])) for info, path in found]
    if len({path for _, path in found}) < len(found):
        raise _refused(archive, "two members have the same name")
    return found


def _safe_path(info: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    name = info.filename
    path = PurePosixPath(name)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in path.parts[0]
    ):
        raise _refused(archive, f"'{name}' would lie outside of the folder")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _refused(archive, f"'{name}' is a link")
    if info.flag_bits & 0x1:
        raise _refused(archive, f"'{name}' is encrypted")
    return path


def _check_size(archive: Path, total: int) -> None:
    packed = archive.stat().st_size
    if total > max(ALWAYS_ALLOWED, MOST_EXPANSION * packed):
        raise _refused(archive, f"{packed:,} bytes would become {total:,}")
    free = shutil.disk_usage(archive.parent).free
    if total > free:
        raise DataError(
            f"{archive}: unpacked it needs {total / 1e9:.1f} GB, {free / 1e9:.1f} GB are free. "
            "Make room, then run the same command again; what was fetched is kept."
        )


def _settle() -> None:
    """Have the system write what it holds: a name that survives a power cut must not be empty."""
    if hasattr(os, "sync"):
        os.sync()


def _damaged(archive: Path, finding: str) -> DataError:
    # Fetched whole and still damaged: another copy may be better, this one is of no use.
    archive.unlink(missing_ok=True)
    return DataError(
        f"{archive.name}: not a whole zip archive ({finding}). It was not kept: run the same "
        "command again to fetch it anew."
    )


def _refused(archive: Path, finding: str) -> DataError:
    archive.unlink(missing_ok=True)
    return DataError(
        f"{archive.name}: refused, {finding}. No archive of the dataset is like that: check where "
        "it comes from."
    )
