"""Encoders of single-date images of the published networks: timm backbones under smp's names.

Shapes: B samples, C channels, H x W pixels; levels 1/2, 1/4, 1/8, 1/16, 1/32 of the image.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bocage.errors import DataError
from bocage.models.published.config import COARSEST_STRIDE, Architecture
from bocage.models.published.swin import SWIN_SIZES, Swin


class _Wrapped(nn.Module):
    """A backbone under the name `model`, as published checkpoints have it for timm's."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """The backbone's maps."""
        maps: list[Tensor] = self.model(image_BCHW)
        return maps


class ImageEncoder(nn.Module):
    """One sensor's image to its levels.

    `widths` are the channels of the levels from 1/2 to 1/32, 0 where the backbone has no level
    1/2. Window attention is laid out for images of `size_px`, and takes no other.
    """

    def __init__(
        self, architecture: Architecture, bands: int, size_px: int, load_pretrained: bool = False
    ):
        super().__init__()
        wrapped = architecture.first_stride == 4
        model: Any
        if architecture.windows:
            model = Swin(SWIN_SIZES[architecture.encoder], bands, size_px)
            channels = model.widths
            if load_pretrained:
                published = _timm(architecture, bands, True, img_size=size_px)
                model.load_state_dict(published.state_dict())
        else:
            model = _timm(architecture, bands, load_pretrained)
            channels = tuple(model.feature_info.channels())
        self.seg_model = _Wrapped(model) if wrapped else model
        self.widths: tuple[int, ...] = (0, *channels) if wrapped else channels
        self._size_px = size_px if architecture.windows else None

    def forward(self, image_BCHW: Tensor) -> list[Tensor | None]:
        """Maps from 1/2 to 1/32, None where there is no level 1/2."""
        maps: list[Tensor] = self.seg_model(image_BCHW)
        return [*[None] * (len(self.widths) - len(maps)), *maps]

    def check_size(self, name: str, height: int, width: int) -> None:
        """Refuse an image that this backbone cannot take, before it does so in its own words."""
        if self._size_px is not None and (height, width) != (self._size_px, self._size_px):
            raise DataError(
                f"input {name}: {height} x {width} px, but this network's window attention is laid "
                f"out for {self._size_px} x {self._size_px} px. Give patches of that size (when "
                "mapping: leave window_px as it is, and resolution_m a whole part of its side)."
            )
        if height % COARSEST_STRIDE or width % COARSEST_STRIDE:
            raise DataError(
                f"input {name}: {height} x {width} px; this network takes multiples of "
                f"{COARSEST_STRIDE} px."
            )


def _timm(architecture: Architecture, bands: int, pretrained: bool, **options: Any) -> Any:
    """timm's backbone, with the levels' maps as output."""
    import timm  # three seconds that a network without it need not wait for

    return timm.create_model(
        architecture.encoder, features_only=True, in_chans=bands, pretrained=pretrained, **options
    )
