"""Given weights for timm encoders: where they come from, whether they fit, and the first layer.

Pretrained networks look at red, green and blue. For other channels the first convolution is made
anew from the pretrained one, by the *names* of the channels: red, green and blue keep their own
filters wherever they stand. With `new_channels: mean` every other channel starts as the mean of the
three, and all are scaled by 3 over the number of channels, so that the response to a grey image,
all channels alike, keeps its size. With `zero` the others start at zero and nothing is scaled: at
first the network computes on the colours what it has always computed.

Shapes: O filters, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from bocage import hub
from bocage.errors import ConfigError, DataError
from bocage.models.encoders.base import COLOURS, EncoderConfig, import_timm
from bocage.models.layers import resize_positions

POSITIONS = ".relative_position_bias_table"
"""End of the names of tables of relative positions, which have an entry per offset in a window."""

HUB_FILE = "model.safetensors"
"""The name under which timm puts weights into a repository."""


def check_new_channels(config: EncoderConfig, channels: Sequence[str]) -> None:
    """Refuse (`ConfigError`) to start every channel of a pretrained first layer at zero."""
    if config.weights == "none" or config.new_channels == "mean":
        return
    if not set(channels) & set(COLOURS):
        raise ConfigError(
            f"encoder '{config.name}': new_channels=zero would leave nothing of the pretrained "
            f"first layer, as none of the channels ({', '.join(channels)}) is red, green or blue. "
            "Use new_channels=mean."
        )


def first_convolution(weight_OCHW: Tensor, channels: Sequence[str], rule: str) -> Tensor:
    """The first layer's weights (O, len(channels), H, W) from those of red, green and blue.

    `rule` is `EncoderConfig.new_channels`; see the head of this module.
    """
    by_colour = dict(zip(COLOURS, weight_OCHW.unbind(1), strict=True))
    mean = weight_OCHW.mean(1)
    other = mean if rule == "mean" else torch.zeros_like(mean)
    scale = len(COLOURS) / len(channels) if rule == "mean" else 1.0
    return torch.stack([by_colour.get(name, other) for name in channels], dim=1) * scale


def weight_arguments(
    config: EncoderConfig, channels: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments with which `timm.create_model` fills a model with the configured weights.

    `options` are the model's own arguments. A file that lacks tensors of the architecture, or holds
    others, is a `DataError`: timm would leave out in silence what does not fit.
    """
    path = _locate(config)
    known = import_timm().get_pretrained_cfg(config.name)
    first = getattr(known, "first_conv", None) or ()
    names = [f"{name}.weight" for name in ((first,) if isinstance(first, str) else first)]
    try:
        shapes = _shapes(path)
        seen = _channels(config, shapes, names)
        classes = _classes(known, shapes)
        whole = _whole_model(config, _overlay(known, shapes, seen, classes), options)
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise unusable(config, error) from error
    if seen == len(COLOURS) and tuple(channels) != COLOURS:
        if any(name not in tensors for name in names) or not names:
            raise unusable(
                config, f"no first convolution to adapt to the channels {', '.join(channels)}"
            )
        for name in names:
            tensors[name] = first_convolution(tensors[name].float(), channels, config.new_channels)
    elif seen != len(channels):
        raise unusable(config, f"made for {seen} channels, and the image has {len(channels)}")
    for name, wanted in whole.items():
        if name.endswith(POSITIONS) and name in tensors and tensors[name].shape != wanted.shape:
            tensors[name] = resize_positions(tensors[name].float(), wanted.shape)
    return _overlay(known, tensors, len(channels), classes)


def unusable(config: EncoderConfig, finding: object) -> DataError:
    """The error for weights that were found, and do not fit."""
    text = " ".join(str(finding).split())
    return DataError(
        f"weights={config.weights}: cannot be used for encoder '{config.name}' ({text[:400]}). "
        "Give the weights of this architecture, or set weights=none."
    )


