"""Groups to parts, so that each part looks like the whole: in size and in every class.

Shapes: G groups, F features (share of all patches, of all pixels of each class), P parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STARTS, _MOST_MOVES = 8, 500
# Pairs are as many as the square of the groups; where there are more, moves alone come close.
_MOST_GROUPS_TO_SWAP = 600
_GAIN = 1e-12


def assign_groups(
    features_GF: NDArray[np.float64],
    weights_F: NDArray[np.float64],
    targets_P: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int64]:
    """Part of each group, (G,), none of them empty; needs at least as many groups as parts.

    `features_GF` sum to 1 over the groups. Minimised is the weighted square distance of each part's
    share of each feature from the part's target. Groups that matter most are placed first, each
    where it helps most; then single groups move, and few enough also change places, as long as
    that helps. Several orders are tried and the best kept: the same seed gives the same parts.
    """
    assert len(features_GF) >= len(targets_P)
    rng = np.random.default_rng(seed)
    best: tuple[float, NDArray[np.int64]] | None = None
    for _ in range(_STARTS):
        # Noise lets groups of about the same weight change places.
        weight = features_GF.max(axis=1) * rng.uniform(0.5, 1.5, len(features_GF))
        parts = _place(features_GF, weights_F, targets_P, np.argsort(-weight, kind="stable"))
        parts = _improve(features_GF, weights_F, targets_P, parts)
        cost = _cost(_totals(features_GF, parts, len(targets_P)), weights_F, targets_P).sum()
        if best is None or cost < best[0] - _GAIN:
            best = float(cost), parts
    assert best is not None
    return best[1]


def _cost(
    totals_PF: NDArray[np.float64], weights_F: NDArray[np.float64], targets_P: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each part's distance from its target costs, (…, P)."""
    apart = totals_PF - targets_P[:, None]
    return np.asarray((weights_F * apart**2).sum(axis=-1) / targets_P)


def _totals(
    features_GF: NDArray[np.float64], parts: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    totals = np.zeros((count, features_GF.shape[1]))
    np.add.at(totals, parts, features_GF)
    return totals


def _place(
    features_GF: NDArray[np.float64],
    weights_F: NDArray[np.float64],
    targets_P: NDArray[np.float64],
    order: NDArray[np.int64],
) -> NDArray[np.int64]:
    totals = np.zeros((len(targets_P), features_GF.shape[1]))
    parts = np.zeros(len(features_GF), dtype=np.int64)
    cost = _cost(totals, weights_F, targets_P)
    for done, group in enumerate(order.tolist()):
        after = _cost(totals + features_GF[group], weights_F, targets_P)
        change = after - cost
        empty = np.flatnonzero(~totals.any(axis=1))
        if len(order) - done <= len(empty):
            # What is left is just enough to fill the empty parts.
            part = int(empty[np.argmin(change[empty])])
        else:
            part = int(np.argmin(change))
        parts[group] = part
        totals[part] += features_GF[group]
        cost[part] = after[part]
    return parts


def _improve(
    features_GF: NDArray[np.float64],
    weights_F: NDArray[np.float64],
    targets_P: NDArray[np.float64],
    parts: NDArray[np.int64],
) -> NDArray[np.int64]:
    parts = parts.copy()
    totals = _totals(features_GF, parts, len(targets_P))
    swaps = len(parts) <= _MOST_GROUPS_TO_SWAP
    gram_GG = features_GF * weights_F @ features_GF.T if swaps else None
    for _ in range(_MOST_MOVES):
        group, part, gain = _best_move(features_GF, weights_F, targets_P, totals, parts)
        change = {group: part}
        if gain > -_GAIN and gram_GG is not None:
            one, other, gain = _best_swap(features_GF, weights_F, targets_P, totals, parts, gram_GG)
            change = {one: int(parts[other]), other: int(parts[one])}
        if gain > -_GAIN:
            break
        for group, part in change.items():
            totals[parts[group]] -= features_GF[group]
            totals[part] += features_GF[group]
            parts[group] = part
    return parts


def _best_move(
    features_GF: NDArray[np.float64],
    weights_F: NDArray[np.float64],
    targets_P: NDArray[np.float64],
    totals_PF: NDArray[np.float64],
    parts: NDArray[np.int64],
) -> tuple[int, int, float]:
    """Group, part and change in cost of the best move; the last group of a part stays."""
    rows = np.arange(len(parts))
    cost = _cost(totals_PF, weights_F, targets_P)
    leave, join = (
        np.stack(
            [
                _cost_of(totals_PF[p] + sign * features_GF, weights_F, target)
                for p, target in enumerate(targets_P)
            ],
            axis=1,
        )
        for sign in (-1.0, 1.0)
    )
    change = (join - cost) + (leave - cost)[rows, parts][:, None]
    change[rows, parts] = np.inf
    change[np.bincount(parts, minlength=len(targets_P))[parts] == 1] = np.inf
    group, part = np.unravel_index(int(np.argmin(change)), change.shape)
    return int(group), int(part), float(change[group, part])


def _best_swap(
    features_GF: NDArray[np.float64],
    weights_F: NDArray[np.float64],
    targets_P: NDArray[np.float64],
    totals_PF: NDArray[np.float64],
    parts: NDArray[np.int64],
    gram_GG: NDArray[np.float64],
) -> tuple[int, int, float]:
    """Two groups of different parts and the change in cost if they change places.

    Of a quadratic cost the change is a linear term, from how far each part is off, and the squared
    distance of the two groups, which `gram_GG` gives.
    """
    rows = np.arange(len(parts))
    off = (totals_PF - targets_P[:, None]) / targets_P[:, None]
    linear = features_GF * weights_F @ off.T
    own = linear[rows, parts]
    there = linear[:, parts]  # of a group, in the part of another
    square = np.diag(gram_GG)
    apart = square[:, None] + square[None, :] - 2 * gram_GG
    inverse = 1 / targets_P[parts]
    change = 2 * (there + there.T - own[:, None] - own[None, :])
    change += apart * (inverse[:, None] + inverse[None, :])
    change[parts[:, None] == parts[None, :]] = np.inf
    one, other = np.unravel_index(int(np.argmin(change)), change.shape)
    return int(one), int(other), float(change[one, other])


def _cost_of(
    totals_GF: NDArray[np.float64], weights_F: NDArray[np.float64], target: float
) -> NDArray[np.float64]:
    return np.asarray((totals_GF - target) ** 2 @ weights_F / target)
