"""The folder of a run: what is in it, and how it comes to be."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bocage import __version__
from bocage.errors import ConfigError
from bocage.files import write_json, write_text

_RECORDED = ("torch", "lightning", "timm", "numpy", "rasterio", "tifffile", "pydantic")


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run's folder.

    `config.yaml` (resolved), `versions.json`, `log.txt`, `metrics.jsonl` (one line per epoch),
    `checkpoints/` (to resume), `model.safetensors` (the bundle), `evaluation/SPLIT/`.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """Everything that was logged, appended to by every start."""
        return self.path / "log.txt"

    @property
    def metrics(self) -> Path:
        """One JSON object per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Lightning checkpoints: `last.ckpt` to resume from, `best.ckpt` by validation mIoU."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The checkpoint that `--resume` continues from."""
        return self.checkpoints / "last.ckpt"

    @property
    def bundle(self) -> Path:
        """The trained model with all that prediction needs."""
        return self.path / "model.safetensors"

    def evaluation(self, split: str) -> Path:
        """Where the scores on a split are written."""
        return self.path / "evaluation" / split

    def create(self, document: dict[str, Any], *, resume: bool) -> None:
        """Start or continue a run with that resolved configuration.

        Raises `ConfigError` when the folder already holds a run and `resume` is not asked for,
        when there is nothing to resume, or when the configuration changed in between.
        """
        if resume:
            self._check_resumable(document)
        else:
            if self._holds_something():
                raise ConfigError(
                    f"{self.path}: this folder already exists and is not empty. Continue that run "
                    "with --resume, or choose another folder with --output."
                )
            write_text(self.config, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        starts = self._previous_starts()
        write_json(self.path / "versions.json", {"starts": [*starts, current_versions()]})

    def _holds_something(self) -> bool:
        """Whether there is anything to lose: a run that failed in its first epoch left nothing."""
        if not self.path.exists():
            return False
        small = {self.config.name, "versions.json", self.log.name}
        others = [p for p in self.path.iterdir() if p.name not in small]
        empty = [p for p in others if p == self.checkpoints and not any(p.iterdir())]
        return len(others) > len(empty)

    def _check_resumable(self, document: dict[str, Any]) -> None:
        if not self.last.is_file():
            raise ConfigError(
                f"{self.path}: nothing to resume, {self.last.relative_to(self.path)} is missing. "
                "Start the run without --resume."
            )
        stored = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        changed = sorted(_differences(stored, document))
        if changed:
            raise ConfigError(
                f"{self.path}: the configuration differs from the run's own in "
                f"{', '.join(changed)}. Resume with the same options, or start a new run."
            )

    def _previous_starts(self) -> list[Any]:
        path = self.path / "versions.json"
        if not path.is_file():
            return []
        starts = json.loads(path.read_text(encoding="utf-8")).get("starts", [])
        assert isinstance(starts, list)
        return starts


def _differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Dotted paths at which two documents differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            found
            for key in {*first, *second}
            for found in _differences(first.get(key), second.get(key), f"{path}.{key}".strip("."))
        ]
    return [] if first == second else [path]


def current_versions() -> dict[str, Any]:
    """Versions of everything that decides a result, the command and the time."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "bocage": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        **{name: importlib.metadata.version(name) for name in _RECORDED},
    }
