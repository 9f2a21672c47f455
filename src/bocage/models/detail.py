"""A level of the pyramid that is finer than any encoder's, for decoders that want one.

It is made from the images of the finest sensors by two convolutions each, and joined by the same
fusion as every other level, learnt absence included.

Shapes: B samples of the batch, N of them with the sensor, C bands, D channels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bocage.models.fusion import FUSIONS, SensorMaps, Size
from bocage.models.layers import ConvNorm


class Detail(nn.Module):
    """The fine level of `width` channels; `sensors` maps each that gives it to its bands.

    `stride` is the side of a cell in pixels of these sensors.
    """

    def __init__(self, fusion: str, width: int, sensors: Mapping[str, int], stride: int):
        super().__init__()
        self.stems = nn.ModuleDict(
            {
                name: nn.Sequential(ConvNorm(bands, width, stride=stride), ConvNorm(width, width))
                for name, bands in sensors.items()
            }
        )
        self.level = FUSIONS[fusion](width, dict.fromkeys(sensors, width))

    def see(self, name: str, image_NCHW: Tensor) -> Tensor | None:
        """A sensor's own fine map (N, D, h, w), None if it gives none."""
        return self.stems[name](image_NCHW) if name in self.stems else None

    def forward(self, sensors: Mapping[str, SensorMaps | None], size: Size, batch: int) -> Tensor:
        """The level (B, D, *size) from what `see` made of the sensors' images."""
        joined: dict[str, tuple[Tensor, SensorMaps] | None] = dict.fromkeys(self.stems)
        for name in joined:
            sensor = sensors[name]
            if sensor is not None and sensor.detail is not None:
                joined[name] = (sensor.detail, sensor)
        level: Tensor = self.level(joined, size, batch)
        return level
