"""Houses and their gardens, town centres, farms, large buildings and greenhouses, plot by plot.

No published model is followed: shapes, sizes and how often each occurs are chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.canvas import Canvas
from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, draw, hash_at
from bocage.simulate.landuse import Kind, Owners
from bocage.simulate.layout import Layout
from bocage.simulate.noise import value_noise
from bocage.simulate.partition import Parcels
from bocage.simulate.surfaces import Surface

Pixels = NDArray[np.intp]


class _Plot:
    """Some pixels of a window with the numbers of the plots that they lie in."""

    def __init__(self, cut: Parcels, owner: Owners, pixels: Pixels) -> None:
        self.pixels = pixels
        self.parcel = cut.index.reshape(-1)[pixels]
        self.across = cut.across.reshape(-1)[pixels]
        self.along = cut.along.reshape(-1)[pixels]
        self.hash = owner.hash
        self.inset = cut.inset_m
        self.strip = cut.strip

    def lot(self, stream: int, low: float, high: float) -> Floats:
        """A number between `low` and `high` per plot, seen from each pixel."""
        table = np.float32(low) + np.float32(high - low) * draw(self.hash, stream)
        return table[self.parcel]

    def roomy(self, inset_m: float) -> NDArray[np.bool_]:
        """Whether the plot's middle is that far from the block's border."""
        return (self.inset >= inset_m)[self.parcel]


def _gable(across: Floats, along: Floats, half_a: Floats, half_b: Floats) -> Floats:
    """0 at the eaves to 1 at the ridge, which runs along the longer side."""
    return 1 - np.where(half_a <= half_b, np.abs(across) / half_a, np.abs(along) / half_b)


def paint_houses(canvas: Canvas, cut: Parcels, owner: Owners, domain: Domain) -> None:
    """House, annex, terrace, drive and sometimes a pool on every house plot."""
    pixels = np.flatnonzero((owner.kind == Kind.HOUSE)[cut.index].reshape(-1))
    if not len(pixels):
        return
    plot = _Plot(cut, owner, pixels)
    built = plot.roomy(11.0)
    # Streets run along every second cut between strips: the drive leads to that side.
    street = np.where(plot.strip % 2 == 0, np.float32(-1), np.float32(1))[plot.parcel]
    half_a, half_b = plot.lot(20, 4.3, 6.1), plot.lot(21, 5.0, 7.5)
    a = plot.across - street * plot.lot(22, -0.8, 1.2)
    b = plot.along - plot.lot(23, -3.5, -0.5)
    drive = built & (np.abs(b - plot.lot(24, -3, 3)) < 1.6) & (a * street > 0)
    gravelled = draw(plot.hash, 25)[plot.parcel] < 0.5
    canvas.put(pixels[drive & gravelled], Surface.GRAVEL, 0)
    canvas.put(pixels[drive & ~gravelled], Surface.CONCRETE, 0)
    bed_a, bed_b = a + street * plot.lot(32, 8.0, 9.5), b - plot.lot(33, 2.0, 7.0)
    bed = built & (np.abs(bed_a) < 2.6) & (np.abs(bed_b) < 3.4)
    bed &= (draw(plot.hash, 34) < 0.35)[plot.parcel]
    canvas.put(pixels[bed], Surface.BED, 0, np.where(np.mod(b[bed], 0.9) < 0.45, 0.1, -0.15))
    terrace = built & (np.abs(a) < half_a + 1.0) & (b > 0) & (b < half_b + plot.lot(26, 1.5, 4.0))
    canvas.put(pixels[terrace], Surface.CONCRETE, 0)

    pool_b = b - half_b - np.float32(5.5)
    has_pool = built & (draw(plot.hash, 27) < domain.pools)[plot.parcel]
    deck = has_pool & (np.abs(a) < 5.2) & (np.abs(pool_b) < 3.2)
    canvas.put(pixels[deck], Surface.CONCRETE, 0)
    canvas.put(pixels[has_pool & (np.abs(a) < 3.8) & (np.abs(pool_b) < 1.9)], Surface.POOL, 0)

    dark = (draw(plot.hash, 28) < domain.slate)[plot.parcel]
    tone = plot.lot(29, -0.25, 0.25)
    eaves, rise = plot.lot(30, 3.0, 6.0), plot.lot(31, 1.5, 3.0)
    annex = (np.abs(a + street * half_a) < 3.0) & (np.abs(b - half_b * 0.3) < half_b * 0.55)
    main = (np.abs(a) < half_a) & (np.abs(b) < half_b)
    roof = built & (main | annex)
    height = np.where(main, eaves + rise * _gable(a, b, half_a, half_b), np.float32(2.8))
    for surface, which in ((Surface.TILE_ROOF, roof & ~dark), (Surface.SLATE_ROOF, roof & dark)):
        canvas.put(pixels[which], surface, height[which], tone[which])


def paint_row_houses(canvas: Canvas, cut: Parcels, owner: Owners, domain: Domain) -> None:
    """House against house along the street, with courts, sheds and small gardens behind."""
    pixels = np.flatnonzero((owner.kind == Kind.ROW_HOUSES)[cut.index].reshape(-1))
    if not len(pixels):
        return
    plot = _Plot(cut, owner, pixels)
    even = (plot.strip % 2 == 0)[plot.parcel]
    back = np.where(even, cut.low_a.reshape(-1)[pixels], cut.high_a.reshape(-1)[pixels])
    length = (cut.low_b + cut.high_b).reshape(-1)[pixels]
    lot = np.minimum(np.floor(cut.low_b.reshape(-1)[pixels] / length * 4), 3).astype(np.int64)
    number = hash_at(plot.hash[plot.parcel], lot)
    court = back > 18
    gardens = draw(number, 1)
    canvas.put(pixels[court & (gardens < 0.35)], Surface.LAWN, 0)
    canvas.put(pixels[court & (gardens > 0.75)], Surface.GRAVEL, 0)

    built = plot.roomy(9.0)
    depth = np.float32(4.4) + np.float32(10) + np.float32(5) * draw(number, 2)
    house = built & (back > 4.4) & (back < depth)
    shed = built & (back > 20.5) & (back < 24.5) & (draw(number, 3) < 0.4)
    roof = house | shed
    eaves = np.float32(5) + np.float32(5) * draw(number, 4)
    ridge = 1 - np.abs(2 * (back - np.float32(4.4)) / (depth - np.float32(4.4)) - 1)
    height = np.where(house, eaves + np.float32(2.6) * ridge, np.float32(2.8))
    dark = draw(number, 5) < domain.slate
    tone = np.float32(0.4) * (draw(number, 6) - np.float32(0.5))
    for surface, which in ((Surface.TILE_ROOF, roof & ~dark), (Surface.SLATE_ROOF, roof & dark)):
        canvas.put(pixels[which], surface, height[which], tone[which])


# A farm's house and two barns: stream of its numbers, place and half sides across and along the
# parcel, height of the eaves in metres, share with tiles.
_FARM = (
    (40, -14.0, 0.0, 7.5, 16.0, 6.0, 0.25),
    (50, 12.0, -13.0, 11.0, 6.5, 5.0, 0.45),
    (60, 9.0, 13.0, 7.0, 5.0, 4.5, 1.0),
)


def paint_farms(canvas: Canvas, layout: Layout) -> None:
    """A farm in its meadow: house, two barns, and a ragged yard of gravel around and between."""
    owner = layout.owner
    pixels = np.flatnonzero((owner.kind == Kind.FARM)[layout.cut.index].reshape(-1))
    if not len(pixels):
        return
    plot = _Plot(layout.cut, owner, pixels)
    built = plot.roomy(32.0)
    ragged = value_noise(layout.window, 900, layout.key("yard")).reshape(-1)[pixels]
    a, b = plot.across, plot.along
    # Metres outside the court in the middle, and outside the nearest building.
    outside = np.maximum(np.abs(a) - 9, np.abs(b) - plot.lot(20, 6, 13))
    buildings = []
    for stream, at_a, at_b, half_a, half_b, eaves, tiled in _FARM:
        half_a_m = plot.lot(stream, 0.75 * half_a, half_a)
        half_b_m = plot.lot(stream + 1, 0.75 * half_b, half_b)
        in_a = a - np.float32(at_a) - plot.lot(stream + 4, -2.5, 2.5)
        in_b = b - np.float32(at_b) - plot.lot(stream + 5, -2.5, 2.5)
        beside = np.maximum(np.abs(in_a) - half_a_m, np.abs(in_b) - half_b_m)
        outside = np.minimum(outside, beside)
        height = np.float32(eaves) + np.float32(2.2) * _gable(in_a, in_b, half_a_m, half_b_m)
        metal = (draw(plot.hash, stream + 3) >= tiled)[plot.parcel]
        buildings.append((built & (beside < 0), height, plot.lot(stream + 2, -0.3, 0.2), metal))
    yard = built & (outside < np.float32(3.5) + np.float32(3) * ragged)
    canvas.put(pixels[yard], Surface.GRAVEL, 0)
    canvas.put(pixels[built & (np.abs(b) < 2.2) & (a > 0)], Surface.GRAVEL, 0)
    dark = (draw(plot.hash, 28) < layout.domain.slate)[plot.parcel]
    for roof, height, tone, metal in buildings:
        for surface, which in (
            (Surface.METAL_ROOF, roof & metal),
            (Surface.SLATE_ROOF, roof & ~metal & dark),
            (Surface.TILE_ROOF, roof & ~metal & ~dark),
        ):
            canvas.put(pixels[which], surface, height[which], tone[which])


def paint_open_plots(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Allotments in beds, gravel yards with what is parked there, and rows of solar panels."""
    kinds = owner.kind[cut.index].reshape(-1)
    pixels = np.flatnonzero(kinds == Kind.ALLOTMENTS)
    if len(pixels):
        plot = _Plot(cut, owner, pixels)
        a, b = plot.across, plot.along
        place = hash_at(
            plot.hash[plot.parcel],
            np.floor(a / np.float32(6)).astype(np.int64),
            np.floor(b / np.float32(9)).astype(np.int64),
        )
        path = (np.mod(a, np.float32(6)) < 0.8) | (np.mod(b, np.float32(9)) < 0.8)
        shed = ~path & (np.mod(a, np.float32(6)) > 3.8) & (np.mod(b, np.float32(9)) > 6.6)
        shed &= draw(place, 2) < 0.6
        bed = ~path & ~shed & (draw(place, 1) < 0.55)
        furrow = np.where(np.mod(b, np.float32(1.0)) < 0.5, np.float32(0.12), np.float32(-0.12))
        canvas.put(pixels[path], Surface.GRAVEL, 0)
        canvas.put(pixels[bed], Surface.BED, 0, furrow[bed])
        roof = shed & plot.roomy(9.0)
        canvas.put(pixels[roof], Surface.METAL_ROOF, 2.6, -0.2)

    pixels = np.flatnonzero(kinds == Kind.YARD)
    if len(pixels):
        plot = _Plot(cut, owner, pixels)
        a, b = plot.across, plot.along
        place = hash_at(
            plot.hash[plot.parcel],
            np.floor(a / np.float32(5.5)).astype(np.int64),
            np.floor(b / np.float32(2.8)).astype(np.int64),
        )
        parked = (np.mod(a, np.float32(5.5)) > 1.1) & (np.mod(b, np.float32(2.8)) > 0.9)
        parked &= draw(place, 1) < 0.22
        tone = np.float32(1.1) * draw(place, 2)[parked] - np.float32(0.6)
        # A vehicle is not the yard's cover: the annotators of CoSIA look through it.
        canvas.height.reshape(-1)[pixels[parked]] = 1.6
        canvas.tone.reshape(-1)[pixels[parked]] = tone

    pixels = np.flatnonzero(kinds == Kind.SOLAR)
    if len(pixels):
        plot = _Plot(cut, owner, pixels)
        edge = np.minimum(
            np.minimum(cut.low_a, cut.high_a).reshape(-1)[pixels],
            np.minimum(cut.low_b, cut.high_b).reshape(-1)[pixels],
        )
        row = np.mod(plot.across, np.float32(6.5))
        panel = (edge > 6) & (row < 4.2)
        canvas.put(pixels[panel], Surface.SOLAR, 0.8 + row[panel] * np.float32(0.25))


