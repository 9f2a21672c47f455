"""The networks of the FLAIR-HUB paper: built by name, filled from published checkpoints."""

from bocage.models.published.building import build_empty, fill
from bocage.models.published.checkpoint import Checkpoint, read_checkpoint
from bocage.models.published.config import (
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    Architecture,
    PublishedConfig,
    get_architecture,
)
from bocage.models.published.describe import Counts, Part, count, parts
from bocage.models.published.fitting import ADAPTATIONS, Imported, fit, import_checkpoint
from bocage.models.published.network import PublishedNetwork
from bocage.models.published.preparation import published_input
from bocage.models.published.utae import Frames
from bocage.models.published.zoo import ZOO, ZooEntry, get_entry, published_config

__all__ = [
    "ADAPTATIONS",
    "ARCHITECTURES",
    "DEFAULT_ARCHITECTURE",
    "ZOO",
    "Architecture",
    "Checkpoint",
    "Counts",
    "Frames",
    "Imported",
    "Part",
    "PublishedConfig",
    "PublishedNetwork",
    "ZooEntry",
    "build_empty",
    "count",
    "fill",
    "fit",
    "get_architecture",
    "get_entry",
    "import_checkpoint",
    "parts",
    "published_config",
    "published_input",
    "read_checkpoint",
]
