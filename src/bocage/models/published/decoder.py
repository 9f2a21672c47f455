"""The decoder of a task over images' levels, with its head.

Shapes: B samples, K classes, H x W pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bocage.models.published.fusion import Levels
from bocage.models.published.unet import PixelHead, UNet
from bocage.models.published.upernet import ClassHead, UPerNet


class _Segmenter(nn.Module):
    """Decoder and head, under the names that checkpoints know."""

    def __init__(self, decoder: nn.Module, head: nn.Module):
        super().__init__()
        self.decoder = decoder
        self.segmentation_head = head


class ImageDecoder(nn.Module):
    """Levels to the logits of one task."""

    def __init__(self, kind: str, widths: Sequence[int], num_classes: int):
        super().__init__()
        if kind == "unet":
            self.seg_model = _Segmenter(UNet(widths), PixelHead(num_classes))
        else:
            self.seg_model = _Segmenter(UPerNet(widths), ClassHead(num_classes))

    def forward(self, levels: Levels, image_hw: tuple[int, int]) -> Tensor:
        """(B, K, *image_hw)."""
        model = self.seg_model
        logits: Tensor = model.segmentation_head(model.decoder(levels, image_hw))
        return logits
