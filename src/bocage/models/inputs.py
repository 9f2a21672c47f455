"""What enters the network, and its preparation on the device: stored numbers to normalised ones.

Shapes: `...` any leading dimensions, C stored bands, P prepared channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.modalities import COMMON_NODATA, Modality, get_modality

DSM_STATISTICS = (326.43, 535.41)
"""Mean and spread of surface altitude in metres: FLAIR-HUB paper, Table VIII."""

SIGMA0_RANGE = (1e-4, 1e3)
"""Backscatter that is taken at its word, linear power: -40 dB lies well under the noise floor of
Sentinel-1 (about -25 dB), +30 dB is reached by strong corner reflectors only."""

ALTITUDE_RANGE_M = (-500.0, 9000.0)
"""Altitudes on Earth. Anything beyond is some producer's nodata (-9999, -32768, -3.4e38)."""


def prepared_statistics(modality: Modality) -> dict[str, tuple[float, float]]:
    """Prepared channels that a modality offers, with the mean and spread of each."""
    statistics = list(zip(modality.mean, modality.std, strict=True))
    if modality.quantity == "elevation":
        terrain, height = statistics
        return {"dtm": terrain, "height": height, "dsm": DSM_STATISTICS}
    return dict(zip(modality.bands, statistics, strict=True))


def official_names(by_sensor: object) -> object:
    """What is given by sensor, by official name; for pydantic, hence `ValueError` if unknown."""
    if not isinstance(by_sensor, Mapping):
        return by_sensor
    try:
        return {get_modality(name).name: value for name, value in by_sensor.items()}
    except ConfigError as error:
        raise ValueError(str(error)) from error


class InputConfig(BaseModel):
    """One sensor as the network sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    """Official name or short name of the sensor."""
    resolution_m: float | None = Field(default=None, gt=0)
    """Ground size of a pixel in metres; the sensor's own when not given."""
    channels: tuple[str, ...] | None = None
    """Channels in the order in which the network takes them; all bands when not given. Elevation
    offers `dtm` and `height` (the default: terrain altitude and height above it) and `dsm`."""
    mean: tuple[float, ...] | None = None
    """Mean of each channel after preparation (decibel, metres); published values by default."""
    std: tuple[float, ...] | None = None
    """Spread of each channel after preparation; published values by default."""

    @field_validator("modality")
    @classmethod
    def _official_name(cls, name: str) -> str:
        try:
            return get_modality(name).name
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _consistent(self) -> InputConfig:
        offered = prepared_statistics(self.spec)
        names = self.channel_names
        for name in names:
            if name not in offered:
                raise ValueError(unknown_name(f"channel of {self.modality}", name, offered))
        if not names or len(set(names)) != len(names):
            raise ValueError(f"channels of {self.modality} must be named once each, got {names}")
        for field, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(names):
                raise ValueError(
                    f"{field} of {self.modality} has {len(values)} values for {len(names)} "
                    f"channels ({', '.join(names)})"
                )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std of {self.modality} must be positive, got {self.std}")
        return self

    @property
    def spec(self) -> Modality:
        """The sensor's description."""
        return get_modality(self.modality)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Prepared channels in order."""
        if self.channels is not None:
            return self.channels
        return ("dtm", "height") if self.spec.quantity == "elevation" else self.spec.bands

    @property
    def pixel_m(self) -> float:
        """Ground size of a pixel in metres."""
        return self.spec.resolution_m if self.resolution_m is None else self.resolution_m

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and spread per prepared channel."""
        offered = prepared_statistics(self.spec)
        mean, std = zip(*(offered[name] for name in self.channel_names), strict=True)
        return self.mean or mean, self.std or std


class Preparation(nn.Module):
    """Stored numbers to normalised channels; what is unknown becomes 0, the mean.

    Mean and spread are buffers: they travel with the weights, so that a trained network always
    sees what it was trained on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: InputConfig):
        super().__init__()
        self.spec = config.spec
        self.channel_names = config.channel_names
        mean, std = config.statistics
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, raw: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalised channels (..., P, H, W) float32 and known pixels (..., H, W) bool.

        `raw` (..., C, H, W) holds all bands of the sensor as stored; `valid` (..., H, W) bool is
        False where the file has no data. NaN, infinity and nodata values count as invalid too. A
        pixel is known when all its channels are; a channel that is not is 0, never NaN.
        """
        bands = self.spec.bands
        if raw.shape[-3] != len(bands):
            raise DataError(
                f"input {self.spec.name}: {raw.shape[-3]} bands, expected {len(bands)} "
                f"({', '.join(bands)}). Give the bands of the sensor in this order."
            )
        offered, known = self._physical(raw)
        values = torch.stack([offered[name] for name in self.channel_names], dim=-3)
        values = (values - self.mean) / self.std
        certain = torch.stack([known[name] for name in self.channel_names], dim=-3)
        if valid is not None:
            certain = certain & valid.unsqueeze(-3)
        return torch.where(certain, values, 0.0), certain.all(dim=-3)

    def _physical(self, raw: Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Physical values and where they are known, by prepared channel, each (..., H, W)."""
        stored = raw.to(torch.float32)
        known = torch.isfinite(stored)
        if self.spec.nodata is not None:
            known = known & (stored != self.spec.nodata)
        if self.spec.dtype == "float32":
            known = known & (stored != COMMON_NODATA)
        if self.spec.quantity == "elevation":
            return self._elevation(stored, known)
        if self.spec.quantity == "sigma0":
            stored = 10 * stored.clamp(*SIGMA0_RANGE).log10()
        if self.spec.scale != 1.0:
            stored = stored * self.spec.scale
        by_band = dict(zip(self.spec.bands, stored.unbind(-3), strict=True))
        return by_band, dict(zip(self.spec.bands, known.unbind(-3), strict=True))

    def _elevation(
        self, stored: Tensor, known: Tensor
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        low, high = ALTITUDE_RANGE_M
        known = known & (stored > low) & (stored < high)
        dsm, dtm = stored.unbind(-3)
        dsm_known, dtm_known = known.unbind(-3)
        return (
            {"dsm": dsm, "dtm": dtm, "height": dsm - dtm},
            {"dsm": dsm_known, "dtm": dtm_known, "height": dsm_known & dtm_known},
        )
