"""Whether an exported program says what the network says, on random but plausible inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bocage.errors import DataError
from bocage.modalities import Quantity, get_modality
from bocage.models.export.interface import BATCH, COLS, ROWS, Interface
from bocage.models.export.program import FlatNetwork

TOLERANCE = 1e-3
"""Largest difference of a logit, in standard deviations of the task's logits."""

# Stored numbers between which images of the real world mostly lie.
_RANGES: dict[Quantity, tuple[float, float]] = {
    "digital_number": (0, 255),
    "reflectance": (0, 5000),
    "sigma0": (1e-3, 0.5),
    "elevation": (100, 400),
    "height": (0, 150),
    "acquisition": (1, 12),
}
_DAYS = (-130, 230)
"""A campaign's year, counted from 15 May."""

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Outputs by name from inputs by name, as `Interface` names them."""


class Check(NamedTuple):
    """One comparison with the network itself."""

    what: str
    """The sizes, in words."""
    largest: float
    """Largest difference of a logit."""
    spread: float
    """Standard deviation of the logits of the task with that difference."""

    @property
    def passed(self) -> bool:
        """Whether the difference is tolerable."""
        # A comparison that NaN fails.
        return self.largest <= TOLERANCE * self.spread


def plausible_inputs(
    interface: Interface, numbers: Mapping[str, int], seed: int = 0
) -> dict[str, Tensor]:
    """Inputs by name for given values of the free numbers: everything there, dates in order."""
    random = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor] = {}
    for name, port in interface.inputs.items():
        part, _, sensor = name.partition(".")
        shape, dtype = port.shape(numbers), getattr(torch, port.dtype)
        if port.dtype == "bool":
            inputs[name] = torch.ones(shape, dtype=torch.bool)
        elif part == "days":
            inputs[name] = torch.randint(*_DAYS, shape, generator=random).sort(dim=1).values
        else:
            low, high = _RANGES[get_modality(sensor).quantity]
            values = low + (high - low) * torch.rand(shape, generator=random)
            inputs[name] = values.to(dtype)
    return inputs


def with_gaps(interface: Interface, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same inputs with all that may be missing missing somewhere.

    The first sample has holes in its images and fewer dates; each further one lacks a sensor, if
    the network works without it, and one sample lacks all of those.
    """
    gaps = {name: tensor.clone() for name, tensor in inputs.items()}
    for name, tensor in gaps.items():
        part = name.partition(".")[0]
        if part == "valid":
            tensor[0, : tensor.shape[1] // 3] = False
        elif part == "dates_present" and tensor.shape[1] > 1:
            tensor[0, -1] = False
        elif part == "series_valid":
            tensor[0, 0, :, : tensor.shape[3] // 2] = False
    optional = [name for name in interface.sensors if name not in interface.required]
    samples = next(iter(inputs.values())).shape[0]
    for row in range(1, samples):
        missing = optional if row == samples - 1 else optional[(row - 1) :: samples]
        for name, tensor in gaps.items():
            if name.partition(".")[2] in missing:
                tensor[row] = 0
    return gaps


def sizes_to_check(
    interface: Interface, traced: Mapping[str, int], least: Mapping[str, int]
) -> list[dict[str, int]]:
    """Values of the free numbers to compare at: as traced, the least, and three samples of more."""
    more = {BATCH: 3, ROWS: traced.get(COLS, 1), COLS: traced.get(ROWS, 1)}
    return [dict(traced), dict(least), {name: more.get(name, 7) for name in interface.free}]


def compare(
    network: nn.Module, interface: Interface, run: Run, numbers: Mapping[str, int], seed: int
) -> Check:
    """Run both on the same inputs; with several samples, some of them with gaps."""
    inputs = plausible_inputs(interface, numbers, seed)
    if numbers[BATCH] > 2:
        inputs = with_gaps(interface, inputs)
    eager = FlatNetwork(network, interface)
    with torch.inference_mode():
        wanted = eager.compute(inputs)
    found = run(inputs)
    worst = Check(_say(interface, numbers), 0.0, 0.0)
    for name, expected in wanted.items():
        own = found[name]
        if own.shape != expected.shape:
            raise DataError(
                f"the exported program gives {name} of shape {tuple(own.shape)}, the network "
                f"{tuple(expected.shape)}"
            )
        largest, spread = float((own - expected).abs().max()), float(expected.std())
        if not largest * worst.spread <= worst.largest * spread or worst.spread == 0:
            worst = worst._replace(largest=largest, spread=spread)
    return worst


def _say(interface: Interface, numbers: Mapping[str, int]) -> str:
    height, width = (axis.size(numbers) for axis in interface.output_hw)
    dates = [str(numbers[name]) for name in interface.dates]
    text = f"{numbers[BATCH]} x {height} x {width} px"
    return f"{text}, {'/'.join(dates)} dates" if dates else text
