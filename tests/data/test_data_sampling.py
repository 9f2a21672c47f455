"""Draws: as often as asked, the same anywhere, nothing lost, nothing repeated."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from bocage.data.index import PatchIndex
from bocage.data.loader import BatchOrder, PatchLoader, epoch_order, generators
from bocage.data.record import PatchRecord
from bocage.data.sampling import SamplingConfig, draw_weights
from bocage.errors import ConfigError, DataError
from bocage.nomenclatures import CROPS

GRASS, WHEAT, RICE = 0, 1, 5


def index_of(*patches: tuple[str, dict[int, int]]) -> PatchIndex:
    records = []
    for number, (domain, pixels) in enumerate(patches):
        counts = np.zeros(CROPS.num_classes, np.int64)
        for crop, count in pixels.items():
            counts[crop] = count
        records.append(
            PatchRecord(f"p{number}", domain, "r", 2021, class_counts={CROPS.name: counts})
        )
    return PatchIndex.from_records(records, "flair-hub")


COMMON = [("D1", {GRASS: 900, WHEAT: 100})] * 95
RARE = [("D2", {GRASS: 500, RICE: 500})] * 5
INDEX = index_of(*COMMON, *RARE)


def drawn(config: SamplingConfig, draws: int = 1000, index: PatchIndex = INDEX) -> np.ndarray:
    return epoch_order(len(index), 1, 0, draw_weights(index, config), draws)


@pytest.mark.unit
def test_a_rare_class_is_seen_as_often_as_asked() -> None:
    seen = drawn(SamplingConfig(at_least={"crops": {"rice": 0.3}}))
    assert (seen >= 95).mean() == pytest.approx(0.3, abs=0.002)
    counts = Counter(seen.tolist())
    # Within a group all patches come alike, up to rounding.
    assert {counts[i] for i in range(95)} <= {7, 8}
    assert {counts[i] for i in range(95, 100)} <= {59, 60, 61}
    assert draw_weights(INDEX, SamplingConfig(at_least={"crops": {"rice": 0.01}})).std() < 1e-12


@pytest.mark.unit
def test_several_shares_hold_together() -> None:
    index = index_of(*COMMON, *RARE, *[("D3", {GRASS: 1000})] * 2)
    counts = index.class_counts(CROPS.name)
    for asked in ({"rice": 0.3, "wheat": 0.3}, {"rice": 0.3, "wheat": 0.6}):
        weights = draw_weights(index, SamplingConfig(at_least={"crops": asked}))
        assert weights.sum() == pytest.approx(1)
        for crop, name in ((RICE, "rice"), (WHEAT, "wheat")):
            assert weights[counts[:, crop] > 0].sum() > asked[name] - 1e-3
    with pytest.raises(ConfigError, match=r"cannot be met together.*'rice'"):
        draw_weights(index, SamplingConfig(at_least={"crops": {"rice": 0.6, "wheat": 0.7}}))


@pytest.mark.unit
def test_classes_and_domains_are_evened_out() -> None:
    asked = SamplingConfig(classes={"crops": 1.0})
    weights = draw_weights(INDEX, asked)
    # Three classes alike: a third of the draws is made for rice, and grass is in all patches.
    grass = INDEX.class_counts(CROPS.name)[:, GRASS]
    made_for_rice = 1 / 3 + (1 / 3) * grass[95:].sum() / grass.sum()
    assert weights[95:].sum() == pytest.approx(made_for_rice, rel=1e-6)
    half = draw_weights(INDEX, SamplingConfig(classes={"crops": 0.5}))
    assert 0.05 < half[95:].sum() < weights[95:].sum()
    assert draw_weights(INDEX, SamplingConfig(domains=1.0))[95:].sum() == pytest.approx(0.5)
    assert draw_weights(INDEX, SamplingConfig(classes={"crops": 0.0})) is None


@pytest.mark.unit
def test_hard_patches_come_more_often() -> None:
    config = SamplingConfig(hardness=1.0)
    assert np.ptp(draw_weights(INDEX, config)) == 0
    wrong = np.full(100, np.nan)
    wrong[:10], wrong[10:20] = 0.8, 0.1
    weights = draw_weights(INDEX, config, wrong=wrong)
    assert weights[0] == pytest.approx(weights[10] * 0.82 / 0.12)
    assert weights[10] < weights[50] < weights[0]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"at_least": {"crops": {"ryce": 0.1}}}, "unknown class of ALL_LABEL-LPIS 'ryce'; did"),
        ({"at_least": {"crops": {"soy": 0.1}}}, "no training patch holds 'soy'"),
        ({"classes": {"land-cover": 1.0}}, "no class counts of AERIAL_LABEL-COSIA"),
        ({"classes": {"corps": 1.0}}, "unknown task 'corps'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_weights(INDEX, SamplingConfig(**config))


@pytest.mark.unit
def test_shares_are_shares() -> None:
    for config in ({"classes": {"crops": 2}}, {"at_least": {"crops": {"rice": 1}}}):
        with pytest.raises(ValueError, match=r"from 0 to 1|between 0 and 1"):
            SamplingConfig(**config)


@pytest.mark.property
@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 5), st.integers(0, 9))
def test_no_patch_is_lost_or_repeated_on_any_number_of_ranks(
    count: int, batch: int, ranks: int, epoch: int
) -> None:
    if count < -(-count // (batch * ranks)) * ranks:
        with pytest.raises(ConfigError, match="too few for"):
            BatchOrder(count, batch, 3, shuffle=True, ranks=ranks)
        return
    orders = [BatchOrder(count, batch, 3, shuffle=True, rank=r, ranks=ranks) for r in range(ranks)]
    for order in orders:
        order.epoch = epoch
    batches = [list(order) for order in orders]
    assert len({len(own) for own in batches}) == 1
    everything = [patch for own in batches for one in own for patch in one]
    assert sorted(everything) == list(range(count))
    sizes = [len(one) for own in batches for one in own]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    # What is seen does not depend on the number of ranks, and places name each draw once.
    alone = epoch_order(count, 3, epoch, None, None)
    for order, own in zip(orders, batches, strict=True):
        for step, one in enumerate(own):
            assert alone[list(order.places(step))].tolist() == one


@pytest.mark.property
@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 50), st.integers(0, 5))
def test_draws_follow_the_weights(count: int, draws: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random(count) ** 3
    weights /= weights.sum()
    seen = np.bincount(epoch_order(count, seed, 0, weights, draws), minlength=count)
    assert seen.sum() == draws
    assert (np.abs(seen - weights * draws) < 1 + 1e-9).all()
    every = np.bincount(epoch_order(count, seed, 0, None, draws), minlength=count)
    assert every.max() - every.min() <= 1


class Numbers(Dataset):
    def __len__(self) -> int:
        return 23

    def __getitem__(self, position: int) -> int:
        return position


def loader(workers: int = 0, weigh=None, threads: int = 0, **options) -> PatchLoader:
    order = BatchOrder(23, 4, 5, shuffle=True, **options)
    return PatchLoader(
        Numbers(), order, weigh, threads=threads, num_workers=workers, collate_fn=list
    )


@pytest.mark.unit
def test_an_interrupted_epoch_goes_on_behind_the_last_batch() -> None:
    whole = loader()
    expected = [[batch for batch in whole] for _ in range(3)]  # noqa: C416
    assert expected[0] != expected[1]
    for stop in range(7):
        first = loader()
        batches = iter(first)
        before = [next(batches) for _ in range(stop)] if stop < 6 else list(batches)
        second = loader(workers=2 if stop == 3 else 0, threads=stop % 3)
        second.load_state_dict(first.state_dict())
        after = list(second)
        if stop == 6:
            # Stopped behind the last batch: what follows is the next epoch.
            assert (before, after) == (expected[0], expected[1])
        else:
            assert before + after == expected[0]
            assert list(second) == expected[1]


class Slow(Numbers):
    """Early numbers take longest; the 13th cannot be read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, position: int) -> int:
        time.sleep(0.002 * (23 - position))
        self.read.append(position)
        if position == 13:
            raise DataError("patch 13 is broken")
        return position


