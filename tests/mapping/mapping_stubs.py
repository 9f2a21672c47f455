"""Tiny networks with the real signature, and rasters to feed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import torch
from pydantic import BaseModel
from rasterio.transform import from_origin

from bocage.models import InputConfig
from bocage.series import SeriesConfig

ORIGIN = (700_000.0, 6_600_000.0)
CRS = "EPSG:2154"


class Output(NamedTuple):
    logits: dict[str, torch.Tensor]
    auxiliary: dict[str, Any]


class StubNetworkConfig(BaseModel):
    inputs: tuple[InputConfig, ...]
    output_resolution_m: float


class StubClass(BaseModel):
    id: int
    name: str
    name_fr: str
    color: str
    scored: bool


class StubTask(BaseModel):
    name: str
    slug: str
    classes: tuple[StubClass, ...]


class StubMeta(BaseModel):
    network: StubNetworkConfig
    tasks: tuple[StubTask, ...]
    tile_px: int
    series: SeriesConfig


class StubBundle(NamedTuple):
    network: torch.nn.Module
    meta: StubMeta


def task(name: str = "LC", slug: str = "cover", count: int = 4, unscored: int = 0) -> StubTask:
    classes = tuple(
        StubClass(
            id=i,
            name=f"class {i}",
            name_fr=f"classe {i}",
            color=f"#{i * 40 % 256:02x}80{255 - i:02x}",
            scored=i < count - unscored,
        )
        for i in range(count)
    )
    return StubTask(name=name, slug=slug, classes=classes)


def bundle(
    network: torch.nn.Module,
    inputs: tuple[Any, ...] = ("AERIAL_RGBI",),
    output_m: float = 0.2,
    tile_px: int = 64,
    tasks: tuple[StubTask, ...] | None = None,
) -> Any:
    specs = tuple(InputConfig(modality=i) if isinstance(i, str) else i for i in inputs)
    return StubBundle(
        network,
        StubMeta(
            network=StubNetworkConfig(inputs=specs, output_resolution_m=output_m),
            tasks=tasks or (task(),),
            tile_px=tile_px,
            series=SeriesConfig(),
        ),
    )


class ByValue(torch.nn.Module):
    """Class = value of the first band of one image; -1 where it is absent: uniform logits."""

    def __init__(self, name: str = "AERIAL_RGBI", classes: int = 4, task_name: str = "LC") -> None:
        super().__init__()
        self.name, self.classes, self.task_name = name, classes, task_name
        self.calls: list[dict[str, Any]] = []

    def forward(self, **inputs: Any) -> Output:
        self.calls.append(inputs)
        batch = len(inputs["present"][self.name])
        height, width = inputs["output_hw"]
        logits = torch.zeros(batch, self.classes, height, width)
        if self.name in inputs["images"]:
            values = inputs["images"][self.name][:, 0].long()
            assert values.shape[1:] == (height, width)
            for k in range(self.classes):
                logits[:, k] = torch.where(values == k, 6.0, -2.0)
        return Output({self.task_name: logits}, {})


class Moody(torch.nn.Module):
    """Depends on the window's content as a whole and on the place in the window."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.fail_after: int | None = None
        self.error: BaseException = RuntimeError("out of sorts")

    def forward(self, **inputs: Any) -> Output:
        image = inputs["images"]["AERIAL_RGBI"].float()
        self.seen += len(image)
        if self.fail_after is not None and self.seen > self.fail_after:
            raise self.error
        height, width = image.shape[-2:]
        ramp = torch.linspace(-1, 1, width) * torch.linspace(-2, 2, height)[:, None]
        mood = image.mean(dim=(1, 2, 3), keepdim=True)[:, 0] / 64
        base = image[:, 0] / 64
        near = [0.3 * ramp * mood * (k - 1.5) - (base - k - 0.5) ** 2 for k in range(4)]
        return Output({"LC": torch.stack(near, 1)}, {})


def write_raster(
    path: Path,
    array: np.ndarray,
    resolution: float = 0.2,
    *,
    origin: tuple[float, float] = ORIGIN,
    crs: Any = CRS,
    transform: Any = None,
    **options: Any,
) -> Path:
    """`array` (C, H, W) as a GeoTIFF."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=array.dtype,
        crs=crs,
        transform=transform or from_origin(*origin, resolution, resolution),
        **options,
    ) as dataset:
        dataset.write(array)
    return path


def aerial(height: int, width: int, seed: int = 0, high: int = 4) -> np.ndarray:
    """Random RGBI of small numbers."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, high, (4, height, width), dtype=np.uint8)


def read_map(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def even_out(network: Any, task: str, inputs: dict[str, Any]) -> None:
    """Let an untrained network say all classes of a task about as often as each other.

    `inputs` are arguments of `Network.forward` on which its last layer is made to answer with mean
    0 and deviation 1 for every class.
    """
    with torch.inference_mode():
        logits = network(**inputs).logits[task].transpose(0, 1).flatten(1)
    last = network.decoders[task].classes
    with torch.no_grad():
        last.weight /= logits.std(dim=1).view(-1, 1, 1, 1)
        last.bias.copy_((last.bias - logits.mean(dim=1)) / logits.std(dim=1))
