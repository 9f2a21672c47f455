"""Pictures of the comparison."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tools.calibrate_simulation.marginals import CURVES, FREQUENCIES, Photographs, Years

_REAL, _OURS = "#222222", "#d1495b"
_CROPS = (
    ("France", "winter wheat"), ("France", "winter barley"), ("France", "rapeseed"),
    ("France", "maize"), ("France", "sunflower"), ("France", "soy"),
    ("France", "grasses, mixture"), ("France", "vineyard"), ("Flanders", "beetroots"),
    ("Germany", "broad-leaved"),
)  # fmt: skip


def spectra(real: Photographs, simulated: Photographs, path: Path) -> None:
    """Power spectra of brightness, one thin line per patch and their mean."""
    middle = np.sqrt(FREQUENCIES[1:] * FREQUENCIES[:-1])
    figure, axis = plt.subplots(figsize=(5, 3.6))
    for name, colour, found in (("real", _REAL, real), ("simulated", _OURS, simulated)):
        for each in found.spectra[:40]:
            axis.plot(middle, each, color=colour, alpha=0.12, linewidth=0.7)
        axis.plot(middle, np.mean(found.spectra, axis=0), color=colour, linewidth=2, label=name)
    axis.set(xscale="log", xlabel="cycles per metre", ylabel="power, log10")
    axis.legend(frameon=False)
    _save(figure, path)


def curves(real: Years, simulated: Years, path: Path) -> None:
    """NDVI, VV and VH through the year, one column per crop."""
    shown = [key for key in _CROPS if key in real.curves and key in simulated.curves]
    figure, axes = plt.subplots(
        len(CURVES), len(shown), figsize=(1.7 * len(shown), 5), sharex=True, sharey="row",
        squeeze=False,
    )  # fmt: skip
    months = np.arange(1, 13)
    for column, key in enumerate(shown):
        for row, name in enumerate(CURVES):
            axis = axes[row, column]
            for colour, found in ((_REAL, real), (_OURS, simulated)):
                if name in found.curves[key]:
                    axis.plot(months, found.curves[key][name], color=colour, linewidth=1.6)
            axis.grid(alpha=0.25)
            if column == 0:
                axis.set_ylabel(name if name == "NDVI" else f"{name}, dB")
            if row == 0:
                axis.set_title(f"{key[1]}\n({key[0]})", fontsize=8)
    figure.text(0.99, 0.005, "black: real, red: simulated; months", ha="right", fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=80)
    plt.close(figure)
