"""A model is a bundle: one safetensors file with the weights and all that prediction must know.

The file's metadata holds JSON under `META_KEY`. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import bocage
from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path
from bocage.modalities import get_modality
from bocage.models.inputs import InputConfig
from bocage.models.kinds import AnyNetwork, AnyNetworkConfig, build_network, kind_of
from bocage.models.layers import restore_buffers, to_channels_last
from bocage.series import SeriesConfig

FORMAT_VERSION = 1
"""Raised whenever an older Bocage would misread the file."""
META_KEY = "bocage_bundle"

_REMEDY = "Copy or write the bundle again."


class BundleClass(BaseModel):
    """One class of a task, as maps and tables show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    """Value in the map."""
    name: str
    """English name."""
    name_fr: str
    """French name."""
    color: str
    """#rrggbb."""
    scored: bool
    """Whether it is learnt, predicted and counted."""


class BundleTask(BaseModel):
    """One thing that the network predicts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Official name, which the logits carry too."""
    slug: str
    """Short name for files and options."""
    classes: tuple[BundleClass, ...]
    """In the order of the logits."""


class BundleMeta(BaseModel):
    """All about a trained network but its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    """Version of this format."""
    network: AnyNetworkConfig
    """How to build it; with it inputs, bands, resolutions and statistics."""
    tasks: tuple[BundleTask, ...]
    """What it predicts, in the network's order."""
    tile_px: int = Field(ge=1)
    """Side of the patches it was trained on, pixels of the label grid."""
    series: SeriesConfig = SeriesConfig()
    """Which dates of a series it was trained on."""
    bands: dict[str, tuple[str, ...]] = {}
    """Stored bands of every input, in the order in which they must be given."""
    nodata: dict[str, float | None] = {}
    """Stored value of every input that means "no data"."""
    data: str = ""
    """What it was trained on, in words."""
    bocage_version: str = bocage.__version__
    """The program that wrote it."""
    metrics: dict[str, Any] = {}
    """Scores, with the split they belong to."""

    @model_validator(mode="before")
    @classmethod
    def _describe_inputs(cls, given: Any) -> Any:
        """Fill in bands and nodata from the sensors' descriptions where they are not given."""
        if not isinstance(given, Mapping):
            return given
        if not isinstance(given.get("network"), BaseModel):
            return given
        specs = [config.spec for config in given["network"].inputs]
        return {
            "bands": {spec.name: spec.bands for spec in specs},
            "nodata": {spec.name: spec.nodata for spec in specs},
            **given,
        }

    @model_validator(mode="after")
    def _consistent(self) -> BundleMeta:
        heads = [(head.name, head.num_classes) for head in self.network.tasks]
        tasks = [(task.name, len(task.classes)) for task in self.tasks]
        if heads != tasks:
            raise ValueError(f"class lists {tasks} do not match the network's outputs {heads}")
        for config in self.network.inputs:
            if self.bands.get(config.modality) != config.spec.bands:
                raise ValueError(
                    f"it takes the bands of {config.modality} as "
                    f"{self.bands.get(config.modality)}, this version of Bocage reads "
                    f"{get_modality(config.modality).bands}"
                )
        return self


@dataclass(frozen=True)
class Bundle:
    """A network ready to predict (in eval mode), and what is known about it."""

    network: AnyNetwork
    meta: BundleMeta


def save_bundle(path: Path, network: AnyNetwork, meta: BundleMeta) -> None:
    """Write network and description as one file, atomically.

    `meta.network` must be the network's own configuration (`ValueError` otherwise).
    """
    if meta.network != network.config:
        raise ValueError("the description is of another network than the one to be saved")
    tensors = {
        name: tensor.detach().to("cpu").contiguous()
        for name, tensor in network.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {META_KEY: meta.model_dump_json()})


