"""What is measured of real and of simulated imagery alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import COSIA

Array = NDArray[Any]

BANDS = ("red", "green", "blue", "nir")
CURVES = ("NDVI", "VV", "VH")
FREQUENCIES = np.geomspace(0.03, 2.2, 17)
"""Edges of the spectrum's bins, cycles per metre."""
_MOST_PIXELS = 6_000
"""Pixels of one class that are kept of one patch."""
_FEWEST_PIXELS = 400
MONTHS = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])


@dataclass
class Photographs:
    """Aerial patches: per class of cover pixels (N, 4) and heights (N,) in metres, and texture.

    `grain`: mean contrast of a pixel with its four neighbours, digital numbers, per class;
    `spectra`: one radial power spectrum (F,) per patch, log10, of brightness.
    """

    pixels: dict[str, list[Array]] = field(default_factory=dict)
    heights: dict[str, list[Array]] = field(default_factory=dict)
    grain: dict[str, list[float]] = field(default_factory=dict)
    spectra: list[Array] = field(default_factory=list)

    def add(self, image: Array, height_m: Array, cover: Array) -> None:
        """One patch: (4, H, W) uint8, (H, W) and CoSIA ids (H, W)."""
        grey = image[:3].astype(np.float64).mean(axis=0)
        around = sum(np.roll(grey, step, axis) for step in (1, -1) for axis in (0, 1)) / 4
        contrast = np.abs(grey - around)
        contrast[[0, -1]] = contrast[:, [0, -1]] = np.nan
        self.spectra.append(spectrum(grey))
        for number in np.unique(cover).tolist():
            here = cover == number
            count = int(here.sum())
            if count < _FEWEST_PIXELS:
                continue
            name = COSIA.names[number]
            step = max(1, count // _MOST_PIXELS)
            self.pixels.setdefault(name, []).append(image[:, here].T[::step])
            self.heights.setdefault(name, []).append(height_m[here][::step])
            self.grain.setdefault(name, []).append(float(np.nanmean(contrast[here])))


@dataclass(frozen=True)
class Pixels:
    """Pixels of one sensor (N, bands), and what each counts for (N,)."""

    values: Array
    weights: Array

    def moments(self) -> tuple[Array, Array]:
        """Mean and standard deviation per band, (bands,) each."""
        values = self.values.astype(np.float64)
        mean = np.average(values, axis=0, weights=self.weights)
        return mean, np.sqrt(np.average((values - mean) ** 2, axis=0, weights=self.weights))


@dataclass
class Years:
    """Series: monthly medians by crop and source, and what the passes were like.

    `curves[source, crop][name]` (12,): NDVI, VV and VH in decibel, NaN where nothing is known;
    `summer[crop]` (10,) reflectance x 10000; `dates` and `clear`: per place, images a year and
    share of them that is clear on 95 % of the pixels; `looks` and `correlation`: of single series.
    """

    curves: dict[tuple[str, str], dict[str, Array]] = field(default_factory=dict)
    summer: dict[str, Array] = field(default_factory=dict)
    dates: list[int] = field(default_factory=list)
    clear: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    correlation: list[float] = field(default_factory=list)


def spectrum(grey: Array) -> Array:
    """Radial power spectrum (F,) of a square image of 0.2 m, log10, mean power over directions."""
    side = len(grey)
    taper = np.hanning(side)
    power = np.abs(np.fft.fft2((grey - grey.mean()) * taper[:, None] * taper)) ** 2
    axis = np.fft.fftfreq(side, 0.2)
    ring = np.digitize(np.hypot(axis[:, None], axis[None, :]).reshape(-1), FREQUENCIES)
    count = np.bincount(ring, minlength=len(FREQUENCIES) + 1)[1:-1]
    total = np.bincount(ring, power.reshape(-1), minlength=len(FREQUENCIES) + 1)[1:-1]
    levels: Array = np.log10(total / count + 1e-9)
    return levels


def slope(spectra: list[Array]) -> float:
    """Exponent of the mean spectrum between wavelengths of 20 m and 1 m."""
    middle = np.sqrt(FREQUENCIES[1:] * FREQUENCIES[:-1])
    inside = (middle > 0.05) & (middle < 1.0)
    return float(np.polyfit(np.log10(middle[inside]), np.mean(spectra, axis=0)[inside], 1)[0])


def speckle(power_THW: Array) -> tuple[float, float]:
    """Equivalent number of looks and correlation of neighbours of a series of one steady cover."""
    ratio = power_THW / power_THW.mean(axis=0) / power_THW.mean(axis=(1, 2), keepdims=True)
    ratio /= ratio.mean()
    beside = np.corrcoef(ratio[:, :, 1:].ravel(), ratio[:, :, :-1].ravel())[0, 1]
    return float(1 / ratio.var()), float(beside)


def by_month(day: Array, value: Array) -> Array:
    """Median of values (T, N) of days of the year (T,) in each month, (12,); NaN where none is."""
    month = np.searchsorted(MONTHS, day, side="right") - 1
    result = np.full(12, np.nan)
    for each in range(12):
        found = value[month == each]
        found = found[np.isfinite(found)]
        if len(found):
            result[each] = np.median(found)
    return result


def merged(curves: list[dict[str, Array]]) -> dict[str, Array]:
    """Mean of curves (12,) of several places, where any is known."""
    result = {}
    for name in {name for curve in curves for name in curve}:
        stack = np.stack([curve[name] for curve in curves if name in curve])
        known = np.isfinite(stack).sum(axis=0)
        result[name] = np.where(known, np.nansum(stack, axis=0) / np.maximum(known, 1), np.nan)
    return result


def ndvi(red: Array, nir: Array) -> Array:
    """Normalised difference of near infrared and red."""
    red, nir = np.asarray(red, float), np.asarray(nir, float)
    index: Array = (nir - red) / np.maximum(nir + red, 1)
    return index


def distance(one: Array, other: Array) -> float:
    """Wasserstein distance of two samples: mean gap of their quantiles."""
    share = (np.arange(200) + 0.5) / 200
    return float(np.abs(np.quantile(one, share) - np.quantile(other, share)).mean())


def gap(one: Array, other: Array) -> float:
    """Kolmogorov-Smirnov distance of two samples: largest gap of their distributions."""
    edges = np.unique(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(sample), edges, side="right") / len(sample)
              for sample in (one, other)]  # fmt: skip
    return float(np.abs(shares[0] - shares[1]).max())


def rmse(one: Array, other: Array) -> float:
    """Root mean square difference where both are known."""
    return float(np.sqrt(np.nanmean((np.asarray(one) - np.asarray(other)) ** 2)))


def joined(parts: Mapping[str, list[Array]], name: str) -> Array:
    """All of one class in one array."""
    return np.concatenate(parts[name])
