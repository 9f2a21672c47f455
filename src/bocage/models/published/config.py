"""The configuration of a published FLAIR-HUB network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bocage.errors import ConfigError, unknown_name
from bocage.modalities import FLAIR_HUB_INPUTS, get_modality
from bocage.models.config import TaskHead
from bocage.models.inputs import InputConfig

PUBLISHED_ORDER = tuple(modality.name for modality in FLAIR_HUB_INPUTS)
"""Order of the sensors in the network: single-date ones first."""

SERIES_WIDTHS = ((64, 64, 64, 128), (32, 32, 64, 128))
"""Channels per level of the temporal encoder and of its decoder, when only series are given."""
SERIES_HEAD = (32, 19)
"""Channels of the convolutions to a series' logits. A task with other than 19 classes still passes
through the 19 of land cover."""


COARSEST_STRIDE = 32
"""Image pixels per cell of the coarsest map, of every backbone."""


@dataclass(frozen=True)
class Architecture:
    """Encoder and decoder of single-date sensors."""

    short: str
    """Name for users."""
    encoder: str
    """timm's name."""
    decoder: Literal["upernet", "unet"]
    first_stride: int = 4
    """Image pixels per cell of the finest map."""
    windows: bool = False
    """Whether it attends within windows, which fixes the size of the image."""

    @property
    def name(self) -> str:
        """Encoder and decoder in one word, as published configurations write it."""
        return f"{self.encoder}-{self.decoder}"

    @property
    def stages(self) -> int:
        """Maps that fusion joins: backbones that start at half size count the image as one too."""
        return 4 if self.first_stride == 4 else 6


_SWIN = {
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "swin_small": "swin_small_patch4_window7_224",
    "swin_base": "swin_base_patch4_window12_384",
    "swin_large": "swin_large_patch4_window12_384",
}
_DECODERS: tuple[Literal["upernet", "unet"], ...] = ("upernet", "unet")

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for decoder in _DECODERS
    for architecture in (
        *(Architecture(short, full, decoder, windows=True) for short, full in _SWIN.items()),
        *(Architecture(f"convnextv2_{s}", f"convnextv2_{s}", decoder) for s in ("tiny", "base")),
        Architecture("resnet34", "resnet34", decoder, first_stride=2),
    )
}
"""By published name, such as `swin_base_patch4_window12_384-upernet`."""

DEFAULT_ARCHITECTURE = "swin_base_patch4_window12_384-upernet"


def get_architecture(name: str) -> Architecture:
    """By published name or in short: `swin_tiny`, `resnet34-unet`; UPerNet when not said."""
    for architecture in ARCHITECTURES.values():
        if name in (architecture.name, f"{architecture.short}-{architecture.decoder}"):
            return architecture
        if architecture.decoder == "upernet" and name in (architecture.short, architecture.encoder):
            return architecture
    valid = [f"{a.short}-{a.decoder}" for a in ARCHITECTURES.values()]
    raise ConfigError(unknown_name("architecture", name, valid))


class PublishedConfig(BaseModel):
    """A network of the FLAIR-HUB paper, tensor for tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["published"] = "published"
    """Tells this configuration from one of Bocage's own networks."""
    name: str = ""
    """Name of the configuration in the paper, such as LC-A; empty for others."""
    inputs: tuple[InputConfig, ...] = Field(min_length=1)
    """The sensors with their channels and statistics; kept in the paper's order."""
    tasks: tuple[TaskHead, ...] = Field(min_length=1)
    """What is predicted."""
    architecture: str = DEFAULT_ARCHITECTURE
    """Encoder and decoder of single-date sensors."""
    auxiliary: tuple[str, ...] = ()
    """Sensors with decoders of their own, which only training uses."""
    weights: Literal["none", "pretrained"] = "none"
    """`pretrained`: encoders start from timm's weights, fetched from the hub."""
    tile_px: int = Field(default=512, ge=32)
    """Side of a patch in label pixels; window attention is laid out for it."""
    output_resolution_m: float = Field(default=0.2, gt=0)
    """Ground size of a label pixel, metres."""

    @field_validator("auxiliary")
    @classmethod
    def _official_names(cls, sensors: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(get_modality(name).name for name in sensors)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @field_validator("architecture")
    @classmethod
    def _published_name(cls, name: str) -> str:
        try:
            return get_architecture(name).name
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @field_validator("inputs")
    @classmethod
    def _published_order(cls, inputs: tuple[InputConfig, ...]) -> tuple[InputConfig, ...]:
        for config in inputs:
            if config.modality not in PUBLISHED_ORDER:
                raise ValueError(unknown_name("input", config.modality, PUBLISHED_ORDER))
        return tuple(sorted(inputs, key=lambda config: PUBLISHED_ORDER.index(config.modality)))

    @model_validator(mode="after")
    def _consistent(self) -> PublishedConfig:
        names = [config.modality for config in self.inputs]
        tasks = [task.name for task in self.tasks]
        for kind, given in (("input", names), ("task", tasks), ("auxiliary", self.auxiliary)):
            if len(set(given)) != len(given):
                raise ValueError(f"each {kind} may be named once, got {', '.join(given)}")
        for name in self.auxiliary:
            if name not in names:
                raise ValueError(unknown_name("input in auxiliary", name, names))
        for config in self.images:
            size = self.size_px(config)
            if self.arch.windows and (size < COARSEST_STRIDE or size % COARSEST_STRIDE):
                raise ValueError(
                    f"a patch of {config.modality} is {size} px, but the windows of "
                    f"{self.arch.short} need a multiple of {COARSEST_STRIDE} px; change tile_px"
                )
        return self

    @property
    def has_auxiliary(self) -> bool:
        """Whether sensors are also supervised one by one."""
        return bool(self.auxiliary)

    def ineffective(self) -> dict[str, str]:
        """Options without effect on this network: dotted path to the reason."""
        if self.images:
            return {}
        return dict.fromkeys(("architecture", "weights"), "every input is a series")

    @property
    def arch(self) -> Architecture:
        """The architecture itself."""
        return get_architecture(self.architecture)

    @property
    def images(self) -> tuple[InputConfig, ...]:
        """Single-date inputs."""
        return tuple(config for config in self.inputs if not config.spec.series)

    @property
    def series(self) -> tuple[InputConfig, ...]:
        """Inputs of many dates."""
        return tuple(config for config in self.inputs if config.spec.series)

    @property
    def total_classes(self) -> int:
        """Logits of all tasks together."""
        return sum(task.num_classes for task in self.tasks)

    def size_px(self, config: InputConfig) -> int:
        """Side of a patch in pixels of one input."""
        return round(self.tile_px * self.output_resolution_m / config.pixel_m)

    @property
    def series_widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels per level of the temporal encoder and of its decoder, finest first.

        Beside images both have as many levels as fusion joins: evenly spaced between just below
        the narrowest and just above the widest, each to the nearest power of two.
        """
        if not self.images:
            return SERIES_WIDTHS
        low, high = min(SERIES_WIDTHS[0]) - 1, max(SERIES_WIDTHS[0]) + 1
        spaced = np.linspace(low, high, self.arch.stages).astype(int)
        widths = tuple(2 ** round(float(np.log2(width))) for width in spaced)
        return widths, widths

    @property
    def series_head(self) -> tuple[int, ...]:
        """Channels of the convolutions to a series' logits."""
        total = self.total_classes
        return SERIES_HEAD if total == SERIES_HEAD[-1] else (*SERIES_HEAD, total)
