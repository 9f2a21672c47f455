"""Blocks on their way to workers that may be lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence

from bocage.mapping.plan import Block
from bocage.mapping.worker import Outcome

MAX_DEATHS = 3
"""Workers that may be lost at a block before it is given up."""


class Handout:
    """Blocks to give out; those that a lost worker held go out alone, after all others.

    A worker that is lost may have held several blocks, of which one is to blame: alone, it shows.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._fresh = deque(blocks)
        self._doubtful: deque[Block] = deque()
        self._deaths: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._doubtful)

    def fresh(self, most: int) -> list[Block]:
        """Up to `most` blocks at which no worker was lost."""
        return [self._fresh.popleft() for _ in range(min(most, len(self._fresh)))]

    def doubtful(self) -> Block | None:
        """A block at which a worker was lost; its worker must hold no other."""
        return self._doubtful.popleft() if self._doubtful else None

    def lost(self, blocks: Sequence[Block], reason: str) -> Iterator[Outcome]:
        """Take back what a lost worker held; blocks that cost too many fail, for `reason`."""
        for block in blocks:
            self._deaths[block.index] += 1
            if self._deaths[block.index] < MAX_DEATHS:
                self._doubtful.append(block)
            else:
                yield Outcome(block, reason)
