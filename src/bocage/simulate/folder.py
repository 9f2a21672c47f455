"""The output folder: whose it is, who writes to it at this moment, and GeoTIFFs inside it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path, write_json
from bocage.simulate.domains import Domain
from bocage.simulate.noise import METRE, Window

SIMULATOR_VERSION = 5
"""Raised whenever the same seed gives other pixels."""
MANIFEST = "simulation.json"
CRS = "EPSG:2154"
_TEMPORARY = re.compile(r"\.[\w-]+\.[0-9a-f]{8}\.(tif|gpkg|json|txt)(-journal|-wal|-shm)?")
"""What `atomic_path`, and SQLite beside it, leave of a file when the process is killed."""


def claim(out: Path, request: dict[str, Any]) -> bool:
    """Make `out` the folder of this request, or go on with it; True when it is already complete.

    A folder of another version, seed or size, or one that holds anything else, is a `ConfigError`.
    """
    wanted = {"version": SIMULATOR_VERSION, **request}
    manifest = out / MANIFEST
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file. Name a folder to write the simulation to.")
    # Listed before the manifest is looked for: a shard that starts now may write it in between.
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    if manifest.is_file():
        try:
            complete, found = _read(manifest)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"{manifest}: is not a simulation's manifest ({error}). Choose another folder."
            ) from error
        if found != wanted:
            raise ConfigError(
                f"{out} holds the simulation {_describe(found)}; asked for {_describe(wanted)}. "
                "Choose another folder, or delete this one first."
            )
        clear_leftovers(out)
        return complete
    if not all(map(_TEMPORARY.fullmatch, names)):
        raise ConfigError(
            f"{out}: is not empty and holds no {MANIFEST}. Choose a new or an empty folder."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be created ({error.strerror}). Check the path.") from error
    reopen(out, request)
    clear_leftovers(out)
    return False


def read_claim(out: Path) -> tuple[bool, dict[str, Any]]:
    """Whether a simulation's folder is complete, and what was asked for, version included."""
    manifest = out / MANIFEST
    try:
        return _read(manifest)
    except FileNotFoundError as error:
        raise DataError(
            f"{out}: holds no {MANIFEST}; it is not a simulation's folder. Name one that `bocage "
            "simulate` has written."
        ) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"{manifest}: is not a simulation's manifest ({error}). Simulate again in another "
            "folder."
        ) from error


def _read(manifest: Path) -> tuple[bool, dict[str, Any]]:
    found = json.loads(manifest.read_text(encoding="utf-8"))
    return bool(found.pop("complete")), found


@contextlib.contextmanager
def writing(out: Path, *, alone: bool = False) -> Iterator[None]:
    """Held while temporary files stand below `out`, so that no run takes them for leftovers.

    A shared lock of the folder itself: it ends with the process, whatever ends that, and leaves no
    file. `alone` waits until no other process writes and lets none begin. Must not be nested.
    """
    with _locked(out, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        yield


def clear_leftovers(out: Path) -> None:
    """Remove the temporary files that killed runs left below `out`, if nobody is writing there.

    Otherwise they stay, hidden, until a run finds itself alone: the last to end tries again.
    """
    with _locked(out, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        if not alone:
            return
        for path in out.rglob(".*"):
            if path.is_file() and _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(out: Path, how: int) -> Iterator[bool]:
    """Whether the lock was had: never on file systems without locks, such as some of networks."""
    try:
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{out}: cannot be opened ({error.strerror}). Check the path.") from error
    try:
        locked = True
        try:
            fcntl.flock(handle, how)
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(handle)


def finish(out: Path, request: dict[str, Any]) -> None:
    """Mark the folder as complete: the last thing written."""
    _mark(out, request, complete=True)
    clear_leftovers(out)


def reopen(out: Path, request: dict[str, Any]) -> None:
    """Take the mark back from a complete folder of which files are gone."""
    _mark(out, request, complete=False)


def _mark(out: Path, request: dict[str, Any], *, complete: bool) -> None:
    with writing(out):
        write_json(out / MANIFEST, {"version": SIMULATOR_VERSION, **request, "complete": complete})


def _describe(request: dict[str, Any]) -> str:
    return "(" + ", ".join(f"{key} {value}" for key, value in request.items()) + ")"


def place(window: Window, domain: Domain) -> Affine:
    """Where a window's pixels lie in Lambert-93."""
    east, north = domain.anchor_m
    pixel_m = window.step_cm / METRE
    lies: Affine = from_origin(
        (east * METRE + window.u0) / METRE, (north * METRE - window.v0) / METRE, pixel_m, pixel_m
    )
    return lies


def profile(window: Window, domain: Domain, count: int, dtype: str) -> dict[str, Any]:
    """GeoTIFF options that patches and territories share; no nodata tag, as in FLAIR-HUB."""
    colour = (count, dtype) == (4, "uint8")
    return {
        "driver": "GTiff",
        "width": window.width,
        "height": window.height,
        "count": count,
        "dtype": dtype,
        "crs": CRS,
        "transform": place(window, domain),
        # Left to itself GDAL takes the fourth band of bytes for transparency.
        **({"photometric": "RGB", "alpha": "NO"} if colour else {"photometric": "MINISBLACK"}),
    }


def write_image(
    path: Path, image: NDArray[Any], window: Window, domain: Domain, **options: Any
) -> None:
    """One image (C, H, W) as a striped GeoTIFF, LZW unless GDAL's `options` say otherwise.

    It is made in memory and then written, atomically: on a full disk GDAL tells no reason, or
    closes a truncated file without a word.
    """
    stated = {**profile(window, domain, image.shape[0], image.dtype.name), "compress": "lzw"}
    with MemoryFile() as memory:
        with memory.open(**{**stated, **options}) as target:
            target.write(image)
        with atomic_path(path) as temporary:
            temporary.write_bytes(memory.getbuffer())
