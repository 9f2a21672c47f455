"""Decoders: the fused pyramid to the logits of one task.

A decoder is registered in `DECODERS` by name and must work with any number of levels, one included.

Shapes: B samples, D channels of a level, K classes, h x w cells of a level, H x W label pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from bocage.errors import unknown_name
from bocage.models.layers import ConvNorm, Norm, resize


class DecoderConfig(BaseModel):
    """The part that turns features into classes, one per task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "upernet"
    """`upernet`: pooled context at the coarsest level, then a feature pyramid."""
    width: int = Field(default=64, ge=4)
    """Channels inside the decoder, up to the last map before the classes."""
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    """Grids, n x n over the coarsest level, whose averages give each cell its surroundings."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the last map's channels left out in training."""

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        if name not in DECODERS:
            raise ValueError(unknown_name("decoder", name, DECODERS))
        return name

    @field_validator("pool_scales")
    @classmethod
    def _positive(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if any(scale < 1 for scale in scales):
            raise ValueError(f"must be 1 or more, got {scales}")
        return scales


class PooledContext(nn.Module):
    """Averages over coarse grids, laid beside each cell; D channels to `width`."""

    def __init__(self, inputs: int, width: int, scales: tuple[int, ...]):
        super().__init__()
        self.scales = scales
        share = max(width // max(len(scales), 1), 1)
        self.own = nn.Conv2d(inputs, width, 3, padding=1)
        self.pooled = nn.ModuleList(ConvNorm(inputs, share, kernel=1) for _ in scales)
        self.spread = nn.ModuleList(nn.Conv2d(share, width, 1, bias=False) for _ in scales)
        self.norm = Norm(width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, D, h, w) to (B, width, h, w); grids finer than the map shrink to it."""
        height, width = x_BCHW.shape[-2:]
        total = self.own(x_BCHW)
        for scale, pooled, spread in zip(self.scales, self.pooled, self.spread, strict=True):
            grid = F.adaptive_avg_pool2d(x_BCHW, (min(scale, height), min(scale, width)))
            total = total + resize(spread(pooled(grid)), (height, width))
        return F.relu(self.norm(total))


class UPerNet(nn.Module):
    """UPerNet (Xiao et al. 2018, arXiv 1807.10221), economical where it is linear.

    The original concatenates all levels at the finest size and convolves them 3x3; here each level
    passes its 1x1 part at its own size, the sum is convolved 3x3.
    """

    def __init__(self, config: DecoderConfig, channels: Sequence[int], num_classes: int):
        super().__init__()
        width = config.width
        self.context = PooledContext(channels[-1], width, config.pool_scales)
        self.lateral = nn.ModuleList(ConvNorm(count, width, kernel=1) for count in channels[:-1])
        self.smooth = nn.ModuleList(ConvNorm(width, width) for _ in channels[:-1])
        self.join = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in channels)
        self.norm = Norm(width)
        self.mix = ConvNorm(width, width)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classes = nn.Conv2d(width, num_classes, 1)

    def forward(self, pyramid: Sequence[Tensor], output_hw: tuple[int, int]) -> Tensor:
        """Logits (B, K, H, W) float32 from levels (B, D, h, w), finest first."""
        finest = (pyramid[0].shape[-2], pyramid[0].shape[-1])
        top = self.context(pyramid[-1])
        total = resize(self.join[-1](top), finest)
        for index in reversed(range(len(pyramid) - 1)):
            level = pyramid[index]
            top = self.lateral[index](level) + resize(top, (level.shape[-2], level.shape[-1]))
            total = total + resize(self.join[index](self.smooth[index](top)), finest)
        last = self.dropout(self.mix(F.relu(self.norm(total))))
        return resize(self.classes(last).float(), output_hw)


DECODERS: dict[str, Callable[[DecoderConfig, Sequence[int], int], nn.Module]] = {
    "upernet": UPerNet,
}
"""Decoders by name: `(config, channels per level, number of classes)` to a module."""


class AuxiliaryConfig(BaseModel):
    """A light decoder per sensor and task, used in training only: each sensor must be useful."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    """Whether sensors are also supervised one by one."""
    width: int = Field(default=32, ge=4)
    """Channels of these decoders."""

    def ineffective(self) -> dict[str, str]:
        """Options that have no effect, each with the reason."""
        return {} if self.enabled else {"width": "auxiliary.enabled is false"}


class AuxiliaryHead(nn.Module):
    """All maps of one sensor, summed at the finest level's size, to the logits of every task."""

    def __init__(self, width: int, channels: Sequence[int], tasks: dict[str, int]):
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(count, width, 1, bias=False) for count in channels)
        self.norm = Norm(width)
        self.classes = nn.ModuleDict({name: nn.Conv2d(width, k, 1) for name, k in tasks.items()})

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """Task to logits (N, K, *size) float32."""
        total = resize(self.project[0](maps[0]), size)
        for project, values in zip(self.project[1:], maps[1:], strict=True):
            total = total + resize(project(values), size)
        features = F.relu(self.norm(total))
        return {task: classes(features).float() for task, classes in self.classes.items()}
