"""All augmentations, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bocage.data.augment.config import AugmentConfig
from bocage.data.augment.dates import cloud_over, drop_dates
from bocage.data.augment.radiometry import recolour
from bocage.data.augment.turns import draw_turns, turn_batch
from bocage.data.augment.zoom import zoom_in
from bocage.sample import Batch


def augment(batch: Batch, config: AugmentConfig, sources: Sequence[torch.Generator]) -> Batch:
    """A new batch on the same device; `sources` are one generator (CPU) per patch.

    The given batch is left as it is. What is missing stays missing, nodata stays nodata.
    """
    assert len(sources) == len(batch)
    if config.zoom:
        batch = zoom_in(batch, config.zoom, sources)
    if config.flips_and_turns:
        batch = turn_batch(batch, draw_turns(batch, sources))
    if config.drop_dates:
        batch = drop_dates(batch, config.drop_dates, sources)
    if config.clouds:
        batch = cloud_over(batch, config.clouds, sources)
    if config.colour or config.haze:
        batch = recolour(batch, config.colour, config.haze, sources)
    return batch
