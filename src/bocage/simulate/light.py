"""The landscape in the sun: reflectance towards a camera above, with texture and shadow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats, draw, hash_at, make_key
from bocage.simulate.landscape import MAX_HEIGHT_M, Landscape, Scene
from bocage.simulate.landuse import Owners
from bocage.simulate.noise import METRE, Window, pixel_noise, value_noise
from bocage.simulate.phenology import (
    CALENDARS,
    ENDMEMBERS,
    OF_CROP,
    SPECTRA,
    Growth,
    bright_soil,
    growth,
    is_bare,
    state,
)
from bocage.simulate.surfaces import BEHAVIOUR, REFLECTANCE, TEXTURE, Surface

_SKY = np.array([0.42, 0.45, 0.52, 0.34], dtype=np.float32)
"""Share of the light that comes from the sky and reaches into shadows: more in blue (chosen)."""
_REFERENCE_DAY = 190
"""Day of the year at which `surfaces.REFLECTANCE` holds."""

_CAMERA_BANDS = (2, 1, 0, 6)
"""Red, green, blue and near infrared among Sentinel-2's bands."""
_COLOUR: Floats = SPECTRA[:, _CAMERA_BANDS] / np.float32(10_000)
_EARTHS = [ENDMEMBERS.index(name) for name in ("bright soil", "dark soil")]
_COLOUR[[*_EARTHS, ENDMEMBERS.index("straw")], 1] *= np.float32(1.12)
_COLOUR[_EARTHS] *= np.float32(1.2)
"""A camera's green band is wider than Sentinel-2's, and soil and straw are brighter at its red end;
dry, crusted soil of a summer's noon is brighter than a year's mean (amounts chosen)."""
_CALENDAR_OF = np.array(
    [CALENDARS.index(name) if name in CALENDARS.names else -1 for name in BEHAVIOUR], np.intp
)
_SHADE = np.float32(0.22)
_TINT = np.array([0.14, 0.10, 0.13, 0.15], dtype=np.float32)
"""Largest deviation of a stand's brightness, and of its colour per band, from its crop's (chosen).
"""
_SOILS = [
    Surface.PLOWED, Surface.BARE, Surface.BED, Surface.SAND, Surface.VINE_FLOOR,
    Surface.LAVENDER_FLOOR, Surface.CLEAR_CUT,
]  # fmt: skip
_WOODY = [
    Surface.DECIDUOUS, Surface.CONIFER, Surface.MIXED_WOOD, Surface.BRUSH, Surface.LIGNEOUS,
]  # fmt: skip
"""Crowns hang over the lines between parcels: each has a colour of its own, not its parcel's."""
_BUILT = [
    Surface.TILE_ROOF, Surface.SLATE_ROOF, Surface.METAL_ROOF, Surface.GREENHOUSE, Surface.POOL,
    Surface.SOLAR,
]  # fmt: skip
_UNOWNED = [
    Surface.ASPHALT, Surface.CONCRETE, Surface.GRAVEL, Surface.ROCK, Surface.WATER, Surface.SNOW,
]  # fmt: skip
"""What runs over the lines between parcels, and varies by the region instead."""
_WEATHERING = [Surface.ASPHALT, Surface.CONCRETE, Surface.GRAVEL, Surface.ROCK]
# How far a parcel's own brightness and colour show on each surface, (S,): in full where something
# is grown; on rough land less, on soils in brightness more than in hue; a plot's roofs and pool are
# its own.
_OWN_SHADE, _OWN_TINT = np.ones((2, len(Surface)), dtype=np.float32)
_OWN_SHADE[_UNOWNED], _OWN_TINT[_UNOWNED] = 0, 0
_OWN_SHADE[_WOODY], _OWN_TINT[_WOODY] = 0, 0
_OWN_SHADE[_BUILT], _OWN_TINT[_BUILT] = 1.5, 0.5
_OWN_TINT[_SOILS] = 0.25
_OWN_TINT[[Surface.MEADOW, Surface.LAWN]] = 0.6
_OWN_SHADE[Surface.ROUGH_GRASS], _OWN_TINT[Surface.ROUGH_GRASS] = 0.4, 0.4
_SOIL_TINT = np.float32(0.25)
_GREEN = np.float32(0.6)
"""Share of its tint that a field has when bare, and the green cover from which it has all of it."""
_CROWN_TINT = np.array([0.09, 0.06, 0.08, 0.10], dtype=np.float32)
_CROWN_SHADE = np.float32(0.10)
_STAND_CM, _STANDS = 6_000, np.float32(0.12)
"""How far single crowns differ in colour and brightness, and woods from place to place (chosen)."""
_CLUMP_CM, _CLUMPS = 130, np.float32(1.8)
"""Tussocks, clods and branches of a metre: lattice, and share of the texture at 2 m."""
_WEATHERED_CM, _WEATHERED = 9_000, np.float32(0.22)
_TURBID_CM, _TURBID = 60_000, np.array([0.30, 0.40, 0.40, 0.60], dtype=np.float32)
"""Reach and amount of what sets one stretch of road, or one water from another, apart: wear and
gravel of other quarries alike in all bands, and what the water carries (chosen)."""


