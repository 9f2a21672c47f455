"""Area estimates: the published example, and intervals that hold what they claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bocage.mapping.estimates import clustered, stratified, student_quantile

pytestmark = pytest.mark.unit

# Olofsson et al. 2014, Table 8: deforestation, forest gain, stable forest, stable non-forest.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
TOTAL, PIXEL_HA = PIXELS.sum(), 0.09
WEIGHTS = PIXELS / PIXELS.sum()


def test_the_worked_example_of_olofsson_2014() -> None:
    estimate = stratified(COUNTS, WEIGHTS, 0.95)
    # 235,086 ± 68,418 pixels, and the 21,158 ± 6,158 hectares that they are.
    assert estimate.share_K[0] * TOTAL == pytest.approx(235_086, abs=1)
    assert estimate.share_K[0] * TOTAL * PIXEL_HA == pytest.approx(21_158, abs=1)
    assert 1.96 * estimate.se_K[0] * TOTAL == pytest.approx(68_418, abs=1)
    low, high = estimate.interval()
    # Theirs is symmetric. Ours leans upwards: one of 325 units may as well stand for a hundredth.
    ours = np.array([estimate.share_K[0] - low[0], high[0] - estimate.share_K[0]])
    assert ours * TOTAL * PIXEL_HA == pytest.approx([3_400, 12_260], rel=0.01)
    np.testing.assert_allclose(estimate.users_K, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(1.96 * estimate.users_se_K, [0.07, 0.10, 0.04, 0.02], atol=0.005)
    np.testing.assert_allclose(estimate.producers_K, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    assert 1.96 * estimate.producers_se_K[0] == pytest.approx(0.21, abs=0.005)
    assert estimate.overall == pytest.approx(0.95, abs=0.005)
    assert 1.96 * estimate.overall_se == pytest.approx(0.02, abs=0.005)
    assert estimate.design_effect == 1.0


@given(arrays.arrays(np.int64, (3, 3), elements=st.integers(0, 50)), st.integers(0, 2))
def test_shares_sum_to_one_and_lie_in_their_interval(counts, empty) -> None:
    weights = np.array([0.5, 0.3, 0.2])
    counts[empty] = 0
    estimate = stratified(counts, weights, 0.9)
    low, high = estimate.interval()
    assert estimate.share_K.sum() == pytest.approx(1)
    assert (low <= estimate.share_K + 1e-12).all()
    assert (high >= estimate.share_K - 1e-12).all()


def test_a_class_that_nobody_validated_could_be_anything() -> None:
    counts = COUNTS.copy()
    counts[1] = 0
    estimate = stratified(counts, WEIGHTS, 0.95)
    assert estimate.open_K.tolist() == [0, WEIGHTS[1], 0, 0]
    assert np.isnan(estimate.users_K[1])
    full, (low, high) = stratified(COUNTS, WEIGHTS, 0.95), estimate.interval()
    assert low[1] < full.share_K[1] < high[1]
    assert estimate.overall == pytest.approx(0.95, abs=0.005)  # of what is validated
    worst, best = estimate.overall_interval()
    known = 1 - WEIGHTS[1]
    assert worst < known * estimate.overall < known * estimate.overall + WEIGHTS[1] < best
    assert full.overall_interval() > (worst, 0)
    assert full.overall_interval()[1] < best
    assert high[0] > full.interval()[1][0]


def test_an_accuracy_from_single_units_is_not_exact() -> None:
    once = stratified(np.eye(4, dtype=int), WEIGHTS, 0.95)
    assert np.isnan(once.overall)
    assert once.overall_interval() == (0, 1)
    right = stratified(2 * np.eye(4, dtype=int), WEIGHTS, 0.95)
    assert right.overall == pytest.approx(1)
    assert 0.3 < right.overall_interval()[0] < 0.7  # Wilson: 0.34 for two of two
    apart = np.zeros((3, 4, 4), int)
    apart[:, 2, 2] = (5, 6, 7)
    low, high = clustered(apart, WEIGHTS, 0.95).overall_interval()
    assert (low, high) == (pytest.approx(WEIGHTS[2]), pytest.approx(1))


def test_student_quantiles_are_those_of_the_tables() -> None:
    for dof, expected in ((1, 12.7062), (4, 2.7764), (30, 2.0423), (1000, 1.9623)):
        assert student_quantile(0.95, dof) == pytest.approx(expected, abs=1e-3)
    assert student_quantile(0.9, 10) == pytest.approx(1.8125, abs=1e-3)


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cluster"):
        clustered(COUNTS[None], WEIGHTS, 0.95)


def test_clusters_of_one_unit_are_independent_units() -> None:
    """Where every cluster holds one unit, both variances are the same up to n / (n - 1)."""
    units = [(i, j) for i in range(4) for j in range(4) for _ in range(COUNTS[i, j])]
    counts = np.zeros((len(units), 4, 4), np.int64)
    for number, place in enumerate(units):
        counts[number, *place] = 1
    apart, together = clustered(counts, WEIGHTS, 0.95), stratified(COUNTS, WEIGHTS, 0.95)
    np.testing.assert_allclose(apart.share_K, together.share_K)
    np.testing.assert_allclose(apart.se_K, together.se_K, rtol=0.01)
    np.testing.assert_allclose(apart.producers_se_K, together.producers_se_K, rtol=0.01)
    np.testing.assert_allclose(apart.users_se_K, together.users_se_K, rtol=0.01)
    assert apart.overall_se == pytest.approx(together.overall_se, rel=0.01)
    assert apart.design_effect == pytest.approx(1, abs=0.02)


def test_the_interval_contains_the_truth_as_often_as_it_claims() -> None:
    """600 stratified samples of 800 points of one population; 95 % ± 3 % hold each class."""
    rng = np.random.default_rng(1)
    rates = np.array([[0.85, 0.1, 0.05], [0.08, 0.87, 0.05], [0.04, 0.06, 0.9]])
    weights = np.array([0.15, 0.35, 0.5])
    truth = weights @ rates
    held = np.zeros(3)
    for _ in range(600):
        counts = rng.multinomial((200, 200, 400), rates)
        low, high = stratified(counts, weights, 0.95).interval()
        held += (low <= truth) & (truth <= high)
    assert (np.abs(held / 600 - 0.95) < 0.03).all()


def test_the_interval_of_a_class_that_hides_holds_the_truth_too() -> None:
    """0.3 % of a stratum of nine tenths, 100 units a stratum: three samples in four miss it."""
    rng = np.random.default_rng(4)
    rates = np.array([[0.996, 0.001, 0.003], [0.06, 0.94, 0.0], [0.0, 0.0, 1.0]])
    weights = np.array([0.9, 0.1, 0.0])
    truth = weights @ rates
    held, symmetric = np.zeros(3), np.zeros(3)
    for _ in range(600):
        counts = rng.multinomial((100, 100, 0), rates)
        estimate = stratified(counts, weights, 0.95)
        low, high = estimate.interval()
        held += (low <= truth) & (truth <= high)
        symmetric += np.abs(truth - estimate.share_K) <= 1.96 * estimate.se_K
    assert symmetric[2] / 600 < 0.35
    assert (held / 600 > 0.92).all()


def _clusters(rng: np.random.Generator, count: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Confusions of patches whose error rates differ, and these rates."""
    base = np.array([[0.85, 0.1, 0.05], [0.08, 0.87, 0.05], [0.04, 0.06, 0.9]])
    rates = np.stack([[rng.dirichlet(12 * row) for row in base] for _ in range(count)])
    shares = rng.dirichlet([4, 4, 4], size=count)
    counts = np.zeros((count, 3, 3), np.int64)
    for d in range(count):
        for i, size in enumerate(rng.multinomial(pixels, shares[d])):
            counts[d, i] = rng.multinomial(size, rates[d, i])
    return counts, rates


def test_pixels_of_patches_need_the_clustered_interval() -> None:
    """40 patches of 10,000 pixels: taken as pixels the interval is far too narrow."""
    rng = np.random.default_rng(2)
    weights = np.array([0.2, 0.3, 0.5])
    truth = weights @ np.array([[0.85, 0.1, 0.05], [0.08, 0.87, 0.05], [0.04, 0.06, 0.9]])
    held, naive, effects = np.zeros(3), np.zeros(3), []
    for _ in range(200):
        counts, _ = _clusters(rng, 40, 10_000)
        estimate = clustered(counts, weights, 0.95)
        low, high = estimate.interval()
        held += (low <= truth) & (truth <= high)
        low, high = stratified(counts.sum(axis=0), weights, 0.95).interval()
        naive += (low <= truth) & (truth <= high)
        effects.append(estimate.design_effect)
    assert (held / 200 > 0.9).all()
    assert (naive / 200 < 0.3).all()
    assert np.median(effects) > 100
