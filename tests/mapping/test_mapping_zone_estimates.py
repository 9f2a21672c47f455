"""Areas of zones: worked by hand, and intervals that hold what they claim where zones differ."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bocage.mapping.estimates import stratified
from bocage.mapping.zone_estimates import anywhere, composite, likeness, one_more_cluster

pytestmark = pytest.mark.unit

LEVEL = 0.95


def test_a_zone_by_hand() -> None:
    """One zone with 5 and 4 units, another with 5 and none; Wilson's limits from tables."""
    units = np.array([[[4, 1], [0, 4]], [[2, 3], [0, 0]]])
    weight = np.array([[0.6, 0.4], [0.5, 0.5]])
    found = composite(units, units.sum(axis=0), weight, LEVEL)
    # Map class 0: means 0.8 and 0.4, all 0.6. Between: 2 × (5 × 0.2²+ 5 × 0.2²) = 0.8 on 1 degree
    # of freedom; within: 2 × (5 × 0.16 + 5 × 0.24) = 4 on 8; five units each. Class 1, met in one
    # zone only, has nothing between, and 0 on 3 within.
    common = (0.8 - 4 / 11) / (0.8 + 4 * 4 / 11)
    like = 8 / 28 * (0.8 - 0.5) / (0.8 + 4 * 0.5) + 20 / 28 * common
    assert likeness(units) == pytest.approx([like, common])
    own = 5 * like / (1 + 4 * like)
    rate = [own * 0.8 + (1 - own) * 0.6, own * 0.4 + (1 - own) * 0.6]
    assert found.share_ZK[0] == pytest.approx([0.6 * rate[0], 1 - 0.6 * rate[0]])
    assert found.share_ZK[1] == pytest.approx([0.5 * rate[1], 1 - 0.5 * rate[1]])
    variance = 0.6**2 * (1 - own) * like * 0.24 + 0.6**2 * (1 - own) ** 2 * 0.24 / 9
    assert found.se_ZK[0, 0] == pytest.approx(np.sqrt(variance))
    # Wilson, 95 %: 4 of 5 is 0.376 to 0.964, 0 of 4 is 0 to 0.490, 2 of 5 is 0.118 to 0.769.
    low, high = 0.6 * (0.8 - 0.3755), np.hypot(0.6 * (0.9638 - 0.8), 0.4 * 0.4899)
    assert found.low_ZK[0, 0] == pytest.approx(0.48 - low, abs=2e-4)
    assert found.high_ZK[0, 0] == pytest.approx(0.48 + high, abs=2e-4)
    # Half of the second zone has no unit and may be anything.
    assert found.low_ZK[1, 0] == pytest.approx(0.2 - 0.5 * (0.4 - 0.1176), abs=2e-4)
    assert found.high_ZK[1, 0] == pytest.approx(0.2 + 0.5 * (0.7693 - 0.4) + 0.5, abs=2e-4)


def test_a_zone_with_all_units_has_the_interval_of_the_whole_map() -> None:
    counts = np.array([[66, 4, 5], [3, 80, 1], [0, 2, 70]])
    weight = np.array([0.5, 0.3, 0.2])
    whole = stratified(counts, weight, LEVEL)
    zone = composite(counts[None], counts, weight[None], LEVEL)
    for one, other in zip(whole.interval(), (zone.low_ZK[0], zone.high_ZK[0]), strict=True):
        np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(zone.share_ZK[0], whole.share_K)


@st.composite
def _samples(draw):
    units = draw(arrays.arrays(np.int64, (4, 3, 3), elements=st.integers(0, 6)))
    ha = draw(arrays.arrays(np.float64, (4, 3), elements=st.integers(0, 100).map(float)))
    ha[ha.sum(axis=1) == 0, 0] = 1.0
    units[ha == 0] = 0  # no unit where nothing is mapped
    return units, ha


@given(_samples(), st.booleans())
def test_shares_of_a_zone_sum_to_one_and_lie_in_their_interval(sample, placed) -> None:
    units, ha = sample
    counts = units.sum(axis=0)
    weight = ha / ha.sum(axis=1, keepdims=True)
    found = [anywhere(counts, ha, ha.sum(axis=0), LEVEL)]
    found += [composite(units, counts, weight, LEVEL), one_more_cluster(units, weight, LEVEL)]
    for shares in found:
        np.testing.assert_allclose(shares.share_ZK.sum(axis=1), 1)
        assert (shares.low_ZK >= 0).all()
        assert (shares.high_ZK <= 1).all()
        assert (shares.low_ZK <= shares.share_ZK + 1e-9).all()
        assert (shares.high_ZK >= shares.share_ZK - 1e-9).all()


