"""A published network written plainly: the baseline of `step`, `validate` and `build`.

It is put together from whole segmentation models: one per image sensor, of which the encoder is
kept, and one per task, of which the decoder is kept. Maps are NCHW, backbones are timm's as they
come, labels are one-hot floats, and a validation that wants the loss of each class runs the network
once more per task.

Names and shapes of parameters are the published ones, so that the weights of ours can be loaded.

Shapes: B samples, T dates, C channels, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.naive_temporal import NaiveUTAE
from bocage.models.published import PublishedConfig

STRIDES = (4, 8, 16, 32)


class _ConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class _Pooling(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(grid), _ConvNorm(inputs, inputs // 4, 1))
            for grid in (1, 2, 3, 6)
        )
        self.out_conv = _ConvNorm(2 * inputs, 256, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        pooled = [_resized(block(x_BCHW), x_BCHW.shape[-2:]) for block in self.blocks]
        out: Tensor = self.out_conv(torch.cat([x_BCHW, *pooled], dim=1))
        return out


class _Stage(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.skip_conv = _ConvNorm(inputs, 256, 1)

    def forward(self, coarser_BCHW: Tensor, level_BCHW: Tensor) -> Tensor:
        own: Tensor = self.skip_conv(level_BCHW)
        return own + _resized(coarser_BCHW, own.shape[-2:])


class _Decoder(nn.Module):
    """UPerNet of smp 0.4.0 over levels 1/4 to 1/32, finest first."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.psp = _Pooling(widths[-1])
        stages = [_Stage(width) for width in reversed(widths[:-1])]
        self.fpn_stages = nn.ModuleList([*stages, nn.Identity(), _Stage(1)])
        self.fpn_bottleneck = _ConvNorm(256 * (len(widths) + 1), 64, 3)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        maps = [self.psp(levels[-1])]
        for stage, level in zip(self.fpn_stages, reversed(levels[:-1]), strict=False):
            maps.append(stage(maps[-1], level))
        # The stage of a level at half the image's size that these backbones do not have.
        maps.append(F.interpolate(maps[-1], scale_factor=2.0, mode="bilinear"))
        target = levels[0].shape[-2:]
        out: Tensor = self.fpn_bottleneck(torch.cat([_resized(x, target) for x in maps], dim=1))
        return out


class _Encoder(nn.Module):
    """A timm backbone; maps of stages as NCHW."""

    def __init__(self, architecture: str, bands: int, size_px: int) -> None:
        super().__init__()
        self.model: Any = timm.create_model(
            architecture, features_only=True, pretrained=False, in_chans=bands, img_size=size_px
        )

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        return [x.permute(0, 3, 1, 2).contiguous() for x in self.model(image_BCHW)]


class _Half(nn.Module):
    """What is kept of a whole model, under the name that weights know."""

    def __init__(self, **kept: nn.Module) -> None:
        super().__init__()
        self.seg_model = nn.ModuleDict(kept)


class _WholeModel(nn.Module):
    """A segmentation model of one image: encoder, decoder, head."""

    def __init__(self, architecture: str, bands: int, size_px: int, classes: int) -> None:
        super().__init__()
        self.encoder = _Encoder(architecture, bands, size_px)
        self.decoder = _Decoder(self.encoder.model.feature_info.channels())
        enlarge = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True)
        self.segmentation_head = nn.Sequential(nn.Conv2d(64, classes, 1), enlarge)


class NaiveNetwork(nn.Module):
    """A network of `config` with window attention, UPerNet, and images among its sensors."""

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict()
        widths = []
        first = config.images[0]
        for given in config.images:
            bands, size_px = len(given.channel_names), config.size_px(given)
            whole = _WholeModel(config.arch.encoder, bands, size_px, config.tasks[0].num_classes)
            self.encoders[given.modality] = _Half(model=whole.encoder.model)
            widths.append(list(whole.encoder.model.feature_info.channels()))
        for given in config.series:
            encoder = NaiveUTAE(len(given.channel_names), *config.series_widths, config.series_head)
            self.encoders[given.modality] = encoder
            widths.append(list(reversed(config.series_widths[1])))
        self.fusion_handler = nn.ModuleDict(
            {
                "conv_f": nn.ModuleList(
                    nn.Conv2d(sum(own), kept, 1)
                    for own, kept in zip(zip(*widths, strict=True), widths[0], strict=True)
                )
            }
        )
        self.main_decoders = nn.ModuleDict()
        for task in config.tasks:
            whole = _WholeModel(
                config.arch.encoder, len(first.channel_names), config.size_px(first),
                task.num_classes,
            )  # fmt: skip
            self.main_decoders[task.name] = _Half(
                decoder=whole.decoder, segmentation_head=whole.segmentation_head
            )

    def forward(
        self, images: Mapping[str, Tensor], series: Mapping[str, tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """Logits (B, K, H, W) by task, from normalised images and (frames, days) of series."""
        maps: list[list[Tensor]] = []
        for name, image_BCHW in images.items():
            encoded = self.encoders[name].seg_model["model"](image_BCHW)
            maps.append([x.permute(0, 3, 1, 2).contiguous() for x in encoded])
        # Temporal maps come deepest first, and so they meet the images' levels.
        maps += [self.encoders[name](*given) for name, given in series.items()]
        fused = []
        for conv, level in zip(self.fusion_handler["conv_f"], zip(*maps, strict=True), strict=True):
            size = level[0].shape[-2:]
            fused.append(conv(torch.cat([_resized(x, size) for x in level], dim=1)))
        logits = {}
        for task, half in self.main_decoders.items():
            features = half.seg_model["decoder"](fused)
            logits[task] = half.seg_model["segmentation_head"](features).float()
        return logits


def _resized(x_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x_BCHW, size=tuple(size), mode="bilinear", align_corners=False)
