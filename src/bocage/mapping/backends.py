"""What runs the network: torch itself, ONNX Runtime, or OpenVINO.

The latter two run an ONNX file of the bundle (`bocage.models.export`) with windows of one size and
any batch and number of dates. Both get as many threads as torch, which follows OMP_NUM_THREADS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from bocage.errors import DataError
from bocage.mapping.config import MapConfig
from bocage.mapping.predict import Predictor, choose_device, to_device

if TYPE_CHECKING:
    from bocage.models import Bundle
    from bocage.models.export import Interface, Runtime

_CPU = torch.device("cpu")

_PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "onnxruntime": {"onnx": ("onnx", "onnxscript", "onnxruntime")},
    # The file is checked with ONNX Runtime before OpenVINO gets it.
    "openvino": {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)},
}
"""Per backend the extras that it needs, with their packages."""


def choose_backend(config: MapConfig) -> torch.device:
    """The device on which logits will arrive.

    Raises `ConfigError` for a package that is not installed (it names the extra), an unknown
    device, and a GPU where there is none.
    """
    if config.backend == "torch":
        return choose_device(config.device)
    # Imports torch.export: seconds that torch by itself need not wait for.
    from bocage.models.export import require_packages

    for extra, packages in _PACKAGES[config.backend].items():
        require_packages(extra, *packages)
    return _CPU


def backend_packages(backend: str) -> tuple[str, ...]:
    """The packages besides torch whose versions a map's report should tell."""
    return () if backend == "torch" else (backend,)


def open_predictor(
    bundle: Bundle, config: MapConfig, device: torch.device, window_px: int, network_file: Path
) -> Predictor:
    """The predictor that `config` names, for windows of `window_px`.

    A backend that runs an ONNX file takes `network_file`, which is exported first where it does
    not stand; its name must be particular to the network and the window.
    """
    if config.backend == "torch":
        return TorchPredictor(bundle.network, device, config.precision, config.compile)
    from bocage.models.export import (
        describe,
        export_bundle,
        open_onnxruntime,
        open_openvino,
    )

    if not network_file.is_file():
        export_bundle(bundle, network_file, "onnx", size_px=window_px)
    interface = describe(bundle.meta, size_px=window_px)
    outputs, threads = tuple(interface.outputs), torch.get_num_threads()
    if config.backend == "onnxruntime":
        run = open_onnxruntime(network_file, outputs, threads)
    else:
        run = open_openvino(network_file, outputs, threads, config.precision)
    return ExportedPredictor(interface, run)


class TorchPredictor:
    """The network on its device, fed with batches, answering with float32 logits."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: Literal["float32", "bf16"],
        compiled: bool = False,
    ) -> None:
        # Channels last: 1.8 to 2.8 times faster convolutions on CPUs, and what GPUs want in bf16.
        ready = network.eval().to(device).to(memory_format=torch.channels_last)
        self._network: Any = torch.compile(ready) if compiled else ready
        self.device = device
        self._bf16 = precision == "bf16"

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) per task, on the device."""
        moved = to_device(inputs, self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16),
        ):
            logits: dict[str, Tensor] = self._network(**moved).logits
        return {name: values.float() for name, values in logits.items()}


class ExportedPredictor:
    """An exported network behind a function of arrays, fed with batches."""

    device = _CPU

    def __init__(self, interface: Interface, run: Runtime) -> None:
        self._interface = interface
        self._run = run

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) per task.

        Raises `DataError` where a window lacks a sensor without which the network does not work.
        """
        flat = flat_inputs(self._interface, inputs)
        logits = self._run({name: tensor.numpy() for name, tensor in flat.items()})
        return {
            name.removeprefix("logits."): torch.from_numpy(values)
            for name, values in logits.items()
        }


def flat_inputs(interface: Interface, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """All inputs that `interface` lists, from those of `Network.forward`.

    A sensor that no window has becomes zeros under False masks, a series one such date. Raises
    `DataError` where a window lacks a sensor that the network cannot do without.
    """
    present: Mapping[str, Tensor] = inputs["present"]
    for sensor in interface.required:
        lacking = int((~present[sensor]).sum())
        if lacking:
            raise DataError(
                f"input {sensor}: absent from {lacking} of {len(present[sensor])} windows, and "
                "this network does not work without it. Give imagery of the whole area, or use a "
                "network that knows absence."
            )
    numbers = dict.fromkeys(interface.free, 1)
    numbers["batch"] = len(next(iter(present.values())))
    flat: dict[str, Tensor] = {}
    for name, port in interface.inputs.items():
        part, _, sensor = name.partition(".")
        tensor = inputs[part].get(sensor)
        if tensor is None:
            tensor = torch.zeros(port.shape(numbers), dtype=getattr(torch, port.dtype))
        flat[name] = tensor.contiguous()
    return flat
