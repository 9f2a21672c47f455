"""The network as one function of flat, named tensors, and its graph."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from bocage.models.export.interface import BATCH, COLS, ROWS, Interface

PARTS = ("images", "valid", "series", "series_valid", "days", "dates_present", "present")
"""Arguments of a network's `forward` that hold a tensor per sensor."""

FEWEST_TRACED = 2
"""Free numbers are traced above 1, which torch would take for a constant."""


def argument_name(port: str) -> str:
    """The name of an input as an argument of a `torch.export` program: an identifier.

    >>> argument_name("series.SENTINEL1-ASC_TS")
    'series_SENTINEL1_ASC_TS'
    """
    return re.sub(r"\W", "_", port)


class FlatNetwork(nn.Module):
    """A network whose `forward` takes each tensor by its argument name and gives `logits.TASK`.

    Sensors that it cannot do without count as present.
    """

    def __init__(self, network: nn.Module, interface: Interface):
        super().__init__()
        self.network = network
        self._interface = interface
        names = {argument_name(port): port for port in interface.inputs}

        def forward(**arguments: Tensor) -> dict[str, Tensor]:
            return self.compute({names[name]: tensor for name, tensor in arguments.items()})

        # torch.export names the graph's inputs, and the guards on their shapes, by the signature.
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(name, kind) for name in names]
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        self.forward = forward

    def compute(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, H, W) float32 by output name, from tensors by input name."""
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
        for port, tensor in flat.items():
            part, _, sensor = port.partition(".")
            parts[part][sensor] = tensor
        first = next(iter(flat.values()))
        for sensor in self._interface.required:
            parts["present"][sensor] = torch.ones(
                first.shape[0], dtype=torch.bool, device=first.device
            )
        output = self.network(**parts, output_hw=self._output_hw(flat))
        return {f"logits.{task}": logits for task, logits in output.logits.items()}

    def _output_hw(self, flat: Mapping[str, Tensor]) -> tuple[int, int]:
        """The label grid's sides, as a multiple of what a sensor shows."""
        sides = []
        for position, axis in zip((-2, -1), self._interface.output_hw, strict=True):
            if axis.free is None:
                sides.append(axis.step)
                continue
            # The finest sensor, whose pixels are the label grid's where there is one like that.
            steps = {
                port: described.axes[position].step
                for port, described in self._interface.inputs.items()
                if len(described.axes) > 2 and described.axes[position].free == axis.free
            }
            port = max(steps, key=lambda name: steps[name])
            pixels = flat[port].shape[position]
            sides.append(pixels if steps[port] == axis.step else pixels // steps[port] * axis.step)
        return sides[0], sides[1]


def least_numbers(interface: Interface, fewest_dates: int = 1) -> dict[str, int]:
    """The least that each free number may be."""
    least = {BATCH: 1, ROWS: interface.least_units, COLS: interface.least_units}
    return {name: least.get(name, fewest_dates) for name in interface.free}


def traced_numbers(interface: Interface, tile_px: int) -> dict[str, int]:
    """Values of the free numbers for tracing: all different, so that none is taken for another."""
    units = max(tile_px // interface.output_hw[0].step, interface.least_units, FEWEST_TRACED)
    usual = {BATCH: FEWEST_TRACED, ROWS: units, COLS: units + 1}
    dates = {name: 3 + index for index, name in enumerate(interface.dates)}
    return {name: {**usual, **dates}[name] for name in interface.free}


def trace(
    network: nn.Module, interface: Interface, example: Mapping[str, Tensor], plain_pooling: bool
) -> ExportedProgram:
    """The graph of `network` over `interface`, from an example with `traced_numbers`.

    `plain_pooling` replaces an operator that ONNX does not have in general. What torch raises where
    the network does not work for free sizes is let through.
    """
    dims = {
        name: Dim(argument_name(name), min=least)
        for name, least in least_numbers(interface).items()
    }
    shapes = {
        argument_name(port): {
            position: axis.step * dims[axis.free] if axis.step > 1 else dims[axis.free]
            for position, axis in enumerate(described.axes)
            if axis.free is not None
        }
        for port, described in interface.inputs.items()
    }
    arguments = {argument_name(port): tensor for port, tensor in example.items()}
    with _PlainPooling() if plain_pooling else contextlib.nullcontext():
        return torch.export.export(
            FlatNetwork(network, interface), (), arguments, dynamic_shapes=shapes
        )


class _PlainPooling(TorchFunctionMode):
    """Adaptive average pooling written in operators that every format has, for any size.

    torch's own decomposition unrolls every cell, for one size of image only.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.adaptive_avg_pool2d:
            return _pooled(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _pooled(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:  # noqa: A002  # torch's
    """Two products with matrices of shares."""
    height, width = input.shape[-2:]
    rows, cols = (output_size,) * 2 if isinstance(output_size, int) else output_size
    shares_rh = _shares(rows or height, height, input)
    shares_cw = _shares(cols or width, width, input)
    return shares_rh @ input @ shares_cw.transpose(0, 1)


def _shares(cells: int, pixels: int, like: Tensor) -> Tensor:
    """What each pixel contributes to each cell's mean, (cells, pixels)."""
    cell = torch.arange(cells, device=like.device).unsqueeze(1)
    pixel = torch.arange(pixels, device=like.device)
    start, stop = cell * pixels // cells, ((cell + 1) * pixels + cells - 1) // cells
    inside = (pixel >= start) & (pixel < stop)
    return inside.to(like.dtype) / (stop - start).to(like.dtype)