@given(_samples(), st.integers(2, 20))
def test_more_units_of_the_same_kind_make_narrower_intervals(sample, times) -> None:
    units, ha = sample[0][:1], sample[1][:1]
    weight = ha / ha.sum()
    few, many = (composite(n, n[0], weight, LEVEL) for n in (units, units * times))
    assert ((many.high_ZK - many.low_ZK) <= (few.high_ZK - few.low_ZK) + 1e-9).all()


def test_zones_without_a_pixel_have_no_estimate() -> None:
    units = np.ones((2, 2, 2), np.int64)
    weight = np.array([[0.5, 0.5], [np.nan, np.nan]])
    for shares in (
        composite(units, units.sum(axis=0), weight, LEVEL),
        one_more_cluster(units, weight, LEVEL),
    ):
        assert all(np.isnan(values[1]).all() for values in astuple(shares))
        assert all(np.isfinite(values[0]).all() for values in astuple(shares))


def test_likeness_tells_zones_that_differ_from_zones_that_do_not() -> None:
    rng = np.random.default_rng(5)
    same = rng.multinomial(20, [0.7, 0.3], size=(200, 1))
    apart = np.stack([rng.multinomial(20, p) for p in rng.dirichlet([1.4, 0.6], size=200)])[:, None]
    whole = np.stack([[20, 0] if n % 10 < 7 else [0, 20] for n in range(200)])[:, None]
    # Dirichlet of total 2: two units of a zone are alike by 1 / 3.
    for rates, expected, margin in ((same, 0, 0.03), (apart, 1 / 3, 0.07), (whole, 1, 1e-9)):
        units = np.zeros((200, 2, 2), np.int64)
        units[:, 0] = rates[:, 0]
        assert likeness(units)[0] == pytest.approx(expected, abs=margin)


def test_bounds_without_places_by_hand() -> None:
    """100 ha mapped as field, of which 90 in the zone: what the rest has no room for is certain."""
    counts = np.array([[80, 20], [5, 95]])
    ha, whole = np.array([[90.0, 0.0], [10.0, 100.0]]), np.array([100.0, 100.0])
    found = anywhere(counts, ha, whole, LEVEL)
    # Wilson: 80 of 100 is 0.7112 to 0.8666; 5 of 100 is 0.0215 to 0.1118.
    assert found.share_ZK[0] == pytest.approx([0.8, 0.2])
    assert found.low_ZK[0, 0] * 90 == pytest.approx(71.12 - 10, abs=0.02)
    assert found.high_ZK[0, 0] * 90 == pytest.approx(86.66, abs=0.02)
    assert found.low_ZK[1, 0] * 110 == pytest.approx(2.15, abs=0.02)
    assert found.high_ZK[1, 0] * 110 == pytest.approx(10 + 11.18, abs=0.02)
    assert np.isnan(found.se_ZK).all()


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cluster"):
        one_more_cluster(np.ones((1, 2, 2), np.int64), np.array([[0.5, 0.5]]), LEVEL)


def test_a_mapped_class_without_units_may_be_anything_in_a_zone() -> None:
    units = np.zeros((3, 2, 2), np.int64)
    units[:, 0] = [[9, 1], [8, 2], [9, 1]]
    weight = np.array([[0.7, 0.3]] * 3)
    for shares in (
        composite(units, units.sum(axis=0), weight, LEVEL),
        one_more_cluster(units, weight, LEVEL),
        anywhere(units.sum(axis=0), weight, weight.sum(axis=0), LEVEL),
    ):
        assert (shares.high_ZK[:, 0] >= 0.7 * 0.8 + 0.3).all()
        assert (shares.low_ZK[:, 1] <= 0.7 * 0.2).all()


SIDE, ZONES_ACROSS, PATCH = 240, 6, 12
CLASSES = 5


