"""Networks and batches for the tests of the challenges' baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bocage.modalities import AERIAL_METADATA, SENTINEL2_SUPERPATCH, get_modality
from bocage.models import TaskHead
from bocage.models.flair import FlairConfig, FlairNetwork, flair_input
from bocage.nomenclatures import FLAIR_12

AERIAL, HEIGHT = "AERIAL_RGBI", "AERIAL_HEIGHT"
METADATA, SERIES = AERIAL_METADATA.name, SENTINEL2_SUPERPATCH.name
PHOTOGRAPHS = (AERIAL, HEIGHT)
EVERYTHING = (*PHOTOGRAPHS, METADATA, SERIES)
VARIANTS = (PHOTOGRAPHS, (*PHOTOGRAPHS, METADATA), (*PHOTOGRAPHS, SERIES), EVERYTHING)
COVER = FLAIR_12.name


def config_of(names: Sequence[str], **options: Any) -> FlairConfig:
    return FlairConfig(
        **{
            "inputs": tuple(flair_input({"modality": name}) for name in names),
            "tasks": (TaskHead(name=COVER, num_classes=FLAIR_12.num_classes),),
            **options,
        }
    )


def built(names: Sequence[str], **options: Any) -> FlairNetwork:
    torch.manual_seed(0)
    return FlairNetwork(config_of(names, **options))


def make_batch(
    names: Sequence[str] = EVERYTHING,
    samples: int = 2,
    hw: tuple[int, int] = (64, 64),
    dates: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Network inputs of random content, with all that `names` says."""
    random = torch.Generator().manual_seed(seed)
    batch: dict[str, Any] = {
        key: {}
        for key in ("images", "valid", "series", "series_valid", "days", "dates_present", "present")
    }
    for name in names:
        batch["present"][name] = torch.ones(samples, dtype=torch.bool)
        bands = len(get_modality(name).bands)
        if name == METADATA:
            rows = [acquisition(x_m=9e5 + 1e4 * i, month=1 + i % 12) for i in range(samples)]
            batch["images"][name] = torch.stack(rows)
            batch["valid"][name] = torch.ones(samples, 1, 1, dtype=torch.bool)
        elif name == SERIES:
            shape = (samples, dates, bands, 40, 40)
            values = torch.randint(1, 4000, shape, generator=random)
            batch["series"][name] = values.to(torch.uint16)
            batch["series_valid"][name] = torch.ones(samples, dates, 40, 40, dtype=torch.bool)
            days = torch.randint(-130, 230, (samples, dates), generator=random)
            batch["days"][name] = days.sort(dim=1).values
            batch["dates_present"][name] = torch.ones(samples, dates, dtype=torch.bool)
        else:
            values = torch.randint(0, 255, (samples, bands, *hw), generator=random)
            batch["images"][name] = values.to(torch.uint8)
            batch["valid"][name] = torch.ones(samples, *hw, dtype=torch.bool)
    batch["output_hw"] = hw
    return batch


def acquisition(
    x_m: float = 9e5,
    y_m: float = 6.3e6,
    altitude_m: float = 250.0,
    camera: int = 0,
    year: int = 2021,
    month: int = 6,
    day: int = 27,
    minute: int = 498,
) -> torch.Tensor:
    """The bands of `AERIAL_METADATA`, (8, 1, 1)."""
    values = [x_m, y_m, altitude_m, camera, year, month, day, minute]
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def without(batch: dict[str, Any], name: str, rows: Sequence[int]) -> dict[str, Any]:
    """The batch with one input missing from some samples, as collate writes absence."""
    out = {k: dict(v) if isinstance(v, dict) else v for k, v in batch.items()}
    for part in ("images", "valid", "series", "series_valid", "days", "dates_present", "present"):
        if name in out[part]:
            out[part][name] = out[part][name].clone()
            for row in rows:
                out[part][name][row] = 0
    if not out["present"][name].any():
        for part in ("images", "valid", "series", "series_valid", "days", "dates_present"):
            out[part].pop(name, None)
    return out


def row_of(batch: dict[str, Any], row: int, dates: int | None = None) -> dict[str, Any]:
    """One sample as a batch of its own, its series cut to `dates`."""
    out = {
        part: {name: tensor[row : row + 1] for name, tensor in values.items()}
        if isinstance(values, dict)
        else values
        for part, values in batch.items()
    }
    for part in ("series", "series_valid", "days", "dates_present"):
        out[part] = {name: tensor[:, :dates] for name, tensor in out[part].items()}
    return out
