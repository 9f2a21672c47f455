"""What training asks of a run's configuration."""

from __future__ import annotations

from typing import Protocol

from bocage.data import DataConfig
from bocage.losses import LossConfig
from bocage.models import AnyNetworkConfig
from bocage.nomenclatures import Task
from bocage.training.config import TrainingConfig


class EvaluationPlan(Protocol):
    """What is to be scored; the model itself is in its bundle."""

    @property
    def seed(self) -> int:
        """Seed of every random choice."""

    @property
    def network(self) -> AnyNetworkConfig:
        """What is trained, or was; its inputs must be the bundle's."""

    @property
    def task_list(self) -> tuple[Task, ...]:
        """What is learnt."""

    @property
    def data(self) -> DataConfig:
        """Where the patches are and how they are read."""


class Plan(EvaluationPlan, Protocol):
    """A run's parts; `bocage.config.RunConfig` is one, and training need not know it."""

    @property
    def loss(self) -> LossConfig:
        """What is minimised."""

    @property
    def training(self) -> TrainingConfig:
        """How it is minimised."""