def refuse_other_inputs(path: Path, meta: BundleMeta, given: Sequence[InputConfig]) -> None:
    """Refuse a bundle whose sensors are not those that a run describes (`ConfigError`).

    Compared are the sensors, their channels in order, their pixel size, and their statistics, by
    which the network would silently see other numbers than it has learnt from.
    """
    learnt = {config.modality: config for config in meta.network.inputs}
    wanted = {config.modality: config for config in given}
    findings = []
    if learnt.keys() != wanted.keys():
        findings.append(f"it takes {', '.join(learnt)}, the run gives {', '.join(wanted)}")
    for name in (name for name in learnt if name in wanted):
        ours, theirs = learnt[name], wanted[name]
        for what, own, other in (
            ("channels", ours.channel_names, theirs.channel_names),
            ("a pixel size of", f"{ours.pixel_m:g} m", f"{theirs.pixel_m:g} m"),
            ("mean and spread", ours.statistics, theirs.statistics),
        ):
            if own != other:
                findings.append(f"{name}: it has learnt from {what} {own}, the run has {other}")
    if findings:
        raise ConfigError(
            f"{path}: this bundle does not match the run's inputs. {'; '.join(findings)}. Use the "
            "run that the bundle comes from, or give its inputs."
        )


def load_bundle(path: Path, device: torch.device | str = "cpu") -> Bundle:
    """The network of a bundle, in eval mode on `device`.

    A file that is missing, truncated, no bundle, from a newer Bocage or whose tensors do not fit
    its own description is a `DataError` that says so. Loading is strict and executes nothing.
    """
    with _opened(path) as (meta, handle):
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    network = _build(meta.network, tensors, path)
    return Bundle(network.to(device).eval(), meta)


def read_meta(path: Path) -> BundleMeta:
    """The description in a bundle, without its weights; errors as of `load_bundle`."""
    with _opened(path) as (meta, _):
        return meta


def bundle_names(folder: Path) -> dict[str, tuple[str, ...]]:
    """Published configurations of which `folder` holds a bundle: name to files, sorted.

    Looks only at the descriptions of the safetensors files that lie directly in it. A file that is
    no bundle is passed over; a folder that is not there holds none.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as handle:
                text = (handle.metadata() or {}).get(META_KEY)
            network = json.loads(text or "{}").get("network", {})
        except (SafetensorError, OSError, ValueError):
            continue
        if kind_of(network) == "published":
            found[network["name"]] = (*found.get(network["name"], ()), path.name)
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BundleMeta, Any]]:
    """A bundle's description and its open file; what is wrong with the file is a `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of a bundle (.safetensors).")
    try:
        with safe_open(path, framework="pt") as handle:
            text = (handle.metadata() or {}).get(META_KEY)
            if text is None:
                raise DataError(
                    f"{path}: a safetensors file, but no Bocage bundle (no '{META_KEY}' in its "
                    "metadata). Give a bundle that a training run or 'bocage models import' wrote."
                )
            yield _parse(path, text), handle
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: not a readable safetensors file, truncated or of another format ({error}). "
            + _REMEDY
        ) from error


def _parse(path: Path, text: str) -> BundleMeta:
    try:
        content = json.loads(text)
        version = content["format_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: the bundle's description is damaged ({error}). {_REMEDY}"
        ) from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise DataError(
            f"{path}: bundle of format {version}, written by Bocage "
            f"{content.get('bocage_version', '?')}; this is {bocage.__version__}, which reads up "
            f"to format {FORMAT_VERSION}. Install a newer Bocage."
        )
    try:
        return BundleMeta.model_validate_json(text)
    except ValidationError as error:
        findings = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}".lstrip(": ")
            for item in error.errors()
        )
        raise DataError(f"{path}: the bundle's description does not hold: {findings}.") from error


def _build(config: AnyNetworkConfig, tensors: dict[str, Tensor], path: Path) -> AnyNetwork:
    """The network filled with `tensors`, without ever initialising weights where possible."""
    with torch.device("meta"):
        network = build_network(config, load_pretrained=False)
    _refuse_misfits(network.state_dict(), tensors, path)
    network.load_state_dict(tensors, assign=True)
    if not restore_buffers(network):
        # Tables that an architecture computes only when built are in no file.
        network = build_network(config, load_pretrained=False)
        network.load_state_dict(tensors)
    to_channels_last(network)
    return network


def _refuse_misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    misfits = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)}, expected {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & found.keys())
            if found[name].shape != wanted[name].shape
        ],
    }
    findings = [
        f"{len(names)} {kind}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        for kind, names in misfits.items()
        if names
    ]
    if findings:
        raise DataError(
            f"{path}: tensors do not fit the network that the bundle describes; "
            f"{'; '.join(findings)}. Nothing was loaded; write the bundle again from its run."
        )
