"""What network a heap of named tensors is, as far as names and shapes tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_ENCODERS = (
    ("patch_embed.proj.weight", {96: "Swin tiny or small", 128: "Swin base", 192: "Swin large"}),
    ("stem_0.weight", {96: "ConvNeXt V2 tiny", 128: "ConvNeXt V2 base"}),
    ("seg_model.conv1.weight", {64: "ResNet"}),
)
_DECODERS = (("decoder.psp.", "UPerNet"), ("decoder.blocks.", "U-Net"))


def identify(tensors: Mapping[str, Tensor]) -> str:
    """A phrase for an error message: inputs, backbone, decoder and classes of a checkpoint."""
    sensors = _parts("encoders", tensors)
    if not sensors:
        first = ", ".join(list(tensors)[:3])
        return f"not of the FLAIR-HUB family (it begins with {first})"
    phrases = [", ".join(sensors)]
    for ending, by_width in _ENCODERS:
        for name, tensor in tensors.items():
            if name.endswith(ending):
                phrases.append(by_width.get(tensor.shape[0], f"a backbone of {tensor.shape[0]}"))
                break
    phrases += [word for part, word in _DECODERS if any(part in name for name in tensors)]
    for task in _parts("main_decoders", tensors):
        for ending in ("seg_model.segmentation_head.0.bias", "bias"):
            bias = tensors.get(f"main_decoders.{task}.{ending}")
            if bias is not None:
                phrases.append(f"{task} in {bias.shape[0]} classes")
    return "; ".join(phrases)


def _parts(group: str, tensors: Mapping[str, Tensor]) -> list[str]:
    found = (re.match(rf"{group}\.([^.]+)\.", name) for name in tensors)
    return list(dict.fromkeys(match[1] for match in found if match))
