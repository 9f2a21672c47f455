"""A published network in words and numbers: its parts, their shapes, and what is counted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bocage.models.published.building import build_empty
from bocage.models.published.config import PublishedConfig
from bocage.models.published.encoders import ImageEncoder
from bocage.models.published.fusion import FusionHandler
from bocage.models.published.network import PublishedNetwork, idle_prefixes
from bocage.models.published.unet import WIDTHS as UNET_WIDTHS
from bocage.models.published.upernet import OUTPUT_STRIDE, OUTPUT_WIDTH
from bocage.models.published.utae import UTAE


@dataclass(frozen=True)
class Part:
    """One part with the shapes that enter and leave it, channels x height x width."""

    name: str
    takes: str
    gives: str
    parameters: int


@dataclass(frozen=True)
class Counts:
    """Parameters of one configuration, counted in the ways that figures in circulation are."""

    encoders: int
    fusion: int
    decoders: int
    auxiliary: int
    """Of auxiliary decoders for all inputs."""
    idle: int
    """Held without auxiliary decoders, but without effect on the result."""
    several_inputs: bool

    @property
    def published(self) -> int:
        """As the paper's tables count: fusion left out, auxiliary decoders where several inputs."""
        return self.encoders + self.decoders + (self.auxiliary if self.several_inputs else 0)

    @property
    def held(self) -> int:
        """In a checkpoint without auxiliary decoders."""
        return self.encoders + self.fusion + self.decoders

    @property
    def held_with_auxiliary(self) -> int:
        """In a checkpoint with auxiliary decoders for every input."""
        return self.held + self.auxiliary

    @property
    def inference(self) -> int:
        """Needed to predict."""
        return self.held - self.idle


def count(config: PublishedConfig) -> Counts:
    """The counts of a configuration, with and without auxiliary decoders whatever it says."""
    every = tuple(given.modality for given in config.inputs)
    full = build_empty(config.model_copy(update={"auxiliary": every}))
    idle = idle_prefixes(config.model_copy(update={"auxiliary": ()}))
    return Counts(
        encoders=_size(full.encoders),
        fusion=_size(full.fusion_handler),
        decoders=_size(full.main_decoders),
        auxiliary=_size(full.aux_decoders),
        idle=sum(p.numel() for name, p in full.named_parameters() if name.startswith(idle)),
        several_inputs=len(every) > 1,
    )


def parts(network: PublishedNetwork) -> list[Part]:
    """Every part in the order of the weights. The network may be on "meta"; nothing is run."""
    config = network.config
    found = []
    for given in config.inputs:
        side = config.size_px(given)
        bands = len(given.channel_names)
        encoder = network.encoders[given.modality]
        takes = f"{bands}x{side}x{side}"
        if isinstance(encoder, ImageEncoder):
            sizes = [
                f"{width}x{side // stride}x{side // stride}"
                for width, stride in zip(encoder.widths, (2, 4, 8, 16, 32), strict=True)
                if width
            ]
        else:
            assert isinstance(encoder, UTAE)
            takes = f"T x {takes}"
            sizes = [f"{width}x{side}x{side}" for width in encoder.widths]
        found.append(Part(f"encoders.{given.modality}", takes, ", ".join(sizes), _size(encoder)))
    found.append(_fusion_part(network.fusion_handler, config))
    for group in ("main_decoders", "aux_decoders"):
        for name, decoder in getattr(network, group).items():
            found.append(_decoder_part(f"{group}.{name}", decoder, config))
    return found


def _fusion_part(fusion: FusionHandler, config: PublishedConfig) -> Part:
    name = "fusion_handler.conv_f"
    convs = [conv for conv in fusion.conv_f if isinstance(conv, nn.Conv2d)]
    size = _size(fusion)
    if not config.images:
        return Part(name, "-", "not used: the mean of the series' logits" if len(config.series) > 1
                    else "not used", size)  # fmt: skip
    if len(config.inputs) == 1:
        return Part(name, "-", "not used: one input", size)
    return Part(
        name,
        ", ".join(str(conv.in_channels) for conv in convs),
        ", ".join(str(conv.out_channels) for conv in convs) + " channels per level",
        size,
    )


def _decoder_part(name: str, decoder: nn.Module, config: PublishedConfig) -> Part:
    task = name.removeprefix("main_decoders.").split("__")[-1]
    classes = next(head.num_classes for head in config.tasks if head.name == task)
    gives = f"{classes}x{config.tile_px}x{config.tile_px}"
    if isinstance(decoder, nn.Conv2d):
        if name.startswith("main_decoders.") and len(config.tasks) == 1:
            gives = "not used: the series' logits themselves"
        return Part(name, f"{decoder.in_channels} logits of a series", gives, _size(decoder))
    sensor = name.removeprefix("aux_decoders.").split("__")[0]
    given = next((i for i in config.images if i.modality == sensor), config.images[0])
    side, width = config.size_px(given), UNET_WIDTHS[-1]
    if config.arch.decoder == "upernet":
        side, width = side // OUTPUT_STRIDE, OUTPUT_WIDTH
    return Part(name, "the levels", f"{width}x{side}x{side}, {gives}", _size(decoder))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
