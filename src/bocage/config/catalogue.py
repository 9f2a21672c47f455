"""Configurations that come with the package: files, and one per published network by name."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

from bocage.models.published import ZOO

_FILES = resources.files("bocage.config") / "presets"


def preset_names() -> list[str]:
    """Names of all presets: those of files, then LC-A to LPIS-K."""
    return [*sorted(p.name.removesuffix(".yaml") for p in _FILES.iterdir()), *ZOO]


def preset(name: str) -> dict[str, Any]:
    """The document of a preset (`KeyError` if there is none), its base under `extends`."""
    if name in ZOO:
        entry = ZOO[name]
        return {
            "extends": "flair-hub",
            "name": name,
            "inputs": list(entry.inputs),
            "tasks": [entry.task.name],
            "network": {"name": name},
        }
    if name not in preset_names():
        raise KeyError(name)
    document: dict[str, Any] = yaml.safe_load((_FILES / f"{name}.yaml").read_text("utf-8"))
    return document
