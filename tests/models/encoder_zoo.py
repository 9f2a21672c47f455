"""One encoder of each family, small: timm's own test models where it has one, otherwise a model of
timm's with a few narrow blocks, registered under a name of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import timm
from timm.models import convnext, eva, register_model, swin_transformer, swin_transformer_v2
from torch import nn

from bocage.models import EncoderConfig


def _register(name: str, model: Callable[..., nn.Module], **small: Any) -> str:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        return model(pretrained, **{**small, **options})

    if not timm.is_model(name):
        # timm files models, and finds their sources, by the module of their function.
        build.__name__, build.__module__ = name, model.__module__
        sources = sys.modules[model.__module__].default_cfgs
        sources[name] = sources[model.__name__]
        register_model(build)
    return name


_FEW: dict[str, Any] = {"depths": (1, 2, 1, 1), "drop_path_rate": 0.0}
_WINDOWS: dict[str, Any] = {**_FEW, "embed_dim": 16, "num_heads": (1, 2, 2, 2)}

SWIN = _register("bocage_swin", swin_transformer.swin_tiny_patch4_window7_224, **_WINDOWS)
SWIN_V2 = _register("bocage_swin_v2", swin_transformer_v2.swinv2_tiny_window8_256, **_WINDOWS)
CONVNEXT_V2 = _register(
    "bocage_convnext_v2", convnext.convnextv2_atto, **_FEW, dims=(16, 24, 32, 48)
)
DINOV3_VIT = _register(
    "bocage_vit_dinov3", eva.vit_small_patch16_dinov3, embed_dim=32, depth=4, num_heads=2
)


def awake(network: nn.Module) -> nn.Module:
    """The network with random weights where it starts with nothing.

    Residual branches that start at zero hide whatever goes wrong in them.
    """
    for name, parameter in network.named_parameters():
        if parameter.abs().max() < 1e-3 and "absence" not in name:
            nn.init.normal_(parameter, std=0.2)
    return network


FAMILIES = {
    "convnet": EncoderConfig(width=8),
    "resnet": EncoderConfig(name="test_resnet"),
    "swin": EncoderConfig(name=SWIN),
    "swin-v2": EncoderConfig(name=SWIN_V2),
    "convnext-v2": EncoderConfig(name=CONVNEXT_V2),
    "maxvit": EncoderConfig(name="test_maxvit", window=2),
    "vit": EncoderConfig(name="test_vit"),
    "dinov3-vit": EncoderConfig(name=DINOV3_VIT),
    # DINOv3's ConvNeXt is ConvNeXt; its weights are what differs.
    "dinov3-convnext": EncoderConfig(name="test_convnext"),
}
"""What the battery goes through."""
