"""Where windows and blocks lie: pure arithmetic on pixel positions, no files and no tensors.

The window lattice hangs on the origin of the whole, all ground of the reference raster, and knows
nothing of blocks, nor of the part that is mapped. A block's result is the weighted mean of *all*
lattice windows that touch it; windows that touch two blocks are computed for each. That is the
price for a result that does not depend on how the area was cut, on the order of the blocks, or on a
restart.

All positions are pixels of the whole, rows or columns alike; they may be negative or beyond it,
where its content is mirrored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError
from bocage.models.kinds import WindowSides

ANY_SIDE = WindowSides(1, None)
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
    A pixel of the map has `scale` of the network's own pixels to a side.
    """

    window_px: int
    stride_px: int
    lead_px: int
    scale: int = 1

    @property
    def overlap_px(self) -> int:
        """How far neighbouring windows overlap."""
        return self.window_px - self.stride_px

    @property
    def seen_px(self) -> int:
        """Side of a window in the network's own pixels."""
        return self.window_px * self.scale

    def starts(self, size_px: int) -> range:
        """First pixel of every window needed along an axis of `size_px` pixels."""
        beyond_px = size_px + self.overlap_px // 2 - self.window_px + self.lead_px
        count = 1 + max(0, -(-beyond_px // self.stride_px))
        return range(-self.lead_px, count * self.stride_px - self.lead_px, self.stride_px)

    def covered(self, size_px: int, start: int, stop: int) -> tuple[int, int]:
        """First pixel, and the one behind the last, of the windows `touching` [start, stop).

        Where that reaches beyond them all, as a map may beyond the whole, so does this, in strides.
        """
        starts = self.touching(size_px, start, stop)
        first, last = starts[0], starts[-1] + self.window_px
        before, behind = (
            -(-max(0, beyond_px) // self.stride_px) * self.stride_px
            for beyond_px in (first - start, stop - last)
        )
        return first - before, last + behind

    def touching(self, size_px: int, start: int, stop: int) -> range:
        """Those `starts` whose windows share a pixel with [start, stop)."""
        # By arithmetic: a country has ten thousand windows along an axis, and as many blocks.
        first = (start - self.window_px + self.lead_px) // self.stride_px + 1
        last = -(-(stop + self.lead_px) // self.stride_px)
        return self.starts(size_px)[max(0, first) : max(0, last)]


def make_lattice(
    tile_px: int,
    unit_px: int,
    window_px: int | None = None,
    overlap_px: int | None = None,
    scale: int = 1,
    sides: WindowSides = ANY_SIDE,
) -> Lattice:
    """The lattice for a network trained on `tile_px` of its own pixels, on steps of `unit_px`.

    All but the tile and `sides`, the windows that the network takes, are pixels of the map, which
    have `scale` of the network's to a side. Raises `ConfigError` where a given size is no multiple
    of the unit, or none that the network takes.
    """
    largest_px = MAX_WINDOW_PX // scale
    if sides.only_px is not None:
        side_px = unit_px * scale
        fits = sides.only_px % side_px == 0 and (scale == 1 or sides.only_px > side_px)
        if not fits or window_px not in (None, sides.only_px // scale):
            asked = "" if window_px is None else f"window_px={window_px}: "
            raise ConfigError(
                f"{asked}this network takes windows of {sides.only_px} px of its own and no others"
                + (
                    f": leave window_px out, or set it to {sides.only_px // scale}."
                    if fits
                    else f", and with these inputs windows are multiples of {side_px} of them."
                )
            )
        window_px = sides.only_px // scale
    step_px = math.lcm(unit_px, sides.step_px // math.gcd(sides.step_px, scale))
    if unit_px > largest_px // 2:
        raise ConfigError(
            f"the pixel sizes of the inputs only meet every {unit_px} output pixels, more than a "
            "window can hold. Map without one of the coarse inputs, or train a network with "
            "resolutions in simple proportion."
        )
    if window_px is None:
        # Two units at least: with one there is no stride that overlaps.
        steps = max(1, round(tile_px / scale / step_px))
        if steps * step_px == unit_px and (unit_px > 1 or scale > 1):
            steps += 1
        window_px = steps * step_px
    elif window_px % step_px or window_px > largest_px:
        raise ConfigError(
            f"window_px={window_px}: with these inputs a window must be a multiple of {step_px} "
            f"pixels, at most {largest_px}. Nearest: "
            f"{min(largest_px // step_px, max(1, round(window_px / step_px))) * step_px}."
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
    return Lattice(window_px, window_px - overlap_px, lead_px, scale)


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of the output: rows [row0, row1), columns [col0, col1) of the whole."""

    index: int
    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.row1 - self.row0, self.col1 - self.col0


class Amounts(NamedTuple):
    """What is to be done for some blocks: pixels of the map, pixels of it that their windows cover
    block by block, and windows."""

    pixels: int
    halo_px: int
    windows: int


@dataclass(frozen=True)
class Plan:
    """The cut of a map of `height` x `width` pixels, without the blocks of the indices `left_out`.

    The map begins at row and column `origin` of the whole, whose height and width are `whole_px`
    (None: the map's own). Blocks hang on the map, windows on the whole. The map may reach beyond
    the whole: blocks that have no pixel of it must be left out.
    """

    height: int
    width: int
    lattice: Lattice
    block_px: int
    left_out: frozenset[int] = frozenset()
    origin: tuple[int, int] = (0, 0)
    whole_px: tuple[int, int] | None = None

    @property
    def ground_px(self) -> tuple[int, int]:
        """Height and width of the whole."""
        return self.whole_px or (self.height, self.width)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks in reading order; with those left out they are the map, without overlap."""
        down, across = self._spans
        return tuple(
            Block(i, *rows, *cols)
            for i, (rows, cols) in enumerate(itertools.product(down, across))
            if i not in self.left_out
        )

    def on_map(self, block: Block) -> Block:
        """The same block in pixels of the map."""
        down, across = self.origin
        return Block(
            block.index,
            block.row0 - down, block.row1 - down, block.col0 - across, block.col1 - across,
        )  # fmt: skip

    def windows(self, block: Block) -> list[tuple[int, int]]:
        """First row and column of every window that touches the block, in reading order."""
        rows, cols = self._starts(block)
        return [(row, col) for row in rows for col in cols]

    def halo(self, block: Block) -> tuple[int, int, int, int]:
        """Rows [r0, r1) and columns [c0, c1) that the block and its windows cover together."""
        height, width = self.ground_px
        return (
            *self.lattice.covered(height, block.row0, block.row1),
            *self.lattice.covered(width, block.col0, block.col1),
        )

    def amounts(self, block: Block | None = None) -> Amounts:
        """The work for one block, or for all of them."""
        if block is not None:
            rows, cols = self._starts(block)
            top, bottom, left, right = self.halo(block)
            pixels = block.shape[0] * block.shape[1]
            return Amounts(pixels, (bottom - top) * (right - left), len(rows) * len(cols))
        down, across = map(self._along, self.ground_px, self._spans)
        # All at once: the amounts of a block are the product of those of its row and its column.
        rest = np.array(sorted(self.left_out), dtype=np.int64)
        spared = (down[rest // len(across)] * across[rest % len(across)]).sum(axis=0)
        return Amounts(*map(int, down.sum(axis=0) * across.sum(axis=0) - spared))

    def _starts(self, block: Block) -> tuple[range, range]:
        """First rows and first columns of the windows that touch the block."""
        height, width = self.ground_px
        return (
            self.lattice.touching(height, block.row0, block.row1),
            self.lattice.touching(width, block.col0, block.col1),
        )

    @property
    def _spans(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """First pixel, and the one behind the last, of every row and every column of blocks."""
        down, across = (
            [
                (first + start, first + min(start + self.block_px, size_px))
                for start in range(0, size_px, self.block_px)
            ]
            for first, size_px in zip(self.origin, (self.height, self.width), strict=True)
        )
        return down, across

    def _along(self, size_px: int, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """`Amounts` along one axis of the whole, one for each of the `spans`."""
        found = []
        for start, stop in spans:
            windows = len(self.lattice.touching(size_px, start, stop))
            # Beyond the whole there are none, and all such blocks are left out.
            first, last = self.lattice.covered(size_px, start, stop) if windows else (0, 0)
            found.append(Amounts(stop - start, last - first, windows))
        return np.array(found, dtype=np.int64)


def mirrored(start: int, stop: int, size_px: int, ratio: Fraction) -> NDArray[np.int64]:
    """For the sensor's pixels [start, stop) along an axis: which of its own pixels to show.

    The whole covers `size_px` of its pixels, that is `ceil(size_px / ratio)` of the sensor's.
    Beyond, the image is mirrored about the whole's edge; the line of the mirror is the same place
    on the ground for all sensors, whatever their pixel size. A whole smaller than a window is
    mirrored as often as needed.
    """
    positions = np.arange(start, stop)
    count = math.ceil(size_px / ratio)
    centre = (positions + 0.5) * float(ratio) % (2 * size_px)
    centre = np.minimum(centre, 2 * size_px - centre)
    folded = np.minimum((centre / float(ratio)).astype(np.int64), count - 1)
    return np.where((positions >= 0) & (positions < count), positions, folded)


@dataclass(frozen=True)
class Footprint:
    """What decides how much memory the arrays of a process take; `bocage.mapping.engine` has the
    formula."""

    read_bytes: float
    """Per pixel of the map, of all sensors' numbers."""
    input_bytes: float
    """The same with masks of the holes that there may be."""
    widest_bytes: float
    """Of these, the sensor's that takes most: it is held twice while it is read."""
    classes: int
    """Classes of all tasks, scored or not."""
    layer_bytes: int
    """Per pixel of the map, of everything that is written."""

    def total_bytes(self, lattice: Lattice, height_px: int, width_px: int) -> int:
        """For blocks of that size, wherever they lie on the lattice."""
        stride, side = lattice.stride_px, lattice.window_px
        down, across = (_most_windows(lattice, size_px) for size_px in (height_px, width_px))
        halo_px = ((down - 1) * stride + side) * ((across - 1) * stride + side)
        inputs = (2 * self.input_bytes + self.widest_bytes) * halo_px
        logits = self.logits_bytes(lattice, width_px)
        return round(inputs + logits + 2 * (self.layer_bytes + 2) * height_px * width_px)

    def logits_bytes(self, lattice: Lattice, width_px: int) -> int:
        """Of these, what a GPU holds in its memory: the windows' logits."""
        reach = -(-lattice.window_px // lattice.stride_px)
        held = (reach - 1) * _most_windows(lattice, width_px) + reach
        return 4 * self.classes * lattice.window_px**2 * held


def _most_windows(lattice: Lattice, size_px: int) -> int:
    """Windows along an axis that share a pixel with so many, at most."""
    return -(-(size_px + lattice.window_px - 1) // lattice.stride_px)


def choose_block_px(footprint: Footprint, lattice: Lattice, budget: int) -> int:
    """Largest block, at most `MAX_BLOCK_PX`, whose arrays stay within `budget` bytes."""
    side = MAX_BLOCK_PX
    while side > BLOCK_STEP_PX and footprint.total_bytes(lattice, side, side) > budget:
        side -= BLOCK_STEP_PX
    return side
