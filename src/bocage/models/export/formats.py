"""The two kinds of file that an exported program may be: how each is written and run.

Adding one is a `Format` in `FORMATS`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from bocage.errors import ConfigError
from bocage.models.export.check import Run
from bocage.models.export.interface import Interface
from bocage.models.export.program import argument_name
from bocage.models.export.runtimes import open_onnxruntime


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    name: Literal["onnx", "torch"]
    suffix: str
    write: Callable[[ExportedProgram, Interface, Mapping[str, str], Path], None]
    """Write a program with texts among its metadata."""
    load: Callable[[Path, Interface], Run]
    """Open what was written, to be run."""
    input_name: Callable[[str], str] = str
    """How it calls an input of the interface."""
    packages: tuple[str, ...] = ()
    """What it needs, of the extra of its own name."""
    fewest_dates: int = 1
    """Dates below which the program does not run."""
    plain_pooling: bool = False
    """Whether it lacks an operator for adaptive pooling."""


def _write_onnx(
    program: ExportedProgram, interface: Interface, texts: Mapping[str, str], draft: Path
) -> None:
    made = torch.onnx.export(
        program,
        input_names=list(interface.inputs),
        output_names=list(interface.outputs),
        verbose=False,
    )
    assert made is not None
    made.model.metadata_props.update(texts)
    made.save(draft)


def _load_onnx(draft: Path, interface: Interface) -> Run:
    runtime = open_onnxruntime(draft, tuple(interface.outputs), torch.get_num_threads())

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = runtime({name: tensor.numpy() for name, tensor in inputs.items()})
        return {name: torch.from_numpy(array) for name, array in found.items()}

    return run


def _write_torch(
    program: ExportedProgram, interface: Interface, texts: Mapping[str, str], draft: Path
) -> None:
    # Channels-last weights count as parts of something larger, with a warning.
    for name, tensor in program.state_dict.items():
        plain = tensor.detach().contiguous()
        is_parameter = isinstance(tensor, nn.Parameter)
        program.state_dict[name] = nn.Parameter(plain, False) if is_parameter else plain
    torch.export.save(program, draft, extra_files=dict(texts))


def _load_torch(draft: Path, interface: Interface) -> Run:
    module = torch.export.load(draft).module()

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.inference_mode():
            found: dict[str, Tensor] = module(
                **{argument_name(name): tensor for name, tensor in inputs.items()}
            )
        return found

    return run


FORMATS: dict[str, Format] = {
    "onnx": Format(
        "onnx",
        ".onnx",
        _write_onnx,
        _load_onnx,
        packages=("onnx", "onnxscript", "onnxruntime"),
        plain_pooling=True,
    ),
    # Its guards take a single date for a shape of another kind.
    "torch": Format(
        "torch", ".pt2", _write_torch, _load_torch, input_name=argument_name, fewest_dates=2
    ),
}
"""By name."""


def require_packages(extra: str, *packages: str) -> None:
    """`ConfigError` naming the extra where one of its packages is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. "
            f"Run: pip install 'bocage[{extra}]'"
        )
