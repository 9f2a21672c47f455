"""Acquisition metadata as a network takes them: 45 small numbers, and what becomes of those.

As many numbers of each kind as in the challenges' baselines: 32 for the position, 1 for the
altitude, 2 for the camera, 4 for the year, 2 each for month, day and time of day. Two of theirs say
nothing, and do here: the month's angle is a full turn for every month (a bracket stands wrong), and
positions are divided until all of France lies within a hundredth of a radian.

Shapes: B samples, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bocage.modalities import ACQUISITION_YEARS

SIZE = 45
"""Numbers of an encoded acquisition."""

HIDDEN = (64, 32)
DROPOUT = 0.4

WAVELENGTHS_KM = tuple(20.0 * 2**i for i in range(8))
"""Of the position's sines: the longest, 2,560 km, tells any two places in France apart; the
shortest, 20 km, is that of a region within a department: no patch is known by its position."""

HIGHEST_M = 3164.91
"""Highest patch of FLAIR #1, which altitudes are divided by."""


class AcquisitionEncoding(nn.Module):
    """The numbers of `AERIAL_METADATA` as sines, cosines and one-hot codes; nothing is learnt."""

    wavelength_m: Tensor
    years: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("wavelength_m", torch.empty(len(WAVELENGTHS_KM)), persistent=False)
        self.register_buffer("years", torch.empty(len(ACQUISITION_YEARS)), persistent=False)
        self.init_non_persistent_buffers()

    def init_non_persistent_buffers(self) -> None:
        """Fill in the tables; called again where the module was built without memory."""
        self.wavelength_m.copy_(1000 * torch.tensor(WAVELENGTHS_KM))
        self.years.copy_(torch.tensor(ACQUISITION_YEARS))

    def forward(self, stored_BC: Tensor) -> Tensor:
        """(B, 45) float32 from the bands of `AERIAL_METADATA`, (B, 8) float32."""
        x_m, y_m, altitude_m, camera, year, month, day, minute = stored_BC.float().unbind(1)
        angles = [
            x_m.unsqueeze(1) / self.wavelength_m,
            y_m.unsqueeze(1) / self.wavelength_m,
            ((month - 1) / 12).unsqueeze(1),
            ((day - 1) / 31).unsqueeze(1),
            (minute / 1440).unsqueeze(1),
        ]
        turns = 2 * math.pi * torch.cat(angles, dim=1)
        cameras = torch.stack([camera == 0, camera == 1], dim=1).float()
        years = (year.unsqueeze(1) == self.years).float()
        altitude = (altitude_m / HIGHEST_M).unsqueeze(1)
        return torch.cat([turns.sin(), turns.cos(), altitude, cameras, years], dim=1)


class MetadataBranch(nn.Module):
    """Acquisition metadata to one number per channel of the deepest map, for all its cells.

    The original gives one number per *row* of the map, the same for all channels: a pattern of
    stripes that no flip of the image turns along, for one size of image only.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.encoding = AcquisitionEncoding()
        layers: list[nn.Module] = []
        inputs = SIZE
        for width in HIDDEN:
            layers += [nn.Linear(inputs, width), nn.Dropout(DROPOUT), nn.ReLU(inplace=True)]
            inputs = width
        self.enc_mlp = nn.Sequential(*layers, nn.Linear(inputs, channels))

    def forward(self, stored_BCHW: Tensor, known_B: Tensor) -> Tensor:
        """(B, channels, 1, 1), 0 where `known_B` bool is False, from (B, 8, 1, 1) as stored."""
        added_BC: Tensor = self.enc_mlp(self.encoding(stored_BCHW.flatten(1)))
        return added_BC.masked_fill(~known_B.unsqueeze(1), 0.0)[..., None, None]
