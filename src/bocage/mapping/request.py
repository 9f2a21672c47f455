"""What decides the bytes of a map, as `plan.json` holds it: weights, sources, grid and options.

Sources are known by path, size and time of change, so that a run which goes on sees that one has
changed. Of the thousands of files of a mosaic stands one digest. What is read over HTTP is known by
its address, its size and the server's name of its version; of many such files a few are asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bocage import __version__
from bocage.errors import BocageError
from bocage.imagery import Sensor, Source, Target, files_of
from bocage.imagery.locate import is_remote, zarr_parts
from bocage.mapping.config import MapConfig
from bocage.mapping.job import Job
from bocage.mapping.workspace import network_digest
from bocage.rasters import open_raster

if TYPE_CHECKING:
    from bocage.models import Bundle

_ASKED = 64
"""Files of a sensor whose server is asked, at most, spread evenly over all."""
_THREADS = 16
_CURL = "/vsicurl/"
"""What GDAL wants before an address of HTTP."""


def plan_record(
    job: Job, bundles: Sequence[Bundle], sources: Sequence[Source], config: MapConfig
) -> dict[str, Any]:
    """All that decides the bytes of the result; batch size and device are free to change."""
    lattice, grid = job.plan.lattice, job.reference.raster.grid
    files = [f for s in sources for f in (s.path, s.dates, s.mask) if f is not None]
    return {
        "version": __version__,
        "weights": [network_digest(bundle.network) for bundle in bundles],
        "bundle": [bundle.meta.model_dump(mode="json") for bundle in bundles],
        "inputs": [
            {
                "modality": s.modality,
                "bands": s.bands and list(s.bands),
                "scale": s.scale,
                "offset": s.offset,
            }
            for s in sources
        ],
        "files": [file_identity(path) for path in files],
        "tiles": {s.modality.name: _parts_identity(s) for s in job.sensors},
        "online": _versions_online(job.sensors),
        "crs": grid.crs.to_wkt() if grid.crs else None,
        "grid": [grid.width, grid.height, *grid.transform.to_gdal()],
        "window_px": lattice.window_px,
        "overlap_px": lattice.overlap_px,
        "block_px": job.plan.block_px,
        "backend": config.backend,
        "precision": config.precision,
        "aoi": None if config.aoi is None else _area_identity(job.target),
        "missing_tiles": config.missing_tiles,
        "d4": config.d4,
        "compile": config.compile,
        "layers": sorted(job.stems),
        "probabilities": list(config.probabilities),
        "year": job.year,
    }


def file_identity(path: Path | str) -> dict[str, Any]:
    """A file's path, size and time of change; only the path for what is no local file."""
    local = Path(path)
    if not local.is_file():
        return {"path": str(path)}
    stat = local.stat()
    return {"path": str(local.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _paths(sensor: Sensor) -> list[str]:
    rasters = [sensor.raster] if sensor.mask is None else [sensor.raster, sensor.mask]
    return [file.path for raster in rasters for file in files_of(raster)]


def _parts_identity(sensor: Sensor) -> str:
    """Digest over paths, sizes and times of all files that the sensor is read from."""
    files = [part for path in _paths(sensor) for part in (*_behind(path), *_beside(path))]
    return hashlib.sha256(json.dumps([file_identity(part) for part in files]).encode()).hexdigest()


def _beside(path: str) -> list[str]:
    """Files beside one on disk in which its mask, nodata or place may stand."""
    if is_remote(path) or not Path(path).is_file():
        return []
    stem, suffix = Path(path).with_suffix(""), Path(path).suffix
    short = f"{suffix[:2]}{suffix[-1:]}w"  # .tif: .tfw
    names = [f"{path}.aux.xml", f"{path}.msk"]
    names += [f"{stem}{end}" for end in (short, f"{suffix}w", ".wld", ".prj")]
    return [name for name in names if Path(name).is_file()]


def _behind(path: str) -> Iterable[str]:
    """The files from which GDAL, or we, read what `path` names."""
    if is_remote(path):
        return (path,)
    store = zarr_parts(path)
    if store is not None:
        return sorted(str(part) for part in Path(store[0]).rglob("*") if part.is_file())
    if Path(path).is_file() and Path(path).suffix.lower() != ".vrt":
        return (path,)
    # A virtual raster that is no plain mosaic, or something inside a file.
    with open_raster(path) as dataset:
        return sorted(dataset.files)


def _versions_online(sensors: Sequence[Sensor]) -> dict[str, list[Any]]:
    """Size and version of files behind HTTP, by address; without those whose server tells none."""
    addresses: list[str] = []
    for sensor in sensors:
        names = [path.removeprefix(_CURL) for path in dict.fromkeys(_paths(sensor))]
        found = [name for name in names if name.startswith(("http://", "https://"))]
        places = np.linspace(0, len(found) - 1, min(_ASKED, len(found))).round().astype(int)
        addresses += [found[place] for place in places]
    if not addresses:
        return {}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="versions") as pool:
        versions = zip(addresses, pool.map(_version_online, addresses), strict=True)
        return {name: version for name, version in versions if version is not None}


def _version_online(address: str) -> list[Any] | None:
    """None where the server does not answer such questions: GDAL may have read it all the same."""
    # Imports the hub's library, which a map of local files can do without.
    from bocage.transfer import Patience, probe

    try:
        told = probe(address, Patience(failures=1))
    except BocageError:
        return None
    return [told.size, told.etag] if told.size is not None or told.etag else None


def _area_identity(target: Target) -> str:
    """Digest over the area's polygons, as they lie in the map's CRS."""
    assert target.area is not None
    return hashlib.sha256(b"".join(p.wkb for p in target.area.polygons)).hexdigest()
