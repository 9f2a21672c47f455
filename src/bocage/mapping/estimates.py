"""Areas of classes from a map and a validation sample: unbiased, with intervals.

Counting a map's pixels is biased: every error of the map adds to one class and takes from another.
A sample whose truth is known says which. The estimator is that of Olofsson et al. 2014 ("Good
practices for estimating area and assessing accuracy of land change", Remote Sensing of Environment
148, equations 1 to 11): map classes are strata, weighted by their share of the map.

Shapes: K classes, D clusters. `counts_KK` has rows of the map and columns of the reference, as in
that paper; the matrices of `bocage evaluate` have them the other way round.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_PER_STRATUM = 2
"""Sample units that a map class needs: the variance divides by their number less one."""


@dataclass(frozen=True)
class AreaEstimate:
    """Shares of the classes in an area, and how good its map is; all in 0 to 1.

    `share_K` are estimated shares, `se_K` their standard errors, `below_K` and `above_K` how far
    the interval reaches to both sides. `open_K` are shares of the map whose class the sample says
    nothing of: they count as what they are mapped as, and widen every interval by all that they
    could be instead.
    `users_K`, `producers_K` and `overall` are accuracies with their standard errors, NaN where
    undefined; `overall` is that of the map without its open shares, `overall_below` and
    `overall_above` are how far its interval reaches to both sides.
    `design_effect` is the variance over that of as many independent units, mean over the classes
    weighted by that variance; 1 without clusters.
    """

    share_K: Floats
    se_K: Floats
    below_K: Floats
    above_K: Floats
    open_K: Floats
    users_K: Floats
    users_se_K: Floats
    producers_K: Floats
    producers_se_K: Floats
    overall: float
    overall_se: float
    overall_below: float
    overall_above: float
    design_effect: float

    def interval(self) -> tuple[Floats, Floats]:
        """Lower and upper ends of the shares, (K,) each, within 0 to 1."""
        low = self.share_K - self.open_K - self.below_K
        high = self.share_K + (self.open_K.sum() - self.open_K) + self.above_K
        return np.clip(low, 0, 1), np.clip(high, 0, 1)

    def overall_interval(self) -> tuple[float, float]:
        """Ends of the whole map's accuracy, 0 to 1; its open shares may be right or wrong."""
        unknown = float(self.open_K.sum())
        if np.isnan(self.overall):
            return 0.0, 1.0
        low = (1 - unknown) * (self.overall - self.overall_below)
        high = (1 - unknown) * (self.overall + self.overall_above) + unknown
        return max(low, 0.0), min(high, 1.0)


def stratified(counts_KK: NDArray[np.integer], weight_K: Floats, level: float) -> AreaEstimate:
    """The estimator for a sample of independent units, drawn at random within each map class.

    Shares and standard errors are those of Olofsson et al. 2014. The interval is not share ± z
    standard errors, which is 0 ± 0 for a class that no unit has met, however much of it may hide:
    see `reach`. For classes that are met often both are the same.

    Args:
        counts_KK: Sample units by map class (rows) and reference class (columns).
        weight_K: Share of each map class in the area; sums to 1.
        level: Of the intervals, such as 0.95.
    """
    counts = counts_KK.astype(np.float64)
    size, rate, known = _rates(counts)
    weight = np.where(known, weight_K, 0.0)
    spread = rate * (1 - rate) / np.maximum(size - 1, 1)[:, None]  # variance of each rate
    share_KK = weight[:, None] * rate
    share = share_KK.sum(axis=0)
    users, producers = _accuracies(share_KK, known)
    # Equation 7, with the areas of the map as shares.
    own = np.diag(spread)
    others = (weight[:, None] ** 2 * spread).sum(axis=0) - weight**2 * own
    producers_variance = (weight**2 * (1 - producers) ** 2 * own + producers**2 * others) / (
        np.where(share > 0, share, np.nan) ** 2
    )
    open_K = np.where(known, 0.0, weight_K)
    below_K, above_K = reach(rate, size, weight, level)
    validated = weight.sum() or np.nan
    overall_below, overall_above = reach(np.diag(rate)[:, None], size, weight, level)
    return AreaEstimate(
        share_K=share + open_K,
        se_K=np.sqrt((weight[:, None] ** 2 * spread).sum(axis=0)),
        below_K=below_K,
        above_K=above_K,
        open_K=open_K,
        users_K=users,
        users_se_K=np.where(known, np.sqrt(own), np.nan),
        producers_K=producers,
        producers_se_K=np.sqrt(producers_variance),
        overall=float(np.trace(share_KK) / validated),
        overall_se=float(np.sqrt((weight**2 * own).sum()) / validated),
        overall_below=float(overall_below[0] / validated),
        overall_above=float(overall_above[0] / validated),
        design_effect=1.0,
    )


