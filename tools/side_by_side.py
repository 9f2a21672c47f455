"""Image, reference and map side by side: `python tools/side_by_side.py IMAGE MASK MAP OUT`.

IMAGE is a FLAIR #1/#2 aerial file, MASK its mask (codes 1 to 19), MAP a land-cover map of Bocage on
the same grid. The pictures in `docs/real-input.md` are made with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bocage.nomenclatures import COSIA, FLAIR1_TO_COSIA
from bocage.rasters import read_bands


def main(image: Path, mask: Path, mapped: Path, target: Path) -> None:
    """Draw the three side by side, with the classes that occur."""
    photograph, _ = read_bands(image, bands=(1, 2, 3))
    codes, _ = read_bands(mask, count=1)
    prediction, _ = read_bands(mapped, count=1)
    table = np.full(256, 255, dtype=np.uint8)
    for code, land_class in FLAIR1_TO_COSIA.items():
        table[code] = land_class
    reference = table[codes[0]]
    colors = np.full((256, 3), 225, dtype=np.uint8)
    for land_class in COSIA:
        colors[land_class.id] = land_class.rgb

    figure = Figure(figsize=(12, 5.0), layout="constrained")
    panels = figure.subplots(1, 3)
    agreement = float((reference == prediction[0])[reference != 255].mean())
    for axes, picture, title in zip(
        panels,
        (photograph.transpose(1, 2, 0), colors[reference], colors[prediction[0]]),
        (image.stem, "reference", f"map: {100 * agreement:.1f} % of the pixels agree"),
        strict=True,
    ):
        axes.imshow(picture)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    present = set(np.unique(reference)) | set(np.unique(prediction))
    handles = [
        Patch(facecolor=c.color, edgecolor="0.5", label=c.name) for c in COSIA if c.id in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.savefig(target, dpi=80)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
