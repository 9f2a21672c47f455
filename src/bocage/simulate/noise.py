"""Sampling windows in world coordinates, and smooth noise over them.

Coordinates are integer centimetres from a domain's anchor: `u` eastward, `v` southward. All that
is computed from them depends on the coordinate alone, never on where a window begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats, Ints, draw, hash_at

METRE = 100
"""World units in a metre."""


@dataclass(frozen=True)
class Window:
    """A grid of `height` x `width` pixels of `step_cm`, its top-left corner at (`u0`, `v0`)."""

    u0: int
    v0: int
    step_cm: int
    width: int
    height: int

    @property
    def u(self) -> Ints:
        """Pixel centres eastward, (W,) int64 cm."""
        return self.u0 + self.step_cm // 2 + self.step_cm * np.arange(self.width, dtype=np.int64)

    @property
    def v(self) -> Ints:
        """Pixel centres southward, (H,) int64 cm."""
        return self.v0 + self.step_cm // 2 + self.step_cm * np.arange(self.height, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def padded(self, top: int, bottom: int, left: int, right: int) -> Window:
        """The window with that many more pixels on each side."""
        return Window(
            self.u0 - left * self.step_cm,
            self.v0 - top * self.step_cm,
            self.step_cm,
            self.width + left + right,
            self.height + top + bottom,
        )

    def resampled(self, step_cm: int) -> Window:
        """The same ground at another pixel size; the sides must be multiples of it."""
        width, rest_w = divmod(self.width * self.step_cm, step_cm)
        height, rest_h = divmod(self.height * self.step_cm, step_cm)
        assert rest_w == rest_h == 0, (self, step_cm)
        return Window(self.u0, self.v0, step_cm, width, height)


def _fade(offset: Ints, cell_cm: int) -> Floats:
    """Weight of the farther lattice node at `offset` cm from the nearer one."""
    fraction = offset / cell_cm
    # Quintic fade (Perlin 2002): second derivatives are continuous, so are shaded slopes.
    weight = fraction * fraction * fraction * (fraction * (fraction * 6 - 15) + 10)
    faded: Floats = weight.astype(np.float32)
    return faded


@dataclass(frozen=True)
class _Axis:
    """Where the samples of one axis lie between lattice nodes."""

    first: int
    count: int
    index: NDArray[np.intp]
    weight: Floats
    slope: Floats

    @classmethod
    def of(cls, position: Ints, cell_cm: int) -> _Axis:
        node = position // cell_cm
        fraction = (position - node * cell_cm) / cell_cm
        rise = fraction * (fraction - 1)
        slope = 30 * rise * rise * (METRE / cell_cm)
        first = int(node[0])
        return cls(
            first,
            int(node[-1]) - first + 2,
            (node - first).astype(np.intp),
            _fade(position - node * cell_cm, cell_cm),
            slope.astype(np.float32),
        )


def _nodes(key: int, down: _Axis, across: _Axis) -> Floats:
    rows = np.arange(down.first, down.first + down.count)
    cols = np.arange(across.first, across.first + across.count)
    return draw(hash_at(key, rows[:, None], cols[None, :]), 0) * np.float32(2) - np.float32(1)


def value_noise(window: Window, cell_cm: int, key: int) -> Floats:
    """Smooth noise in [-1, 1], (H, W) float32, with lattice nodes every `cell_cm`."""
    across, down = _Axis.of(window.u, cell_cm), _Axis.of(window.v, cell_cm)
    nodes = _nodes(key, down, across)
    left, right = nodes[:, across.index], nodes[:, across.index + 1]
    rows = left + (right - left) * across.weight
    top = rows[down.index]
    result: Floats = top + (rows[down.index + 1] - top) * down.weight[:, None]
    return result


def value_noise_gradient(window: Window, cell_cm: int, key: int) -> tuple[Floats, Floats, Floats]:
    """Smooth noise and its derivatives eastward and southward per metre, (H, W) float32 each."""
    across, down = _Axis.of(window.u, cell_cm), _Axis.of(window.v, cell_cm)
    nodes = _nodes(key, down, across)
    left, right = nodes[:, across.index], nodes[:, across.index + 1]
    rows = left + (right - left) * across.weight
    tilt = (right - left) * across.slope
    top, below = rows[down.index], rows[down.index + 1]
    weight = down.weight[:, None]
    eastward = tilt[down.index] + (tilt[down.index + 1] - tilt[down.index]) * weight
    return top + (below - top) * weight, eastward, (below - top) * down.slope[:, None]


def value_noise_at(u: Ints, v: Ints, cell_cm: int, key: int) -> Floats:
    """`value_noise` at scattered points (N,) cm: the very numbers that a window has there."""
    column, row = u // cell_cm, v // cell_cm
    weight_u, weight_v = _fade(u - column * cell_cm, cell_cm), _fade(v - row * cell_cm, cell_cm)
    rows, cols = np.stack([row, row, row + 1, row + 1]), np.stack([column, column + 1] * 2)
    corner = draw(hash_at(key, rows, cols), 0) * np.float32(2) - np.float32(1)
    top = corner[0] + (corner[1] - corner[0]) * weight_u
    below = corner[2] + (corner[3] - corner[2]) * weight_u
    result: Floats = top + (below - top) * weight_v
    return result


def pixel_noise(window: Window, key: int) -> Floats:
    """Independent uniform noise in [-1, 1] per pixel, (H, W) float32."""
    hashes = hash_at(key, window.v[:, None], window.u[None, :])
    return draw(hashes, 0) * np.float32(2) - np.float32(1)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    result: Floats = t * t * (3 - 2 * t)
    return result
