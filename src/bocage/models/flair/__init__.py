"""The baselines of the challenges FLAIR #1 and #2: U-Net, with acquisition metadata, and U-T&T."""

from bocage.models.flair.config import FlairConfig, flair_input
from bocage.models.flair.network import FlairNetwork

__all__ = ["FlairConfig", "FlairNetwork", "flair_input"]
