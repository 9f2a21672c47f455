"""From files to batches: layouts, index, samples, collate, data module.

Names are loaded when they are first used: an index opens without torch, a config without GDAL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bocage.data.build import build_index, open_index
    from bocage.data.clearness import add_clear_dates
    from bocage.data.collation import collate
    from bocage.data.config import DataConfig, index_path
    from bocage.data.dataset import PatchDataset
    from bocage.data.describe.run import describe_dataset
    from bocage.data.export import Exported, export_patch
    from bocage.data.index import PatchIndex
    from bocage.data.layouts import LAYOUTS, Layout, get_layout
    from bocage.data.module import PatchDataModule
    from bocage.data.pack.verify import verify_pack
    from bocage.data.pack.writer import pack_dataset
    from bocage.data.record import PatchRecord
    from bocage.data.show.examples import show_class
    from bocage.data.show.patch import show_patch
    from bocage.data.show.roi import show_roi
    from bocage.data.split.make import SplitPlan, split_index
    from bocage.data.verify.run import verify_dataset

__all__ = [
    "LAYOUTS",
    "DataConfig",
    "Exported",
    "Layout",
    "PatchDataModule",
    "PatchDataset",
    "PatchIndex",
    "PatchRecord",
    "SplitPlan",
    "add_clear_dates",
    "build_index",
    "collate",
    "describe_dataset",
    "export_patch",
    "get_layout",
    "index_path",
    "open_index",
    "pack_dataset",
    "show_class",
    "show_patch",
    "show_roi",
    "split_index",
    "verify_dataset",
    "verify_pack",
]

_HOMES = {
    "LAYOUTS": "layouts",
    "DataConfig": "config",
    "Exported": "export",
    "Layout": "layouts",
    "PatchDataModule": "module",
    "PatchDataset": "dataset",
    "PatchIndex": "index",
    "PatchRecord": "record",
    "SplitPlan": "split.make",
    "add_clear_dates": "clearness",
    "build_index": "build",
    "collate": "collation",
    "describe_dataset": "describe.run",
    "export_patch": "export",
    "get_layout": "layouts",
    "index_path": "config",
    "open_index": "build",
    "pack_dataset": "pack.writer",
    "show_class": "show.examples",
    "show_patch": "show.patch",
    "show_roi": "show.roi",
    "split_index": "split.make",
    "verify_dataset": "verify.run",
    "verify_pack": "pack.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
