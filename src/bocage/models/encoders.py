"""Encoders of single-date images: an image to feature maps of falling resolution.

An encoder is registered in `ENCODERS` by name; any other name is looked up in timm. To add one,
write a function `(EncoderConfig, in_channels, load_pretrained) -> Encoder` and register it.

Shapes: B samples, C channels, H x W pixels.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.models.layers import ConvNorm, Residual

FINEST_STRIDE = 4
"""Maps finer than a quarter of the image are left to the decoder's upsampling."""


class EncoderConfig(BaseModel):
    """The network that looks at one single-date sensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "convnet"
    """`convnet` (small, made to learn from scratch), or a timm model that has feature maps."""
    weights: str = "none"
    """`none`, `pretrained` (timm's, fetched from the hub), or the path of a safetensors file."""
    width: int = Field(default=32, ge=4)
    """Channels of convnet's first stage; the next have 2, 4 and 6 times as many."""
    depth: int = Field(default=1, ge=1)
    """Residual blocks per stage of convnet."""
    stem_stride: Literal[1, 2, 4] = 4
    """Pixels per cell of convnet's first map; 1 or 2 suit coarse or small images."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth of a timm model that has it."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in ENCODERS:
            return name
        timm = _timm()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
            raise ValueError(
                unknown_name("encoder", name, [*ENCODERS, *near])
                + ", or any timm model that has feature maps"
            )
        return name

    def ineffective(self) -> dict[str, str]:
        """Options that have no effect, each with the reason."""
        if self.name == "convnet":
            return {"drop_path": "convnet has no stochastic depth"}
        reason = f"'{self.name}' is a timm model, whose name fixes it"
        return dict.fromkeys(("width", "depth", "stem_stride"), reason)


class Encoder(nn.Module):
    """Any backbone behind one behaviour: any image size in, maps of (h, w) = ceil(size/stride) out.

    `channels` and `strides` (in image pixels) describe the maps, finest first. The image is
    padded to a multiple of the coarsest stride with its own border values and the maps are cropped
    again, so that every backbone treats odd sizes alike.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        skip: int = 0,
        channels_last_output: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.strides = strides
        self._skip = skip
        self._channels_last_output = channels_last_output

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Maps (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])), finest first."""
        height, width = image_BCHW.shape[-2:]
        below, right = -height % self.strides[-1], -width % self.strides[-1]
        if below or right:
            image_BCHW = F.pad(image_BCHW, (0, right, 0, below), mode="replicate")
        maps = self.backbone(image_BCHW)[self._skip :]
        if self._channels_last_output:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return [
            x[..., : math.ceil(height / stride), : math.ceil(width / stride)]
            for x, stride in zip(maps, self.strides, strict=True)
        ]


EncoderFactory = Callable[[EncoderConfig, int, bool], Encoder]


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


def build_convnet(config: EncoderConfig, in_channels: int, load_pretrained: bool) -> Encoder:
    """The small network of our own; `weights` may be the path of an earlier one's state."""
    widths = tuple(config.width * factor for factor in (1, 2, 4, 6))
    backbone = ConvNet(in_channels, widths, config.depth, config.stem_stride)
    if config.weights == "pretrained":
        raise ConfigError(
            "encoder 'convnet' has no pretrained weights. Use weights=none, the path of a "
            "safetensors file, or a timm encoder."
        )
    if load_pretrained and config.weights != "none":
        try:
            backbone.load_state_dict(load_file(config.weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise _unusable(config, error) from error
    strides = tuple(config.stem_stride * 2**stage for stage in range(len(widths)))
    return Encoder(backbone, widths, strides)


def build_timm(config: EncoderConfig, in_channels: int, load_pretrained: bool) -> Encoder:
    """A timm model cut into feature maps, for any number of channels.

    Pretrained first convolutions are made for red, green and blue; for other counts timm repeats
    them in turn, scaled so that the response keeps its size (channels 0 to 2 keep theirs). The hub
    is asked only when weights are `pretrained` and `load_pretrained` is set.
    """
    timm = _timm()
    options: dict[str, Any] = {}
    if load_pretrained and config.weights != "none":
        options["pretrained"] = True
        if config.weights != "pretrained":
            _refuse_other_architecture(config, in_channels)
            options["pretrained_cfg_overlay"] = {"file": config.weights}
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    if "swin" in config.name:
        # Window attention is built for one image size unless told otherwise.
        options["strict_img_size"] = False
    try:
        model = timm.create_model(config.name, features_only=True, in_chans=in_channels, **options)
    except (OSError, SafetensorError) as error:
        raise _unusable(config, error) from error
    except (RuntimeError, TypeError, AttributeError, ValueError, KeyError) as error:
        if options.get("pretrained"):
            raise _unusable(config, error) from error
        raise ConfigError(
            f"encoder '{config.name}' cannot be built with feature maps and these options: {error}"
        ) from error
    reductions: list[int] = model.feature_info.reduction()
    if sorted(set(reductions)) != reductions:
        raise ConfigError(
            f"encoder '{config.name}' has maps of one scale only (1/{reductions[0]}); choose a "
            "hierarchical one such as convnet, resnet34, convnextv2_tiny or swin_tiny_patch4_"
            "window7_224"
        )
    skip = sum(r < FINEST_STRIDE for r in reductions[:-1])
    return Encoder(
        model,
        tuple(model.feature_info.channels()[skip:]),
        tuple(reductions[skip:]),
        skip,
        channels_last_output=str(getattr(model, "output_fmt", "")).endswith("NHWC"),
    )


ENCODERS: dict[str, EncoderFactory] = {"convnet": build_convnet}
"""Encoders of our own by name; every other name is timm's."""


def build_encoder(config: EncoderConfig, in_channels: int, load_pretrained: bool = True) -> Encoder:
    """The encoder that `config` names, for images of `in_channels` channels."""
    return ENCODERS.get(config.name, build_timm)(config, in_channels, load_pretrained)


def _refuse_other_architecture(config: EncoderConfig, in_channels: int) -> None:
    """timm takes any file whose tensors have no name in common with the model; we do not."""
    if not Path(config.weights).is_file():
        raise _unusable(config, "no such file")
    try:
        with safe_open(config.weights, framework="pt") as handle:
            found = set(handle.keys())
    except (OSError, SafetensorError) as error:
        raise _unusable(config, error) from error
    with torch.device("meta"):
        whole = _timm().create_model(config.name, in_chans=in_channels)
    classifier = whole.default_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    wanted = [name for name in whole.state_dict() if not name.startswith(heads)]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise _unusable(
            config, f"{len(missing)} of {len(wanted)} tensors missing: {', '.join(missing[:8])}"
        )


def _unusable(config: EncoderConfig, finding: object) -> DataError:
    source = "timm's weights" if config.weights == "pretrained" else config.weights
    text = " ".join(str(finding).split())
    return DataError(
        f"{source}: cannot be used for encoder '{config.name}' ({text[:400]}). "
        "Give the weights of this architecture, or set weights=none."
    )


def _timm() -> Any:
    # Three seconds of import that the default encoder does not need.
    import timm

    return timm