def reach(rate_KK: Floats, size_K: Floats, weight_K: Floats, level: float) -> tuple[Floats, Floats]:
    """How far the interval of each class's share reaches below and above the estimate, (K,) each.

    Wilson's intervals of the rates (1927) are put together by their distances from the estimates
    (MOVER: Zou & Donner 2008, "Construction of confidence limits about effect measures", Statistics
    in Medicine 27).

    Args:
        rate_KK: Rates of the reference classes (columns) in each map class (rows).
        size_K: Sample units of each map class; where there are none, the weight is 0.
        weight_K: Share of each map class in the area.
        level: Of the interval.
    """
    low_KK, high_KK = wilson(rate_KK, np.maximum(size_K, 1)[:, None], level)
    squared = weight_K[:, None] ** 2
    below: Floats = np.sqrt((squared * (rate_KK - low_KK) ** 2).sum(axis=0))
    above: Floats = np.sqrt((squared * (high_KK - rate_KK) ** 2).sum(axis=0))
    return below, above


def clustered(counts_DKK: NDArray[np.integer], weight_K: Floats, level: float) -> AreaEstimate:
    """The same estimates where the sample's units come in clusters (patches, domains).

    Pixels of one patch share their light, their season and their errors: a million of them say
    little more than their patches do. Estimates are those of `stratified`; variances are of the
    clusters' residuals about the common rates (Taylor linearisation of a ratio with clusters as
    primary units; Särndal, Swensson and Wretman 1992, "Model Assisted Survey Sampling", 5.5 and
    8.6), with Student's t of D - 1 degrees of freedom.

    Raises `ValueError` for fewer than two clusters: they cannot say how clusters differ.
    """
    clusters = len(counts_DKK)
    if clusters < 2:
        raise ValueError(f"{clusters} cluster(s) cannot say how clusters differ; give at least 2")
    counts = counts_DKK.astype(np.float64)
    pooled = counts.sum(axis=0)
    plain = stratified(pooled, weight_K, level)
    size, rate, known = _rates(pooled)
    weight = np.where(known, weight_K, 0.0)
    residual_DKK = (weight / np.maximum(size, 1))[:, None] * (
        counts - rate * counts.sum(axis=2, keepdims=True)
    )
    factor = clusters / (clusters - 1)

    def error(residual: Floats) -> Floats:
        """Standard error of a sum over clusters of residuals, whose mean is 0."""
        found: Floats = np.sqrt(factor * (residual**2).sum(axis=0))
        return found

    own_DK = np.diagonal(residual_DKK, axis1=1, axis2=2)
    share_DK = residual_DKK.sum(axis=1)
    share_K = plain.share_K - plain.open_K
    with np.errstate(divide="ignore", invalid="ignore"):
        producers_DK = (own_DK - plain.producers_K * share_DK) / share_K
        users_DK = own_DK / weight
    se_K = error(share_DK)
    independent = float((plain.se_K**2).sum())
    overall_se = float(error(own_DK.sum(axis=1)) / (weight.sum() or np.nan))
    quantile = student_quantile(level, clusters - 1)
    return AreaEstimate(
        share_K=plain.share_K,
        se_K=se_K,
        below_K=quantile * se_K,
        above_K=quantile * se_K,
        open_K=plain.open_K,
        users_K=plain.users_K,
        users_se_K=error(users_DK),
        producers_K=plain.producers_K,
        producers_se_K=error(producers_DK),
        overall=plain.overall,
        overall_se=overall_se,
        overall_below=quantile * overall_se,
        overall_above=quantile * overall_se,
        design_effect=float((se_K**2).sum()) / independent if independent else 1.0,
    )


@functools.lru_cache
def student_quantile(level: float, dof: int) -> float:
    """Half-width of the central `level` of Student's t with `dof` degrees of freedom.

    With x = sqrt(dof) tan a, the density becomes the power dof - 1 of cos a, which is summed.
    """
    angle = np.linspace(0, np.pi / 2, 200_001)
    density = np.cos(angle) ** (dof - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(dof) * np.tan(np.interp(level, mass / mass[-1], angle)))


def wilson(rate: Floats, size: Floats, level: float) -> tuple[Floats, Floats]:
    """Wilson's score interval of a rate that was found among `size` units."""
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = rate + z2 / (2 * size)
    half = np.sqrt(z2 * (rate * (1 - rate) / size + z2 / (4 * size**2)))
    low: Floats = (middle - half) / (1 + z2 / size)
    high: Floats = (middle + half) / (1 + z2 / size)
    return low, high


def _rates(counts_KK: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Units per map class, share of each reference class among them, and which have enough."""
    size = counts_KK.sum(axis=1)
    return size, counts_KK / np.maximum(size, 1)[:, None], size >= MIN_PER_STRATUM


def _accuracies(share_KK: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """User's and producer's accuracy, NaN for classes that are not mapped or not there."""
    mapped, true = share_KK.sum(axis=1), share_KK.sum(axis=0)
    hit = np.diag(share_KK)
    users = np.divide(hit, mapped, out=np.full(len(hit), np.nan), where=known & (mapped > 0))
    producers = np.divide(hit, true, out=np.full(len(hit), np.nan), where=true > 0)
    return users, producers
