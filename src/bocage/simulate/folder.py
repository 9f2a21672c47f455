"""The output folder: whose it is, whether it may be written to, and GeoTIFFs inside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetWriter
from rasterio.transform import from_origin

from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path, write_json
from bocage.simulate.domains import Domain
from bocage.simulate.noise import METRE, Window

SIMULATOR_VERSION = 2
"""Raised whenever the same seed gives other pixels."""
MANIFEST = "simulation.json"
CRS = "EPSG:2154"


def claim(out: Path, request: dict[str, Any]) -> bool:
    """Make `out` the folder of this request, or go on with it; True when it is already complete.

    A folder of another version, seed or size, or one that holds anything else, is a `ConfigError`.
    """
    wanted = {"version": SIMULATOR_VERSION, **request}
    manifest = out / MANIFEST
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file. Name a folder to write the simulation to.")
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
        return complete
    if out.is_dir() and any(not _is_leftover(path, manifest) for path in out.iterdir()):
        raise ConfigError(
            f"{out}: is not empty and holds no {MANIFEST}. Choose a new or an empty folder."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be created ({error.strerror}). Check the path.") from error
    write_json(manifest, {**wanted, "complete": False})
    return False


def read_claim(out: Path) -> tuple[bool, dict[str, Any]]:
    """Whether a simulation's folder is complete, and what was asked for, version included."""
    manifest = out / MANIFEST
    try:
        return _read(manifest)
    except FileNotFoundError as error:
        raise DataError(f"{out}: holds no {MANIFEST}; it is not a simulation's folder.") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{manifest}: is not a simulation's manifest ({error}).") from error


def _read(manifest: Path) -> tuple[bool, dict[str, Any]]:
    found = json.loads(manifest.read_text(encoding="utf-8"))
    return bool(found.pop("complete")), found


def clear_leftovers(target: Path) -> None:
    """Remove what a killed run left beside `target`: temporary files of `atomic_path`."""
    for path in target.parent.glob(f".{target.stem}.*{target.suffix}"):
        path.unlink(missing_ok=True)


def _is_leftover(path: Path, target: Path) -> bool:
    """Whether `path` is a temporary of `target`: of a killed run, or of a shard that starts now."""
    return path.name.startswith(f".{target.stem}.") and path.suffix == target.suffix


def finish(out: Path, request: dict[str, Any]) -> None:
    """Mark the folder as complete: the last thing written."""
    write_json(out / MANIFEST, {"version": SIMULATOR_VERSION, **request, "complete": True})


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


def _profile(window: Window, domain: Domain, count: int, dtype: str) -> dict[str, Any]:
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


def write_patch(path: Path, array: NDArray[Any], window: Window, domain: Domain) -> None:
    """One patch (C, H, W) as a striped LZW GeoTIFF, atomically."""
    profile = _profile(window, domain, array.shape[0], array.dtype.name)
    with atomic_path(path) as temporary, rasterio.open(
        temporary, "w", compress="lzw", **profile
    ) as target:  # fmt: skip
        target.write(array)


@contextlib.contextmanager
def territory(
    path: Path, window: Window, domain: Domain, count: int, dtype: str, block_px: int
) -> Iterator[DatasetWriter]:
    """A large raster, tiled and compressed, written block by block; appears when complete."""
    clear_leftovers(path)
    profile = _profile(window, domain, count, dtype)
    with atomic_path(path) as temporary, rasterio.open(
        temporary,
        "w",
        tiled=True,
        blockxsize=block_px,
        blockysize=block_px,
        compress="zstd",
        zstd_level=1,
        predictor=3 if dtype == "float32" else 2,
        bigtiff="IF_SAFER",
        **profile,
    ) as target:  # fmt: skip
        yield target
