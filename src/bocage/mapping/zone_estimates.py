"""Areas of classes in the zones of a map, from what a validation can say of a zone.

A zone's errors are its own. A matrix of the whole map says how often the map is wrong, not where;
corrected by its rates alone (a *synthetic* estimate) a zone's share has an interval that knows
nothing of how the zone differs. What can be said depends on what is known of the units:

- their places (`composite`): a zone is a domain with a sample of its own;
- that they came in clusters which differ as zones do (`one_more_cluster`);
- nothing (`anywhere`): only that no zone can hold more than the whole.

Shapes: Z zones, K classes, D clusters; matrices have rows of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.mapping.estimates import MIN_PER_STRATUM, Floats, reach, student_quantile, wilson

_EVEN = 0.5
"""Likeness of a zone's units where the sample cannot tell it: the whole counts as one unit."""
_COMMON = 20.0
"""Tried on simulated maps with 2 to 44 units a zone: within 2 % of the best choice on each."""


@dataclass(frozen=True)
class ZoneShares:
    """Shares of the classes in each zone, (Z, K) each, 0 to 1; NaN in zones without a pixel.

    `se_ZK` is NaN where no standard error can be told.
    """

    share_ZK: Floats
    se_ZK: Floats
    low_ZK: Floats
    high_ZK: Floats


def composite(
    units_ZKK: NDArray[np.integer], sample_KK: NDArray[np.integer], weight_ZK: Floats, level: float
) -> ZoneShares:
    """Zones that have sample units of their own, few or many or none.

    The *interval* is a zone's own, and needs no model of how zones differ: units of a map class
    within a zone are a random sample of that class there, whatever lies elsewhere, so the zone is
    estimated as a whole map would be (post-stratified domain estimation; Wilson's intervals put
    together, `bocage.mapping.estimates.reach`). What the zone holds of a map class without a unit
    there may be anything. Few units make it wide; it holds in each zone, not on average over zones.

    The *estimate* borrows strength. The rates of a map class in a zone are drawn towards those of
    the whole sample, the more so the fewer units there are and the less zones differ: n units count
    n r / (1 + (n - 1) r), where r is the likeness of two units of one zone (Kleinman 1973,
    "Proportions with extraneous variance", JASA 68; r by analysis of variance over the zones,
    Ridout, Demétrio & Firth 1999, Biometrics 55). Its standard error has the variance between zones
    in it (the leading terms of Prasad & Rao 1990, JASA 85); an interval from it was tried and does
    not hold (`docs/areas.md`).

    Args:
        units_ZKK: Units in each zone by map class and reference class.
        sample_KK: All units of the map, in zones or not.
        weight_ZK: Share of each map class in each zone; rows sum to 1, or are NaN.
        level: Of the intervals.
    """
    units = units_ZKK.astype(np.float64)
    size_ZK = units.sum(axis=2)
    rate_ZKK = units / np.maximum(size_ZK, 1)[:, :, None]
    pooled_KK, variance_KK = _pooled(sample_KK)
    like_K = likeness(units_ZKK)
    own_ZK = size_ZK * like_K / (1 + np.maximum(size_ZK - 1, 0) * like_K)
    guess_ZKK = own_ZK[:, :, None] * rate_ZKK + (1 - own_ZK)[:, :, None] * pooled_KK
    share_ZK = np.einsum("zh,zhk->zk", weight_ZK, guess_ZKK)
    between_KK = like_K[:, None] * pooled_KK * (1 - pooled_KK)
    rest_ZK = 1 - own_ZK
    spread_ZK = np.einsum("zh,hk->zk", weight_ZK**2 * rest_ZK, between_KK)
    spread_ZK += np.einsum("zh,hk->zk", weight_ZK**2 * rest_ZK**2, variance_KK)
    low_ZK, high_ZK = np.full_like(share_ZK, np.nan), np.full_like(share_ZK, np.nan)
    for zone in np.flatnonzero(np.isfinite(weight_ZK).all(axis=1)):
        met = size_ZK[zone] > 0
        weight = np.where(met, weight_ZK[zone], 0.0)
        direct = weight @ rate_ZKK[zone]
        below, above = reach(rate_ZKK[zone], size_ZK[zone], weight, level)
        low_ZK[zone] = np.minimum(direct - below, share_ZK[zone])
        high_ZK[zone] = np.maximum(direct + above + (1 - weight.sum()), share_ZK[zone])
    return ZoneShares(share_ZK, np.sqrt(spread_ZK), np.clip(low_ZK, 0, 1), np.clip(high_ZK, 0, 1))


