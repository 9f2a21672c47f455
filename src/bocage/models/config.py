"""The configuration of a whole network, assembled from those of its parts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bocage.errors import unknown_name
from bocage.models.decoders import AuxiliaryConfig, DecoderConfig
from bocage.models.encoders import EncoderConfig
from bocage.models.fusion import FusionConfig
from bocage.models.inputs import InputConfig, official_names
from bocage.models.temporal import TemporalConfig


class TaskHead(BaseModel):
    """One thing to predict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[^.]+$")
    """Name of the task; its logits carry it."""
    num_classes: int = Field(ge=1)
    """Number of logits."""


class NetworkConfig(BaseModel):
    """A network: its inputs, its tasks, and the parts between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[InputConfig, ...]
    """The sensors, at least one."""
    tasks: tuple[TaskHead, ...]
    """What is predicted, at least one."""
    output_resolution_m: float = Field(default=0.2, gt=0)
    """Ground size of a label pixel, metres."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder of every single-date sensor that `encoders` does not name."""
    encoders: dict[str, EncoderConfig] = {}
    """Encoders of single sensors."""
    temporal: TemporalConfig = TemporalConfig()
    """The encoder of every series."""
    fusion: FusionConfig = FusionConfig()
    """How sensors are joined."""
    decoder: DecoderConfig = DecoderConfig()
    """The decoder of every task."""
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    """Supervision of single sensors in training."""
    sensor_dropout: dict[str, float] = {}
    """Probability that a sensor is hidden from a sample in training; 0 for those not named."""

    @field_validator("encoders", "sensor_dropout", mode="before")
    @classmethod
    def _official_names(cls, by_sensor: object) -> object:
        return official_names(by_sensor)

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        names = [config.modality for config in self.inputs]
        tasks = [task.name for task in self.tasks]
        for kind, given in (("input", names), ("task", tasks)):
            if not given:
                raise ValueError(f"a network needs at least one {kind}")
            if len(set(given)) != len(given):
                raise ValueError(f"each {kind} may be named once, got {', '.join(given)}")
        for config in self.inputs:
            if not config.spec.covers_patch:
                raise ValueError(
                    f"{config.modality} is no image of the patch itself, which this network needs "
                    "of every input; the challenges' baselines take it (network.kind=flair)"
                )
        for option, keys in (("encoders", self.encoders), ("sensor_dropout", self.sensor_dropout)):
            for name in keys:
                if name not in names:
                    raise ValueError(unknown_name(f"input in {option}", name, names))
        if self.decoder.takes_detail and not self.images:
            raise ValueError(
                f"decoder '{self.decoder.name}' looks at an image, and every input is a series; "
                "use upernet"
            )
        chances = self.sensor_dropout.values()
        if any(not 0 <= chance < 1 for chance in chances):
            raise ValueError("sensor_dropout holds probabilities from 0 up to but without 1")
        if len(names) > 1 and sum(chances) > len(names) - 1:
            raise ValueError(
                f"sensor_dropout sums to {sum(chances):g} over {len(names)} inputs; one sensor "
                f"must always stay, which leaves at most {len(names) - 1}"
            )
        return self

    def encoder_of(self, modality: str) -> EncoderConfig:
        """The encoder of one single-date sensor."""
        return self.encoders.get(modality, self.encoder)

    @property
    def images(self) -> tuple[InputConfig, ...]:
        """The single-date inputs."""
        return tuple(given for given in self.inputs if not given.spec.series)

    @property
    def detail_inputs(self) -> tuple[InputConfig, ...]:
        """The inputs that a decoder which takes detail looks at: the finest images."""
        finest = min((given.pixel_m for given in self.images), default=0.0)
        return tuple(given for given in self.images if given.pixel_m == finest)

    @property
    def detail_m(self) -> float:
        """Ground size of a cell of the detail level, metres: never below the finest pixel."""
        wanted = self.decoder.detail_stride * self.output_resolution_m
        return max(wanted, self.detail_inputs[0].pixel_m)

    @property
    def has_auxiliary(self) -> bool:
        """Whether sensors are also supervised one by one."""
        return self.auxiliary.enabled

    def ineffective(self) -> dict[str, str]:
        """Options without effect on this network: dotted path to the reason.

        A path stands for all that is below it. Whoever reads a user's configuration refuses the
        ones that were given.
        """
        images = [given.modality for given in self.images]
        reasons: dict[str, str] = {}
        if len(images) == len(self.inputs):
            reasons["temporal"] = "no input is a series"
        if not images:
            reasons["encoder"] = "every input is a series"
        elif all(name in self.encoders for name in images):
            reasons["encoder"] = "every single-date input has its own entry in encoders"
        else:
            shared = [given for given in self.images if given.modality not in self.encoders]
            channels = {name for given in shared for name in given.channel_names}
            for option, reason in self.encoder.ineffective(channels).items():
                reasons[f"encoder.{option}"] = reason
        for name, encoder in self.encoders.items():
            if name not in images:
                reasons[f"encoders.{name}"] = "this input is a series; see temporal"
                continue
            channels = {c for given in self.images if given.modality == name
                        for c in given.channel_names}  # fmt: skip
            for option, reason in encoder.ineffective(channels).items():
                reasons[f"encoders.{name}.{option}"] = reason
        for option, reason in self.decoder.ineffective().items():
            reasons[f"decoder.{option}"] = reason
        if self.decoder.takes_detail:
            pixel_m = self.detail_inputs[0].pixel_m
            if pixel_m >= 2 * self.output_resolution_m:
                reasons["decoder.detail_stride"] = (
                    f"the finest image has pixels of {pixel_m:g} m, and nothing finer is drawn "
                    "from it"
                )
        for option, reason in self.auxiliary.ineffective().items():
            reasons[f"auxiliary.{option}"] = reason
        if len(self.inputs) == 1:
            reasons["sensor_dropout"] = "the only input is never hidden"
        return reasons
