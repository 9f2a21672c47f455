"""All that is known about a window before anything is painted on it."""

from __future__ import annotations

from dataclasses import dataclass

from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, make_key
from bocage.simulate.landuse import Owners, Tenure
from bocage.simulate.noise import Window
from bocage.simulate.partition import Blocks, Parcels


@dataclass(frozen=True)
class Layout:
    """The land of a window: blocks and who holds them, parcels and who owns them, and the ground.

    `altitude` (H, W) of the bare earth, metres; `bank`: distance to the edge of the nearest river
    or brook, and `shore`: to the edge of any water, ponds and lakes included; negative in it.
    """

    window: Window
    domain: Domain
    seed: int
    past: bool
    land: Blocks
    held: Tenure
    cut: Parcels
    owner: Owners
    altitude: Floats
    bank: Floats
    shore: Floats

    def key(self, *parts: int | str) -> int:
        """Key of one of the landscape's random fields."""
        return make_key(self.seed, self.domain.key, *parts)
