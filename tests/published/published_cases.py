"""Small published networks and batches for the tests of `bocage.models.published`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from bocage.modalities import get_modality
from bocage.models import TaskHead
from bocage.models.published import (
    PublishedConfig,
    PublishedNetwork,
    published_config,
    published_input,
)

AERIAL, DEM, SPOT = "AERIAL_RGBI", "DEM_ELEV", "SPOT_RGBI"
S2, ASC, DESC = "SENTINEL2_TS", "SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS"
COVER = TaskHead(name="AERIAL_LABEL-COSIA", num_classes=19)
CROPS = TaskHead(name="ALL_LABEL-LPIS", num_classes=23)


def small(
    *sensors: str,
    tasks: tuple[TaskHead, ...] = (COVER,),
    architecture: str = "resnet34-unet",
    auxiliary: tuple[str, ...] = (),
    tile_px: int = 64,
) -> PublishedConfig:
    """A network for patches of 64 pixels; every single-date sensor at the label's resolution."""
    inputs = tuple(
        published_input(name, resolution_m=None if get_modality(name).series else 0.2)
        for name in sensors
    )
    return PublishedConfig(
        inputs=inputs, tasks=tasks, architecture=architecture, auxiliary=auxiliary, tile_px=tile_px
    )


def built(config: PublishedConfig) -> PublishedNetwork:
    torch.manual_seed(0)
    return PublishedNetwork(config).eval()


def series_config(name: str = "LC-G", **options: Any) -> PublishedConfig:
    return published_config(name, **options)


def batch_for(config: PublishedConfig, samples: int = 2, dates: int = 5) -> dict[str, Any]:
    """Network inputs of random content as collate gives them; every sensor and date is there."""
    random = torch.Generator().manual_seed(1)
    batch: dict[str, Any] = {
        key: {}
        for key in ("images", "valid", "series", "series_valid", "days", "dates_present", "present")
    }
    for given in config.inputs:
        name, spec, side = given.modality, given.spec, config.size_px(given)
        batch["present"][name] = torch.ones(samples, dtype=torch.bool)
        if spec.series:
            side = 4
            shape: tuple[int, ...] = (samples, dates, len(spec.bands), side, side)
        else:
            shape = (samples, len(spec.bands), side, side)
        values = torch.rand(shape, generator=random)
        stored = {
            "uint8": lambda v: (v * 255).to(torch.uint8),
            "uint16": lambda v: (v * 4000).to(torch.uint16),
            "float32": lambda v: v + 0.01,
        }[spec.dtype](values)
        if not spec.series:
            batch["images"][name] = stored
            batch["valid"][name] = torch.ones(samples, side, side, dtype=torch.bool)
            continue
        batch["series"][name] = stored
        batch["series_valid"][name] = torch.ones(samples, dates, side, side, dtype=torch.bool)
        days = torch.randint(-130, 220, (samples, dates), generator=random)
        batch["days"][name] = days.sort(dim=1).values
        batch["dates_present"][name] = torch.ones(samples, dates, dtype=torch.bool)
    batch["output_hw"] = (config.tile_px, config.tile_px)
    return batch


def padded(batch: dict[str, Any], extra: int) -> dict[str, Any]:
    """The same batch with `extra` absent dates of loud content behind every series."""
    out = {k: dict(v) if isinstance(v, dict) else v for k, v in batch.items()}
    for name, values in batch["series"].items():
        tail = torch.ones_like(values[:, :1]).expand(-1, extra, -1, -1, -1) * 100
        out["series"][name] = torch.cat([values, tail.to(values.dtype)], dim=1)
        for key in ("series_valid", "days", "dates_present"):
            own = batch[key][name]
            none = own.new_zeros(own.shape[0], extra, *own.shape[2:])
            out[key][name] = torch.cat([own, none], dim=1)
    return out


def parity_tool() -> ModuleType:
    """tools/parity.py as a module."""
    path = Path(__file__).parents[2] / "tools" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
