"""A part of the patch at full size, the same part on every grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bocage.data.augment.chance import uniform
from bocage.errors import ConfigError
from bocage.modalities import get_modality
from bocage.nomenclatures import IGNORE
from bocage.sample import Batch


def zoom_in(batch: Batch, largest: float, sources: Sequence[torch.Generator]) -> Batch:
    """Every patch enlarged by 1 to 1 + `largest` about a place of its own.

    Numbers are interpolated among known pixels only; labels and masks take the nearest. A sensor
    whose image covers more ground than the patch would no longer lie around it: `ConfigError`.
    """
    for name in batch.present:
        modality = get_modality(name)
        if not modality.covers_patch and modality.quantity != "acquisition":
            raise ConfigError(
                f"data.augment.zoom: {name} covers more ground than the patch and cannot be "
                "enlarged with it. Set data.augment.zoom=0."
            )
    draws = uniform(sources, "zoom", 3)
    share = 1 / (1 + largest * draws[:, 0])
    centre = (2 * draws[:, 1:] - 1) * (1 - share[:, None])
    theta_B23 = torch.zeros(len(draws), 2, 3)
    theta_B23[:, 0, 0] = theta_B23[:, 1, 1] = share
    theta_B23[:, :, 2] = centre
    images = {n: t for n, t in batch.images.items() if get_modality(n).covers_patch}
    new_images, new_valid = _enlarged(images, batch.valid, theta_B23)
    new_series, new_series_valid = _enlarged(batch.series, batch.series_valid, theta_B23)
    labels = {
        name: _nearest(label[:, None], theta_B23)[:, 0] for name, label in batch.labels.items()
    }
    return replace(
        batch,
        images={**batch.images, **new_images},
        valid={**batch.valid, **new_valid},
        series=new_series,
        series_valid=new_series_valid,
        labels=labels,
    )


def _enlarged(
    parts: Mapping[str, Tensor], masks: Mapping[str, Tensor], theta: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors (B, ..., C, H, W) and their masks (B, ..., H, W), enlarged."""
    values, known = {}, {}
    for name, stored in parts.items():
        mask = masks[name]
        flat = stored.to(torch.float32).flatten(1, -3)
        seen = mask.flatten(1, -3) if mask.ndim > 3 else mask[:, None]
        weights = seen.to(torch.float32)
        spread = weights.repeat_interleave(flat.shape[1] // weights.shape[1], dim=1)
        total = _linear(flat * spread, theta)
        weight = _linear(weights, theta).repeat_interleave(flat.shape[1] // weights.shape[1], dim=1)
        mixed = (total / weight.clamp(min=1e-6)).view(stored.shape)
        known[name] = _nearest(seen.to(torch.uint8), theta).bool().view(mask.shape)
        if not stored.dtype.is_floating_point:
            mixed = mixed.round()
        values[name] = torch.where(known[name].unsqueeze(-3), mixed, 0.0).to(stored.dtype)
    return values, known


def _grid(tensor: Tensor, theta: Tensor) -> Tensor:
    size = [len(tensor), 1, *tensor.shape[-2:]]
    return F.affine_grid(theta.to(tensor.device), size, align_corners=False)


def _linear(tensor_BCHW: Tensor, theta: Tensor) -> Tensor:
    grid = _grid(tensor_BCHW, theta)
    return F.grid_sample(tensor_BCHW, grid, "bilinear", "border", align_corners=False)


def _nearest(tensor_BCHW: Tensor, theta: Tensor) -> Tensor:
    # Labels are at most IGNORE = 255: float32 holds them exactly.
    assert tensor_BCHW.dtype == torch.uint8
    assert IGNORE <= 255
    grid = _grid(tensor_BCHW, theta)
    taken = F.grid_sample(tensor_BCHW.float(), grid, "nearest", "border", align_corners=False)
    return taken.to(torch.uint8)
