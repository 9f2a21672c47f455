"""The configuration of a whole run, assembled from the rooms' own configs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bocage.data import DataConfig
from bocage.errors import ConfigError
from bocage.losses import LossConfig
from bocage.modalities import CLOUDY_SERIES, get_modality
from bocage.models import AnyNetworkConfig, complete_input, kind_of
from bocage.nomenclatures import Task, get_task
from bocage.training import TrainingConfig


class RunConfig(BaseModel):
    """Everything that decides a run. Written, fully resolved, into the run's folder.

    `inputs` and `tasks` stand at the top because data, network and loss all follow from them:
    the network's own `inputs` and `tasks` are derived and cannot be given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "run"
    """A short name, for titles."""
    seed: int = 2025
    """Seed of every random choice: weights, order, augmentation, sensor dropout."""
    inputs: tuple[str | dict[str, Any], ...] = Field(min_length=1)
    """Sensors: names or slugs, or mappings with `modality` and options of `InputConfig`."""
    tasks: tuple[str, ...] = Field(min_length=1)
    """What to learn: official names or slugs, or YAML files of class lists of one's own."""
    data: DataConfig
    """Where the patches are and how they are read."""
    network: AnyNetworkConfig
    """The network's parts; `kind` tells a published network from Bocage's own."""
    loss: LossConfig = LossConfig()
    """What is minimised."""
    training: TrainingConfig = TrainingConfig()
    """How it is minimised."""

    @model_validator(mode="before")
    @classmethod
    def _derive_network(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not raw.get("inputs") or not raw.get("tasks"):
            return raw
        network = dict(raw.get("network") or {})
        for derived in ("inputs", "tasks"):
            if derived in network:
                raise ConfigError(
                    f"network.{derived} cannot be given: it follows from '{derived}' at the top."
                )
        inputs = [
            {"modality": item} if isinstance(item, str) else dict(item) for item in raw["inputs"]
        ]
        for item in inputs:
            if "modality" not in item:
                raise ConfigError(f"inputs: {item} has no 'modality'. Name the sensor.")
            item["modality"] = get_modality(item["modality"]).name
        if kind_of(network) != kind_of({}):
            # Networks made elsewhere see their sensors in their own way.
            inputs = [complete_input(kind_of(network), item).model_dump() for item in inputs]
        tasks = [get_task(name) for name in raw["tasks"]]
        network["inputs"] = inputs
        network["tasks"] = [{"name": t.name, "num_classes": t.num_classes} for t in tasks]
        return {**raw, "tasks": [task.reference for task in tasks], "network": network}

    @model_validator(mode="after")
    def _loss_fits(self) -> RunConfig:
        self.loss.check(self.task_list)
        return self

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Official names of the inputs, in the network's order."""
        return tuple(item.modality for item in self.network.inputs)

    @property
    def task_list(self) -> tuple[Task, ...]:
        """The tasks themselves."""
        return tuple(get_task(name) for name in self.tasks)

    def ineffective(self) -> dict[str, str]:
        """Dotted paths of options without effect under this configuration, and why."""
        reasons = {f"network.{path}": why for path, why in self.network.ineffective().items()}
        reasons |= {f"loss.{path}": why for path, why in self.loss.ineffective().items()}
        reasons |= {f"training.{path}": why for path, why in self.training.ineffective().items()}
        if not self.network.has_auxiliary:
            reasons["loss.auxiliary_weight"] = "network.auxiliary is off"
        if not self.data.valid_splits:
            reasons["training.validate_every"] = "data.valid_splits is empty"
        if not self.data.num_workers:
            reasons["data.readers"] = "data.num_workers is 0"
        if not CLOUDY_SERIES & set(self.modality_names):
            reasons["data.sentinel2_offset_from"] = "no input is a Sentinel-2 series"
        if not any(item.spec.series for item in self.network.inputs):
            reasons["data.series"] = "no input is a series"
        elif not CLOUDY_SERIES & set(self.modality_names):
            for option in ("max_cloud", "max_snow", "min_clear", "min_dates"):
                reasons[f"data.series.{option}"] = "no input has a snow and cloud mask"
        return reasons

    def to_document(self) -> dict[str, Any]:
        """Plain values from which the same configuration is read back."""
        document = self.model_dump(mode="json")
        for derived in ("inputs", "tasks"):
            del document["network"][derived]
        return document
