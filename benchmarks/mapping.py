"""The mapping engine on 8192×8192 pixels with a stub network, so that only the engine counts.

Against reading and writing also on 16384×16384 pixels, where less of the time is before the first
block and after the last.

The stub answers every window with the same 19 maps of logits and does no work at all. Ours blends
overlapping windows and writes COGs; the baseline goes tile by tile (see `naive.map_raster`): open,
read, normalise, forward, softmax, argmax, hard crop, strips of LZW, then a second pass to a COG.
Both see the same windows; the baseline writes classes only, so the first row does the same.
"Reading once and writing once" is the whole raster read once and a class map, which is in memory,
made the same COG from an uncompressed raster in memory: no engine can do less.

The shares are of the wall-clock time of those runs of ours: what they add up to beyond 100 % ran at
the same time. "Transfer" is copying to a GPU and back, on a CPU next to nothing; "write" is blocks
and, in the end, the COG; "wait" is the network idle because reading or writing was not done. Their
baseline is the whole, so a ratio is how often a share fits into it.

Seams: a network whose logits carry an error that grows towards the window's edge, as those of real
ones do. Compared is how far a probability jumps from one column of pixels to the next, on average
over the worst column: blended windows against hard crops of the same windows.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import torch
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.windows import Window
from torch import Tensor, nn

from benchmarks import naive
from benchmarks.measure import Row, compare
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.blend import Blender
from bocage.mapping.cog import cog_options
from bocage.mapping.outputs import Layer, TaskOutput
from bocage.mapping.plan import BLOCK_STEP_PX, Plan, make_lattice
from bocage.mapping.report import MapReport
from bocage.models import Bundle, BundleMeta, NetworkConfig, NetworkOutput
from bocage.nomenclatures import LAND_COVER
from bocage.series import SeriesConfig
from bocage.training.bundling import bundle_tasks

SIDE_PX, LARGE_PX, TILE_PX, OVERLAP_PX, ROUNDS = 8192, 16384, 512, 128, 3
SHARES = ("read", "prepare", "transfer", "network", "blend", "write", "wait")


class Stub(nn.Module):
    """Answers at once: smooth patches of 19 classes, the same in every window."""

    logits: Tensor

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        coarse = torch.randn((1, LAND_COVER.num_classes, 16, 16), generator=rng) * 3
        logits = nn.functional.interpolate(coarse, size=TILE_PX, mode="bilinear")
        self.register_buffer("logits", logits)

    def score(self, image_BCHW: Tensor) -> Tensor:
        """(B, 19, H, W) from normalised images."""
        return self.logits.expand(len(image_BCHW), -1, -1, -1)

    def forward(self, images: dict[str, Tensor], **_: Any) -> NetworkOutput:
        """Logits of the land cover task."""
        return NetworkOutput({LAND_COVER.name: self.score(images["AERIAL_RGBI"])}, {}, {})


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raster = folder / "ortho.tif"
        write_raster(raster, SIDE_PX)
        stub = Stub().eval()
        bundle = Bundle(network=stub, meta=_meta())  # type: ignore[arg-type]
        reports: list[MapReport] = []

        def ours(confidence: bool, source: Path = raster) -> None:
            shutil.rmtree(folder / "ours", ignore_errors=True)
            config = MapConfig(
                window_px=TILE_PX, overlap_px=OVERLAP_PX, device="cpu", confidence=confidence
            )
            reports.append(
                map_area(bundle, [Source("AERIAL_RGBI", source)], folder / "ours", config)
            )

        def baseline() -> None:
            with torch.inference_mode():
                naive.map_raster(
                    raster, folder / "naive.tif", stub.score, tile_px=TILE_PX, overlap_px=OVERLAP_PX
                )

        def of_the_floor(source: Path, side_px: int) -> Row:
            ours(False, source)
            with rasterio.open(folder / "ours" / f"{LAND_COVER.slug}.tif") as dataset:
                classes = dataset.read(1)
            return compare(
                f"map {side_px}×{side_px}, classes, of reading once and writing once",
                lambda: ours(False, source),
                lambda: _read_and_write(source, classes, folder),
                rounds=ROUNDS,
                items=side_px**2 / 1e6,
                unit="ms/megapixel",
            )

        size = f"{SIDE_PX}×{SIDE_PX}"
        common: dict[str, Any] = {
            "rounds": ROUNDS, "items": SIDE_PX**2 / 1e6, "unit": "ms/megapixel"
        }  # fmt: skip
        classes_only = compare(f"map {size}, classes", lambda: ours(False), baseline, **common)
        measured = reports[-ROUNDS:]
        rows = [
            classes_only,
            _speed(f"map {size}, classes: area per time", classes_only, measured[0].km2),
            *(_share(f"map {size}, classes: {stage}", stage, measured) for stage in SHARES),
            compare(f"map {size}, classes and confidence", lambda: ours(True), baseline, **common),
            of_the_floor(raster, SIDE_PX),
        ]
        raster.unlink()
        write_raster(raster, LARGE_PX)
        return [*rows, of_the_floor(raster, LARGE_PX), _seams()]


def write_raster(path: Path, side_px: int) -> None:
    """A photograph of random fields, four bands of 8 bits."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 230, (4, side_px // 32, side_px // 32)).astype(np.uint8)
    profile = {
        "driver": "GTiff", "count": 4, "dtype": "uint8", "width": side_px, "height": side_px,
        "crs": "EPSG:2154", "transform": from_origin(700000, 6600000, 0.2, 0.2),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        for top in range(0, side_px, 512):
            strip = coarse[:, top // 32 : (top + 512) // 32].repeat(32, axis=1).repeat(32, axis=2)
            strip += rng.integers(0, 20, strip.shape, dtype=np.uint8)
            target.write(strip, window=Window(0, top, side_px, strip.shape[1]))


def _speed(name: str, times: Row, km2: float) -> Row:
    """The same measurement as area per time; more is better."""
    per_ms = km2 / (SIDE_PX**2 / 1e6) * 1000
    return Row(
        name, per_ms / times.ours, per_ms / times.baseline, times.ratio, "km²/s", times.spread
    )


def _share(name: str, stage: str, reports: Sequence[MapReport]) -> Row:
    """A stage's share of the whole time, the median of the runs."""
    percent = [
        100 * max(report.seconds[stage], 1e-6) / report.seconds["total"] for report in reports
    ]
    ours = statistics.median(percent)
    return Row(
        name, ours, 100.0, 100 / ours, "% of total", (100 / max(percent), 100 / min(percent))
    )


def _read_and_write(raster: Path, classes: NDArray[np.uint8], folder: Path) -> None:
    """The photograph in, the class map out, with the options of the engine."""
    layer = Layer("floor", "classes", LAND_COVER.name, ("classes",), {0: "class"}, {})
    height, width = classes.shape
    with rasterio.open(raster) as dataset:
        for row in range(0, height, 4096):
            dataset.read(window=Window(0, row, width, min(4096, height - row)))
        profile = {
            "driver": "GTiff", "count": 1, "dtype": "uint8", "width": width, "height": height,
            "crs": dataset.crs, "transform": dataset.transform, "nodata": layer.nodata,
            "tiled": True, "blockxsize": BLOCK_STEP_PX, "blockysize": BLOCK_STEP_PX,
        }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as source:
            source.write(classes, 1)
        rasterio.shutil.copy(
            memory.name,
            folder / "floor.tif",
            overview_resampling=layer.overviews,
            **cog_options(layer),
        )


def _seams() -> Row:
    """Mean step of a probability across the worst column of pixels: blended, and cropped hard."""
    side_px, cpu = 2048, torch.device("cpu")
    lattice = make_lattice(TILE_PX, 1, TILE_PX, OVERLAP_PX)
    plan = Plan(side_px, side_px, lattice, side_px)
    task = TaskOutput("t", "t", 2, (0, 1), (0, 1), confidence=False, probabilities=(0,))
    distance = torch.minimum(torch.arange(TILE_PX), torch.arange(TILE_PX).flip(0)) + 0.5
    near = torch.exp(-torch.minimum(distance[:, None], distance) / 32)
    crop = OVERLAP_PX // 2
    steps: dict[str, list[float]] = {"ours": [], "hard": []}
    for seed in range(5):
        rng = torch.Generator().manual_seed(seed)
        blender = Blender(lattice, [task], cpu)
        (block,) = plan.blocks
        blender.begin(block, None)
        hard = torch.zeros(side_px + 2 * TILE_PX, side_px + 2 * TILE_PX)
        for row, col in plan.windows(block):
            edge, offset = torch.randn(2, generator=rng)
            error = edge * near + 0.1 * offset
            blender.add(row, col, {"t": torch.stack([error, torch.zeros_like(error)])})
            kept = slice(crop, TILE_PX - crop)
            top, left = row + TILE_PX + crop, col + TILE_PX + crop
            kept_px = TILE_PX - 2 * crop
            hard[top : top + kept_px, left : left + kept_px] = error[kept, kept]
        soft = blender.finish()["t"].probabilities
        assert soft is not None
        inside = slice(TILE_PX, TILE_PX + side_px)
        found = {"ours": soft[0] / 254.0, "hard": hard[inside, inside].sigmoid().numpy()}
        for name, shares in found.items():
            steps[name].append(float(np.abs(np.diff(shares, axis=1)).mean(axis=0).max()))
    ratios = np.array(steps["hard"]) / np.array(steps["ours"])
    ours, theirs = (float(np.median(steps[name])) for name in ("ours", "hard"))
    return Row(
        "step of a probability where windows meet, against hard crops",
        ours,
        theirs,
        theirs / ours,
        "probability",
        (float(ratios.min()), float(ratios.max())),
    )


def _meta() -> BundleMeta:
    network = NetworkConfig(
        inputs=[{"modality": "AERIAL_RGBI"}],
        tasks=[{"name": LAND_COVER.name, "num_classes": LAND_COVER.num_classes}],
    )
    return BundleMeta(
        network=network,
        tasks=bundle_tasks([LAND_COVER]),
        tile_px=TILE_PX,
        series=SeriesConfig(),
        data="benchmark",
    )
