"""The small encoder of our own, made to learn from scratch.

Shapes: B samples, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bocage.models.encoders.base import Encoder, EncoderConfig
from bocage.models.encoders.weights import unusable
from bocage.models.layers import ConvNorm, Residual


class ConvNet(nn.Module):
    """Four stages of 3x3 convolutions, each half the size of the one before."""

    def __init__(self, in_channels: int, widths: tuple[int, ...], depth: int, stem_stride: int):
        super().__init__()
        first = widths[0]
        halvings = [2 if stem_stride >= step else 1 for step in (2, 4)]
        self.stem = nn.Sequential(
            ConvNorm(in_channels, first // 2, stride=halvings[0]),
            ConvNorm(first // 2, first, stride=halvings[1]),
        )
        self.stages = nn.ModuleList()
        for stage, width in enumerate(widths):
            down = [ConvNorm(widths[stage - 1], width, stride=2)] if stage else []
            self.stages.append(nn.Sequential(*down, *(Residual(width) for _ in range(depth))))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Four maps, finest first."""
        maps = [self.stages[0](self.stem(x_BCHW))]
        for stage in self.stages[1:]:
            maps.append(stage(maps[-1]))
        return maps


def build_convnet(config: EncoderConfig, channels: Sequence[str], load_pretrained: bool) -> Encoder:
    """A `ConvNet`; `weights` may be the path of an earlier one's state, of the same channels."""
    widths = tuple(config.width * factor for factor in (1, 2, 4, 6))
    backbone = ConvNet(len(channels), widths, config.depth, config.stem_stride)
    if load_pretrained and config.weights != "none":
        try:
            backbone.load_state_dict(load_file(config.weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise unusable(config, error) from error
    strides = tuple(config.stem_stride * 2**stage for stage in range(len(widths)))
    return Encoder(backbone, widths, strides)
