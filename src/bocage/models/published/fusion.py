"""How the sensors' maps are joined: side by side, level by level.

Shapes: B samples, C channels, h x w cells of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bocage.models.published.layers import linear, resize

Levels = Sequence[Tensor | None]
"""A sensor's maps from 1/2 to 1/32 of the image, None where there is none."""


class FusionHandler(nn.Module):
    """One 1x1 convolution per level over all sensors' maps side by side, back to `widths`."""

    def __init__(self, inputs: Sequence[int], widths: Sequence[int]):
        super().__init__()
        pairs = zip(inputs, widths, strict=True)
        self.conv_f = nn.ModuleList(nn.Conv2d(count, width, 1) for count, width in pairs)

    def forward(self, sensors: Sequence[Levels]) -> list[Tensor | None]:
        """Levels at the sizes of the first sensor's, all others resized to them."""
        levels = list(zip(*sensors, strict=True))
        # Where backbones start at half size there is a convolution for the image too; its result
        # has no use, and it is left out here.
        convs = list(self.conv_f)[-sum(level[0] is not None for level in levels) :]
        fused: list[Tensor | None] = []
        for level in levels:
            maps = [x for x in level if x is not None]
            if not maps:
                fused.append(None)
                continue
            conv = convs[len(fused) - len(levels)]
            assert isinstance(conv, nn.Conv2d)
            fused.append(_joined(conv, maps))
        return fused


def beside(maps: Sequence[Tensor], levels: Levels) -> list[Tensor | None]:
    """Temporal maps, deepest first, in the places of a backbone's levels, finest first.

    The published networks were trained with this order. A map for the image itself has no use.
    """
    wanted = sum(level is not None for level in levels)
    padding: list[Tensor | None] = [None] * (len(levels) - wanted)
    return [*padding, *maps[len(maps) - wanted :]]


def _joined(conv: nn.Conv2d, maps: Sequence[Tensor]) -> Tensor:
    """`conv` of all maps at the first one's size side by side.

    Each map passes its share of the convolution where it is, and the sum is taken afterwards: a 1x1
    convolution and a resizing may change places, and a series has far fewer cells than an image.
    """
    size = maps[0].shape[-2:]
    shares = torch.split(conv.weight.flatten(1), [x.shape[1] for x in maps], dim=1)
    total: Tensor | None = None
    for x_BCHW, share in zip(maps, shares, strict=True):
        bias = conv.bias if total is None else None
        own = linear(x_BCHW.permute(0, 2, 3, 1), share, bias).permute(0, 3, 1, 2)
        total = own if total is None else total + resize(own, size)
    assert total is not None
    return total
