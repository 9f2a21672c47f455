"""Training and evaluation of networks, and what a run writes."""

from bocage.training.config import TrainingConfig
from bocage.training.evaluate import evaluate
from bocage.training.fit import fit
from bocage.training.folder import RunFolder

__all__ = ["RunFolder", "TrainingConfig", "evaluate", "fit"]
