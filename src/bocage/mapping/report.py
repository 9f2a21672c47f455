"""What a mapping run tells about itself, and the clock that measures it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import rasterio
import torch

from bocage import __version__

STAGES = ("start", "read", "prepare", "transfer", "network", "blend", "write")
_ON_DEVICE = ("transfer", "network", "blend")
_NAMED = 8
"""Failed blocks that are told with their reasons."""


@dataclass(frozen=True)
class FailedBlock:
    """A block that could not be mapped, after a second try, and why."""

    index: int
    rows: tuple[int, int]
    cols: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class MapReport:
    """The outcome of `map_area`; the same as JSON in `report.json` beside the maps.

    `seconds` are of this run: per stage (`start` is what the backend needs before the first window,
    an export included; `transfer` is copying to a GPU and back), `wait` (the network idle because
    reading was not done) and `total`. Reading runs beside the others, so the stages add up to more
    than the total.
    `km2` is the raster's area, `km2_per_s` counts only what this run computed.
    """

    maps: dict[str, str]
    reference: str
    crs: str
    resolution_m: float
    height: int
    width: int
    km2: float
    window_px: int
    overlap_px: int
    block_px: int
    blocks: int
    blocks_resumed: int
    windows: int
    failed: tuple[FailedBlock, ...]
    absent_inputs: tuple[str, ...]
    warnings: tuple[str, ...]
    year: int | None
    device: str
    backend: str
    precision: str
    seconds: dict[str, float]
    km2_per_s: float
    versions: dict[str, str]

    @property
    def exit_code(self) -> int:
        """0: every block is mapped; 1: some failed and are nodata in the map."""
        return 1 if self.failed else 0

    @property
    def complaint(self) -> str:
        """What failed, the first blocks with their reasons a line each."""
        lines = [f"block {one.index}: {one.reason}" for one in self.failed[:_NAMED]]
        more = len(self.failed) - _NAMED
        return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `report.json`."""
        return {**dataclasses.asdict(self), "exit_code": self.exit_code}


@dataclass
class Clock:
    """Seconds per stage. On a GPU each stage waits for its own work, so that shares are true."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*STAGES, "wait"), 0.0))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.device.type == "cuda" and name in _ON_DEVICE:
                torch.cuda.synchronize(self.device)
            self.seconds[name] += time.perf_counter() - start


def versions(*packages: str) -> dict[str, str]:
    """The software that made a map, with further `packages` that took part."""
    return {
        "bocage": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rasterio": rasterio.__version__,
        "gdal": rasterio.__gdal_version__,
        **{name: importlib.metadata.version(name) for name in packages},
    }
