"""What an exported program takes and gives: names, types, shapes, and which sizes are free.

Every tensor of `bocage`'s networks has a name of its own, `PART.SENSOR` or `logits.TASK`. Shapes:
B samples (`batch`), T dates (one number per series), C stored bands, K classes, H x W pixels; all
images and series cover the same ground, so their heights are steps of one number `rows`, their
widths of one number `cols`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from bocage.modalities import Modality
from bocage.models.bundle import BundleMeta
from bocage.models.inputs import InputConfig
from bocage.models.kinds import required_inputs

BATCH, ROWS, COLS = "batch", "rows", "cols"

COARSEST_STRIDE = 32
"""Of the encoders' maps, pixels of a sensor: sizes that are multiples of it need no padding."""
FEWEST_CELLS = 7
"""Along a side of the coarsest map where sizes are free: below, decoders pool to fewer cells, which
is another graph."""


class Axis(NamedTuple):
    """A side of a tensor: `step` times a free number, or just `step`."""

    step: int
    free: str | None = None

    def size(self, numbers: Mapping[str, int]) -> int:
        """The side for given values of the free numbers."""
        return self.step if self.free is None else self.step * numbers[self.free]

    @property
    def text(self) -> int | str:
        """For people and files: `4`, `batch`, `512*rows`."""
        if self.free is None:
            return self.step
        return self.free if self.step == 1 else f"{self.step}*{self.free}"


class Port(NamedTuple):
    """One tensor that enters or leaves."""

    dtype: str
    """As numpy and torch call it."""
    axes: tuple[Axis, ...]

    def shape(self, numbers: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for given values of the free numbers."""
        return tuple(axis.size(numbers) for axis in self.axes)


@dataclass(frozen=True)
class Interface:
    """All inputs and outputs of a bundle's network, by name and in order."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    output_hw: tuple[Axis, Axis]
    """Sides of the label grid."""
    sensors: tuple[str, ...]
    required: tuple[str, ...]
    """Sensors without which the network does not work; the others have a `present.SENSOR`."""

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the free numbers, in order of appearance."""
        axes = (axis for port in self.inputs.values() for axis in port.axes)
        return tuple(dict.fromkeys(axis.free for axis in axes if axis.free is not None))

    @property
    def least_units(self) -> int:
        """Least value of `rows` and `cols`: the finest sensor's coarsest map has enough cells."""
        pixels = {name: port.axes[-1].step for name, port in self.inputs.items()}
        images = [
            side / COARSEST_STRIDE for name, side in pixels.items() if _part(name) == "images"
        ]
        # A series has one map, of its own pixels, which sets nothing beside images.
        series = [n for name, n in pixels.items() if _part(name) == "series"]
        return math.ceil(FEWEST_CELLS / max(images or series))

    @property
    def dates(self) -> tuple[str, ...]:
        """Those of them that count the dates of a series."""
        return tuple(name for name in self.free if name.startswith("dates."))


def describe(meta: BundleMeta, size_px: int | None = None, unit_px: int | None = None) -> Interface:
    """The interface of a bundle with windows of `size_px` label pixels (None: its tile's size).

    With `unit_px` height and width are free multiples of it, given in label pixels.
    """
    side = unit_px or size_px or meta.tile_px
    free = (ROWS, COLS) if unit_px else (None, None)
    config = meta.network
    required = required_inputs(config)
    batch = Axis(1, BATCH)
    inputs: dict[str, Port] = {}
    for given in config.inputs:
        spec, name = given.spec, given.modality
        pixels = _pixels(given, side, config.output_resolution_m)
        hw = tuple(Axis(pixels, axis) for axis in (free if spec.covers_patch else (None, None)))
        bands = Axis(len(spec.bands))
        if spec.series:
            dates = Axis(1, f"dates.{name}")
            inputs[f"series.{name}"] = Port(spec.dtype, (batch, dates, bands, *hw))
            inputs[f"series_valid.{name}"] = Port("bool", (batch, dates, *hw))
            inputs[f"days.{name}"] = Port("int64", (batch, dates))
            inputs[f"dates_present.{name}"] = Port("bool", (batch, dates))
        else:
            inputs[f"images.{name}"] = Port(spec.dtype, (batch, bands, *hw))
            inputs[f"valid.{name}"] = Port("bool", (batch, *hw))
        if name not in required:
            inputs[f"present.{name}"] = Port("bool", (batch,))
    output_hw = (Axis(side, free[0]), Axis(side, free[1]))
    outputs = {
        f"logits.{task.name}": Port("float32", (batch, Axis(task.num_classes), *output_hw))
        for task in config.tasks
    }
    sensors = tuple(given.modality for given in config.inputs)
    return Interface(inputs, outputs, output_hw, sensors, required)


def _part(port: str) -> str:
    return port.partition(".")[0]


def size_unit_px(meta: BundleMeta, multiples: Iterable[int] = ()) -> int | None:
    """Label pixels of which height and width may be any multiple; None where there is no such unit.

    It is a whole number of every sensor's pixels, and for single-date images a multiple of
    `COARSEST_STRIDE` and all `multiples` of them, to which encoders would pad otherwise. Inputs of
    a fixed extent allow none.
    """
    config = meta.network
    if not all(given.spec.covers_patch for given in config.inputs):
        return None
    step = math.lcm(COARSEST_STRIDE, *multiples)
    spans = (
        _ratio(given, config.output_resolution_m) * (1 if given.spec.series else step)
        for given in config.inputs
    )
    return math.lcm(*(span.numerator for span in spans))


def _pixels(given: InputConfig, side_px: int, output_resolution_m: float) -> int:
    """Pixels of a sensor along a window of `side_px` label pixels."""
    spec: Modality = given.spec
    if not spec.covers_patch:
        return spec.size_px
    return max(1, round(side_px / _ratio(given, output_resolution_m)))


def _ratio(given: InputConfig, output_resolution_m: float) -> Fraction:
    """Label pixels per pixel of a sensor, as the fraction that was meant: 51.2 is 256/5."""
    return Fraction(given.pixel_m / output_resolution_m).limit_denominator(10_000)
