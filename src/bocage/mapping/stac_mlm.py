"""A bundle as a STAC item of the Machine Learning Model extension (MLM).

github.com/stac-extensions/mlm; the version is that of `stac-model`, by which the tests check it.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

import torch

from bocage.models.config import NetworkConfig
from bocage.models.kinds import kind_of

if TYPE_CHECKING:
    from bocage.models import BundleMeta, BundleTask, InputConfig

MLM = "https://stac-extensions.github.io/mlm/v1.6.0/schema.json"
_CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"

_PREPARED = {
    "sigma0": "linear power to decibel, held within what exists",
    "elevation": "surface and terrain altitude to terrain altitude and height above it, metres",
    "height": "stored steps to metres",
}
"""How stored numbers of these quantities become the channels that are normalised."""


def model_item(
    meta: BundleMeta, network: torch.nn.Module, href: str, now: datetime.datetime
) -> dict[str, Any]:
    """The item as plain values; `href` is where the bundle lies, seen from the item.

    A model belongs to no place and no day: its geometry is null, its time that of the item.
    """
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    name = _name(meta)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, _CLASSIFICATION],
        "id": name,
        "geometry": None,
        "properties": {
            "datetime": stamp,
            "created": stamp,
            **({"description": meta.data} if meta.data else {}),
            **mlm_properties(meta, network),
        },
        "links": [],
        "assets": {
            "model": {
                "href": href,
                "type": "application/octet-stream; framework=safetensors",
                "title": "bundle: weights, and all that prediction must know",
                "roles": ["mlm:model", "mlm:weights", "data"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                "bands": [
                    {"name": band, "data_type": given.spec.dtype}
                    for given in meta.network.inputs
                    for band in _bands(given)
                ],
            }
        },
    }


def mlm_properties(meta: BundleMeta, network: torch.nn.Module) -> dict[str, Any]:
    """The `mlm:` fields of a bundle."""
    source = _pretrained(meta)
    return {
        "mlm:name": _name(meta),
        "mlm:architecture": _architecture(meta),
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:framework_version": torch.__version__.partition("+")[0],
        "mlm:total_parameters": sum(p.numel() for p in network.parameters()),
        "mlm:pretrained": source is not None,
        "mlm:pretrained_source": source,
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:input": [_input(meta, given) for given in meta.network.inputs],
        "mlm:output": [_output(meta, task) for task in meta.tasks],
        "mlm:hyperparameters": {
            "bocage_version": meta.bocage_version,
            "output_resolution_m": meta.network.output_resolution_m,
            "tile_px": meta.tile_px,
        },
    }


def _bands(given: InputConfig) -> list[str]:
    """Stored bands, named with their sensor: two sensors both have a red one."""
    return [f"{given.spec.slug}-{band}" for band in given.spec.bands]


def _input(meta: BundleMeta, given: InputConfig) -> dict[str, Any]:
    spec = given.spec
    if spec.covers_patch:
        side = round(meta.tile_px * meta.network.output_resolution_m / given.pixel_m)
    else:
        side = spec.size_px
    shape, order = [-1, len(spec.bands), side, side], ["batch", "bands", "height", "width"]
    if spec.series:
        shape.insert(1, -1)
        order.insert(1, "time")
    mean, std = given.statistics
    preparation = _PREPARED.get(spec.quantity)
    return {
        "name": given.modality,
        "bands": _bands(given),
        "input": {"shape": shape, "dim_order": order, "data_type": spec.dtype},
        "value_scaling": [
            {"type": "z-score", "mean": m, "stddev": s} for m, s in zip(mean, std, strict=True)
        ],
        "resize_type": None,
        "pre_processing_function": preparation
        and {
            "format": "python",
            "expression": "bocage.models.inputs:Preparation",
            "description": f"{preparation}: channels {', '.join(given.channel_names)}",
        },
    }


def _output(meta: BundleMeta, task: BundleTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(task.classes), meta.tile_px, meta.tile_px],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": c.id,
                "name": machine_name(c.name),
                "description": c.name if c.scored else f"{c.name} (never predicted)",
                "color_hint": c.color.removeprefix("#").upper(),
            }
            for c in task.classes
        ],
        "post_processing_function": None,
    }


def machine_name(text: str) -> str:
    """A name of letters, digits, hyphens and underscores, as classes of STAC have one."""
    return re.sub(r"[^0-9A-Za-z_-]+", "-", text).strip("-") or "class"


def _name(meta: BundleMeta) -> str:
    """Of letters, digits, dots, hyphens and underscores, as the extension asks for."""
    own = str(getattr(meta.network, "name", "")) or "-".join(task.slug for task in meta.tasks)
    return "bocage-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", own).strip("-.")


def _architecture(meta: BundleMeta) -> str:
    network = meta.network
    if not isinstance(network, NetworkConfig):
        return str(getattr(network, "architecture", kind_of(network)))
    parts = [network.encoder_of(given.modality).name for given in network.images]
    parts += ["temporal attention"] if len(network.images) < len(network.inputs) else []
    return f"{' + '.join(dict.fromkeys(parts))}, {network.fusion.name}, {network.decoder.name}"


def _pretrained(meta: BundleMeta) -> str | None:
    """What encoders started from; None: from nothing."""
    network = meta.network
    if not isinstance(network, NetworkConfig):
        given = {str(getattr(network, "weights", "none"))}
    else:
        given = {network.encoder_of(image.modality).weights for image in network.images}
    known = sorted(given - {"none"})
    return ", ".join("timm" if w == "pretrained" else w for w in known) or None
