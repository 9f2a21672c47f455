"""Small networks and batches for the tests of `bocage.models`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bocage.modalities import get_modality
from bocage.models import (
    AuxiliaryConfig,
    BundleClass,
    BundleMeta,
    BundleTask,
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    TemporalConfig,
)

AERIAL, DEM, SPOT, PAN = "AERIAL_RGBI", "DEM_ELEV", "SPOT_RGBI", "AERIAL-RLT_PAN"
S2, ASC, DESC = "SENTINEL2_TS", "SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS"
EVERYTHING = (AERIAL, DEM, SPOT, PAN, S2, ASC, DESC)
TASKS = (TaskHead(name="cover", num_classes=5), TaskHead(name="crops", num_classes=7))


def small_config(inputs: Sequence[str | InputConfig], **options: Any) -> NetworkConfig:
    """A network of a few thousand parameters."""
    return NetworkConfig(
        **{
            "inputs": [
                i if isinstance(i, InputConfig) else InputConfig(modality=i) for i in inputs
            ],
            "tasks": TASKS,
            "encoder": EncoderConfig(width=8),
            "temporal": TemporalConfig(width=8, heads=2, output_width=8),
            "fusion": FusionConfig(width=8),
            "decoder": DecoderConfig(width=8),
            **options,
        }
    )


def small_network(inputs: Sequence[str | InputConfig], **options: Any) -> Network:
    torch.manual_seed(0)
    return Network(small_config(inputs, **options))


def with_auxiliary(inputs: Sequence[str], **options: Any) -> Network:
    return small_network(inputs, auxiliary=AuxiliaryConfig(enabled=True, width=8), **options)


def describe(network: Network, **options: Any) -> BundleMeta:
    tasks = tuple(
        BundleTask(
            name=task.name,
            slug=task.name,
            classes=tuple(
                BundleClass(
                    id=i, name=f"c{i}", name_fr=f"classe {i}", color="#102030", scored=i < 4
                )
                for i in range(task.num_classes)
            ),
        )
        for task in TASKS
    )
    return BundleMeta(network=network.config, tasks=tasks, tile_px=512, **options)


def make_batch(
    inputs: Sequence[str],
    samples: int = 2,
    hw: tuple[int, int] = (64, 64),
    dates: int = 4,
    series_hw: tuple[int, int] = (3, 3),
    resolution_m: float = 0.2,
    seed: int = 0,
) -> dict[str, Any]:
    """Network inputs of random content; every sensor is there, every date valid."""
    random = torch.Generator().manual_seed(seed)
    batch: dict[str, Any] = {
        key: {}
        for key in ("images", "valid", "series", "series_valid", "days", "dates_present", "present")
    }
    for name in inputs:
        spec = get_modality(name)
        bands = len(spec.bands)
        batch["present"][name] = torch.ones(samples, dtype=torch.bool)
        if spec.series:
            shape: tuple[int, ...] = (samples, dates, bands, *series_hw)
        else:
            scale = min(resolution_m / spec.resolution_m, 1.0)
            shape = (samples, bands, *(max(1, round(side * scale)) for side in hw))
        values = torch.rand(shape, generator=random)
        stored = {
            "digital_number": lambda v: (v * 255).to(torch.uint8),
            "reflectance": lambda v: (v * 4000).to(torch.uint16),
            "sigma0": lambda v: v * 0.3 + 1e-3,
            "elevation": lambda v: 100 + 20 * v,
            "height": lambda v: (v * 100).to(torch.uint8),
        }[spec.quantity](values)
        if spec.series:
            batch["series"][name] = stored
            batch["series_valid"][name] = torch.ones(samples, dates, *series_hw, dtype=torch.bool)
            days = torch.randint(-130, 230, (samples, dates), generator=random)
            batch["days"][name] = days.sort(dim=1).values
            batch["dates_present"][name] = torch.ones(samples, dates, dtype=torch.bool)
        else:
            batch["images"][name] = stored
            batch["valid"][name] = torch.ones(samples, *shape[-2:], dtype=torch.bool)
    batch["output_hw"] = hw
    return batch


def without(batch: dict[str, Any], absent: dict[str, Sequence[int]]) -> dict[str, Any]:
    """The batch with sensors missing from some samples, as collate writes absence: zeros, False."""
    out = {k: dict(v) if isinstance(v, dict) else v for k, v in batch.items()}
    for name, rows in absent.items():
        for part in (
            "images",
            "valid",
            "series",
            "series_valid",
            "days",
            "dates_present",
            "present",
        ):
            if name in out[part]:
                tensor = out[part][name].clone()
                for row in rows:
                    tensor[row] = 0
                out[part][name] = tensor
        if not out["present"][name].any():
            for part in ("images", "valid", "series", "series_valid", "days", "dates_present"):
                out[part].pop(name, None)
    return out


def sample_of(batch: dict[str, Any], row: int) -> dict[str, Any]:
    """One sample of a batch as a batch of its own, without its padding and absent sensors."""
    out: dict[str, Any] = {k: {} if isinstance(v, dict) else v for k, v in batch.items()}
    for name, flags in batch["present"].items():
        out["present"][name] = flags[row : row + 1]
        if not flags[row]:
            continue
        for part in ("images", "valid"):
            if name in batch[part]:
                out[part][name] = batch[part][name][row : row + 1]
        if name in batch["series"]:
            keep = batch["dates_present"][name][row]
            for part in ("series", "series_valid", "days", "dates_present"):
                out[part][name] = batch[part][name][row : row + 1][:, keep]
    return out


def gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference between two sets of logits."""
    return max(float((one[task] - other[task]).detach().abs().max()) for task in one)
