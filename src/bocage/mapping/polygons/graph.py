"""Graphs as arrays: components, chains and ragged lists, without a loop over their members."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def components(count: int, first: Ints, second: Ints) -> Ints:
    """Component of each of `count` members, given pairs that belong together.

    Components are numbered from 0 in the order of their smallest member. Every round hangs each
    component that has a smaller neighbour onto the smallest one, so that at least half vanish.
    """
    parent = np.arange(count)
    while len(first):
        np.minimum.at(parent, np.maximum(first, second), np.minimum(first, second))
        while True:
            above = parent[parent]
            if np.array_equal(above, parent):
                break
            parent = above
        first, second = parent[first], parent[second]
        apart = first != second
        first, second = first[apart], second[apart]
    number = np.cumsum(parent == np.arange(count)) - 1
    return np.asarray(number[parent])


def chains(following: Ints) -> tuple[Ints, Ints, Ints]:
    """Order members that name their follower (-1: none) along the chains that they form.

    A closed chain begins at its smallest member. Returns all members chain by chain, each chain's
    place in that list, and its length. Ranks come from pointer doubling: a round doubles how far
    every member has looked back.
    """
    count = len(following)
    before = np.full(count, -1)
    has_next = np.flatnonzero(following >= 0)
    before[following[has_next]] = has_next
    open_, closed = _look_back(before)
    if len(closed):
        smallest, back = np.arange(count), before.copy()
        while True:
            # A round without a change proves that all have seen their whole circle.
            seen = np.minimum(smallest[closed], smallest[back[closed]])
            back[closed] = back[back[closed]]
            if np.array_equal(seen, smallest[closed]):
                break
            smallest[closed] = seen
        before[closed[smallest[closed] == closed]] = -1
        open_, _ = _look_back(before)
    head, rank = open_
    lengths_by_head = np.bincount(head, minlength=count)
    heads = np.flatnonzero(lengths_by_head)
    lengths = lengths_by_head[heads]
    starts = np.cumsum(lengths) - lengths
    start_by_head = np.zeros(count, np.int64)
    start_by_head[heads] = starts
    members = np.empty(count, np.int64)
    members[start_by_head[head] + rank] = np.arange(count)
    return members, starts, lengths


def _look_back(before: Ints) -> tuple[tuple[Ints, Ints], Ints]:
    """First member and distance to it for all members of open chains; members of closed ones."""
    is_head = before < 0
    back = np.where(is_head, np.arange(len(before)), before)
    rank = (~is_head).astype(np.int64)
    active = np.flatnonzero(~is_head[back])
    for _ in range(math.ceil(math.log2(len(before) + 1)) + 1):
        if not len(active):
            break
        via = back[active]
        rank[active] += rank[via]
        back[active] = back[via]
        active = active[~is_head[back[active]]]
    return (back, rank), active


def ranges(starts: Ints, counts: Ints) -> Ints:
    """`counts[i]` whole numbers from `starts[i]` on, for all i one after another.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - counts - starts, counts)


def first_of_each(sorted_keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Which members of a sorted list differ from the one before."""
    fresh = np.ones(len(sorted_keys), bool)
    fresh[1:] = sorted_keys[1:] != sorted_keys[:-1]
    return fresh
