"""`export_bundle`: a bundle's network as a file that other programs run, checked before it stands.

Two formats: `onnx`, for ONNX Runtime, OpenVINO and all that reads ONNX, and `torch`, a program of
`torch.export` (.pt2). In both the preparation of stored numbers is part of the program, and the
file's metadata hold the bundle's description and that of the program (`ExportMeta`).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import nn

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.models.bundle import META_KEY, Bundle
from bocage.models.encoders import Encoder
from bocage.models.export.check import (
    TOLERANCE,
    Check,
    compare,
    plausible_inputs,
    sizes_to_check,
)
from bocage.models.export.formats import FORMATS, Format, require_packages
from bocage.models.export.interface import Interface, describe, size_unit_px
from bocage.models.export.program import (
    least_numbers,
    trace,
    traced_numbers,
)

EXPORT_KEY = "bocage_export"
"""Where a file's metadata hold `ExportMeta` as JSON, beside the bundle's description."""

# What torch, timm and our own networks raise where a size cannot be free.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, DataError)


class TensorMeta(BaseModel):
    """One input or output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    """As numpy calls it."""
    shape: tuple[int | str, ...]
    """Sides; a word is a free number, `32*rows` a multiple of one."""


class ExportMeta(BaseModel):
    """How to run an exported program; the bundle's description says what its numbers mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["onnx", "torch"]
    """Kind of file."""
    inputs: dict[str, TensorMeta]
    """By the program's own names, in order."""
    outputs: dict[str, TensorMeta]
    """By name, in order; logits in float32."""
    free: dict[str, int]
    """Numbers that may be chosen at each run, with the least that each may be."""
    required: tuple[str, ...]
    """Sensors that every sample must have. The others may be absent: zeros, `present` False."""
    fixed_size: str = ""
    """Why height and width are fixed; empty where they are free."""
    tile_px: int
    """Side of the patches it was trained on, label pixels."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how close it is to the network."""

    path: Path
    meta: ExportMeta
    checks: tuple[Check, ...]

    @property
    def largest(self) -> float:
        """Largest difference of a logit over all checks."""
        return max(check.largest for check in self.checks)


def export_bundle(
    bundle: Bundle, path: Path, file_format: str = "onnx", size_px: int | None = None
) -> ExportReport:
    """Write the bundle's network to `path` as `file_format` (of `FORMATS`), atomically.

    Batch and number of dates are free. So are height and width where the network allows, unless
    `size_px` fixes both at that many label pixels; where it does not allow it they are the
    bundle's tile, and the report says why. The network is moved to the CPU.

    The file is run before it gets its name, at other sizes than it was traced at, and compared
    with the network (`TOLERANCE`). ONNX weights of more than 2 GB stand beside it, in `PATH.data`.

    Raises:
        ConfigError: an unknown format, a name that does not end as the format's does, a package
            that is not installed.
        DataError: a network that cannot be exported, a difference above the tolerance, a folder
            that cannot be written.
    """
    form = _format(file_format, path)
    network = bundle.network.to("cpu").eval()
    interface, reason = None, f"{size_px} px were asked for"
    if size_px is None:
        interface, reason = _free_size(bundle)
    with _draft(path) as draft:
        if interface is not None:
            try:
                return _attempt(bundle, network, interface, form, path, draft, "")
            except _FAILURES as error:
                # Most encoders with attention windows are laid out for one size.
                reason = _first_line(error)
        interface = describe(bundle.meta, size_px)
        try:
            return _attempt(bundle, network, interface, form, path, draft, reason)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise DataError(
                f"{path}: this network cannot be exported as {file_format} ({_first_line(error)}). "
                "Nothing was written."
            ) from error


def _format(name: str, path: Path) -> Format:
    if name not in FORMATS:
        raise ConfigError(unknown_name("format", name, FORMATS))
    form = FORMATS[name]
    if path.suffix != form.suffix:
        raise ConfigError(
            f"{path}: a file of format {name} ends in {form.suffix}. Name it so, or choose another "
            f"format ({', '.join(f'{f.name}: {f.suffix}' for f in FORMATS.values())})."
        )
    require_packages(name, *form.packages)
    return form


def _free_size(bundle: Bundle) -> tuple[Interface | None, str]:
    """The interface with free sizes; or None and why there is none."""
    multiples = {m.multiple for m in bundle.network.modules() if isinstance(m, Encoder)}
    unit_px = size_unit_px(bundle.meta, multiples)
    if unit_px is None:
        return None, "an input has a fixed extent"
    if _has_windows(bundle.network):
        return None, "attention windows are laid out for one size"
    interface = describe(bundle.meta, unit_px=unit_px)
    least_px = interface.least_units * unit_px
    if bundle.meta.tile_px % unit_px or bundle.meta.tile_px < least_px:
        return None, (
            f"free sizes would be multiples of {unit_px} px from {least_px} px on, and the tile of "
            f"{bundle.meta.tile_px} px is none"
        )
    return interface, ""


def _has_windows(network: nn.Module) -> bool:
    """Whether an encoder attends within windows (of timm's Swin and MaxViT).

    With free sizes torch has not traced one within half an hour.
    """
    marks = ("window_size", "partition_size")
    return any(hasattr(module, mark) for module in network.modules() for mark in marks)


def _attempt(
    bundle: Bundle,
    network: nn.Module,
    interface: Interface,
    form: Format,
    path: Path,
    draft: Path,
    fixed_size: str,
) -> ExportReport:
    """Trace, write to `draft`, run and compare."""
    traced = traced_numbers(interface, bundle.meta.tile_px)
    program = trace(network, interface, plausible_inputs(interface, traced), form.plain_pooling)
    least = least_numbers(interface, form.fewest_dates)
    meta = _describe_program(bundle, interface, form, least, fixed_size)
    texts = {META_KEY: bundle.meta.model_dump_json(), EXPORT_KEY: meta.model_dump_json()}
    form.write(program, interface, texts, draft)
    del program
    run = form.load(draft, interface)
    checks = tuple(
        compare(network, interface, run, numbers, seed)
        for seed, numbers in enumerate(sizes_to_check(interface, traced, least))
    )
    for check in checks:
        if not check.passed:
            raise DataError(
                f"{path}: the exported program differs from the network by {check.largest:.3g} at "
                f"{check.what}, where {TOLERANCE * check.spread:.3g} is tolerated. Nothing was "
                "written."
            )
    return ExportReport(path, meta, checks)


def _describe_program(
    bundle: Bundle,
    interface: Interface,
    form: Format,
    least: Mapping[str, int],
    fixed_size: str,
) -> ExportMeta:
    return ExportMeta(
        format=form.name,
        inputs={
            form.input_name(name): TensorMeta(
                dtype=port.dtype, shape=tuple(a.text for a in port.axes)
            )
            for name, port in interface.inputs.items()
        },
        outputs={
            name: TensorMeta(dtype=port.dtype, shape=tuple(a.text for a in port.axes))
            for name, port in interface.outputs.items()
        },
        free=dict(least),
        required=interface.required,
        fixed_size=fixed_size,
        tile_px=bundle.meta.tile_px,
    )


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside `path`; what is written there moves at the end.

    A large ONNX file names its weights' file, which is why the draft cannot have another name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            yield draft
            # The file that names the others comes last.
            for part in sorted(Path(folder).iterdir(), key=lambda part: part == draft):
                with part.open("rb+") as handle:
                    os.fsync(handle.fileno())
                part.replace(path.with_name(part.name))
    except OSError as error:
        raise DataError(
            f"{path}: could not be written ({error.strerror or error}). Check free space and "
            "permissions, then run the same command again."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
