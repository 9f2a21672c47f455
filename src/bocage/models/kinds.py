"""The kinds of network that a configuration can describe, and how each is built.

A kind is a frozen config with a field `kind` (our own network, the usual one, has none) and a
module with the same `forward`. Training, bundles, evaluation and mapping know networks through
this alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from bocage.models.config import NetworkConfig
from bocage.models.network import Network
from bocage.models.published import PublishedConfig, PublishedNetwork

OWN = "own"

AnyNetwork = Network | PublishedNetwork
"""A network of any kind."""


def kind_of(network: Any) -> str:
    """The kind of a description, given as a config or as plain values; our own does not say so."""
    kind = network.get("kind") if isinstance(network, Mapping) else getattr(network, "kind", None)
    return OWN if kind is None else str(kind)


AnyNetworkConfig = Annotated[
    Annotated[NetworkConfig, Tag(OWN)] | Annotated[PublishedConfig, Tag("published")],
    Discriminator(kind_of),
]
"""A description of any kind; pydantic chooses by `kind`."""


def build_network(
    config: NetworkConfig | PublishedConfig, load_pretrained: bool = True
) -> AnyNetwork:
    """The network that `config` describes, with fresh weights.

    `load_pretrained=False` leaves out encoder weights that the configuration asks for, because
    others follow (a bundle's).
    """
    if isinstance(config, PublishedConfig):
        return PublishedNetwork(config, load_pretrained)
    return Network(config, load_pretrained)