def likeness(units_ZKK: NDArray[np.integer]) -> Floats:
    """How alike units of one zone are beyond chance, by map class, (K,), 0 to 1.

    The intraclass correlation by analysis of variance, squares summed over the reference classes.
    0: zones do not differ; 1: each zone is all of one kind. Few units make it uncertain, so that of
    a map class is drawn towards that of all map classes together, which counts as `_COMMON` degrees
    of freedom. One half where nothing can be told: no map class has units in two zones and two
    units in one of them, or all units of each map class are of one kind.
    """
    units = units_ZKK.astype(np.float64)
    size_ZK = units.sum(axis=2)
    total_K, zones_K = size_ZK.sum(axis=0), (size_ZK > 0).sum(axis=0)
    mean_KK = units.sum(axis=0) / np.maximum(total_K, 1)[:, None]
    rate_ZKK = units / np.maximum(size_ZK, 1)[:, :, None]
    within_K = (size_ZK * (rate_ZKK * (1 - rate_ZKK)).sum(axis=2)).sum(axis=0)
    freedom_K = total_K - zones_K
    sums_5K = np.stack(
        [
            (size_ZK * ((rate_ZKK - mean_KK) ** 2).sum(axis=2)).sum(axis=0),
            np.maximum(zones_K - 1, 0),
            within_K,
            freedom_K,
            total_K - (size_ZK**2).sum(axis=0) / np.maximum(total_K, 1),
        ]
    )
    common = _correlation(sums_5K.sum(axis=1, keepdims=True), np.array([_EVEN]))
    own_K = _correlation(sums_5K, np.full(len(total_K), common[0]))
    trust_K = freedom_K / (freedom_K + _COMMON)
    likely: Floats = trust_K * own_K + (1 - trust_K) * common
    return likely


def _correlation(sums_5K: Floats, otherwise_K: Floats) -> Floats:
    """Intraclass correlations, or what else where squares and their freedom do not tell any.

    Rows: squares between zones, their degrees of freedom, squares within, their degrees of freedom,
    typical units of a zone times the degrees of freedom between.
    """
    between_K, zones_K, within_K, freedom_K, typical_K = sums_5K
    told = (zones_K > 0) & (freedom_K > 0) & (between_K + within_K > 0)
    between_K, typical_K = between_K / np.maximum(zones_K, 1), typical_K / np.maximum(zones_K, 1)
    within_K = within_K / np.maximum(freedom_K, 1)
    scale_K = np.where(told, between_K + (typical_K - 1) * within_K, 1.0)
    found: Floats = np.where(told, np.clip((between_K - within_K) / scale_K, 0, 1), otherwise_K)
    return found


