"""Building a network without memory and filling it: no weight is drawn only to be replaced."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bocage.models.layers import restore_buffers, to_channels_last
from bocage.models.published.config import PublishedConfig
from bocage.models.published.network import PublishedNetwork


def build_empty(config: PublishedConfig) -> PublishedNetwork:
    """The network on the meta device: names and shapes, no numbers, no memory."""
    with torch.device("meta"):
        return PublishedNetwork(config, load_pretrained=False)


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make `tensors` (all of the network's, by name) its own, nearly all without copying."""
    network.load_state_dict(dict(tensors), assign=True)
    if not restore_buffers(network):
        raise AssertionError("a buffer that no checkpoint holds cannot be computed again")
    to_channels_last(network)