def _locate(config: EncoderConfig) -> Path:
    """The file with the weights, fetched if it is on a hub and not in its cache."""
    repository = config.repository
    if config.weights == "pretrained":
        repository = import_timm().get_pretrained_cfg(config.name).hf_hub_id
    if repository is None:
        path = Path(config.weights)
        if not path.is_file():
            raise unusable(config, "no such file")
        return path
    return _fetched(config, *repository.partition("@")[::2])


def _fetched(config: EncoderConfig, repository: str, revision: str) -> Path:
    """The file of a repository, from the cache that timm's users share, or from the hub.

    What is in the cache is used without asking: it serves machines without a network, and a run
    repeats with the weights that it had.
    """
    what = f"encoder '{config.name}', weights={config.weights}"
    remedy = f"Give the path of a file that was fetched elsewhere ({HUB_FILE}), or weights=none."
    cached = try_to_load_from_cache(repository, HUB_FILE, revision=revision or None)
    if isinstance(cached, str):
        return Path(cached)
    try:
        listing = hub.list_files(repository, revision=revision or None)
    except (ConfigError, DataError) as error:
        raise type(error)(f"{what}: {error} {remedy}") from error
    if HUB_FILE not in listing.files:
        raise DataError(
            f"{what}: {repository} holds no {HUB_FILE}, under which timm saves weights. Choose a "
            f"repository of weights for timm. {remedy}"
        )
    try:
        # The library's own download, for its cache, and because the processes of a training that
        # all want the file wait for one another in it.
        found = hf_hub_download(
            repository, HUB_FILE, revision=revision or None, endpoint=listing.endpoint,
            library_name="bocage",
        )  # fmt: skip
    except (HfHubHTTPError, EntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise DataError(
            f"{what}: {repository}/{HUB_FILE} could not be fetched ({error}). {remedy}"
        ) from error
    return Path(found)


def _shapes(path: Path) -> dict[str, Tensor]:
    """The tensors of a file without their values."""
    with safe_open(path, framework="pt") as handle:
        return {
            name: torch.empty(handle.get_slice(name).get_shape(), device="meta")
            for name in handle.keys()  # noqa: SIM118
        }


def _channels(config: EncoderConfig, shapes: Mapping[str, Tensor], names: Sequence[str]) -> int:
    """Channels that the weights were made for; three where the file does not show it."""
    counts = {shapes[name].shape[1] for name in names if name in shapes and shapes[name].ndim == 4}
    if len(counts) > 1:
        raise unusable(config, f"first layers of different channel counts {sorted(counts)}")
    return counts.pop() if counts else len(COLOURS)


def _classes(known: Any, shapes: Mapping[str, Tensor]) -> int:
    """Classes of the weights' own head, 0 without one."""
    classifier = getattr(known, "classifier", None) or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    found = (shapes.get(f"{head}.weight") for head in heads)
    return next((weight.shape[0] for weight in found if weight is not None), 0)


def _whole_model(
    config: EncoderConfig, arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Names and shapes of the whole model, into which timm has loaded those of the file, strictly.

    timm's own adaptation (older names, tables of another window) takes part. What does not fit is
    a `DataError`.
    """
    overlay = arguments["pretrained_cfg_overlay"]
    try:
        with torch.device("meta"):
            model = import_timm().create_model(
                config.name,
                in_chans=overlay["input_size"][0],
                num_classes=overlay["num_classes"],
                **options,
                **arguments,
            )
    except (RuntimeError, AssertionError, AttributeError, KeyError, ValueError) as error:
        raise unusable(config, error) from error
    shapes: dict[str, Tensor] = model.state_dict()
    return shapes


def _overlay(
    known: Any, tensors: Mapping[str, Tensor], channels: int, classes: int
) -> dict[str, Any]:
    """Arguments with which timm takes `tensors` as the weights, whatever it knows of others."""
    side = tuple(getattr(known, "input_size", None) or (3, 224, 224))[1:]
    return {
        "pretrained": True,
        "pretrained_cfg_overlay": {
            "source": "",
            "state_dict": dict(tensors),
            "custom_load": False,
            "input_size": (channels, *side),
            "num_classes": classes,
            "label_offset": 0,
        },
    }