def _crown_colours() -> Floats:
    """What a crown's own colour multiplies light with, by its number, (256, 4); 1 for none."""
    numbers = hash_at(make_key("crowns"), np.arange(256))
    tint = np.stack([draw(numbers, stream) for stream in range(1, 5)], axis=1)
    shade = 1 + _CROWN_SHADE * (2 * draw(numbers, 5) - 1)
    factors: Floats = shade[:, None] * (1 + _CROWN_TINT * (2 * tint - 1))
    factors[0] = 1
    return factors


_CROWNS = _crown_colours()


@dataclass(frozen=True)
class View:
    """A window from above, with `margin` pixels of neighbourhood around it.

    `scene` and `light`, the reflectance (4, H, W) float32 in red, green, blue and near infrared,
    are those of `around`: the window with its margin. `table` are the `colours` it was made with.
    """

    land: Landscape
    window: Window
    margin: int
    scene: Scene
    light: Floats
    table: Floats

    @classmethod
    def of(cls, land: Landscape, window: Window, margin: int) -> View:
        """What the camera sees on the day of the landscape's photograph."""
        around = window.padded(margin, margin, margin, margin)
        reach = shadow_margin(around, land)
        scene = land.scene(around.padded(*reach))
        table = colours(land, scene.owner, land.domain.flight_day(land.past))
        light = reflectance(land, around, scene, table)
        return cls(land, window, margin, scene.inside(*reach), light, table)

    @classmethod
    def unlit(cls, land: Landscape, window: Window, margin: int) -> View:
        """The scene alone, with no light on it: labels need no more."""
        scene = land.scene(window.padded(margin, margin, margin, margin))
        dark = np.zeros((4, *scene.window.shape), dtype=np.float32)
        return cls(land, window, margin, scene, dark, np.zeros((0, 4), dtype=np.float32))

    @property
    def around(self) -> Window:
        """The window with its margin."""
        return self.scene.window

    def inner(self, image: NDArray[Any]) -> NDArray[Any]:
        """Cut the margin off the last two axes."""
        m = self.margin
        return image[..., m : image.shape[-2] - m, m : image.shape[-1] - m]


def _sun(land: Landscape) -> tuple[float, float, float]:
    """Towards the sun (east, south), tangent of its height; the past flew at another hour."""
    east, south, tangent = land.domain.sun
    return (-east if land.past else east), south, tangent


def shadow_margin(window: Window, land: Landscape) -> tuple[int, int, int, int]:
    """Pixels (top, bottom, left, right) around a window that may throw shadow into it."""
    east, south, tangent = _sun(land)
    reach = MAX_HEIGHT_M / tangent * METRE / window.step_cm
    across, down = int(np.ceil(reach * abs(east))) + 2, int(np.ceil(reach * abs(south))) + 2
    return 1, down, across if east < 0 else 1, across if east > 0 else 1