def _land(rng: np.random.Generator) -> np.ndarray:
    """Pixels of 36 zones by map class and true class, (Z, K, K).

    Mapped in patches of 12 pixels. Errors fill patches of 6, and a zone has its own error rates,
    from none to most; class 3 is never mapped, class 4 mapped everywhere and there in few zones.
    """
    across = SIDE // PATCH
    mapped = rng.choice(CLASSES, (across, across), p=[0.4, 0.3, 0.2, 0.0, 0.1])
    mapped = np.kron(mapped, np.ones((PATCH, PATCH), int))
    edges = np.arange(SIDE) * ZONES_ACROSS // SIDE
    zone = edges[:, None] * ZONES_ACROSS + edges
    wrong = rng.beta(0.4, 1.2, ZONES_ACROSS**2)[zone]
    wrong = np.where(mapped == 4, (rng.random(ZONES_ACROSS**2) < 0.7)[zone], wrong)
    half = np.kron(rng.random((2 * across, 2 * across)), np.ones((PATCH // 2, PATCH // 2)))
    other = rng.choice(CLASSES, (2 * across, 2 * across), p=[0.35, 0.3, 0.2, 0.15, 0.0])
    true = np.where(half < wrong, np.kron(other, np.ones((PATCH // 2, PATCH // 2), int)), mapped)
    counts = np.zeros((ZONES_ACROSS**2, CLASSES, CLASSES), np.int64)
    np.add.at(counts, (zone, mapped, true), 1)
    return counts


def _draw(rng: np.random.Generator, land_ZKK: np.ndarray, each: int) -> np.ndarray:
    """A sample of `each` pixels per mapped class, with their zones."""
    units = np.zeros_like(land_ZKK)
    for k in range(land_ZKK.shape[1]):
        cells = land_ZKK[:, k]
        if cells.any():
            drawn = rng.multivariate_hypergeometric(cells.ravel(), each, method="marginals")
            units[:, k] = drawn.reshape(cells.shape)
    return units


@pytest.mark.parametrize("each", [20, 100, 400])
def test_intervals_of_zones_hold_what_they_claim(each: int) -> None:
    """15 lands with zones unlike each other; 3, 11 and 44 units a zone on average.

    Places make them hold and carry information, bounds without places hold and carry next to none,
    rates of the whole claim what they cannot know.
    """
    rng = np.random.default_rng(each)
    kinds = ("places", "bounds", "rates of the whole")
    held, width = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    error, synthetic, cells, sparse, sparse_cells = 0.0, 0.0, 0, 0, 0
    for _ in range(15):
        land = _land(rng)
        pixels = land.sum(axis=2).astype(float)
        weight = pixels / pixels.sum(axis=1, keepdims=True)
        truth = land.sum(axis=1) / pixels.sum(axis=1, keepdims=True)
        present = (truth > 0) | (pixels > 0)
        units = _draw(rng, land, each)
        counts = units.sum(axis=0)
        placed = composite(units, counts, weight, LEVEL)
        plain = anywhere(counts, pixels, pixels.sum(axis=0), LEVEL)
        whole = [stratified(counts, w, LEVEL).interval() for w in weight]
        sides = ((placed.low_ZK, placed.high_ZK), (plain.low_ZK, plain.high_ZK),
                 tuple(np.array(side) for side in zip(*whole, strict=True)))  # fmt: skip
        for kind, (low, high) in zip(kinds, sides, strict=True):
            inside = (low <= truth + 1e-9) & (truth <= high + 1e-9)
            held[kind] += inside[present].sum()
            width[kind] += (high - low)[present].sum()
            if kind == "places":
                few = present & (units.sum(axis=(1, 2)) <= 5)[:, None]
                sparse, sparse_cells = sparse + inside[few].sum(), sparse_cells + few.sum()
        cells += int(present.sum())
        error += ((placed.share_ZK - truth)[present] ** 2).sum()
        synthetic += ((plain.share_ZK - truth)[present] ** 2).sum()
    assert held["places"] / cells >= 0.93
    assert held["bounds"] / cells >= 0.95
    assert held["rates of the whole"] / cells < 0.75
    assert width["places"] / cells < {20: 0.9, 100: 0.55, 400: 0.3}[each]
    assert width["places"] < width["bounds"]
    # A zone of two units is not told from the others; with more, places are worth it.
    assert error < {20: 1.15, 100: 0.9, 400: 0.45}[each] * synthetic
    if sparse_cells:
        assert sparse / sparse_cells >= 0.93


def _cluster(rng: np.random.Generator, count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Confusions of clusters whose error rates differ, the more so the smaller `spread`."""
    base = np.array([[0.85, 0.1, 0.05], [0.08, 0.87, 0.05], [0.04, 0.06, 0.9]])
    rates = np.stack([[rng.dirichlet(spread * row) for row in base] for _ in range(count)])
    counts = np.zeros((count, 3, 3), np.int64)
    for d, shares in enumerate(rng.dirichlet([4, 4, 4], size=count)):
        for i, size in enumerate(rng.multinomial(4_000, shares)):
            counts[d, i] = rng.multinomial(size, rates[d, i])
    return counts, rates


@pytest.mark.parametrize("clusters", [2, 3, 10, 40])
@pytest.mark.parametrize("spread", [12, 3])
def test_intervals_from_clusters_hold_for_zones_that_are_like_clusters(clusters, spread) -> None:
    """Claims 95 %. Rates are skewed where they vary much, and t intervals a little short."""
    rng = np.random.default_rng(clusters)
    held, total = 0, 0
    for _ in range(60):
        counts, _ = _cluster(rng, clusters, spread)
        _, rates = _cluster(rng, 5, spread)
        weight = rng.dirichlet([4, 4, 4], size=5)
        truth = np.einsum("zh,zhk->zk", weight, rates)
        found = one_more_cluster(counts, weight, LEVEL)
        held += int(((found.low_ZK <= truth) & (truth <= found.high_ZK)).sum())
        total += truth.size
    assert held / total >= (0.92 if spread == 12 else 0.89)
