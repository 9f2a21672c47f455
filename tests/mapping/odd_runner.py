"""Every odd file as input to a map, each in a process of its own: prints a line of JSON per file.

The libraries are loaded once; a forked child maps one file, so that its memory and its time are
its own.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import rasterio
import torch
from mapping_stubs import Output, bundle
from rasterio._err import CPLE_BaseError
from rasterio.warp import calculate_default_transform

from bocage.errors import BocageError
from bocage.mapping import MapConfig, Source, map_area
from bocage.modalities import get_modality
from bocage.models import InputConfig

LIMIT_S = 20


class Undecided(torch.nn.Module):
    """Uniform logits over four classes."""

    def forward(self, **inputs):
        batch = len(next(iter(inputs["present"].values())))
        return Output({"LC": torch.zeros(batch, 4, *inputs["output_hw"])}, {})


def map_one(path: Path, sensor: str, crs: str, out: Path) -> tuple[int, str]:
    """Exit code of the command and what it would say; a network made for the file's pixel size."""
    modality = get_modality(sensor)
    try:
        with rasterio.open(path) as dataset:
            size, bands = abs(dataset.transform.a) or 1.0, dataset.count
            if crs and dataset.crs:
                size = calculate_default_transform(
                    dataset.crs, crs, dataset.width, dataset.height, *dataset.bounds
                )[0].a
    except (rasterio.errors.RasterioError, CPLE_BaseError, ValueError):
        size, bands = 1.0, 1
    spec = InputConfig(modality=modality.name, resolution_m=size)
    made = bundle(Undecided(), (spec,), output_m=size, tile_px=256)
    chosen = tuple(1 + i % bands for i in range(len(modality.bands)))
    config = MapConfig(block_px=512, crs=crs or None, check_values=False)
    try:
        report = map_area(made, [Source(sensor, path, bands=chosen)], out, config)
    except BocageError as error:
        return error.exit_code, str(error)
    return report.exit_code, "; ".join(failure.reason for failure in report.failed)


def run(path: Path, sensor: str, crs: str) -> dict[str, object]:
    began = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryDirectory() as out:
            code, text = map_one(path, sensor, crs, Path(out) / "map")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        told = {"code": code, "text": text[:500], "grown_mb": grown / 1024}
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    answer = json.loads(told) if told else {"code": -1, "text": f"died: {status}", "grown_mb": 0}
    return {"file": path.name, "sensor": sensor, "crs": crs, **answer,
            "seconds": time.monotonic() - began}  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for file in sorted(Path(sys.argv[1]).iterdir()):
        for kind, grid in (("historical", ""), ("historical", "EPSG:3857"), ("elevation", "")):
            print(json.dumps(run(file, kind, grid)), flush=True)
