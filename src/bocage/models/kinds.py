"""The kinds of network that a configuration can describe, and how each is built.

A kind is a frozen config with a field `kind` (our own network, the usual one, has none) and a
module with the same `forward`. Training, bundles, evaluation and mapping know networks through
this alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, NamedTuple

from pydantic import Discriminator, Tag

from bocage.models.config import NetworkConfig
from bocage.models.flair import FlairConfig, FlairNetwork, flair_input
from bocage.models.inputs import InputConfig
from bocage.models.network import Network
from bocage.models.published import PublishedConfig, PublishedNetwork, published_input
from bocage.models.published.config import COARSEST_STRIDE

OWN = "own"

AnyNetwork = Network | PublishedNetwork | FlairNetwork
"""A network of any kind."""


def kind_of(network: Any) -> str:
    """The kind of a description, given as a config or as plain values; our own does not say so."""
    kind = network.get("kind") if isinstance(network, Mapping) else getattr(network, "kind", None)
    return OWN if kind is None else str(kind)


AnyNetworkConfig = Annotated[
    Annotated[NetworkConfig, Tag(OWN)]
    | Annotated[PublishedConfig, Tag("published")]
    | Annotated[FlairConfig, Tag("flair")],
    Discriminator(kind_of),
]
"""A description of any kind; pydantic chooses by `kind`."""


def complete_input(kind: str, given: Mapping[str, Any]) -> InputConfig:
    """An input as a network of `kind` takes it unless `given` says otherwise.

    `given` holds fields of `InputConfig`. Published networks have channels and statistics of their
    own, the challenges' baselines have statistics; those that are given replace them.
    """
    if kind == "flair":
        return flair_input(given)
    if kind != "published":
        return InputConfig.model_validate(given)
    own = {name: given[name] for name in ("mean", "std") if given.get(name) is not None}
    plain = InputConfig.model_validate({k: v for k, v in given.items() if k not in own})
    usual = published_input(plain.modality, plain.channels, plain.resolution_m)
    return InputConfig.model_validate({**usual.model_dump(), **own})


def build_network(
    config: NetworkConfig | PublishedConfig | FlairConfig, load_pretrained: bool = True
) -> AnyNetwork:
    """The network that `config` describes, with fresh weights.

    `load_pretrained=False` leaves out encoder weights that the configuration asks for, because
    others follow (a bundle's).
    """
    if isinstance(config, PublishedConfig):
        return PublishedNetwork(config, load_pretrained)
    if isinstance(config, FlairConfig):
        return FlairNetwork(config, load_pretrained)
    return Network(config, load_pretrained)


def required_inputs(config: NetworkConfig | PublishedConfig | FlairConfig) -> tuple[str, ...]:
    """Sensors that every sample must have, or the network refuses it. Our own need none."""
    if isinstance(config, PublishedConfig):
        return tuple(given.modality for given in config.inputs)
    if isinstance(config, FlairConfig):
        return tuple(given.modality for given in config.images)
    return ()


class WindowSides(NamedTuple):
    """Which windows a network takes, in pixels of its output."""

    step_px: int
    """Sides are multiples of it."""
    only_px: int | None
    """The one side that it takes, None: any."""


def window_sides(config: NetworkConfig | PublishedConfig | FlairConfig) -> WindowSides:
    """Published networks are laid out for one size, or for what halves five times without a rest in
    every image; the others take any."""
    if not isinstance(config, PublishedConfig):
        return WindowSides(1, None)
    if config.arch.windows:
        return WindowSides(1, config.tile_px)
    ratios = (
        Fraction(given.pixel_m / config.output_resolution_m).limit_denominator(10_000)
        for given in config.inputs
        if not given.spec.series
    )
    return WindowSides(math.lcm(*((COARSEST_STRIDE * ratio).numerator for ratio in ratios)), None)
