"""Peak memory of mapping at 1, 4 and 16 times an area, against the formula of the engine.

Each map is made by a process of its own, with a stub network and blocks of 1024 pixels. "Ours" is
how much the peak exceeds what the same process holds before it maps. Each area has a row against
the formula in `bocage.mapping.engine`, which should be no less, and the larger two have one against
the smallest: a ratio of 1 means that memory does not grow. What the allocator of glibc keeps of
freed arrays, up to 256 MiB (`bocage.memory`), counts; the formula does not have it.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.mapping import OVERLAP_PX, TILE_PX, Stub, _meta, write_raster
from benchmarks.measure import Row
from bocage.mapping import MapConfig, Source, estimate_map, map_area
from bocage.models import Bundle

SIDES_PX, BLOCK_PX, ROUNDS = (2048, 4096, 8192), 1024, 3


class Fresh(Stub):
    """Answers every window with logits of its own, as networks do: those of the stub are shared."""

    def score(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """(B, 19, H, W) from normalised images."""
        return super().score(image_BCHW).clone()


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        found = {side_px: _measured(side_px, name) for side_px in SIDES_PX}
    smallest = sorted(peak for peak, _ in found[SIDES_PX[0]])[ROUNDS // 2]
    rows = []
    for side_px, pairs in found.items():
        times = (side_px // SIDES_PX[0]) ** 2
        area = f"{times} × the area, {side_px}×{side_px}"
        rows.append(_row(f"{area}: peak memory, of the formula", pairs))
        if times > 1:
            once = [(peak, smallest) for peak, _ in pairs]
            rows.append(_row(f"{area}: peak memory, of that of 1 ×", once))
    return rows


def _measured(side_px: int, folder: str) -> list[tuple[float, float]]:
    """Peak and formula in MB, of several processes."""
    command = [sys.executable, "-m", "benchmarks.memory", str(side_px), folder]
    texts = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(ROUNDS)
    ]
    return [(float(peak), float(formula)) for peak, formula in texts]


def _row(name: str, pairs: list[tuple[float, float]]) -> Row:
    ordered = sorted(pairs)
    ours, baseline = ordered[len(ordered) // 2]
    ratios = [theirs / mine for mine, theirs in ordered]
    return Row(name, ours, baseline, baseline / ours, "MB", (min(ratios), max(ratios)))


def _memory_mb(key: str) -> float:
    """Of this program alone, `VmRSS` now and `VmHWM` at most: getrusage includes its parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith(f"{key}:")]
    return float(line.split()[1]) * 1024 / 1e6


def main(side_px: int, folder: Path) -> None:
    torch.set_num_threads(1)
    raster = folder / f"{side_px}.tif"
    if not raster.exists():
        # Elsewhere, so that its memory is not counted.
        code = "import sys; from pathlib import Path; from benchmarks.mapping import write_raster; "
        code += "write_raster(Path(sys.argv[1]), int(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", code, str(raster), str(side_px)], check=True)
    bundle = Bundle(network=Fresh().eval(), meta=_meta())  # type: ignore[arg-type]
    small = folder / "small.tif"
    if not small.exists():
        write_raster(small, 512)
    config = MapConfig(
        window_px=TILE_PX, overlap_px=OVERLAP_PX, block_px=BLOCK_PX, device="cpu", overwrite=True
    )
    # What is loaded on first use is there before the count begins.
    map_area(bundle, [Source("AERIAL_RGBI", small)], folder / "small", config)
    gc.collect()
    before = _memory_mb("VmRSS")
    sources = [Source("AERIAL_RGBI", raster)]
    map_area(bundle, sources, folder / f"map{side_px}", config)
    peak = _memory_mb("VmHWM") - before
    print(peak, estimate_map(bundle, sources, config).memory_bytes / 1e6)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