@pytest.mark.unit
def test_threads_keep_the_order_read_ahead_and_raise_in_turn() -> None:
    data = Slow()
    order = BatchOrder(23, 4, 5, shuffle=False)
    batches = iter(PatchLoader(data, order, threads=3, collate_fn=list))
    assert next(batches) == [0, 1, 2, 3]
    assert next(batches) == [4, 5, 6, 7]
    assert len(data.read) > 8, "nothing was read ahead"
    assert next(batches) == [8, 9, 10, 11]
    with pytest.raises(DataError, match="patch 13 is broken"):
        next(batches)


@pytest.mark.unit
def test_threads_end_with_whoever_stops_early() -> None:
    loader = PatchLoader(Slow(), BatchOrder(23, 4, 5, shuffle=False), threads=2, collate_fn=list)
    for _ in loader:
        break
    ends = time.monotonic() + 10
    while any(t.name.startswith("reader") for t in threading.enumerate()):
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.unit
def test_draws_are_named_and_weights_hold_for_an_epoch() -> None:
    calls = []

    def weigh() -> np.ndarray:
        calls.append(len(calls))
        weights = np.full(23, 1.0)
        weights[len(calls)] = 50.0
        return weights / weights.sum()

    one = loader(weigh=weigh)
    batches = iter(one)
    first = next(batches)
    assert one.last.patches.tolist() == first
    assert (one.last.epoch, one.last.places) == (0, range(4))
    other = loader(weigh=weigh)
    other.load_state_dict(one.state_dict())
    rest, again = list(batches), list(other)
    assert rest == again
    assert calls == [0]
    assert sum(batch.count(1) for batch in [first, *rest]) > 10
    assert sum(batch.count(2) for batch in other) > 10


@pytest.mark.unit
def test_each_draw_has_its_own_numbers_wherever_it_lands() -> None:
    numbers = [torch.rand(3, generator=g).tolist() for g in generators(1, 2, range(10, 20))]
    assert len({tuple(row) for row in numbers}) == 10
    assert [torch.rand(3, generator=g).tolist() for g in generators(1, 2, range(13, 15))] == (
        numbers[3:5]
    )
    assert torch.rand(3, generator=generators(1, 3, range(10, 11))[0]).tolist() != numbers[0]