def reflectance(land: Landscape, window: Window, scene: Scene, table: Floats) -> Floats:
    """Red, green, blue and near-infrared reflectance of `window`, (4, H, W) float32, 0 to 1.

    `scene` is of the window plus `shadow_margin`: objects outside throw their shadows in. `table`
    are the `colours` of its owners. Light is Lambertian on the slope of ground and objects, as in
    the cosine correction of Teillet, Guindon & Goodenough (1982), which undoes it; the cosine is
    taken against flat ground and bounded at 1.35. Shadows are cast by ray and hard; light of the
    sky is one share per band that shadows keep, whatever they see of the sky (share chosen).
    Texture is value noise (after Perlin 1985) at 0.4 to 12 m, in amounts that are chosen per
    surface; nothing depends on the angle of view.
    """
    margin = shadow_margin(window, land)
    height, width = window.shape
    rows = slice(margin[0], margin[0] + height)
    cols = slice(margin[2], margin[2] + width)
    inner = scene.inside(*margin)

    texture = TEXTURE[inner.surface]
    relief = 1 + inner.tone
    relief += texture[..., 0] * (
        np.float32(2.2) * value_noise(window, 70, land.key("grain"))
        + np.float32(1.2) * pixel_noise(window, land.key("pixel"))
    )
    relief += texture[..., 1] * (np.float32(1.5) * value_noise(window, 240, land.key("tufts")))
    relief += texture[..., 1] * (_CLUMPS * value_noise(window, _CLUMP_CM, land.key("clumps")))
    relief += texture[..., 2] * value_noise(window, 1_200, land.key("patches"))
    worn = _WEATHERED * value_noise(window, _WEATHERED_CM, land.key("weathered"))
    relief += worn * np.isin(inner.surface, _WEATHERING)
    stands = _STANDS * value_noise(window, _STAND_CM, land.key("stands"))
    relief += stands * np.isin(inner.surface, _WOODY)
    np.maximum(relief, np.float32(0.15), out=relief)
    turbid = value_noise(window, _TURBID_CM, land.key("turbid")) * (inner.surface == Surface.WATER)

    sunlit = _slope_light(scene, land)[rows, cols] * ~_shadows(scene, land)[rows, cols]
    place = kinds_of(inner)
    light = np.empty((4, height, width), dtype=np.float32)
    for band in range(4):
        seen = table[:, band][place]
        seen *= 1 + _TURBID[band] * turbid
        seen *= _CROWNS[:, band][inner.crown]
        seen *= _SKY[band] + (1 - _SKY[band]) * sunlit
        seen *= relief
        np.clip(seen, 0, 1, out=light[band])
    return light


def kinds_of(scene: Scene) -> NDArray[np.int32]:
    """Row of `colours` for every pixel, (H, W)."""
    return scene.parcel * np.int32(len(Surface)) + scene.surface


def colours(land: Landscape, owner: Owners, day: int) -> Floats:
    """Reflectance of every surface in every parcel on a day, (P * S, 4), parcel by parcel.

    Fields have the colour of their crop's leaves, straw, flowers and soil in the shares of that
    day, by linear mixing (Settle & Drake 1993) as in Sentinel-2; other plants their usual colour,
    moved by how the day differs from midsummer. What was bare on the day of the flight may be green
    on another. How far stands of one crop differ is chosen.
    """
    parcels, surfaces = len(owner.hash), len(Surface)
    grown = replace(growth(owner.hash, owner.late), soil=bright_soil(owner.soil))
    ordinary = _usual(land.domain.season_days)
    crop = OF_CROP[owner.crop]
    standing = _mixed(crop, grown, day)
    table = np.repeat(REFLECTANCE[None], parcels, axis=0)
    for surface in range(surfaces):
        behaviour = BEHAVIOUR[surface]
        calendar = _CALENDAR_OF[surface]
        if surface == Surface.FIELD:
            table[:, surface] = standing
        elif surface == Surface.PLOWED:
            soil = np.float32(1) + (grown.soil - np.float32(0.55))
            tilled = REFLECTANCE[surface] * soil[:, None]
            table[:, surface] = np.where(is_bare(crop, grown, day)[:, None], tilled, standing)
        elif surface in _WOODY:
            change = _mixed(calendar[None], ordinary, day) / _mixed(
                calendar[None], _usual(0), _REFERENCE_DAY
            )
            table[:, surface] *= np.clip(change, np.float32(0.55), np.float32(1.7))
        elif behaviour != "field" and CALENDARS.fixed[calendar] < 0 and surface not in _UNOWNED:
            row = np.full(parcels, calendar)
            usual = _mixed(row[:1], _usual(0), _REFERENCE_DAY)
            change = _mixed(row, grown, day) / usual
            table[:, surface] *= np.clip(change, np.float32(0.55), np.float32(1.7))
    wetness = np.float32(0.75) + np.float32(0.5) * draw(owner.hash, 61)
    table[:, _SOILS] *= wetness[:, None, None]
    # Variety, nutrition, disease and the camera's angle: no two stands of a crop look quite alike.
    shade = _SHADE * (2 * draw(owner.hash, 63) - 1)
    tint = np.stack([draw(owner.hash, stream) for stream in (64, 65, 66, 67)], axis=1)
    table *= (1 + shade[:, None] * _OWN_SHADE)[..., None]
    own = np.repeat(_OWN_TINT[None, :, None], 4, axis=2).repeat(parcels, axis=0)
    now = state(crop, grown, np.array([day]))
    leafy = np.minimum((now.green + now.catch)[:, 0] / _GREEN, 1)
    # Soil and straw have one hue; in the infrared, moisture and residues set fields apart.
    for surface in (Surface.FIELD, Surface.PLOWED):
        own[:, surface, :3] = (_SOIL_TINT + (1 - _SOIL_TINT) * leafy * leafy)[:, None]
        own[:, surface, 3] = 1
    table *= 1 + own * (_TINT * (2 * tint - 1))[:, None, :]
    return table.reshape(parcels * surfaces, 4)


