"""Building a network without memory and filling it: no weight is drawn only to be replaced."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bocage.models.layers import to_channels_last
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


def restore_buffers(network: nn.Module) -> bool:
    """Compute tables that no file holds (window indices, statistics) after building on "meta".

    Parameters must be filled already. Returns whether nothing is left on the meta device.
    """
    for module in network.modules():
        empty = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        compute = getattr(module, "init_non_persistent_buffers", None)
        if not empty or compute is None:
            continue
        for name in empty:
            setattr(module, name, torch.empty_like(getattr(module, name), device="cpu"))
        compute()
    return not any(tensor.is_meta for tensor in (*network.buffers(), *network.parameters()))
