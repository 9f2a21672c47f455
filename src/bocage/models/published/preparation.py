"""What the published networks see: the statistics of their training, series as stored.

Shapes: B samples, T dates, N frames, C stored bands, P prepared channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bocage.modalities import COMMON_NODATA
from bocage.models.inputs import InputConfig, Preparation
from bocage.models.layers import take_rows
from bocage.models.published.utae import Frames

IMAGE_STATISTICS: dict[str, dict[str, tuple[float, float]]] = {
    "AERIAL_RGBI": {
        "red": (105.66, 52.23),
        "green": (111.35, 45.62),
        "blue": (102.18, 44.30),
        "nir": (106.59, 39.78),
    },
    "AERIAL-RLT_PAN": {"panchromatic": (125.92, 38.45)},
    # Height has the altitude's statistics: a flaw of the training that its weights live with.
    "DEM_ELEV": dict.fromkeys(("dsm", "height", "dtm"), (311.06, 537.55)),
    "SPOT_RGBI": {
        "red": (433.26, 312.76),
        "green": (508.75, 284.61),
        "blue": (467.77, 226.02),
        "nir": (1137.03, 543.11),
    },
}
"""Mean and spread per channel: FLAIR-HUB's published configuration; SPOT as in the model cards,
which give each band its own values."""

IMAGE_CHANNELS: dict[str, tuple[str, ...]] = {
    "AERIAL_RGBI": ("nir", "red", "green"),
    "AERIAL-RLT_PAN": ("panchromatic",),
    "DEM_ELEV": ("dsm", "height"),
    "SPOT_RGBI": ("nir", "red", "green"),
}
"""Channels that the published networks take unless their card says otherwise."""


def published_input(
    modality: str, channels: tuple[str, ...] | None = None, resolution_m: float | None = None
) -> InputConfig:
    """An input with published channels and statistics; a series is taken as it is stored."""
    plain = InputConfig(modality=modality, channels=channels, resolution_m=resolution_m)
    name = plain.modality
    if plain.spec.series or name not in IMAGE_STATISTICS:
        names = plain.channel_names
        mean, std = (0.0,) * len(names), (1.0,) * len(names)
    else:
        names = channels or IMAGE_CHANNELS[name]
        # Unknown channels were refused above.
        mean, std = zip(*(IMAGE_STATISTICS[name][channel] for channel in names), strict=True)
    return InputConfig(modality=name, channels=names, mean=mean, std=std, resolution_m=resolution_m)


class PublishedPreparation(Preparation):
    """Stored numbers to the channels of a published network; what is unknown becomes 0.

    Differs from `Preparation` in that backscatter stays linear, and in that mean and spread are
    not among the weights: a checkpoint's names are the network's, nothing else.
    """

    def __init__(self, config: InputConfig):
        super().__init__(config)
        self._statistics = config.statistics
        self.register_buffer("mean", self.mean, persistent=False)
        self.register_buffer("std", self.std, persistent=False)

    def init_non_persistent_buffers(self) -> None:
        """Fill in the statistics; called where the module was built without memory."""
        for buffer, values in zip((self.mean, self.std), self._statistics, strict=True):
            buffer.copy_(torch.tensor(values).view(-1, 1, 1))

    def _physical(self, raw: Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        if self.spec.quantity != "sigma0":
            return super()._physical(raw)
        stored = raw.to(torch.float32)
        known = torch.isfinite(stored) & (stored != COMMON_NODATA)
        bands = self.spec.bands
        return (
            dict(zip(bands, stored.unbind(-3), strict=True)),
            dict(zip(bands, known.unbind(-3), strict=True)),
        )


def pack_frames(
    prepare: nn.Module,
    raw_BTCHW: Tensor,
    valid_BTHW: Tensor | None,
    days_BT: Tensor,
    present_BT: Tensor,
    dense: bool,
) -> Frames:
    """The frames of a batch that there are, prepared.

    `dense` keeps absent dates in their places, under a mask: fixed shapes for export.
    """
    if valid_BTHW is None:
        valid_BTHW = present_BT[..., None, None].expand(*present_BT.shape, *raw_BTCHW.shape[-2:])
    frames, valid = raw_BTCHW.flatten(0, 1), valid_BTHW.flatten(0, 1)
    slots, mask = None, present_BT
    if not dense:
        slots = present_BT.flatten().nonzero().squeeze(1)
        if len(slots) == len(frames):
            slots = None
        else:
            frames, valid = take_rows(frames, slots), valid[slots]
    values_NCHW, _ = prepare(frames, valid)
    values_NCHW = values_NCHW.contiguous(memory_format=torch.channels_last)
    complete = slots is None and not dense
    return Frames(values_NCHW, days_BT, None if complete else mask, slots)
