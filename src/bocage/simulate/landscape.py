"""The simulated country: what stands at every point of a domain, now or sixty years ago.

A `Landscape` is a function of seed, domain and coordinate. A `Scene` is what it says about the
pixels of one window; the sensors look at scenes and at nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.buildings import (
    paint_farms,
    paint_greenhouses,
    paint_houses,
    paint_large_buildings,
    paint_open_plots,
    paint_row_houses,
)
from bocage.simulate.canvas import Canvas
from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, make_key
from bocage.simulate.landuse import GROUND, Owners, owners, parcel_sizes, tenure
from bocage.simulate.layout import Layout
from bocage.simulate.network import paint_borders, paint_heights, paint_roads, paint_water, waters
from bocage.simulate.noise import METRE, Window
from bocage.simulate.partition import Blocks, blocks, parcels
from bocage.simulate.plantations import (
    paint_clear_cuts,
    paint_fields,
    paint_plantations,
    paint_young_trees,
)
from bocage.simulate.relief import ground
from bocage.simulate.stands import paint_conifers, paint_heath, paint_trees

MAX_HEIGHT_M = 20.0
"""Nothing stands higher above the ground; bounds the length of shadows."""


@dataclass(frozen=True)
class Scene:
    """What stands on the pixels of a window, (H, W) each.

    `surface` uint8; `ground` altitude of the bare earth and `height` of objects above it, metres;
    `tone` relative brightness of the object; `crown` uint8, a number of the tree or bush that a
    pixel shows, 0 for none; `parcel` rows of `owner`'s tables.
    """

    window: Window
    surface: NDArray[np.uint8]
    ground: Floats
    height: Floats
    tone: Floats
    crown: NDArray[np.uint8]
    parcel: NDArray[np.int32]
    owner: Owners

    def inside(self, top: int, bottom: int, left: int, right: int) -> Scene:
        """The scene without that many pixels at each side."""
        height, width = self.window.shape
        part = (slice(top, height - bottom), slice(left, width - right))
        return Scene(
            self.window.padded(-top, -bottom, -left, -right),
            self.surface[part],
            self.ground[part],
            self.height[part],
            self.tone[part],
            self.crown[part],
            self.parcel[part],
            self.owner,
        )


class Landscape:
    """One domain's country. `past` is the same place before land consolidation, about 1955."""

    def __init__(self, domain: Domain, seed: int, *, past: bool = False) -> None:
        self.domain = domain
        self.seed = seed
        self.past = past

    def key(self, *parts: int | str) -> int:
        """Key of one of the landscape's random fields."""
        return make_key(self.seed, self.domain.key, *parts)

    def uses_at(self, window: Window) -> NDArray[np.uint8]:
        """The `Use` of the block of every pixel, (H, W): the country at a glance."""
        land = self._blocks(window)
        return np.asarray(tenure(land, self.domain, self.seed, self.past).use[land.nearest])

    def scene(self, window: Window) -> Scene:
        """What stands on the pixels of `window`, the same for every window that shows the place."""
        layout = self._layout(window)
        cut, owner, domain = layout.cut, layout.owner, self.domain
        canvas = Canvas.of(GROUND[owner.kind][cut.index])
        paint_fields(canvas, cut, owner)
        paint_plantations(canvas, cut, owner)
        paint_clear_cuts(canvas, cut, owner)
        paint_young_trees(canvas, cut, owner)
        paint_heath(canvas, layout)
        paint_large_buildings(canvas, cut, owner)
        paint_greenhouses(canvas, cut, owner)
        paint_open_plots(canvas, cut, owner)
        paint_farms(canvas, layout)
        paint_row_houses(canvas, cut, owner, domain)
        paint_houses(canvas, cut, owner, domain)
        hedge = paint_borders(canvas, layout)
        paint_conifers(canvas, layout)
        paint_trees(canvas, layout, hedge)
        paint_water(canvas, layout)
        ditches = paint_roads(canvas, layout)
        paint_heights(canvas, layout)
        np.minimum(canvas.height, np.float32(MAX_HEIGHT_M), out=canvas.height)
        return Scene(
            window, canvas.surface, layout.altitude - ditches, canvas.height, canvas.tone,
            canvas.crown, cut.index, owner,
        )  # fmt: skip

    def _blocks(self, window: Window) -> Blocks:
        return blocks(window, self.key("blocks"), self.domain.block_m * METRE)

    def _layout(self, window: Window) -> Layout:
        domain, seed, past = self.domain, self.seed, self.past
        altitude, bank = ground(window, domain, seed)
        land = self._blocks(window)
        held = tenure(land, domain, seed, past)
        cut = parcels(land, *parcel_sizes(held.use, domain, past), self.key("parcels"))
        owner = owners(cut, land, held, domain, seed, past)
        shore, altitude = waters(
            window, land, held, altitude, bank, self.key("shore"), domain.block_m
        )
        return Layout(
            window=window, domain=domain, seed=seed, past=past, land=land, held=held, cut=cut,
            owner=owner, altitude=altitude, bank=bank, shore=shore,
        )  # fmt: skip
