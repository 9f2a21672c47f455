"""Encoders of single-date images: an image to feature maps of falling resolution.

An encoder is registered in `ENCODERS` by name; any other name is looked up in timm. To add one,
write a function `(EncoderConfig, channel names, load_pretrained) -> Encoder` and register it.
"""

from __future__ import annotations

from collections.abc import Sequence

from bocage.models.encoders.base import (
    COLOURS,
    ENCODERS,
    Encoder,
    EncoderConfig,
    EncoderFactory,
)
from bocage.models.encoders.convnet import build_convnet
from bocage.models.encoders.timm_backbone import build_timm

ENCODERS["convnet"] = build_convnet


def build_encoder(
    config: EncoderConfig, channels: Sequence[str], load_pretrained: bool = True
) -> Encoder:
    """The encoder that `config` names, for images of the named channels, in this order."""
    return ENCODERS.get(config.name, build_timm)(config, channels, load_pretrained)


__all__ = [
    "COLOURS",
    "ENCODERS",
    "Encoder",
    "EncoderConfig",
    "EncoderFactory",
    "build_encoder",
]
