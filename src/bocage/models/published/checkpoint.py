"""Reading the files that published weights come in, without executing anything in them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bocage.errors import DataError

NETWORK_PREFIX = "model."
"""What Lightning puts before the network's own names."""
LOSS_PREFIX = "criterion."
"""Tensors of the loss (class weights), which no network needs."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights by the network's own names, and what else the file held."""

    tensors: dict[str, Tensor]
    skipped: tuple[str, ...]
    """Names of tensors that are the loss's."""

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Sensors for which there are auxiliary decoders."""
        found = (re.match(r"aux_decoders\.(.+?)__", name) for name in self.tensors)
        return tuple(dict.fromkeys(match[1] for match in found if match))


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a Lightning `.ckpt`, a `.pth` or a `.safetensors`, in float32, on the CPU.

    What kind a file is is told by its first bytes. A missing, truncated or damaged file, and one
    that holds Python objects other than tensors and plain values, is a `DataError`: such objects
    are code, and nothing in a checkpoint is ever run.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give a .ckpt, .pth or .safetensors.")
    content = _safetensors(path) if _looks_like_safetensors(path) else _pickled(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{path}: holds no weights. Give the checkpoint of a network.")
    tensors: dict[str, Tensor] = {}
    skipped = []
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise DataError(
                f"{path}: '{key}' is a {type(value).__name__}, not a tensor; this is no state of a "
                "network. Give a file of weights, or a Lightning checkpoint with 'state_dict'."
            )
        if key.startswith(LOSS_PREFIX):
            skipped.append(key)
            continue
        name = key.removeprefix(NETWORK_PREFIX)
        if name in tensors:
            raise DataError(f"{path}: '{name}' is there twice, with and without '{NETWORK_PREFIX}'")
        tensors[name] = value.float() if value.is_floating_point() else value
    return Checkpoint(tensors, tuple(skipped))


def _looks_like_safetensors(path: Path) -> bool:
    with path.open("rb") as handle:
        return path.suffix == ".safetensors" or handle.read(9)[8:] == b"{"


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: not a readable safetensors file, truncated or damaged ({error}). "
            "Fetch it again."
        ) from error


def _pickled(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            # Of an unusual pickle torch warns before it refuses it; the error says enough.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        if "Unsupported" in reason or "GLOBAL" in reason:
            raise DataError(
                f"{path}: refused, it holds Python objects beside weights, and reading them would "
                f"run code ({_culprit(reason)}). Ask for a .safetensors, or, if you trust the "
                "file, load it elsewhere and save its 'state_dict' alone."
            ) from error
        raise DataError(f"{path}: not a readable checkpoint ({reason[:200]}).") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: not a readable checkpoint, truncated or of another format ({reason}). "
            "Fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not weights by name.")
    return content


def _culprit(reason: str) -> str:
    match = re.search(r"GLOBAL ([\w.]+)", reason)
    return match[1] if match else reason[:200]
