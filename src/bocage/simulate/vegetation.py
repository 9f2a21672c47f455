"""Single crowns: trees and bushes on a jittered lattice.

Worley 1996 ("A cellular texture basis function") gave the jittered grid. No published model of
stands or crowns is followed: jitter, radii and the parabola from stem to edge are chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats, Hashes, Ints, draw, hash_at
from bocage.simulate.noise import Window, value_noise


def crowns(
    window: Window, cell_cm: int, key: int, pixels: NDArray[np.intp], density: Floats
) -> tuple[Floats, Floats]:
    """How far inside a crown some pixels lie, and which crown it is.

    `pixels` (N,) are flat indices into the window; a lattice site has a tree where its draw is
    below the pixel's `density` (N,). Returns `inside` (N,), 1 at a stem falling to 0 at the crown's
    edge and outside, and `tone` (N,) in [0, 1), one number per crown.

    A jittered grid of which the nearest site wins, after Worley (1996), but with rows of its own.
    Every row of sites is shifted by its own amount and the rows are bent, so that no lattice shows.
    Sites move by at most a quarter of a cell and crowns reach at most 0.7 of one, so that the two
    nearest sites of the two nearest rows are all that can cover a pixel.
    """
    rows_v = window.v // cell_cm
    rows = np.arange(rows_v[0] - 2, rows_v[-1] + 3)
    cols = np.arange(window.u[0] // cell_cm - 3, window.u[-1] // cell_cm + 3)
    shift = np.rint(draw(hash_at(key, rows, 7), 1) * cell_cm).astype(np.int32)

    y, x = np.divmod(pixels.astype(np.int32), np.int32(window.width))
    bend = np.rint(value_noise(window, 3 * cell_cm, key ^ 1) * (0.7 * cell_cm)).astype(np.int32)
    # Whole centimetres from the first site: exact in every window.
    across = (window.u - cols[0] * cell_cm).astype(np.int32)[x]
    down = (window.v - rows[0] * cell_cm).astype(np.int32)[y] + bend.reshape(-1)[pixels]
    row, part_v = np.divmod(down, np.int32(cell_cm))
    step_v = np.where(part_v < cell_cm // 2, np.int32(-1), np.int32(1))
    share_v = part_v.astype(np.float32) / np.float32(cell_cm)
    site = _sites(key, rows, cols, few=4 * len(pixels))

    inside = np.zeros(len(pixels), dtype=np.float32)
    tone = np.zeros(len(pixels), dtype=np.float32)
    for move_v in (0, 1):
        this = row + step_v * move_v
        column, part_u = np.divmod(across + shift[this], np.int32(cell_cm))
        step_u = np.where(part_u < cell_cm // 2, np.int32(-1), np.int32(1))
        share_u = part_u.astype(np.float32) / np.float32(cell_cm)
        for move_u in (0, 1):
            jitter_u, jitter_v, inverse, presence, number = site(this, column + step_u * move_u)
            du = share_u - jitter_u
            dv = share_v - jitter_v
            if move_u:
                du -= step_u.astype(np.float32)
            if move_v:
                dv -= step_v.astype(np.float32)
            depth = 1 - (du * du + dv * dv) * inverse
            better = (depth > inside) & (presence < density)
            inside = np.where(better, depth, inside)
            tone = np.where(better, number, tone)
    return inside, tone


def crown_numbers(inside: Floats, tone: Floats) -> NDArray[np.uint8]:
    """A number from 1 to 255 for each pixel's crown, 0 between crowns, from what `crowns` says."""
    numbers: NDArray[np.uint8] = ((1 + 255 * tone) * (inside > 0)).astype(np.uint8)
    return numbers


def _sites(
    key: int, rows: Ints, cols: Ints, few: int
) -> Callable[[NDArray[np.int32], NDArray[np.int32]], tuple[Floats, ...]]:
    """A look-up by row and column: place in the cell (u, v), 1 / radius squared, presence, tone.

    From a table of all sites, or, where fewer than those are asked for (coarse pixels), one by one.
    """
    if len(rows) * len(cols) > few:
        return lambda row, column: _numbers(hash_at(key, rows[row], cols[column]))
    table = [
        numbers.reshape(-1) for numbers in _numbers(hash_at(key, rows[:, None], cols[None, :]))
    ]
    width = np.int32(len(cols))

    def look_up(row: NDArray[np.int32], column: NDArray[np.int32]) -> tuple[Floats, ...]:
        k = row * width + column
        return tuple(numbers[k] for numbers in table)

    return look_up


def _numbers(hashes: Hashes) -> tuple[Floats, ...]:
    half = np.float32(0.5)
    radius = np.float32(0.42) + np.float32(0.28) * draw(hashes, 3)
    return (
        draw(hashes, 1) * half + half * half,
        draw(hashes, 2) * half + half * half,
        1 / (radius * radius),
        draw(hashes, 4),
        draw(hashes, 5),
    )
