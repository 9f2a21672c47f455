"""Where windows and blocks lie: pure arithmetic on pixel positions, no files and no tensors.

The window lattice hangs on the origin of the reference raster and knows nothing of blocks. A
block's result is the weighted mean of *all* lattice windows that touch it; windows that touch two
blocks are computed for each. That is the price for a result that does not depend on how the area
was cut, on the order of the blocks, or on a restart.

All positions are pixels of the reference raster, rows or columns alike; they may be negative or
beyond the raster, where its content is mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError

BLOCK_STEP_PX = 512
"""Blocks are multiples of the internal tile of the files written."""
MAX_BLOCK_PX = 4096
MAX_WINDOW_PX = 8192


def as_fraction(resolution_m: float) -> Fraction:
    """A resolution as the fraction that was meant: 0.2 is 1/5, 10.24 is 256/25."""
    return Fraction(resolution_m).limit_denominator(10_000)


def alignment_unit(ratios: Iterable[Fraction]) -> int:
    """Smallest number of reference pixels that is a whole number of pixels of every sensor.

    `ratios` are pixel sizes in reference pixels.

    >>> alignment_unit([Fraction(1), Fraction(8), Fraction(256, 5)])
    256
    """
    return math.lcm(*(ratio.numerator for ratio in ratios))


@dataclass(frozen=True)
class Lattice:
    """Windows of `window_px` every `stride_px`, the first one starting `lead_px` before pixel 0.

    The lead gives the raster's border what the interior has: at least half an overlap of context.
    """

    window_px: int
    stride_px: int
    lead_px: int

    @property
    def overlap_px(self) -> int:
        """How far neighbouring windows overlap."""
        return self.window_px - self.stride_px

    def starts(self, size_px: int) -> list[int]:
        """First pixel of every window needed along an axis of `size_px` pixels."""
        reach = size_px + self.overlap_px // 2
        count = 1 + max(0, math.ceil((reach - self.window_px + self.lead_px) / self.stride_px))
        return [k * self.stride_px - self.lead_px for k in range(count)]

    def touching(self, size_px: int, start: int, stop: int) -> list[int]:
        """Those `starts` whose windows share a pixel with [start, stop)."""
        return [s for s in self.starts(size_px) if s < stop and s + self.window_px > start]


def make_lattice(
    tile_px: int, unit_px: int, window_px: int | None = None, overlap_px: int | None = None
) -> Lattice:
    """The lattice for a network trained on `tile_px`, on steps of `unit_px`.

    Raises `ConfigError` where a given size is no multiple of the unit.
    """
    if unit_px > MAX_WINDOW_PX // 2:
        raise ConfigError(
            f"the pixel sizes of the inputs only meet every {unit_px} output pixels, more than a "
            "window can hold. Map without one of the coarse inputs, or train a network with "
            "resolutions in simple proportion."
        )
    if window_px is None:
        # Two units at least: with one there is no stride that overlaps.
        window_px = max(unit_px * (2 if unit_px > 1 else 1), round(tile_px / unit_px) * unit_px)
    elif window_px % unit_px or window_px > MAX_WINDOW_PX:
        raise ConfigError(
            f"window_px={window_px}: with these inputs a window must be a multiple of {unit_px} "
            f"pixels, at most {MAX_WINDOW_PX}. Nearest: "
            f"{min(MAX_WINDOW_PX // unit_px, max(1, round(window_px / unit_px))) * unit_px}."
        )
    if overlap_px is None:
        overlap_px = min(math.ceil(window_px / 4 / unit_px) * unit_px, window_px - unit_px)
    elif overlap_px % unit_px:
        raise ConfigError(
            f"overlap_px={overlap_px}: with these inputs the overlap must be a multiple of "
            f"{unit_px} pixels."
        )
    if overlap_px >= window_px:
        raise ConfigError(
            f"overlap_px={overlap_px} must be smaller than the window of {window_px} pixels."
        )
    lead_px = math.ceil(overlap_px / 2 / unit_px) * unit_px
    return Lattice(window_px, window_px - overlap_px, lead_px)


@dataclass(frozen=True)
class Block:
    """A rectangle of the output: rows [row0, row1), columns [col0, col1)."""

    index: int
    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.row1 - self.row0, self.col1 - self.col0


@dataclass(frozen=True)
class Plan:
    """The cut of a raster of `height` x `width` pixels, without the blocks of the indices
    `left_out`."""

    height: int
    width: int
    lattice: Lattice
    block_px: int
    left_out: frozenset[int] = frozenset()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks in reading order; with those left out they are the raster, without overlap."""
        corners = [
            (row, col)
            for row in range(0, self.height, self.block_px)
            for col in range(0, self.width, self.block_px)
        ]
        return tuple(
            Block(
                i,
                row,
                min(row + self.block_px, self.height),
                col,
                min(col + self.block_px, self.width),
            )
            for i, (row, col) in enumerate(corners)
            if i not in self.left_out
        )

    def windows(self, block: Block) -> list[tuple[int, int]]:
        """First row and column of every window that touches the block, in reading order."""
        rows = self.lattice.touching(self.height, block.row0, block.row1)
        cols = self.lattice.touching(self.width, block.col0, block.col1)
        return [(row, col) for row in rows for col in cols]

    def halo(self, block: Block) -> tuple[int, int, int, int]:
        """Rows [r0, r1) and columns [c0, c1) that the block's windows cover together."""
        windows = self.windows(block)
        side = self.lattice.window_px
        return windows[0][0], windows[-1][0] + side, windows[0][1], windows[-1][1] + side


def mirrored(start: int, stop: int, size_px: int, ratio: Fraction) -> NDArray[np.int64]:
    """For the sensor's pixels [start, stop) along an axis: which of its own pixels to show.

    The reference raster covers `size_px` of its pixels, that is `ceil(size_px / ratio)` of the
    sensor's. Beyond, the image is mirrored about the raster's edge; the line of the mirror is the
    same place on the ground for all sensors, whatever their pixel size. A raster smaller than a
    window is mirrored as often as needed.
    """
    positions = np.arange(start, stop)
    count = math.ceil(size_px / ratio)
    centre = (positions + 0.5) * float(ratio) % (2 * size_px)
    centre = np.minimum(centre, 2 * size_px - centre)
    folded = np.minimum((centre / float(ratio)).astype(np.int64), count - 1)
    return np.where((positions >= 0) & (positions < count), positions, folded)


def choose_block_px(bytes_per_px: float, budget: int, window_px: int) -> int:
    """Largest block, at most `MAX_BLOCK_PX`, whose working memory stays within `budget` bytes."""
    side = MAX_BLOCK_PX
    while side > BLOCK_STEP_PX and bytes_per_px * (side + window_px) ** 2 > budget:
        side -= BLOCK_STEP_PX
    return side
