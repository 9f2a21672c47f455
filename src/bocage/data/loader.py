"""Batches in an order that the seed decides, on any number of workers and ranks, and after a
restart in the middle of an epoch. No patch is lost, none repeated.

Torch's own samplers repeat patches until every rank has as many, which makes a validation score
depend on the number of ranks, and start an interrupted epoch from its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from bocage.errors import ConfigError
from bocage.sample import Batch, Sample

_AHEAD = 2
"""Batches that wait per reading thread."""


def epoch_order(
    count: int, seed: int, epoch: int, weights: NDArray[np.float64] | None, draws: int | None
) -> NDArray[np.int64]:
    """Which patches an epoch shows, in order, (draws,).

    Without weights each patch comes equally often, up to one; with weights (shares summing to 1)
    each comes draws x share times, rounded down or up: in a random order the patches lie side by
    side, each as wide as its share, and evenly spaced marks fall on them (systematic sampling,
    which strays less from the shares than independent draws).
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(count)
    wanted = count if draws is None else draws
    if weights is None:
        rounds = -(-wanted // count)
        return np.concatenate([shuffled, *(rng.permutation(count) for _ in range(rounds - 1))])[
            :wanted
        ]
    ends = np.cumsum(weights[shuffled])
    marks = (np.arange(wanted) + rng.random()) / wanted * ends[-1]
    return rng.permutation(shuffled[np.searchsorted(ends, marks, side="right").clip(max=count - 1)])


class BatchOrder(Sampler[list[int]]):
    """Batches of one rank: all ranks see all patches once, in batches of nearly one size.

    With N patches, batches of B and W ranks there are ceil(N / BW) steps; the N patches are spread
    over all steps and ranks so that sizes differ by one at most, never above B. `weights` (shares
    of each patch, or None) may be set before an epoch begins.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        draws: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._count, self._seed, self._shuffle, self._draws = count, seed, shuffle, draws
        self._rank, self._ranks = rank, ranks
        self.shown = count if draws is None else draws
        self._steps = -(-self.shown // (batch_size * ranks))
        if self.shown < self._steps * ranks:
            raise ConfigError(
                f"{self.shown} patches are too few for {ranks} processes: each needs at least one. "
                f"Use training.devices={self.shown} or fewer."
            )
        self.weights: NDArray[np.float64] | None = None
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of `epoch` from step `start` on, as positions in the dataset."""
        order = self.order()
        return (order[self._span(step)].tolist() for step in range(self.start, self._steps))

    def order(self) -> NDArray[np.int64]:
        """Positions of all patches that `epoch` shows to all ranks, in order."""
        if not self._shuffle:
            return np.arange(self.shown)
        return epoch_order(self._count, self._seed, self.epoch, self.weights, self._draws)

    def places(self, step: int) -> range:
        """Places in `order` of this rank's patches of a step: a number for each drawn patch."""
        span = self._span(step)
        return range(span.start, span.stop)

    def _span(self, step: int) -> slice:
        size, longer = divmod(self.shown, self._steps * self._ranks)
        part = step * self._ranks + self._rank
        first = part * size + min(part, longer)
        return slice(first, first + size + (part < longer))


class ReadAhead:
    """Batches in the order of `batches`, read by threads while earlier ones are being used.

    A batch that a process has read must be copied to this one; where reading leaves Python's lock
    alone, as decoding does, threads spare that. Each batch is read by one thread.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        batches: Iterable[list[int]],
        collate: Callable[[list[Sample]], Batch],
        threads: int,
        pin_memory: bool,
    ) -> None:
        self._dataset, self._batches, self._collate = dataset, batches, collate
        self._threads, self._pin_memory = threads, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        """Every batch; the first that cannot be read raises its own error, in its turn."""
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="reader")
        ahead: deque[Future[Batch]] = deque()
        try:
            for positions in self._batches:
                ahead.append(pool.submit(self._read, positions))
                if len(ahead) > self._threads * _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            # Whoever stops early does not wait for what it will not see.
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, positions: list[int]) -> Batch:
        batch = self._collate([self._dataset[position] for position in positions])
        return batch.pin_memory() if self._pin_memory else batch


@dataclass(frozen=True)
class Drawn:
    """The patches of the last batch that a loader gave out."""

    epoch: int
    places: range
    """Places in the epoch's order: no two draws of an epoch share one."""
    patches: NDArray[np.int64]
    """Positions in the dataset."""


class PatchLoader:
    """A loader of `Batch`es that knows where it is, for Lightning and by hand.

    Iterating gives the rest of the current epoch; `state_dict` tells where in it we are. `weigh`
    gives the weights of an epoch when it begins. `threads` read in this process; with 0 it is up to
    `options`, those of torch's `DataLoader`.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        order: BatchOrder,
        weigh: Callable[[], NDArray[np.float64] | None] | None = None,
        *,
        collate_fn: Callable[[list[Sample]], Batch],
        threads: int = 0,
        **options: Any,
    ) -> None:
        self._order, self._weigh = order, weigh
        self._batches: Iterable[Batch] = (
            ReadAhead(dataset, order, collate_fn, threads, options.get("pin_memory", False))
            if threads
            else DataLoader(dataset, batch_sampler=order, collate_fn=collate_fn, **options)
        )
        self._epoch = self._done = 0
        self._weighed = False
        self.last = Drawn(0, range(0), np.empty(0, np.int64))

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        """The batches that are left of this epoch; the next epoch's after the last."""
        order = self._order
        if self._done >= len(self):
            self._epoch, self._done, self._weighed = self._epoch + 1, 0, False
        if self._weigh is not None and not self._weighed:
            order.weights, self._weighed = self._weigh(), True
        order.epoch, order.start = self._epoch, self._done
        patches = order.order()
        for batch in self._batches:
            places = order.places(self._done)
            self.last = Drawn(self._epoch, places, patches[places.start : places.stop])
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, number of its batches given out, and the weights that it was drawn by."""
        weights = None if self._order.weights is None else torch.from_numpy(self._order.weights)
        return {"epoch": self._epoch, "done": self._done, "weights": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the batch after which `state` was taken."""
        self._epoch, self._done = state["epoch"], state["done"]
        weights = state["weights"]
        self._order.weights = None if weights is None else weights.numpy()
        self._weighed = True


def generators(seed: int, epoch: int, places: range) -> list[torch.Generator]:
    """One source of random numbers for each drawn patch, whatever batch or rank it is in."""
    states = (np.random.SeedSequence([seed, epoch, place]) for place in places)
    return [
        torch.Generator().manual_seed(int(state.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        for state in states
    ]