def anywhere(
    counts_KK: NDArray[np.integer], ha_ZK: Floats, map_ha_K: Floats, level: float
) -> ZoneShares:
    """Zones of a map of whose units nobody knows the places.

    The estimate is synthetic. How zones differ is not in the matrix, so there is no standard error;
    the interval is what remains certain. A zone's part of map class h holds of class k at most what
    all of h holds, and at least what does not fit into the rest of h (the method of bounds: Duncan
    & Davis 1953, "An alternative to ecological correlation", American Sociological Review 18), with
    Wilson's limits of the rates for what all of h holds. It is as good as these for any zone, and
    nearly empty for small ones.

    Args:
        counts_KK: Units by map class and reference class.
        ha_ZK: Area of each map class in each zone.
        map_ha_K: The same in the whole map.
        level: Of the intervals.
    """
    size_K = counts_KK.sum(axis=1).astype(np.float64)
    rate_KK, _ = _pooled(counts_KK)
    low_KK, high_KK = wilson(rate_KK, np.maximum(size_K, 1)[:, None], level)
    low_KK[size_K < MIN_PER_STRATUM], high_KK[size_K < MIN_PER_STRATUM] = 0.0, 1.0
    most_KK = high_KK * map_ha_K[:, None]
    others_KK = (1 - low_KK) * map_ha_K[:, None]
    zone_ha = ha_ZK.sum(axis=1, keepdims=True)
    low_ZK, high_ZK = np.zeros_like(ha_ZK), np.zeros_like(ha_ZK)
    for h in range(len(size_K)):
        own = ha_ZK[:, h, None]
        low_ZK += np.maximum(own - others_KK[h], 0)
        high_ZK += np.minimum(own, most_KK[h])
    with np.errstate(invalid="ignore"):
        weight_ZK, low_ZK, high_ZK = ha_ZK / zone_ha, low_ZK / zone_ha, high_ZK / zone_ha
    share_ZK = weight_ZK @ rate_KK
    se_ZK = np.full_like(share_ZK, np.nan)
    return ZoneShares(share_ZK, se_ZK, np.minimum(low_ZK, share_ZK), np.maximum(high_ZK, share_ZK))


def one_more_cluster(
    counts_DKK: NDArray[np.integer], weight_ZK: Floats, level: float
) -> ZoneShares:
    """Zones that differ from the map as the clusters of its validation differ from each other.

    The estimate is synthetic. What it would have been with the rates of one cluster alone is known
    for each cluster; the interval is that of one more such value (Student's t, D - 1 degrees of
    freedom), widened to the central `level` of the values where these reach further. A cluster that
    has no unit of a map class takes part with the rates of all.

    Raises `ValueError` for fewer than two clusters: they cannot say how clusters differ.
    """
    clusters = len(counts_DKK)
    if clusters < 2:
        raise ValueError(f"{clusters} cluster(s) cannot say how clusters differ; give at least 2")
    rate_KK, _ = _pooled(counts_DKK.sum(axis=0))
    size_DK = counts_DKK.sum(axis=2)
    rate_DKK = np.where(
        (size_DK > 0)[:, :, None], counts_DKK / np.maximum(size_DK, 1)[:, :, None], rate_KK
    )
    open_K = counts_DKK.sum(axis=(0, 2)) < MIN_PER_STRATUM
    rate_DKK[:, open_K] = rate_KK[open_K]
    quantile = student_quantile(level, clusters - 1)
    shape = weight_ZK.shape
    found = ZoneShares(*(np.full(shape, np.nan) for _ in range(4)))
    for zone in np.flatnonzero(np.isfinite(weight_ZK).all(axis=1)):
        weight = weight_ZK[zone]
        share = weight @ rate_KK
        each_DK = np.einsum("h,dhk->dk", weight, rate_DKK)
        variance = ((each_DK - share) ** 2).sum(axis=0) / (clusters - 1) * (1 + 1 / clusters)
        low, high = np.quantile(each_DK, [(1 - level) / 2, (1 + level) / 2], axis=0)
        se = np.sqrt(variance)
        unknown = np.where(open_K, weight, 0.0)
        found.share_ZK[zone], found.se_ZK[zone] = share, se
        low = np.minimum(share - quantile * se, low) - unknown
        high = np.maximum(share + quantile * se, high) + unknown.sum() - unknown
        found.low_ZK[zone], found.high_ZK[zone] = np.clip(low, 0, 1), np.clip(high, 0, 1)
    return found


def _pooled(counts_KK: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Rates of the reference classes in each map class, (K, K), and their variances.

    A map class with too few units counts as what it is mapped as.
    """
    size_K = counts_KK.sum(axis=1).astype(np.float64)
    known = (size_K >= MIN_PER_STRATUM)[:, None]
    rate_KK = np.where(known, counts_KK / np.maximum(size_K, 1)[:, None], np.eye(len(size_K)))
    return rate_KK, rate_KK * (1 - rate_KK) / np.maximum(size_K - 1, 1)[:, None]
