"""Decoders: the fused pyramid to the logits of one task.

A decoder is registered in `DECODERS` by name and must work with any number of levels, one included.
One that sets `takes_detail` is given one level more, finer than any encoder's and narrow
(`bocage.models.detail`), in front of the others.

Shapes: B samples, D channels of a level, K classes, h x w cells of a level, H x W label pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from bocage.errors import unknown_name
from bocage.models.layers import ConvNorm, Norm, Residual, resize


class DecoderConfig(BaseModel):
    """The part that turns features into classes, one per task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "upernet"
    """`upernet`: pooled context at the coarsest level, then a feature pyramid. `detail`: the same,
    corrected on a grid as fine as the labels or half as fine, in sight of the image itself."""
    width: int = Field(default=64, ge=4)
    """Channels inside the decoder, up to the last map before the classes."""
    detail_stride: Literal[1, 2] = 2
    """Label pixels along a cell of the finest map of `detail`."""
    detail_width: int = Field(default=32, ge=4)
    """Channels of the finest map of `detail`."""
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

    @property
    def takes_detail(self) -> bool:
        """Whether this decoder is given a level finer than the encoders'."""
        return DECODERS[self.name].takes_detail

    def ineffective(self) -> dict[str, str]:
        """Options that have no effect, each with the reason."""
        if self.takes_detail:
            return {}
        reason = f"decoder '{self.name}' does not go finer than the encoders"
        return dict.fromkeys(("detail_stride", "detail_width"), reason)


class Decoder(nn.Module):
    """What every decoder is: `(config, channels per level, number of classes)` to a module.

    `forward(pyramid, output_hw)` makes logits (B, K, H, W) float32 from levels (B, D, h, w),
    finest first.
    """

    takes_detail: ClassVar[bool] = False
    """Whether the first level is the detail level."""

    def __init__(self, config: DecoderConfig, channels: Sequence[int], num_classes: int):
        super().__init__()


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


class UPerNet(Decoder):
    """UPerNet (Xiao et al. 2018, arXiv 1807.10221), economical where it is linear.

    The original concatenates all levels at the finest size and convolves them 3x3; here each level
    passes its 1x1 part at its own size, the sum is convolved 3x3.
    """

    def __init__(self, config: DecoderConfig, channels: Sequence[int], num_classes: int):
        super().__init__(config, channels, num_classes)
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
        return resize(self.classes(self.features(pyramid)).float(), output_hw)

    def features(self, pyramid: Sequence[Tensor]) -> Tensor:
        """The last map before the classes, (B, width, h, w) of the finest level."""
        finest = (pyramid[0].shape[-2], pyramid[0].shape[-1])
        top = self.context(pyramid[-1])
        total = resize(self.join[-1](top), finest)
        for index in reversed(range(len(pyramid) - 1)):
            level = pyramid[index]
            top = self.lateral[index](level) + resize(top, (level.shape[-2], level.shape[-1]))
            total = total + resize(self.join[index](self.smooth[index](top)), finest)
        last: Tensor = self.dropout(self.mix(F.relu(self.norm(total))))
        return last


class DetailNet(Decoder):
    """UPerNet, and a correction of its logits on a grid as fine as small objects need.

    A swimming pool of 8 m x 4 m has 50 cells of 0.8 m, most of them on its edge: what decides its
    score is where the edge lies. What a place is stays the business of the wide, coarse
    part; the fine part is narrow, which is what makes its many cells affordable, and need only say
    where the coarse logits are wrong. It sees the image through two convolutions, not the encoder,
    so that what an encoder's first stride lost is there again.
    """

    takes_detail = True

    def __init__(self, config: DecoderConfig, channels: Sequence[int], num_classes: int):
        super().__init__(config, channels, num_classes)
        fine = config.detail_width
        self.coarse = UPerNet(config, channels[1:], num_classes)
        self.bring = nn.Conv2d(config.width, fine, 1, bias=False)
        self.lateral = nn.Conv2d(channels[0], fine, 1, bias=False)
        self.norm = Norm(fine)
        self.refine = Residual(fine)
        self.classes = nn.Conv2d(fine, num_classes, 1)

    def forward(self, pyramid: Sequence[Tensor], output_hw: tuple[int, int]) -> Tensor:
        """Logits (B, K, H, W) float32 from levels (B, D, h, w), the detail level first."""
        detail, *levels = pyramid
        size = (detail.shape[-2], detail.shape[-1])
        features = self.coarse.features(levels)
        # A 1x1 convolution and an enlargement may change places; this order does less.
        known = self.lateral(detail) + resize(self.bring(features), size)
        correction = self.classes(self.refine(F.relu(self.norm(known))))
        logits = resize(self.coarse.classes(features).float(), size) + correction.float()
        return resize(logits, output_hw)


DECODERS: dict[str, type[Decoder]] = {"upernet": UPerNet, "detail": DetailNet}
"""Decoders by name."""


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
