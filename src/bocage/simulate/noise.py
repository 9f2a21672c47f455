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
        # Quintic fade (Perlin 2002): second derivatives are continuous, so are shaded slopes.
        weight = fraction**3 * (fraction * (fraction * 6 - 15) + 10)
        slope = 30 * fraction**2 * (fraction - 1) ** 2 * (METRE / cell_cm)
        first = int(node[0])
        return cls(
            first,
            int(node[-1]) - first + 2,
            (node - first).astype(np.intp),
            weight.astype(np.float32),
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


def value_noise_slope(window: Window, cell_cm: int, key: int) -> tuple[Floats, Floats]:
    """Smooth noise and the length of its gradient per metre, both (H, W) float32."""
    across, down = _Axis.of(window.u, cell_cm), _Axis.of(window.v, cell_cm)
    nodes = _nodes(key, down, across)
    left, right = nodes[:, across.index], nodes[:, across.index + 1]
    rows = left + (right - left) * across.weight
    tilt = (right - left) * across.slope
    top, below = rows[down.index], rows[down.index + 1]
    weight = down.weight[:, None]
    eastward = tilt[down.index] + (tilt[down.index + 1] - tilt[down.index]) * weight
    southward = (below - top) * down.slope[:, None]
    return top + (below - top) * weight, np.sqrt(eastward**2 + southward**2)


def pixel_noise(window: Window, key: int) -> Floats:
    """Independent uniform noise in [-1, 1] per pixel, (H, W) float32."""
    hashes = hash_at(key, window.v[:, None], window.u[None, :])
    return draw(hashes, 0) * np.float32(2) - np.float32(1)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    result: Floats = t * t * (3 - 2 * t)
    return result
