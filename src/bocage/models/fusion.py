"""Fusion: feature maps of the sensors that are there, to one pyramid.

A fusion is registered in `FUSIONS` by name. It must accept any subset of its sensors, none at all
included: what is missing is replaced by something learnt, never by zeros.

Shapes: B samples of the batch, N of them with the sensor, D channels, h x w cells of a map.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from bocage.errors import unknown_name
from bocage.models.layers import ConvNorm, Norm, resize

Size = tuple[int, int]


class FusionConfig(BaseModel):
    """How the sensors are joined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "gated"
    """`gated`: each pixel weighs the sensors; `concat`: one linear map of all of them."""
    width: int = Field(default=64, ge=4)
    """Channels of every level of the pyramid."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FUSIONS:
            raise ValueError(unknown_name("fusion", name, FUSIONS))
        return name


class SensorMaps(NamedTuple):
    """What an encoder made of the samples that have the sensor."""

    maps: Sequence[Tensor]
    """(N, C_i, h_i, w_i), finest first."""
    rows: Tensor | None
    """(N,) int64: which samples of the batch; None: all B, in order."""
    known: Tensor | None
    """(N, 1, h, w) or (N, 1, 1, 1) bool: cells with data; None: all."""
    detail: Tensor | None = None
    """(N, D, h, w) finer than every map, of the sensors that give detail when it is wanted."""


def match_stages(stages: int, levels: int) -> tuple[int, ...]:
    """For each level of the pyramid the map of a sensor with `stages` maps that joins it.

    Deep maps meet deep maps, and every map is used. A sensor's only map (a series) joins them all.

    >>> match_stages(4, 4), match_stages(1, 4), match_stages(2, 4)
    ((0, 1, 2, 3), (0, 0, 0, 0), (0, 0, 1, 1))
    """
    assert 1 <= stages <= levels
    if levels == 1:
        return (0,)
    return tuple(int((stages - 1) * level / (levels - 1) + 0.5) for level in range(levels))


Joined = Mapping[str, tuple[Tensor, SensorMaps] | None]
"""Per sensor the map that joins a level, with the rest of the sensor; None if no sample has it."""


class GatedLevel(nn.Module):
    """One level at which each cell weighs its sensors by learnt gates (they sum to 1).

    A missing sensor takes part with a learnt vector and a learnt gate, so that the network can tell
    "not there" from any content, and how much that should count.
    """

    def __init__(self, width: int, channels: Mapping[str, int]):
        super().__init__()
        self.project = nn.ModuleDict(
            {name: ConvNorm(count, width, kernel=1) for name, count in channels.items()}
        )
        self.gate = nn.ModuleDict({name: nn.Conv2d(width, 1, 1) for name in channels})
        self.absence = _absence(width, channels)
        # Absence starts with little weight, e^-2 = 0.14 of a sensor; training corrects it.
        self.absence_gate = nn.ParameterDict(
            {name: nn.Parameter(torch.full((1,), -2.0)) for name in channels}
        )

    def forward(self, joined: Joined, size: Size, batch: int) -> Tensor:
        """(B, D, h, w)."""
        values, gates = [], []
        for name, entry in joined.items():
            absent, absent_gate = self.absence[name], self.absence_gate[name]
            if entry is None:
                values.append(absent.view(1, -1, 1, 1))
                gates.append(absent_gate.view(1, 1, 1, 1).expand(batch, 1, *size))
                continue
            own, sensor = entry
            projected = self.project[name](own)
            values.append(_place(projected, sensor, absent, size, batch))
            gates.append(_place(self.gate[name](projected), sensor, absent_gate, size, batch))
        shares = torch.stack([gate.float() for gate in gates]).softmax(0)
        return _total(value * share for value, share in zip(values, shares, strict=True))


class ConcatLevel(nn.Module):
    """One level at which all sensors, one behind the other, pass a 1x1 convolution.

    Written as one convolution per sensor and a sum, which is the same and lets each work at its
    sensor's own resolution. A missing sensor contributes a learnt vector.
    """

    def __init__(self, width: int, channels: Mapping[str, int]):
        super().__init__()
        self.project = nn.ModuleDict(
            {name: nn.Conv2d(count, width, 1, bias=False) for name, count in channels.items()}
        )
        self.absence = _absence(width, channels)
        self.norm = Norm(width)

    def forward(self, joined: Joined, size: Size, batch: int) -> Tensor:
        """(B, D, h, w)."""
        values = []
        for name, entry in joined.items():
            absent = self.absence[name]
            if entry is None:
                values.append(absent.view(1, -1, 1, 1))
                continue
            own, sensor = entry
            values.append(_place(self.project[name](own), sensor, absent, size, batch))
        return F.relu(self.norm(_total(values).expand(batch, -1, *size)))


FUSIONS: dict[str, Callable[[int, Mapping[str, int]], nn.Module]] = {
    "gated": GatedLevel,
    "concat": ConcatLevel,
}
"""Fusions by name: `(width, channels per sensor)` to the module of one level."""


class Fusion(nn.Module):
    """The pyramid: one level module per stage, all of `config.width` channels."""

    def __init__(self, config: FusionConfig, channels: Mapping[str, tuple[int, ...]], levels: int):
        super().__init__()
        self.stages = {name: match_stages(len(own), levels) for name, own in channels.items()}
        self.levels = nn.ModuleList(
            FUSIONS[config.name](
                config.width, {name: own[self.stages[name][i]] for name, own in channels.items()}
            )
            for i in range(levels)
        )

    def forward(
        self, sensors: Mapping[str, SensorMaps | None], sizes: Sequence[Size], batch: int
    ) -> list[Tensor]:
        """Levels (B, D, *sizes[i]), finest first; `sensors` names every sensor of the network."""
        pyramid = []
        for index, (level, size) in enumerate(zip(self.levels, sizes, strict=True)):
            joined = {
                name: None if sensor is None else (sensor.maps[self.stages[name][index]], sensor)
                for name, sensor in sensors.items()
            }
            pyramid.append(level(joined, size, batch))
        return pyramid


def _absence(width: int, channels: Mapping[str, int]) -> nn.ParameterDict:
    return nn.ParameterDict({name: nn.Parameter(torch.randn(width) * 0.02) for name in channels})


def _place(own: Tensor, sensor: SensorMaps, absent: Tensor, size: Size, batch: int) -> Tensor:
    """A sensor's map (N, D, h', w') on the batch's grid, (B, D, *size), `absent` (D,) elsewhere.

    Unknown cells are filled before resampling, at the sensor's own resolution.
    """
    absent = absent.view(1, -1, 1, 1).to(own.dtype)
    if sensor.known is not None:
        own = torch.where(sensor.known, own, absent)
    own = resize(own, size)
    if sensor.rows is None:
        return own
    everywhere = absent.expand(batch, -1, *size)
    return everywhere.contiguous(memory_format=torch.channels_last).index_copy(0, sensor.rows, own)


def _total(values: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, values)
