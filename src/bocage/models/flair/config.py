"""The configuration of a baseline of FLAIR #1 and #2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bocage.errors import unknown_name
from bocage.modalities import AERIAL_HEIGHT, AERIAL_METADATA, SENTINEL2_SUPERPATCH
from bocage.models.config import TaskHead
from bocage.models.inputs import InputConfig, official_names

STATISTICS: dict[str, dict[str, tuple[float, float]]] = {
    "AERIAL_RGBI": {
        "red": (105.08, 52.17),
        "green": (110.87, 45.38),
        "blue": (101.82, 44.0),
        "nir": (106.38, 39.69),
    },
    # Published of the stored numbers; the network sees metres.
    "AERIAL_HEIGHT": {"height": (53.26 * AERIAL_HEIGHT.scale, 79.3 * AERIAL_HEIGHT.scale)},
}
"""Mean and spread of the training patches: FLAIR #1's published configuration."""


def flair_input(given: Mapping[str, Any]) -> InputConfig:
    """An input with the challenges' statistics where they exist and `given` has none.

    `given` holds fields of `InputConfig`.
    """
    plain = InputConfig.model_validate(given)
    if plain.modality not in STATISTICS:
        return plain
    own = STATISTICS[plain.modality]
    mean, std = zip(*(own[name] for name in plain.channel_names), strict=True)
    usual = {"mean": plain.mean or mean, "std": plain.std or std}
    return InputConfig.model_validate({**plain.model_dump(), **usual})


class FlairConfig(BaseModel):
    """A U-Net over stacked photographs, with metadata and series where they are among the inputs.

    With `AERIAL_METADATA` the network also looks at where, when and how the photograph was taken;
    with `SENTINEL2_SUPERPATCH` it is U-T&T.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["flair"] = "flair"
    """Tells this configuration from one of Bocage's own networks."""
    inputs: tuple[InputConfig, ...] = Field(min_length=1)
    """Photographs on the label grid, which one encoder sees stacked; metadata; a series."""
    tasks: tuple[TaskHead, ...] = Field(min_length=1)
    """What is predicted."""
    output_resolution_m: float = Field(default=0.2, gt=0)
    """Ground size of a label pixel, metres; that of the photographs too."""
    weights: Literal["none", "pretrained"] = "none"
    """`pretrained`: the encoder starts from timm's ImageNet weights, fetched from the hub."""
    auxiliary: bool = True
    """Whether the series is also supervised by itself, in training."""
    sensor_dropout: dict[str, float] = {}
    """Probability that metadata or series are hidden from a sample in training; 0 for those not
    named. Without it a network has never learnt to do without them."""

    @field_validator("sensor_dropout", mode="before")
    @classmethod
    def _official_names(cls, by_sensor: object) -> object:
        return official_names(by_sensor)

    @model_validator(mode="after")
    def _consistent(self) -> FlairConfig:
        names = [config.modality for config in self.inputs]
        tasks = [task.name for task in self.tasks]
        for kind, given in (("input", names), ("task", tasks)):
            if len(set(given)) != len(given):
                raise ValueError(f"each {kind} may be named once, got {', '.join(given)}")
        if not self.images:
            raise ValueError("the baselines need a photograph, such as AERIAL_RGBI")
        for config in self.images:
            if config.pixel_m != self.output_resolution_m:
                raise ValueError(
                    f"{config.modality} has pixels of {config.pixel_m:g} m; the baselines stack "
                    f"photographs on the label grid of {self.output_resolution_m:g} m"
                )
        for config in self.inputs:
            if config.spec.series and config.modality != SENTINEL2_SUPERPATCH.name:
                raise ValueError(
                    f"{config.modality}: the baselines take no series but "
                    f"{SENTINEL2_SUPERPATCH.name}"
                )
        metadata = self.metadata
        if metadata is not None and (metadata.channels or metadata.mean or metadata.std):
            raise ValueError(
                f"{metadata.modality} is encoded as a whole: channels, mean and std have no meaning"
            )
        optional = [config.modality for config in (self.metadata, self.series) if config]
        for name, chance in self.sensor_dropout.items():
            if name not in optional:
                raise ValueError(
                    unknown_name("input in sensor_dropout", name, optional)
                    if optional
                    else f"sensor_dropout: {name} is never hidden; leave sensor_dropout out"
                )
            if not 0 <= chance < 1:
                raise ValueError("sensor_dropout holds probabilities from 0 up to but without 1")
        return self

    @property
    def images(self) -> tuple[InputConfig, ...]:
        """The photographs, in the order in which they are stacked."""
        return tuple(config for config in self.inputs if _is_image(config))

    @property
    def series(self) -> InputConfig | None:
        """The series, where the network is U-T&T."""
        return next((config for config in self.inputs if config.spec.series), None)

    @property
    def metadata(self) -> InputConfig | None:
        """The acquisition metadata, where the network looks at them."""
        return next((c for c in self.inputs if c.modality == AERIAL_METADATA.name), None)

    @property
    def has_auxiliary(self) -> bool:
        """Whether sensors are also supervised one by one."""
        return self.auxiliary and self.series is not None

    def ineffective(self) -> dict[str, str]:
        """Options without effect on this network: dotted path to the reason."""
        reasons = {}
        if self.series is None:
            reasons["auxiliary"] = f"{SENTINEL2_SUPERPATCH.name} is not among the inputs"
            if self.metadata is None:
                reasons["sensor_dropout"] = "photographs are never hidden"
        return reasons


def _is_image(config: InputConfig) -> bool:
    return not config.spec.series and config.modality != AERIAL_METADATA.name
