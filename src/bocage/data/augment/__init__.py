"""Training patches as they might also have been: on the device, every draw with its own chance.

A draw's numbers come from its place in the epoch alone (`bocage.data.loader.generators`), so that
they do not depend on the batch, the rank or a restart. Names are loaded when they are first used:
the config, which an index needs too, opens without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bocage.data.augment.apply import augment
    from bocage.data.augment.config import AugmentConfig

__all__ = ["AugmentConfig", "augment"]

_HOMES = {"AugmentConfig": "config", "augment": "apply"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
