"""Compares our published networks with what the public code computes.

Usage: python tools/parity.py --golden DIR --contract DIR

Every `ID.json` of the contract folder names, in order, the tensors of a public network; ours must
have the same names, order, shapes and types. Every `CASE.json` and `CASE.npz` of the golden folder
hold logits of a public network whose weights and inputs follow from a rule; ours must give the same
to 5e-4 of their spread. Exit code 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bocage.modalities import PATCH_SIZE_M, get_modality
from bocage.models import TaskHead
from bocage.models.published import (
    Frames,
    PublishedConfig,
    build_empty,
    fill,
    published_input,
)

TOLERANCE = 5e-4
"""Largest difference of a logit, in standard deviations of the logits."""
PADDED_DATES = 4


def rule_values(key: str, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Standard normal numbers that follow from the key."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    return generator.standard_normal(math.prod(shape), dtype=np.float32).reshape(shape)


def rule_tensor(key: str, like: Tensor) -> Tensor:
    """The weight or buffer of that name."""
    shape = tuple(like.shape)
    if not like.dtype.is_floating_point:
        return torch.zeros(shape, dtype=like.dtype)
    values = rule_values(key, shape)
    if key.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values * np.float32(0.02))
    elif key.endswith("weight") and len(shape) == 1:
        values = 1 + values * np.float32(0.02)
    elif key.endswith("weight"):
        values = values * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    else:
        values = values * np.float32(0.02)
    return torch.from_numpy(values.astype(np.float32))


def configuration(
    about: Mapping[str, Any], channels: Mapping[str, int], classes: Mapping[str, int], side_px: int
) -> PublishedConfig:
    """Our configuration of a public network, from sensors, counts and sizes."""
    ground_m = PATCH_SIZE_M * side_px / 512
    inputs = []
    for name in about["modalities"]:
        spec = get_modality(name)
        published = published_input(name)
        resolution = ground_m / about["img_input_sizes"][name]
        offered = (*published.channel_names, *(b for b in spec.bands))
        names = tuple(dict.fromkeys(offered))[: channels[name]]
        inputs.append(
            published_input(
                name,
                None if names == published.channel_names else names,
                None if math.isclose(resolution, spec.resolution_m) else resolution,
            )
        )
    return PublishedConfig(
        inputs=tuple(inputs),
        tasks=tuple(TaskHead(name=name, num_classes=classes[name]) for name in about["labels"]),
        architecture=about["arch"],
        auxiliary=tuple(about["aux_loss"]),
        tile_px=side_px,
    )


def contract_differences(about: Mapping[str, Any]) -> list[str]:
    """What differs between a contract and our network, in words; empty if nothing."""
    wanted = [(key, tuple(shape), dtype) for key, shape, dtype in about["state_dict"]]
    shapes = {key: shape for key, shape, _ in wanted}
    classes = {}
    for task in about["labels"]:
        stem = f"main_decoders.{task}"
        head = shapes.get(f"{stem}.seg_model.segmentation_head.0.bias") or shapes[f"{stem}.bias"]
        classes[task] = head[0]
    images = [n for n in about["modalities"] if not get_modality(n).series]
    side_px = 512
    if images:
        own = about["img_input_sizes"][images[0]] * get_modality(images[0]).resolution_m
        side_px = round(own * 512 / PATCH_SIZE_M)
    network = build_empty(configuration(about, about["in_channels"], classes, side_px))
    found = [(k, tuple(v.shape), str(v.dtype)) for k, v in network.state_dict().items()]
    if found == wanted:
        return []
    ours = {key for key, _, _ in found}
    differences = [f"missing {key}" for key in shapes if key not in ours]
    differences += [f"unexpected {key}" for key in ours if key not in shapes]
    for mine, theirs in zip(found, wanted, strict=False):
        if mine != theirs:
            differences.append(f"first difference in order: {mine}, expected {theirs}")
            break
    return differences


def case_inputs(about: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Frames]]:
    """Prepared images and series of a case."""
    images, series = {}, {}
    padded = about.get("padded_last_4_of_sample_1", False)
    for name in about["modalities"]:
        shape = about["input_shapes"][name]
        values = torch.from_numpy(rule_values(f"input:{name}", shape))
        if not get_modality(name).series:
            images[name] = values.contiguous(memory_format=torch.channels_last)
            continue
        batch, dates = shape[:2]
        days = torch.from_numpy(np.round(np.linspace(-130, 220, dates)).astype(np.int64))
        days = days.repeat(batch, 1)
        present = torch.ones(batch, dates, dtype=torch.bool)
        if padded:
            present[1, -PADDED_DATES:] = False
        slots = present.flatten().nonzero().squeeze(1)
        series[name] = Frames(
            values.flatten(0, 1)[slots].contiguous(memory_format=torch.channels_last),
            days,
            present if padded else None,
            slots if padded else None,
        )
    return images, series


def case_results(
    about: Mapping[str, Any], golden: Mapping[str, Any]
) -> Iterator[tuple[str, float, float]]:
    """Of each output: its name, the largest difference, and the spread of the logits."""
    labels = {name: about["input_shapes"][name] for name in about["labels"]}
    channels = {name: about["input_shapes"][name][-3] for name in about["modalities"]}
    height, width = next(iter(labels.values()))[-2:]
    classes = {name: shape[1] for name, shape in labels.items()}
    network = build_empty(configuration(about, channels, classes, height))
    fill(network, {key: rule_tensor(key, like) for key, like in network.state_dict().items()})
    images, series = case_inputs(about)
    with torch.inference_mode():
        logits, auxiliary = network.eval().compute(
            images, series, (height, width), with_auxiliary=True
        )
    ours = {f"main:{task}": values for task, values in logits.items()}
    for sensor, by_task in auxiliary.items():
        ours |= {f"aux:{sensor}:{task}": values for task, values in by_task.items()}
    # Padding leaks into the public result of the padded sample; ours is right where it is not.
    rows = slice(0, 1) if about.get("padded_last_4_of_sample_1") else slice(None)
    for key in (k for k in golden if k.startswith(("main:", "aux:"))):
        mine = ours[_matching(key, ours)][..., ::8, ::8].numpy()
        theirs = golden[key]
        if mine.shape != theirs.shape:
            raise SystemExit(f"{key}: shape {mine.shape}, expected {theirs.shape}")
        spread = about["stats"].get(key, {}).get("std", float(theirs.std()))
        yield key, float(np.abs(mine[rows] - theirs[rows]).max()), spread


def _matching(key: str, ours: Mapping[str, Tensor]) -> str:
    """Our output of that name; auxiliary ones are found by the sensor and the task in the name."""
    if key in ours:
        return key
    found = [
        mine
        for mine in ours
        if mine.startswith("aux:") and all(part in key for part in mine.split(":")[1:])
    ]
    if len(found) != 1:
        raise SystemExit(f"{key}: not among our outputs {sorted(ours)}")
    return found[0]


def check_contracts(folder: Path) -> bool:
    """Every contract of the folder; whether all hold."""
    fine = True
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict) or "state_dict" not in about:
            continue
        differences = contract_differences(about)
        verdict = "OK" if not differences else f"{len(differences)} differences"
        print(f"contract {path.stem:55} {len(about['state_dict']):5} tensors  {verdict}")
        for line in differences[:10]:
            print(f"    {line}")
        fine = fine and not differences
    return fine


def check_goldens(folder: Path) -> bool:
    """Every golden case of the folder, one after another; whether all agree."""
    fine = True
    for path in sorted(folder.glob("*.json")):
        values = path.with_suffix(".npz")
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict) or "input_shapes" not in about:
            continue
        if not values.is_file():
            print(f"golden   {path.stem}: no {values.name} beside it")
            fine = False
            continue
        with np.load(values) as golden:
            for key, difference, spread in case_results(about, golden):
                ratio = difference / spread
                agrees = ratio <= TOLERANCE
                print(
                    f"golden   {path.stem:28} {key:40} max difference {difference:9.3g} = "
                    f"{ratio:8.2g} std  {'OK' if agrees else 'OVER'}",
                    flush=True,
                )
                fine = fine and agrees
        if about.get("padded_last_4_of_sample_1"):
            print(
                f"golden   {path.stem:28} sample 1: not compared, there the public network lets "
                "padding leak"
            )
    return fine


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--golden", type=Path, help="folder of golden cases")
    parser.add_argument("--contract", type=Path, help="folder of contracts")
    given = parser.parse_args(arguments)
    if given.golden is None and given.contract is None:
        parser.error("give --golden, --contract or both")
    for folder in (given.golden, given.contract):
        if folder is not None and not any(folder.glob("*.json")):
            parser.error(f"{folder}: no such folder, or no case in it")
    fine = True
    if given.contract is not None:
        fine = check_contracts(given.contract) and fine
    if given.golden is not None:
        fine = check_goldens(given.golden) and fine
    print("all agree" if fine else "NOT ALL AGREE")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
