"""Other light: gain and offset per band, haze, and a change of radar level.

Shapes: B samples, C bands, ... any leading and pixel dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bocage.data.augment.chance import uniform
from bocage.modalities import MODALITIES, Modality
from bocage.sample import Batch

OPTICAL = ("digital_number", "reflectance")
DECIBEL_PER_SHARE = 10.0
"""`colour=0.1` moves radar by up to 1 dB, Sentinel-1's radiometric stability being within that."""
WAVELENGTH_NM = {"blue": 490, "green": 560, "red": 665, "nir": 840, "panchromatic": 600}
"""Centres of the bands of photographs and SPOT, rounded."""


def recolour(batch: Batch, colour: float, haze: float, sources: Sequence[torch.Generator]) -> Batch:
    """Optical bands and radar of every patch in other light; see `AugmentConfig`."""
    images, series = dict(batch.images), dict(batch.series)
    for name in sorted(MODALITIES):
        modality = MODALITIES[name]
        part = images if name in images else series
        if name not in part or modality.quantity not in (*OPTICAL, "sigma0"):
            continue
        count = len(modality.bands)
        draws = uniform(sources, f"light/{name}", count + 3)
        known = batch.valid.get(name) if part is images else batch.series_valid.get(name)
        part[name] = _changed(part[name], known, modality, draws, colour, haze)
    return replace(batch, images=images, series=series)


def _changed(
    stored: Tensor,
    known: Tensor | None,
    modality: Modality,
    draws: Tensor,
    colour: float,
    haze: float,
) -> Tensor:
    """`stored` (B, ..., C, H, W) changed by `draws` (B, C + 3) in [0, 1), in its own type."""
    signed = (2 * draws - 1).to(stored.device)
    middle = (1,) * (stored.ndim - 4)
    per_band = (len(signed), *middle, -1, 1, 1)
    values = stored.to(torch.float32)
    if modality.quantity == "sigma0":
        decibel = signed[:, :1] * colour * DECIBEL_PER_SHARE
        values = values * (10 ** (decibel / 10)).view(per_band)
    else:
        count = len(modality.bands)
        mean = torch.tensor(modality.mean, device=stored.device).view(1, *middle, -1, 1, 1)
        std = torch.tensor(modality.std, device=stored.device).view(1, *middle, -1, 1, 1)
        # Half of the change is common to all bands (the sun), half each band's own (the camera).
        gain = 1 + colour * (signed[:, :1] + signed[:, 3:]).view(per_band) / 2
        offset = colour * signed[:, 1:2].view(per_band) * std / 2
        assert gain.shape[-3] in (1, count)
        values = values * gain + offset
        if haze and not modality.series and all(b in WAVELENGTH_NM for b in modality.bands):
            blue = torch.tensor([WAVELENGTH_NM["blue"] / WAVELENGTH_NM[b] for b in modality.bands])
            # Between molecules (power 4) and droplets (power 0).
            thickness = blue.to(stored.device).view(1, *middle, -1, 1, 1) ** 2
            share = haze * draws[:, 2:3].to(stored.device).view(per_band) * thickness
            values = values * (1 - share) + (mean + std) * share
    if not stored.dtype.is_floating_point:
        # 0 in all bands and the type's largest number may mean "no data".
        highest = torch.iinfo(stored.dtype).max - (modality.nodata is not None)
        values = values.round().clamp(1 if modality.series else 0, highest)
    if known is not None:
        values = torch.where(known.unsqueeze(-3), values, stored.to(torch.float32))
    return values.to(stored.dtype)
