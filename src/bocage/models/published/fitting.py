"""Bringing a checkpoint and a network together: strictly, or with what was asked to be adapted."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.models.layers import resize_positions
from bocage.models.published.building import build_empty, fill
from bocage.models.published.checkpoint import read_checkpoint
from bocage.models.published.config import PublishedConfig
from bocage.models.published.identify import identify
from bocage.models.published.network import PublishedNetwork, idle_prefixes

Adaptation = Literal["positions", "head", "channels"]
"""`positions`: tables of relative position for another window are resized (bicubic). `head`: the
layers to the classes start anew for another number of classes. `channels`: the first convolution's
channels are repeated in turn, or cut, and scaled so that the response keeps its size."""
ADAPTATIONS: tuple[str, ...] = get_args(Adaptation)

LISTED = 20
"""Tensors of a kind that an error names before it counts the rest."""

_POSITIONS = re.compile(r"\.relative_position_bias_table$")
_HEAD = re.compile(
    r"\.segmentation_head\.|\.out_conv\.conv\.conv\.|^(main|aux)_decoders\.[^.]+\.(weight|bias)$"
)
_FIRST = re.compile(
    r"^encoders\.[^.]+\.(seg_model\.(model\.)?(patch_embed\.proj|stem_0|conv1)"
    r"|in_conv\.conv\.conv\.0)\.weight$"
)


@dataclass(frozen=True)
class Imported:
    """A network with a checkpoint's weights, in eval mode."""

    network: PublishedNetwork
    notes: tuple[str, ...]
    """What was left out or changed, in sentences; empty if every tensor went where it belongs."""


def import_checkpoint(
    path: Path,
    config: PublishedConfig,
    adapt: Collection[str] = (),
    keep_auxiliary: bool = True,
) -> Imported:
    """The network that `config` describes, filled from a published checkpoint.

    The configuration's auxiliary decoders are replaced by those that the file has (by none unless
    `keep_auxiliary`). Everything else is strict: missing, unexpected and wrongly shaped tensors are
    listed in a `DataError`, unless `adapt` names the kind of difference.
    """
    for kind in adapt:
        if kind not in ADAPTATIONS:
            raise ConfigError(unknown_name("adaptation", kind, ADAPTATIONS))
    checkpoint = read_checkpoint(path)
    notes = []
    if checkpoint.skipped:
        notes.append(f"left out, the loss's: {_some(checkpoint.skipped)}")
    tensors = checkpoint.tensors
    sensors = {given.modality for given in config.inputs}
    auxiliary = tuple(name for name in checkpoint.auxiliary if name in sensors)
    if auxiliary and not keep_auxiliary:
        dropped = [name for name in tensors if name.startswith("aux_decoders.")]
        tensors = {name: value for name, value in tensors.items() if name not in set(dropped)}
        notes.append(f"left out on request: {len(dropped)} tensors of auxiliary decoders")
        auxiliary = ()
    network = build_empty(config.model_copy(update={"auxiliary": auxiliary}))
    tensors, changes = fit(network, tensors, str(path), adapt)
    fill(network, tensors)
    return Imported(network.eval(), (*notes, *changes))


def fit(
    network: PublishedNetwork,
    tensors: Mapping[str, Tensor],
    source: str,
    adapt: Collection[str] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    """Exactly the tensors that `network` (which may be on "meta") needs, and what was changed."""
    wanted = network.state_dict()
    fitting = dict(tensors)
    notes = [
        note
        for name, like in wanted.items()
        if (note := _adapt(network, name, like, fitting, adapt)) is not None
    ]
    if "head" in adapt:
        for name in [n for n in fitting if n not in wanted and _HEAD.search(n)]:
            del fitting[name]
            notes.append(f"{name}: left out, this network has no such layer to the classes")
    misfits = {
        "missing": [name for name in wanted if name not in fitting],
        "unexpected": [name for name in fitting if name not in wanted],
        "of another shape": [
            f"{name} {tuple(fitting[name].shape)}, expected {tuple(like.shape)}"
            for name, like in wanted.items()
            if name in fitting and fitting[name].shape != like.shape
        ],
    }
    findings = [f"{len(names)} {kind}: {_some(names)}" for kind, names in misfits.items() if names]
    if not findings:
        return fitting, notes
    good = sum(name in fitting and fitting[name].shape == w.shape for name, w in wanted.items())
    about = f"{good} of this network's {len(wanted)} tensors fit"
    if good < len(wanted) / 2:
        about = f"a checkpoint of another network, {identify(tensors)}: only {about}"
    raise DataError(
        f"{source}: {about}; {'; '.join(findings)}. Nothing was loaded. Name the configuration and "
        "architecture that the weights belong to, or say what may be adapted "
        f"({', '.join(ADAPTATIONS)})."
    )


def _adapt(
    network: PublishedNetwork,
    name: str,
    like: Tensor,
    tensors: dict[str, Tensor],
    adapt: Collection[str],
) -> str | None:
    """Adapt one tensor in `tensors` where it differs and that was asked for; say what was done."""
    have = tensors.get(name)
    if have is not None and have.shape == like.shape:
        return None
    change = f"{tuple(like.shape)}" + ("" if have is None else f", was {tuple(have.shape)}")
    if "head" in adapt and _HEAD.search(name):
        tensors[name] = _fresh(network, name)
        return f"{name}: starts anew as {change}"
    if have is None:
        return None
    if "positions" in adapt and _POSITIONS.search(name) and have.shape[1] == like.shape[1]:
        tensors[name] = resize_positions(have, like.shape)
        return f"{name}: resized to {change}"
    if "channels" in adapt and _FIRST.match(name) and have.shape[0] == like.shape[0]:
        count, given = like.shape[1], have.shape[1]
        repeated = have.repeat(1, math.ceil(count / given), *(1,) * (have.ndim - 2))[:, :count]
        tensors[name] = repeated * (given / count)
        return f"{name}: channels repeated in turn or cut to {change}"
    if "channels" in adapt and name.startswith("fusion_handler.") and _is_idle(network, name):
        tensors[name] = _fresh(network, name)
        return f"{name}: starts anew as {change}; nothing uses it"
    return None


def _is_idle(network: PublishedNetwork, name: str) -> bool:
    return name.startswith(idle_prefixes(network.config))


def _fresh(network: PublishedNetwork, name: str) -> Tensor:
    """The tensor of that name as its layer starts out."""
    owner, _, own = name.rpartition(".")
    layer: Any = copy.deepcopy(network.get_submodule(owner)).to_empty(device="cpu")
    layer.reset_parameters()
    tensor: Tensor = layer.state_dict()[own]
    return tensor


def _some(names: Collection[str]) -> str:
    shown = list(names)[:LISTED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
