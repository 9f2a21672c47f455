"""How far simulated marginals lie from real ones, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from tools.calibrate_simulation.marginals import (
    BANDS,
    CURVES,
    Photographs,
    Pixels,
    Years,
    distance,
    gap,
    joined,
    rmse,
    slope,
)

# Mean and standard deviation per band over FLAIR-HUB's training and validation patches (the paper's
# table VIII): red, green, blue, near infrared; one band for the historical photograph.
PUBLISHED = {
    "aerial": ((105.35, 111.31, 102.09, 106.12), (52.36, 45.63, 44.39, 40.01)),
    "SPOT": ((432.03, 507.34, 466.75, 1126.26), (324.70, 300.28, 239.36, 535.28)),
    "historical": ((125.92,), (38.69,)),
}


@dataclass(frozen=True)
class Row:
    """One comparison: `distance` in `unit`; `real` and `simulated` are figures to read."""

    topic: str
    subject: str
    measure: str
    unit: str
    real: str
    simulated: str
    distance: float

    @property
    def key(self) -> str:
        """What the row is about, in one line."""
        return f"{self.topic} | {self.subject} | {self.measure}"


def rows(
    real: tuple[Photographs, Years],
    simulated: tuple[Photographs, Years],
    sensors: dict[str, Pixels],
) -> list[Row]:
    """All comparisons, topic by topic."""
    return [
        *_global(sensors),
        *_photographs(real[0], simulated[0]),
        *_heights(real[0], simulated[0]),
        *_curves(real[1], simulated[1]),
        *_passes(real[1], simulated[1]),
    ]


def as_json(table: list[Row]) -> list[dict[str, object]]:
    """Rows for a file that a later run compares with."""
    return [asdict(row) | {"distance": round(row.distance, 4)} for row in table]


def _global(sensors: dict[str, Pixels]) -> Iterator[Row]:
    for name, (means, spreads) in PUBLISHED.items():
        mean, spread = sensors[name].moments()
        for what, wanted, found in (("mean", means, mean), ("spread", spreads, spread)):
            off = float(np.abs(found / np.array(wanted) - 1).mean())
            yield Row(
                "FLAIR-HUB statistics", name, what, "relative",
                " ".join(f"{v:.0f}" for v in wanted), " ".join(f"{v:.0f}" for v in found), off,
            )  # fmt: skip


def _photographs(real: Photographs, simulated: Photographs) -> Iterator[Row]:
    for name in sorted(set(real.pixels) & set(simulated.pixels)):
        one, other = joined(real.pixels, name), joined(simulated.pixels, name)
        for measure, unit, function in (("Wasserstein", "DN", distance), ("KS", "-", gap)):
            each = [function(one[:, k], other[:, k]) for k in range(len(BANDS))]
            yield Row(
                "aerial histograms", name, measure, unit,
                " ".join(f"{v:.0f}" for v in np.median(one, axis=0)),
                " ".join(f"{v:.0f}" for v in np.median(other, axis=0)), float(np.mean(each)),
            )  # fmt: skip
        texture = float(np.median(real.grain[name])), float(np.median(simulated.grain[name]))
        yield Row(
            "texture at 0.2 m", name, "mean contrast", "log2",
            f"{texture[0]:.1f}", f"{texture[1]:.1f}", abs(float(np.log2(texture[1] / texture[0]))),
        )  # fmt: skip
    slopes = slope(real.spectra), slope(simulated.spectra)
    yield Row(
        "texture spectra", "brightness", "slope", "-",
        f"{slopes[0]:.2f}", f"{slopes[1]:.2f}", abs(slopes[0] - slopes[1]),
    )  # fmt: skip
    one, other = np.mean(real.spectra, axis=0), np.mean(simulated.spectra, axis=0)
    yield Row(
        "texture spectra", "brightness", "level", "log10", f"{one.mean():.2f}",
        f"{other.mean():.2f}", rmse(one, other),
    )  # fmt: skip


def _heights(real: Photographs, simulated: Photographs) -> Iterator[Row]:
    for name in sorted(set(real.heights) & set(simulated.heights)):
        one, other = joined(real.heights, name), joined(simulated.heights, name)
        quantiles = [" / ".join(f"{v:.1f}" for v in np.quantile(part, (0.25, 0.5, 0.75)))
                     for part in (one, other)]  # fmt: skip
        yield Row(
            "object heights", name, "Wasserstein", "m", quantiles[0], quantiles[1],
            distance(one, other),
        )  # fmt: skip


def _curves(real: Years, simulated: Years) -> Iterator[Row]:
    for source, crop in sorted(set(real.curves) & set(simulated.curves)):
        for name in CURVES:
            one = real.curves[source, crop].get(name)
            other = simulated.curves[source, crop][name]
            if one is None or not np.isfinite(one + other).any():
                continue
            reach = [f"{np.nanmin(part):.2f} to {np.nanmax(part):.2f}" for part in (one, other)]
            yield Row(
                "seasonal curves", f"{crop}, {source}", name, "dB" if name != "NDVI" else "-",
                reach[0], reach[1], rmse(one, other),
            )  # fmt: skip
    for crop in sorted(set(real.summer) & set(simulated.summer)):
        one, other = real.summer[crop], simulated.summer[crop]
        yield Row(
            "summer reflectance", crop, "ten bands", "relative",
            " ".join(f"{v:.0f}" for v in one), " ".join(f"{v:.0f}" for v in other),
            float(np.abs(other / one - 1).mean()),
        )  # fmt: skip


def _passes(real: Years, simulated: Years) -> Iterator[Row]:
    for subject, unit, one, other in (
        ("Sentinel-2 images a year", "dates", real.dates, simulated.dates),
        ("share of clear images", "-", real.clear, simulated.clear),
        ("looks of Sentinel-1", "looks", real.looks, simulated.looks),
        ("correlation of neighbours", "-", real.correlation, simulated.correlation),
    ):
        if not other:
            continue
        reach = [f"{min(part):.3g} to {max(part):.3g}" for part in (one, other)]
        yield Row(
            "passes", subject, "median", unit, reach[0], reach[1],
            abs(float(np.median(one)) - float(np.median(other))),
        )  # fmt: skip