def paint_large_buildings(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Flats in towns and sheds in works zones, with car parks and lawns around."""
    kinds = owner.kind[cut.index].reshape(-1)
    for kind, inset, sizes, heights in (
        (Kind.LARGE_HOUSE, 14.0, (6.0, 7.6, 9.0, 12.0), (8.0, 12.0)),
        (Kind.SHED, 30.0, (13.0, 21.0, 17.0, 27.0), (5.0, 10.0)),
    ):
        pixels = np.flatnonzero(kinds == kind)
        if not len(pixels):
            continue
        plot = _Plot(cut, owner, pixels)
        half_a, half_b = plot.lot(20, *sizes[:2]), plot.lot(21, *sizes[2:])
        a, b = plot.across, plot.along
        lawn = ~plot.roomy(inset) | (np.abs(a) > half_a + plot.lot(22, 9, 22))
        canvas.put(pixels[lawn], Surface.LAWN, 0)
        # Painted bays of a car park, every 2.5 m.
        bays = ~lawn & (np.mod(b, np.float32(2.5)) < 0.15) & (np.abs(a) > half_a + 2)
        canvas.tone.reshape(-1)[pixels[bays]] += np.float32(0.5)
        roof = plot.roomy(inset) & (np.abs(a) < half_a) & (np.abs(b) < half_b)
        height = plot.lot(23, *heights) + np.float32(0.6) * _gable(a, b, half_a, half_b)
        tone = plot.lot(24, -0.4, 0.3)
        tiled = (draw(plot.hash, 25) < (0.4 if kind == Kind.LARGE_HOUSE else 0.1))[plot.parcel]
        for surface, which in (
            (Surface.TILE_ROOF, roof & tiled),
            (Surface.METAL_ROOF, roof & ~tiled),
        ):
            canvas.put(pixels[which], surface, height[which], tone[which])


def paint_greenhouses(canvas: Canvas, cut: Parcels, owner: Owners) -> None:
    """Long glazed naves side by side, with gravel between them."""
    pixels = np.flatnonzero((owner.kind == Kind.GREENHOUSES)[cut.index].reshape(-1))
    if not len(pixels):
        return
    plot = _Plot(cut, owner, pixels)
    side = np.minimum(
        np.minimum(cut.low_a, cut.high_a).reshape(-1)[pixels],
        np.minimum(cut.low_b, cut.high_b).reshape(-1)[pixels],
    )
    nave = np.mod(plot.across, np.float32(9.6)) - np.float32(4.8)
    glass = plot.roomy(14.0) & (side > 5) & (np.abs(nave) < 4.0)
    height = np.float32(2.5) + np.float32(2.2) * (1 - np.abs(nave) / np.float32(4.0))
    canvas.put(pixels[glass], Surface.GREENHOUSE, height[glass], plot.lot(20, -0.2, 0.2)[glass])
    rough = ~plot.roomy(14.0)
    canvas.put(pixels[rough], Surface.ROUGH_GRASS, 0)
