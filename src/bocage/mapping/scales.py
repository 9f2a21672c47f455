"""Which larger pixels a map may have: those of which a window can be made that suits the network.

A window must hold whole pixels of the map, of every sensor and of what the network halves. Where
they meet seldom, as pixels of 1 m and 10.24 m do every 256 m, it would be far larger than what the
network has learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from bocage.errors import ConfigError
from bocage.mapping.plan import alignment_unit, make_lattice
from bocage.models.kinds import WindowSides

_MOST_TILES = 2
"""How many times the tile that a network was trained on a window may be by itself."""
_NAMED = 4
"""Resolutions that an error names."""
_FINEST, _COARSEST = 0.2, 5.0
"""Between these times of the resolution asked for are those that it names."""


@dataclass(frozen=True)
class Demands:
    """What decides about windows: of the network and, in its own pixels, of the sensors."""

    tile_px: int
    sides: WindowSides
    ratios: tuple[Fraction, ...]

    def window_px(self, scale: int) -> int | None:
        """Side of the usual window in the network's pixels, None where there is none."""
        unit_px = alignment_unit(ratio / scale for ratio in self.ratios)
        try:
            return make_lattice(self.tile_px, unit_px, scale=scale, sides=self.sides).seen_px
        except ConfigError:
            return None

    def suit(self, scale: int) -> bool:
        """Whether windows are of about the size that the network has learnt from."""
        side_px = self.window_px(scale)
        return side_px is not None and side_px <= _MOST_TILES * self.tile_px


def check_scale(scale: int, demands: Demands, output_resolution_m: float) -> None:
    """Refuse a scale that does not suit (`ConfigError` names resolutions that do)."""
    if scale == 1 or demands.suit(scale):
        return
    side_px = demands.window_px(scale)
    reason = (
        "no window suits the network and its inputs"
        if side_px is None
        else f"with these inputs windows are {side_px} of the network's pixels wide or more, and "
        f"it was trained on {demands.tile_px}"
    )
    near = _near(scale, demands)
    named = ", ".join(f"{one * output_resolution_m:g}" for one in near)
    remedy = f"Ask for one of {named}" if near else "Leave it out"
    instead = "" if side_px is None else "; or give window_px"
    raise ConfigError(
        f"resolution_m={scale * output_resolution_m:g}: {reason}. {remedy}, and resample the "
        f"map{instead}."
    )


def _near(scale: int, demands: Demands) -> list[int]:
    """Scales around that suit, the nearest few."""
    # Of a tile there are two windows' pixels at least.
    largest = demands.tile_px // 2 * _MOST_TILES
    first = max(2, min(round(scale * _FINEST), largest // 2))
    around = range(first, min(round(scale * _COARSEST), largest) + 1)
    suiting = [one for one in around if demands.suit(one)]
    nearest = sorted(suiting, key=lambda one: max(one / scale, scale / one))[:_NAMED]
    return sorted(nearest)
