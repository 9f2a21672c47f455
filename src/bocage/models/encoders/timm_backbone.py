"""timm models as encoders: what each family needs to take images of any size and channel count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from bocage.errors import ConfigError
from bocage.models.encoders.base import Encoder, EncoderConfig, import_timm
from bocage.models.encoders.plain import PlainPyramid
from bocage.models.encoders.weights import check_new_channels, unusable, weight_arguments

FINEST_STRIDE = 4
"""Maps finer than a quarter of the image are left to the decoder."""

MAXVIT_RATIO = 32
"""timm sizes MaxViT's windows as the image's side over this."""


@dataclass(frozen=True)
class Family:
    """What timm must be told so that a model takes images of any size."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model."""
    window_option: str | None = None
    """The argument that sets the side of its attention windows, if it has any."""
    window_factor: int = 1
    """What a side of one cell is for that argument."""
    plain: bool = False
    """All blocks of one scale, so that a pyramid is put on top."""


# Masks of shifted windows made for each image; shifted in all stages, however small the image
# for which the name was made: at 512 pixels the last stage is larger than a window.
_SHIFTED = Family({"strict_img_size": False, "always_partition": True}, "window_size")
_PLAIN = Family({"dynamic_img_size": True}, plain=True)

FAMILIES: dict[str, Family] = {
    "swin_transformer": _SHIFTED,
    "swin_transformer_v2": _SHIFTED,
    "swin_transformer_v2_cr": _SHIFTED,
    # Windows and grids must divide each map, so the image is padded to a multiple of them.
    "maxxvit": Family({}, "img_size", MAXVIT_RATIO),
    # Learnt positions are resampled to the image, rotary ones (DINOv3) computed for it.
    "vision_transformer": _PLAIN,
    "eva": _PLAIN,
    "deit": _PLAIN,
}
"""By timm's module; models of all others take any size as they are, or are refused."""


def family_of(name: str) -> Family:
    """The family of a timm model."""
    timm = import_timm()
    for module, family in FAMILIES.items():
        # CoAtNet shares a file with MaxViT, but its attention spans the one image size it has.
        if timm.models.is_model_in_modules(name.partition(".")[0], [module]) and "coat" not in name:
            return family
    return Family()


def build_timm(config: EncoderConfig, channels: Sequence[str], load_pretrained: bool) -> Encoder:
    """A timm model as an encoder of images with these channels.

    How given weights meet them is said in `bocage.models.encoders.weights`. A hub is asked only
    when the configuration names one and `load_pretrained` is set.
    """
    family = family_of(config.name)
    _refuse_fixed_size(config, family)
    check_new_channels(config, channels)
    options = dict(family.options)
    if config.window is not None:
        if family.window_option is None:
            raise ConfigError(f"encoder '{config.name}' has no attention windows; leave window out")
        options[family.window_option] = config.window * family.window_factor
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    arguments: dict[str, Any] = {}
    shape = {"num_classes": 0} if family.plain else {"features_only": True}
    try:
        if load_pretrained and config.weights != "none":
            arguments = weight_arguments(config, channels, options)
        model = import_timm().create_model(
            config.name, in_chans=len(channels), **shape, **options, **arguments
        )
    except (RuntimeError, TypeError, AttributeError, ValueError, KeyError) as error:
        if arguments:
            raise unusable(config, error) from error
        raise ConfigError(
            f"encoder '{config.name}' cannot be built with feature maps and these options: {error}"
        ) from error
    for module in model.modules():
        if hasattr(module, "pretrained_cfg"):
            # timm keeps the tensors that it was given there.
            module.pretrained_cfg = module.default_cfg = {}
    if family is _SHIFTED:
        # Beside the model, because it needs timm when it is imported.
        from bocage.models.encoders.swin import pad_before_shifting

        pad_before_shifting(model)
    return _plain(model) if family.plain else _hierarchical(config, model)


def _plain(vit: Any) -> Encoder:
    pyramid = PlainPyramid(vit)
    patch = int(vit.patch_embed.patch_size[0])
    strides = (patch / 4, patch / 2, patch, 2 * patch)
    return Encoder(pyramid, pyramid.channels, strides)


def _hierarchical(config: EncoderConfig, model: Any) -> Encoder:
    reductions: list[int] = model.feature_info.reduction()
    if sorted(set(reductions)) != reductions:
        raise ConfigError(
            f"encoder '{config.name}' has maps of one scale only (1/{reductions[0]}), and there is "
            "no pyramid for its kind. Choose a hierarchical one such as convnet, resnet34, "
            "convnextv2_tiny or swinv2_tiny_window8_256, or a plain vision transformer such as "
            "vit_small_patch16_dinov3."
        )
    skip = sum(r < FINEST_STRIDE for r in reductions[:-1])
    return Encoder(
        model,
        model.feature_info.channels()[skip:],
        reductions[skip:],
        multiple=reductions[-1] * _partition(model),
        skip=skip,
        channels_last_output=str(getattr(model, "output_fmt", "")).endswith("NHWC"),
    )


def _partition(model: nn.Module) -> int:
    """Cells of the coarsest map of which its sides must be multiples: MaxViT's windows."""
    sides = (getattr(module, "partition_size", (1,)) for module in model.modules())
    return max(max(side) for side in sides)


def _refuse_fixed_size(config: EncoderConfig, family: Family) -> None:
    known = import_timm().get_pretrained_cfg(config.name)
    if family == Family() and known is not None and known.fixed_input_size:
        height, width = known.input_size[-2:]
        raise ConfigError(
            f"encoder '{config.name}' takes images of {height} x {width} pixels and no other. "
            "Choose one of any size, such as convnextv2_tiny, swinv2_tiny_window8_256, "
            "maxvit_tiny_tf_512 or vit_small_patch16_dinov3."
        )
