"""Series with fewer dates, and with clouds that no mask knows of.

Shapes: B samples, T dates, C bands, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bocage.data.augment.chance import uniform
from bocage.modalities import get_modality
from bocage.sample import Batch

CLOUD_REFLECTANCE = (4000.0, 9000.0)
"""Sentinel-2 numbers of thin and of thick cloud in all bands, reflectance times 10,000."""
_BLOBS = 4


def drop_dates(batch: Batch, most: float, sources: Sequence[torch.Generator]) -> Batch:
    """Each patch and series loses a share of its dates, from none to `most`; one always stays."""
    present, seen, series = {}, {}, {}
    for name, dates_BT in batch.dates_present.items():
        count = dates_BT.shape[1]
        draws = uniform(sources, f"dates/{name}", count + 1)
        keys_BT = draws[:, 1:]
        gone_BT = keys_BT < draws[:, :1] * most
        luck_BT = torch.where(dates_BT.cpu(), keys_BT, -1.0)
        gone_BT[torch.arange(len(batch)), luck_BT.argmax(1)] = False
        kept_BT = dates_BT & ~gone_BT.to(dates_BT.device)
        present[name] = kept_BT
        mask = kept_BT[..., None, None]
        seen[name] = batch.series_valid[name] & mask
        series[name] = _where(mask.unsqueeze(2), batch.series[name])
    return replace(batch, series=series, series_valid=seen, dates_present=present)


def cloud_over(batch: Batch, chance: float, sources: Sequence[torch.Generator]) -> Batch:
    """Each optical date of a series gets, with `chance`, a bright patch of cloud."""
    series = dict(batch.series)
    for name, stored_BTCHW in batch.series.items():
        if get_modality(name).quantity != "reflectance":
            continue
        count, (height, width) = stored_BTCHW.shape[1], stored_BTCHW.shape[-2:]
        draws = uniform(sources, f"clouds/{name}", count * (_BLOBS**2 + 3))
        noise = draws.view(len(batch), count, -1).to(stored_BTCHW.device)
        blobs = noise[..., 3:].reshape(-1, 1, _BLOBS, _BLOBS)
        smooth = F.interpolate(blobs, (height, width), mode="bicubic", align_corners=False)
        smooth = smooth.view(*noise.shape[:2], height, width)
        # From a wisp to a full cover; soft over a tenth of the field's range.
        level = 1.1 - 1.2 * noise[..., 1, None, None]
        opacity = ((smooth - level) / 0.1).clamp(0, 1)
        clouded = (noise[..., 0] < chance) & batch.dates_present[name]
        opacity = (opacity * clouded[..., None, None] * batch.series_valid[name]).unsqueeze(2)
        thin, thick = CLOUD_REFLECTANCE
        bright = (thin + (thick - thin) * noise[..., 2])[..., None, None, None]
        mixed = stored_BTCHW.to(torch.float32) * (1 - opacity) + bright * opacity
        series[name] = mixed.round().to(stored_BTCHW.dtype)
    return replace(batch, series=series)


def _where(mask: Tensor, stored: Tensor) -> Tensor:
    """`stored` where `mask`, 0 elsewhere; 16-bit unsigned numbers pass as signed ones."""
    if stored.dtype == torch.uint16:
        signed = stored.view(torch.int16)
        return torch.where(mask, signed, torch.zeros_like(signed)).view(torch.uint16)
    return torch.where(mask, stored, torch.zeros_like(stored))
