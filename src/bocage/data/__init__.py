"""From files to batches: layouts, index, samples, collate, data module.

Names are loaded when they are first used: an index opens without torch, a config without GDAL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bocage.data.build import build_index, open_index
    from bocage.data.collation import collate
    from bocage.data.config import DataConfig, index_path
    from bocage.data.dataset import PatchDataset
    from bocage.data.index import PatchIndex
    from bocage.data.layouts import LAYOUTS, Layout, get_layout
    from bocage.data.module import PatchDataModule
    from bocage.data.record import PatchRecord
    from bocage.data.show import show_patch

__all__ = [
    "LAYOUTS",
    "DataConfig",
    "Layout",
    "PatchDataModule",
    "PatchDataset",
    "PatchIndex",
    "PatchRecord",
    "build_index",
    "collate",
    "get_layout",
    "index_path",
    "open_index",
    "show_patch",
]

_HOMES = {
    "LAYOUTS": "layouts",
    "DataConfig": "config",
    "Layout": "layouts",
    "PatchDataModule": "module",
    "PatchDataset": "dataset",
    "PatchIndex": "index",
    "PatchRecord": "record",
    "build_index": "build",
    "collate": "collation",
    "get_layout": "layouts",
    "index_path": "config",
    "open_index": "build",
    "show_patch": "show",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
