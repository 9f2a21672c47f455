"""The simulated country: what stands at every point of a domain, now or sixty years ago.

A `Landscape` is a function of seed, domain and coordinate. A `Scene` is what it says about the
pixels of one window; the sensors look at scenes and at nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate import vegetation
from bocage.simulate.buildings import paint_greenhouses, paint_houses, paint_large_buildings
from bocage.simulate.canvas import Canvas
from bocage.simulate.domains import Domain, Use
from bocage.simulate.hashing import Floats, draw, hash_at, make_key
from bocage.simulate.landuse import GROUND, Kind, Owners, block_uses, owners, parcel_sizes
from bocage.simulate.noise import Window, value_noise
from bocage.simulate.partition import Blocks, Parcels, blocks, parcels
from bocage.simulate.plantations import paint_fields, paint_plantations
from bocage.simulate.relief import ground
from bocage.simulate.surfaces import Surface

MAX_HEIGHT_M = 20.0
"""Nothing stands higher above the ground; bounds the length of shadows."""

_SOFT = np.isin(
    np.arange(len(Surface)),
    [
        Surface.LAWN, Surface.MEADOW, Surface.ROUGH_GRASS, Surface.MARGIN, Surface.DECIDUOUS,
        Surface.CONIFER, Surface.BRUSH, Surface.FIELD, Surface.PLOWED, Surface.BARE,
        Surface.ORCHARD_FLOOR, Surface.VINE_FLOOR, Surface.VINE_ROW, Surface.LAVENDER_FLOOR,
    ],
)  # fmt: skip
"""Surfaces on which a tree may stand."""

# Per kind: share of crown sites with a broad-leaved tree, and the range of tree heights, metres.
_TREES: dict[Kind, tuple[float, float, float]] = {
    Kind.BROADLEAF: (0.97, 11, 19),
    Kind.MIXED: (0.45, 12, 18),
    Kind.PARK: (0.45, 8, 16),
    Kind.HOUSE: (0.16, 4, 9),
    Kind.LARGE_HOUSE: (0.25, 5, 10),
    Kind.MEADOW: (0.02, 6, 12),
    Kind.ROUGH: (0.10, 4, 9),
    Kind.WILD: (0.05, 3, 7),
}
_RURAL = (Use.ARABLE, Use.PASTURE, Use.PERMANENT)


@dataclass(frozen=True)
class Scene:
    """What stands on the pixels of a window, (H, W) each.

    `surface` uint8; `ground` altitude of the bare earth and `height` of objects above it, metres;
    `tone` relative brightness of the object; `parcel` rows of `owner`'s tables.
    """

    window: Window
    surface: NDArray[np.uint8]
    ground: Floats
    height: Floats
    tone: Floats
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
        land = blocks(window, self.key("blocks"))
        return np.asarray(block_uses(land, self.domain, self.past)[land.nearest])

    def scene(self, window: Window) -> Scene:
        """What stands on the pixels of `window`, the same for every window that shows the place."""
        altitude, river = ground(window, self.domain, self.seed)
        land = blocks(window, self.key("blocks"))
        uses = block_uses(land, self.domain, self.past)
        cut = parcels(land, *parcel_sizes(uses, self.past), self.key("parcels"))
        owner = owners(cut, land, uses, self.domain, self.seed, self.past)
        use = uses[cut.block]

        canvas = Canvas.of(GROUND[owner.kind][cut.index])
        paint_fields(canvas, cut, owner)
        paint_plantations(canvas, cut, owner)
        self._paint_wild(canvas, window, owner.kind[cut.index])
        paint_large_buildings(canvas, cut, owner)
        paint_greenhouses(canvas, cut, owner)
        paint_houses(canvas, cut, owner, self.domain)
        hedge = self._paint_borders(canvas, cut, land, use, uses)
        bank = river - np.float32(self.domain.river_m)
        self._paint_conifers(canvas, window, owner, cut)
        self._paint_trees(canvas, window, owner, cut, hedge, bank)
        self._paint_water(canvas, window, land, uses, bank)
        self._paint_roads(canvas, cut, land, use, uses)
        self._paint_heights(canvas, window, altitude)
        np.minimum(canvas.height, np.float32(MAX_HEIGHT_M), out=canvas.height)
        return Scene(window, canvas.surface, altitude, canvas.height, canvas.tone, cut.index, owner)

    def _paint_wild(self, canvas: Canvas, window: Window, kind: NDArray[np.uint8]) -> None:
        """Heath of bushes, grass and bare patches; thickets where a parcel is all bushes."""
        wild = kind == Kind.WILD
        if wild.any():
            patch = value_noise(window, 2_600, self.key("heath")) + np.float32(0.6) * value_noise(
                window, 700, self.key("heath", 2)
            )
            canvas.put(np.flatnonzero(wild & (patch > 0.12)), Surface.BRUSH, 0.4)
            canvas.put(np.flatnonzero(wild & (patch < -0.62)), Surface.BARE, 0)
        pixels = np.flatnonzero(canvas.surface == Surface.BRUSH)
        if not len(pixels):
            return
        density = np.full(len(pixels), 0.8, dtype=np.float32)
        inside, tone = vegetation.crowns(window, 260, self.key("bushes"), pixels, density)
        canvas.height.reshape(-1)[pixels] = 0.4 + (0.6 + 1.8 * tone) * inside
        canvas.tone.reshape(-1)[pixels] = np.where(inside > 0, (tone - 0.5) * 0.5, -0.15)

    def _paint_borders(
        self, canvas: Canvas, cut: Parcels, land: Blocks, use: NDArray[np.uint8],
        uses: NDArray[np.uint8],
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Grass margins between fields, low garden hedges; returns where field hedges grow."""
        far = np.float32(1e6)
        rural = np.isin(use, _RURAL)
        town = use == Use.TOWN
        chance = draw(cut.side_hash, 31)
        hedged = rural[:, None] & (chance < self.domain.hedges)
        fenced = town[:, None] & (chance < 0.4)
        sides = (cut.low_a, cut.high_a, cut.low_b, cut.high_b)
        hedge_m = np.full(canvas.surface.shape, far, dtype=np.float32)
        fence_m = hedge_m.copy()
        for k, side in enumerate(sides):
            hedge_m = np.minimum(hedge_m, np.where(hedged[cut.index, k], side, far))
            fence_m = np.minimum(fence_m, np.where(fenced[cut.index, k], side, far))
        nearest = np.minimum(np.minimum(sides[0], sides[1]), np.minimum(sides[2], sides[3]))
        nearest = np.minimum(nearest, land.border_m)
        margin = rural[cut.index] & (nearest < 0.7)
        canvas.put(np.flatnonzero(margin), Surface.MARGIN, 0)
        soft = _SOFT[canvas.surface]
        canvas.put(np.flatnonzero(soft & (fence_m < 0.6)), Surface.BRUSH, 1.6)
        # A hedge along the road between two blocks of fields.
        pair = draw(hash_at(land.hash[:, None] ^ land.hash[None, :], 3), 1)
        lined = pair < np.float32(0.5 * self.domain.hedges)
        country = np.isin(uses, _RURAL)
        lined &= country[:, None] & country[None, :]
        beside = lined[land.nearest, land.second] & (abs(land.border_m - 5.2) < 1.5)
        return np.asarray(soft & ((hedge_m < 1.9) | beside))

    def _paint_conifers(self, canvas: Canvas, window: Window, owner: Owners, cut: Parcels) -> None:
        pixels = np.flatnonzero(canvas.surface == Surface.CONIFER)
        if not len(pixels):
            return
        density = np.full(len(pixels), 0.97, dtype=np.float32)
        inside, tone = vegetation.crowns(window, 470, self.key("conifers"), pixels, density)
        tall = (np.float32(9) + np.float32(9) * draw(owner.hash, 40))[cut.index.reshape(-1)[pixels]]
        cone = 1 - np.sqrt(1 - inside)
        canvas.height.reshape(-1)[pixels] = 1.0 + tall * (0.75 + 0.25 * tone) * (
            0.3 * (inside > 0) + 0.7 * cone
        )
        canvas.tone.reshape(-1)[pixels] = np.where(inside > 0, (tone - 0.5) * 0.45, -0.35)

    def _paint_trees(
        self, canvas: Canvas, window: Window, owner: Owners, cut: Parcels,
        hedge: NDArray[np.bool_], bank: Floats,
    ) -> None:  # fmt: skip
        """Broad-leaved crowns of woods, hedges, gardens, meadows and river banks."""
        chances = np.zeros(len(Kind), dtype=np.float32)
        low, high = chances.copy(), chances.copy()
        for kind, (chance, shortest, tallest) in _TREES.items():
            chances[kind], low[kind], high[kind] = chance, shortest, tallest
        kinds = owner.kind
        tall = low[kinds] + (high - low)[kinds] * draw(owner.hash, 41)
        density = chances[kinds][cut.index]
        banked = (bank > 0.5) & (bank < 6.5)
        density[hedge] = 1.0
        density[banked] = np.maximum(density[banked], np.float32(0.6))
        density[~_SOFT[canvas.surface]] = 0
        size = tall[cut.index]
        size[hedge] = 7.0
        size[banked] = 11.0

        stand = np.isin(kinds, (Kind.BROADLEAF,))[cut.index] | hedge
        stand &= density > 0
        canvas.put(np.flatnonzero(stand), Surface.DECIDUOUS, 1.5, -0.3)
        pixels = np.flatnonzero(density > 0)
        if not len(pixels):
            return
        inside, tone = vegetation.crowns(
            window, 720, self.key("trees"), pixels, density.reshape(-1)[pixels]
        )
        crown = inside > 0
        pixels, inside, tone = pixels[crown], inside[crown], tone[crown]
        height = size.reshape(-1)[pixels] * (0.7 + 0.3 * tone) * (0.5 + 0.5 * inside)
        canvas.put(pixels, Surface.DECIDUOUS, height, (tone - 0.5) * 0.5)

    def _paint_water(
        self, canvas: Canvas, window: Window, land: Blocks, uses: NDArray[np.uint8], bank: Floats
    ) -> None:
        """Rivers with a grassy edge, and ponds in the middle of some blocks."""
        shore = value_noise(window, 1_500, self.key("shore"))
        radius = np.float32(12) + np.float32(26) * draw(land.hash, 14)
        wet = np.isin(uses, (Use.PASTURE, Use.WOOD, Use.WILD)) & (draw(land.hash, 13) < 0.22)
        middle = land.site[land.nearest]
        du = (land.u - middle[..., 0]).astype(np.float32)
        dv = (land.v - middle[..., 1]).astype(np.float32)
        pond = np.sqrt(du * du + dv * dv) * np.float32(0.01) - radius[land.nearest]
        pond = np.where(wet[land.nearest], pond + 4 * shore, np.float32(1e6))
        edge = np.minimum(bank + np.float32(0.8) * shore, pond)
        lower = canvas.height < 2
        canvas.put(np.flatnonzero((edge < 1.6) & lower), Surface.ROUGH_GRASS, 0)
        canvas.put(np.flatnonzero(edge < 0), Surface.WATER, 0)

    def _paint_roads(
        self, canvas: Canvas, cut: Parcels, land: Blocks, use: NDArray[np.uint8],
        uses: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Roads and tracks between blocks, streets between every second strip of plots."""
        settled = np.isin(use, (Use.TOWN, Use.WORKS))
        even = cut.strip % 2 == 0
        street_m = np.where((settled & even)[cut.index], cut.low_a, np.float32(1e6))
        street_m = np.where((settled & ~even)[cut.index], cut.high_a, street_m)
        canvas.put(np.flatnonzero(street_m < 3.5), Surface.CONCRETE, 0, -0.1)
        canvas.put(np.flatnonzero(street_m < 2.5), Surface.ASPHALT, 0)

        chance = draw(hash_at(land.hash[:, None] ^ land.hash[None, :], 3), 2)
        built = np.isin(uses, (Use.TOWN, Use.WORKS))
        road = chance < (0.15 if self.past else 0.42)
        if not self.past:
            road |= built[:, None] | built[None, :]
        track = ~road & (chance < 0.8)
        border = land.border_m
        on_road = road[land.nearest, land.second]
        on_track = track[land.nearest, land.second]
        canvas.put(
            np.flatnonzero((on_road & (border < 4.2)) | (on_track & (border < 2.8))),
            Surface.MARGIN,
            0,
        )
        canvas.put(np.flatnonzero(on_track & (border < 1.7)), Surface.GRAVEL, 0)
        canvas.put(np.flatnonzero(on_track & (border < 0.45)), Surface.MARGIN, 0)
        canvas.put(np.flatnonzero(on_road & (border < 2.9)), Surface.ASPHALT, 0)
        canvas.tone[on_road & (border < 0.12)] = 0.9

    def _paint_heights(self, canvas: Canvas, window: Window, altitude: Floats) -> None:
        """Above the trees: grass, then rock, then snow that stays over the summer."""
        line = self.domain.snow_line_m
        if line is None or float(altitude.max()) < line - 400:
            return
        patch = value_noise(window, 4_500, self.key("snow")) + np.float32(0.5) * value_noise(
            window, 1_100, self.key("snow", 2)
        )
        level = altitude + np.float32(70) * patch - np.float32(line)
        canvas.put(np.flatnonzero(level > -220), Surface.ROUGH_GRASS, 0)
        canvas.put(np.flatnonzero((level > -200) & (patch > 0.25)), Surface.BRUSH, 0.6)
        canvas.put(np.flatnonzero(level > -70), Surface.BARE, 0.3)
        canvas.put(np.flatnonzero(level > 0), Surface.SNOW, 0)
