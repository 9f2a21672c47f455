"""Buildings on a drone photograph: learnt from its left half, mapped whole, scored on the right.

Usage: python -m tools.kampala --data DIR --out DIR [key=value ...]

DIR of `--data` holds `kampala_A_rgb.tif` and `kampala_A_buildings.tif`. Every step is a command of
Bocage; `key=value` goes to the training. Writes `OUT/kampala.json` and `OUT/kampala.png`: the
photograph, the map, and how far the probability of "building" differs between two plans: with
another overlap, and without any, where windows meet hard.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from bocage.files import write_json, write_text

mpl.use("agg")

from matplotlib import pyplot as plt

CLASSES = """\
name: buildings
classes:
  - {id: 0, name: ground, color: "#c8b48c"}
  - {id: 1, name: building, color: "#d02020"}
"""
RUN = {"window_px": 256, "overlap_px": 64}
PLANS = {"map": RUN, "overlap": {**RUN, "overlap_px": 128}, "hard": {**RUN, "overlap_px": 0}}
CUTS = {"map": 1024, "blocks": 512}
"""Side of the blocks: the same plan, cut otherwise, must give the same bytes."""


def main(data: Path, out: Path, overrides: list[str]) -> None:
    """Cut, train, map by every plan, score and draw."""
    photo, truth = data / "kampala_A_rgb.tif", data / "kampala_A_buildings.tif"
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "buildings.yaml", CLASSES)
    left, left_truth = (_left_half(path, out / f"left_{path.name}") for path in (photo, truth))
    if not (out / "left" / "run.yaml").exists():
        _bocage(
            "data", "cut", "-o", out / "left", "--rgb", left, "--labels", left_truth,
            "--task", out / "buildings.yaml", "tile_px=256", "block_tiles=2", "test=0",
        )  # fmt: skip
    if not (out / "run" / "model.safetensors").exists():
        _bocage("train", out / "left" / "run.yaml", "-o", out / "run", *overrides)
    for name, plan in {**PLANS, "blocks": RUN}.items():
        if not (out / name / "report.json").exists():
            words = [f"{key}={value}" for key, value in plan.items()]
            words += [f"block_px={CUTS.get(name, 1024)}", "probabilities=[building]"]
            _bocage("map", out / "run", "--rgb", photo, "-o", out / name, *words)
    found = {name: _read(out / name) for name in (*PLANS, "blocks")}
    scores = _scores(found, _first_band(truth))
    write_json(out / "kampala.json", scores)
    print(json.dumps(scores, indent=2))
    _draw(out / "kampala.png", photo, found)


def _left_half(path: Path, target: Path) -> Path:
    with rasterio.open(path) as source:
        window = Window(0, 0, source.width // 2, source.height)
        profile = {**source.profile, "width": window.width}
        with rasterio.open(target, "w", **profile) as copy:
            copy.write(source.read(window=window))
    return target


def _bocage(*words: object) -> None:
    command = [sys.executable, "-c", "from bocage.cli import main; main()", *map(str, words)]
    subprocess.run(command, check=True)


def _first_band(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        band: NDArray[Any] = dataset.read(1)
        return band


def _read(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes, and the probability of a building."""
    share = _first_band(folder / "buildings_probabilities.tif") / 254.0
    return _first_band(folder / "buildings.tif"), share


def _scores(found: dict[str, tuple[NDArray[Any], NDArray[Any]]], truth: NDArray[Any]) -> Any:
    half = truth.shape[1] // 2
    right = np.s_[:, half:]
    scores: dict[str, Any] = {}
    for name in PLANS:
        classes = found[name][0][right]
        hit, said, there = classes == truth[right], classes == 1, truth[right] == 1
        scores[name] = {
            "building IoU": float((said & there).sum() / (said | there).sum()),
            "accuracy": float(hit.mean()),
        }
    for name in ("overlap", "hard"):
        share, other = found["map"][1], found[name][1]
        scores[f"map against {name}"] = {
            "mean difference of probabilities": float(np.abs(share - other).mean()),
            "largest mean step across a column, of the map": _step(share),
            f"the same, of {name}": _step(other),
            "pixels of another class": float((found["map"][0] != found[name][0]).mean()),
        }
    same = all(np.array_equal(a, b) for a, b in zip(found["map"], found["blocks"], strict=True))
    scores["the same bytes from blocks of 512 and 1024"] = same
    return scores


def _step(share: NDArray[Any]) -> float:
    """Mean step of the probability across the worst column, over that across the median one."""
    steps = np.abs(np.diff(share, axis=1)).mean(axis=0)
    return float(steps.max() / np.median(steps))


def _draw(target: Path, photo: Path, found: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    with rasterio.open(photo) as dataset:
        image = dataset.read(out_shape=(3, 1024, 1536)).transpose(1, 2, 0)
    classes, share = found["map"]
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.4), layout="constrained")
    small = np.s_[::2, ::2]
    axes[0, 0].imshow(image)
    axes[0, 0].axvline(768, color="white", linewidth=1)
    axes[0, 0].set_title("photograph; learnt left of the line")
    axes[0, 1].imshow(image)
    axes[0, 1].imshow(np.ma.masked_not_equal(classes[small], 1), cmap="autumn", alpha=0.6)
    axes[0, 1].set_title("mapped buildings")
    for axis, name, title in (
        (axes[1, 0], "overlap", "overlap of 64 against 128 pixels"),
        (axes[1, 1], "hard", "overlap of 64 against none"),
    ):
        gap = np.abs(share - found[name][1])[small]
        drawn = axis.imshow(gap, cmap="magma", vmin=0, vmax=0.5)
        axis.set_title(f"difference of the probability: {title}")
    figure.colorbar(drawn, ax=axes[1, :], shrink=0.8)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    main(options.data, options.out, options.overrides)
