"""A feature pyramid on a plain vision transformer, whose blocks all have one scale.

Shapes: B samples, C channels, H x W pixels, h x w patches.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bocage.models.layers import ConvNorm, Norm

LEVELS = 4


class PlainPyramid(nn.Module):
    """Four maps of a quarter, a half, one and two patches a cell, from four depths of the network.

    Maps of equally spaced blocks, the earliest for the finest level, are enlarged by learnt 2x2
    transposed convolutions (whose footprints do not overlap, hence no checkerboard) or pooled: the
    arrangement of BEiT for segmentation (Bao et al. 2021, arXiv 2106.08254). That a pyramid this
    simple is enough for a plain backbone is the finding of ViTDet (Li et al. 2022, arXiv
    2203.16527), which takes the last block alone.
    """

    def __init__(self, vit: Any):
        super().__init__()
        depth, width = len(vit.blocks), int(vit.embed_dim)
        self.blocks = [max(depth * (level + 1) // LEVELS - 1, 0) for level in range(LEVELS)]
        # The network's last normalisation is applied to each map: that is what it was trained to
        # be read through. Its classifier goes.
        vit.prune_intermediate_layers(self.blocks, prune_norm=False, prune_head=True)
        self.vit = vit
        self.channels = (width // 4, width // 2, width, width)
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_double(width, width // 2), _double(width // 2, width // 4)),
                _double(width, width // 2),
                ConvNorm(width, width, kernel=1),
                nn.Sequential(nn.MaxPool2d(2), ConvNorm(width, width, kernel=1)),
            ]
        )

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Maps (B, channels[i], 4h, 4w) to (B, channels[-1], h/2, w/2); h and w are even."""
        maps = self.vit.forward_intermediates(
            image_BCHW, indices=self.blocks, norm=True, intermediates_only=True
        )
        return [level(values) for level, values in zip(self.levels, maps, strict=True)]


def _double(inputs: int, outputs: int) -> nn.Sequential:
    enlarge = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
    return nn.Sequential(enlarge, Norm(outputs), nn.ReLU(inplace=True))