def _mixed(calendar: NDArray[np.intp], grown: Growth, day: int) -> Floats:
    """Colour of stands on a day, (P, 4): endmembers in the shares of the calendar."""
    now = state(calendar, grown, np.array([day]))
    green, dry, flower = (now.green + now.catch)[:, 0], now.dry[:, 0], now.flower[:, 0]
    total = green + dry + flower
    scale = 1 / np.maximum(total, 1)
    soil = np.maximum(1 - total, 0)
    bright = grown.soil * np.float32(0.9)
    shares = np.zeros((len(green), len(ENDMEMBERS)), dtype=np.float32)
    shares[np.arange(len(green)), CALENDARS.leaf[calendar]] = green * scale
    for name, share in (
        ("straw", dry * scale), ("flower", flower * scale),
        ("bright soil", soil * bright), ("dark soil", soil * (1 - bright)),
    ):  # fmt: skip
        shares[:, ENDMEMBERS.index(name)] = share
    # Sums in a fixed order: a matrix product may order them by the machine.
    mixed = np.zeros((len(green), 4), dtype=np.float32)
    for member in range(len(ENDMEMBERS)):
        mixed += shares[:, member, None] * _COLOUR[member]
    return mixed


def _usual(season: int) -> Growth:
    """A stand that keeps to its calendar, where the year is `season` days late."""
    one = np.ones(1, dtype=np.float32)
    return Growth(np.full(1, season), one * 0, one * np.float32(0.94), one / 2, one / 2, one * 0)


def _slope_light(scene: Scene, land: Landscape) -> Floats:
    """Direct light by the slope of ground and objects, 1 on flat ground, (H, W)."""
    east, south, tangent = _sun(land)
    top = scene.ground + scene.height
    pitch = np.float32(scene.window.step_cm / METRE)
    slope_u = np.zeros_like(top)
    slope_v = np.zeros_like(top)
    slope_u[:, 1:-1] = (top[:, 2:] - top[:, :-2]) / (2 * pitch)
    slope_v[1:-1] = (top[2:] - top[:-2]) / (2 * pitch)
    facing = tangent - east * slope_u - south * slope_v
    light = facing / (np.float32(tangent) * np.sqrt(1 + slope_u * slope_u + slope_v * slope_v))
    return np.clip(light, 0, 1.35)


def _shadows(scene: Scene, land: Landscape) -> NDArray[np.bool_]:
    """Where ground or object between a pixel and the sun stands higher than the ray, (H, W).

    The ray is followed pixel by pixel, as far as an object on the flat may throw its shadow: longer
    strides leave teeth at its edge.
    """
    east, south, tangent = _sun(land)
    pitch = scene.window.step_cm / METRE
    stride = pitch / max(abs(east), abs(south))
    top = scene.ground + scene.height
    total_v, total_u = top.shape
    shadow = np.zeros(top.shape, dtype=bool)
    for k in range(1, int(MAX_HEIGHT_M / tangent / stride) + 1):
        distance = k * stride
        move_u, move_v = round(east * distance / pitch), round(south * distance / pitch)
        here = (slice(0, total_v - move_v), slice(max(0, -move_u), total_u - max(0, move_u)))
        there = (slice(move_v, total_v), slice(max(0, move_u), total_u + min(0, move_u)))
        shadow[here] |= top[there] - top[here] > np.float32(distance * tangent)
    return shadow
