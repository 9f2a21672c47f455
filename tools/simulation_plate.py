"""A plate of simulated patches: one domain per row, one sensor or label per column.

Usage: python -m tools.simulation_plate docs/images/simulation-plate.png

The picture in `docs/simulation.md` is made with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch as Swatch
from numpy.typing import NDArray

from bocage.nomenclatures import COSIA, LPIS_1
from bocage.simulate.domains import DOMAINS_BY_KEY, Domain, Use
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.render import render_past, render_present

SEED = 7
DOMAINS = ("D035-2020", "D051-2019", "D034-2021", "D074-2020")
"""Hedged fields, open fields, vines and a valley of the Alps."""
COLUMNS = (
    "photograph", "near infrared", "SPOT", "surface - terrain", "about 1955", "land cover", "crops",
)  # fmt: skip
_LABELS = {"land cover": COSIA, "crops": LPIS_1}
_SIDE_PX = 768
"""Of 0.2 m: half as wide again as a patch, so that several parcels show."""
_APART_CM = 307_200
_TALLEST_M = 15.0
_INCHES, _LEGEND_INCHES, _DPI = 1.95, 0.9, 98
_FARMED = (Use.ARABLE, Use.PERMANENT, Use.PASTURE)

Picture = NDArray[Any]


def place(domain: Domain, side_px: int) -> Window:
    """Of 36 places of a domain, the one with the most even mixture of uses, half of it farmed."""
    land = Landscape(domain, SEED)
    corners = [(k % 6 * _APART_CM, k // 6 * _APART_CM) for k in range(36)]
    best = max(corners, key=lambda corner: _mixture(land, corner, side_px))
    return Window(*best, 20, side_px, side_px)


def _mixture(land: Landscape, corner: tuple[int, int], side_px: int) -> float:
    """Entropy of the uses of a place, less where there is little farmland."""
    uses = land.uses_at(Window(*corner, 640, side_px // 32, side_px // 32))
    share = np.bincount(uses.reshape(-1)) / uses.size
    share = share[share > 0]
    farmed = min(float(np.isin(uses, _FARMED).mean()), 0.5)
    return farmed - float((share * np.log(share)).sum())


def pictures(domain: Domain, window: Window) -> list[Picture]:
    """What the columns show of a window, in their order: (H, W, 3) or (H, W) between 0 and 1, and
    for the two labels class ids (H, W)."""
    now = render_present(Landscape(domain, SEED), window)
    then = render_past(Landscape(domain, SEED, past=True), window)
    photograph, spot = now["AERIAL_RGBI"] / 255, now["SPOT_RGBI"][:3]
    surface, terrain = now["DEM_ELEV"].astype(np.float64)
    return [
        photograph[:3].transpose(1, 2, 0),
        photograph[[3, 0, 1]].transpose(1, 2, 0),
        np.clip(spot / np.percentile(spot, 99), 0, 1).transpose(1, 2, 0),
        np.clip((surface - terrain) / _TALLEST_M, 0, 1),
        then["AERIAL-RLT_PAN"][0] / 255,
        now["AERIAL_LABEL-COSIA"][0],
        now["ALL_LABEL-LPIS"][0],
    ]


def plate(domains: Sequence[Domain], side_px: int = _SIDE_PX) -> Figure:
    """The whole plate, with a legend of the classes that occur."""
    height = _INCHES * len(domains) + _LEGEND_INCHES
    figure = Figure(figsize=(_INCHES * len(COLUMNS), height))
    panels = figure.subplots(len(domains), len(COLUMNS), squeeze=False)
    shown = []
    for row, domain in zip(panels, domains, strict=True):
        shown.append(pictures(domain, place(domain, side_px)))
        for axes, picture, title in zip(row, shown[-1], COLUMNS, strict=True):
            if title in _LABELS:
                picture = np.array([each.rgb for each in _LABELS[title]])[picture] / 255
            axes.imshow(picture, vmin=0, vmax=1, cmap="gray", interpolation="antialiased")
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"{domain.title}, {domain.year}", fontsize=9)
    for axes, title in zip(panels[0], COLUMNS, strict=True):
        axes.set_title(title, fontsize=10)
    bottom = _LEGEND_INCHES / height
    figure.subplots_adjust(
        left=0.015, right=0.998, bottom=bottom, top=0.975, wspace=0.03, hspace=0.03
    )
    for left, (title, classes) in zip((0.01, 0.52), _LABELS.items(), strict=True):
        column = COLUMNS.index(title)
        present = set(np.unique([row[column] for row in shown]).tolist())
        swatches = [
            Swatch(facecolor=each.color, edgecolor="0.5", label=each.name)
            for each in classes
            if each.id in present
        ]
        figure.legend(
            handles=swatches, title=title, loc="upper left", ncols=4, fontsize=8,
            title_fontsize=9, frameon=False, bbox_to_anchor=(left, bottom - 0.005),
            alignment="left", columnspacing=1.0,
        )  # fmt: skip
    return figure


def main(target: Path) -> None:
    """Draw the plate to a file."""
    figure = plate([DOMAINS_BY_KEY[key] for key in DOMAINS])
    figure.savefig(target, dpi=_DPI, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
