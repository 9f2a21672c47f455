"""What may happen to a training patch: the frozen `AugmentConfig`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AugmentConfig(BaseModel):
    """What may happen to a training patch. Sensors are hidden by `network.sensor_dropout`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flips_and_turns: bool = True
    """One of the eight symmetries of the square, for all sensors and labels together."""
    zoom: float = Field(default=0.0, ge=0, le=3)
    """Largest enlargement: 0.5 shows as little as two thirds of a patch's side at full size, all
    sensors and labels together. 0: none."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """How far brightness and each band may be off, as a share: another camera, film or sun. Each
    optical image by itself; a series as a whole. For radar, in tenths of a decibel per percent."""
    haze: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of light from the air, most in blue, in photographs and SPOT. 0: none."""
    drop_dates: float = Field(default=0.0, ge=0, lt=1)
    """Share of a series' dates left out, at most; one always stays."""
    clouds: float = Field(default=0.0, ge=0, le=1)
    """Chance of each optical date of a series to get a cloud that no mask knows of."""
