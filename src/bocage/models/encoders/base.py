"""What an encoder is, how it is configured, and where it is registered."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from bocage.errors import unknown_name
from bocage.models.layers import cells

COLOURS = ("red", "green", "blue")
"""Channels that pretrained networks have seen, in the order in which they take them."""

HUB_PREFIX = "hub:"
"""What tells a repository of a hub from a path."""


class EncoderConfig(BaseModel):
    """The network that looks at one single-date sensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "convnet"
    """`convnet` (small, made to learn from scratch), or a timm model that takes images of any
    size: hierarchical ones as they are, plain vision transformers under a feature pyramid."""
    weights: str = "none"
    """`none`, `pretrained` (timm's own for this name), `hub:OWNER/NAME` (a repository with weights
    that timm saved; `@REVISION` may follow), or the path of a safetensors file."""
    new_channels: Literal["mean", "zero"] = "mean"
    """How channels other than red, green and blue start when weights are given: from the `mean` of
    the three pretrained filters, the response keeping its size, or at `zero`."""
    width: int = Field(default=32, ge=4)
    """Channels of convnet's first stage; the next have 2, 4 and 6 times as many."""
    depth: int = Field(default=1, ge=1)
    """Residual blocks per stage of convnet."""
    stem_stride: Literal[1, 2, 4] = 4
    """Pixels per cell of convnet's first map; 1 or 2 suit coarse or small images."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth of a timm model that has it."""
    window: int | None = Field(default=None, ge=2)
    """Side of the attention windows of Swin and MaxViT, in cells; as the name says when not given.
    Pretrained tables of relative positions are resized."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in ENCODERS:
            return name
        timm = import_timm()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
            raise ValueError(
                unknown_name("encoder", name, [*ENCODERS, *near])
                + ", or any timm model that has feature maps"
            )
        architecture, _, tag = name.partition(".")
        tags = _tags(architecture)
        if tag and tag not in tags:
            raise ValueError(unknown_name(f"weights of encoder '{architecture}'", tag, tags))
        return name

    @model_validator(mode="after")
    def _weights_exist(self) -> EncoderConfig:
        repository = self.repository
        if repository is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", repository):
            raise ValueError(
                f"weights '{self.weights}' name no repository; write hub:OWNER/NAME, or "
                "hub:OWNER/NAME@REVISION"
            )
        if self.weights != "pretrained" and repository is None:
            return self
        if self.name in ENCODERS:
            raise ValueError(
                f"encoder '{self.name}' has no pretrained weights; use weights=none, the path of "
                "a safetensors file, or a timm encoder"
            )
        if repository is None and not import_timm().get_pretrained_cfg(self.name).hf_hub_id:
            tags = _tags(self.name.partition(".")[0])
            others = f" It has these: {', '.join(tags)}." if tags else ""
            raise ValueError(
                f"timm knows no hub repository with weights of '{self.name}'.{others} "
                "Use weights=none, hub:OWNER/NAME, or the path of a safetensors file"
            )
        return self

    @property
    def repository(self) -> str | None:
        """The repository that `weights` names, `OWNER/NAME[@REVISION]`, if it names one."""
        if not self.weights.startswith(HUB_PREFIX):
            return None
        return self.weights.removeprefix(HUB_PREFIX)

    def ineffective(self, channels: Collection[str]) -> dict[str, str]:
        """Options that have no effect for images of these channels, each with the reason."""
        if self.name in ENCODERS:
            return {
                "drop_path": f"{self.name} has no stochastic depth",
                "window": f"{self.name} has no attention windows",
                "new_channels": f"{self.name} has no pretrained weights for colours",
            }
        # The timm side is imported only for a timm name.
        from bocage.models.encoders.timm_backbone import family_of

        fixed = f"'{self.name}' is a timm model, whose name fixes it"
        reasons = dict.fromkeys(("width", "depth", "stem_stride"), fixed)
        if not family_of(self.name).window_option:
            reasons["window"] = f"'{self.name}' has no attention windows"
        if self.weights == "none":
            reasons["new_channels"] = "weights is none, so every channel starts alike"
        elif set(channels) <= set(COLOURS):
            reasons["new_channels"] = "every channel is a colour that the weights know"
        return reasons


class Encoder(nn.Module):
    """Any backbone behind one behaviour: any image size in, maps of (h, w) = ceil(size/stride) out.

    `channels` and `strides` (in image pixels) describe the maps, finest first. The image is
    padded to a `multiple` (the coarsest stride unless given) of pixels with its own border values
    and the maps are cropped again, so that every backbone treats odd sizes alike.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        strides: Sequence[float],
        multiple: int | None = None,
        skip: int = 0,
        channels_last_output: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.multiple = math.ceil(self.strides[-1]) if multiple is None else multiple
        self._skip = skip
        self._channels_last_output = channels_last_output

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Maps (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])), finest first."""
        height, width = image_BCHW.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        if below or right:
            image_BCHW = F.pad(image_BCHW, (0, right, 0, below), mode="replicate")
        maps = self.backbone(image_BCHW)[self._skip :]
        if self._channels_last_output:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return [
            x[..., : cells(height, stride), : cells(width, stride)]
            for x, stride in zip(maps, self.strides, strict=True)
        ]


EncoderFactory = Callable[[EncoderConfig, Sequence[str], bool], Encoder]
"""`(config, names of the image's channels in order, whether to load given weights)`."""

ENCODERS: dict[str, EncoderFactory] = {}
"""Encoders of our own by name; every other name is timm's."""


def import_timm() -> Any:
    """timm, imported late: three seconds that the default encoder does not need."""
    import timm

    return timm


def _tags(architecture: str) -> list[str]:
    """Names of the pretrained weights that timm knows for an architecture."""
    prefix = f"{architecture}."
    found = import_timm().list_pretrained(f"{prefix}*")
    return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
