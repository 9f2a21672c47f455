"""The landscape in the sun: reflectance towards a camera above, with texture and shadow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.domains import Domain
from bocage.simulate.hashing import Floats, draw
from bocage.simulate.landscape import MAX_HEIGHT_M, Landscape, Scene
from bocage.simulate.landuse import Owners
from bocage.simulate.noise import METRE, Window, pixel_noise, value_noise
from bocage.simulate.surfaces import REFLECTANCE, TEXTURE, Surface

_STRIDE_M = 0.8
"""Step along the ray to the sun; thinner objects may lose part of their shadow."""
_SKY = np.array([0.36, 0.39, 0.46, 0.28], dtype=np.float32)
"""Share of the light that comes from the sky and reaches into shadows: more in blue (chosen)."""

# A standing crop on one day: between green, ripe and earthy (red, green, blue, nir; chosen).
_FIELD_COLOURS = np.array(
    [[0.060, 0.105, 0.045, 0.46], [0.270, 0.235, 0.135, 0.33], [0.165, 0.150, 0.100, 0.26]],
    dtype=np.float32,
)


def shadow_margin(window: Window, domain: Domain) -> tuple[int, int, int, int]:
    """Pixels (top, bottom, left, right) around a window that may throw shadow into it."""
    east, south, tangent = domain.sun
    reach = MAX_HEIGHT_M / tangent * METRE / window.step_cm
    across, down = int(np.ceil(reach * abs(east))) + 2, int(np.ceil(reach * abs(south))) + 2
    return 1, down, across if east < 0 else 1, across if east > 0 else 1


def reflectance(land: Landscape, window: Window, scene: Scene) -> Floats:
    """Red, green, blue and near-infrared reflectance of `window`, (4, H, W) float32, 0 to 1.

    `scene` is of the window plus `shadow_margin`: objects outside throw their shadows in. Light is
    Lambertian on the slope of ground and objects, plus light of the sky, which shadows keep.
    """
    domain = land.domain
    margin = shadow_margin(window, domain)
    height, width = window.shape
    rows = slice(margin[0], margin[0] + height)
    cols = slice(margin[2], margin[2] + width)
    inner = scene.inside(*margin)

    surface = inner.surface
    colour = REFLECTANCE[surface]
    field = surface == Surface.FIELD
    colour[field] = field_colours(inner.owner, stream=60)[inner.parcel[field]]
    soil = (surface == Surface.PLOWED) | (surface == Surface.BARE) | (surface == Surface.VINE_FLOOR)
    wetness = np.float32(0.75) + np.float32(0.5) * draw(inner.owner.hash, 61)
    colour[soil] *= wetness[inner.parcel[soil]][:, None]
    meadow = (surface == Surface.MEADOW) | (surface == Surface.LAWN)
    colour[meadow] *= _meadow_tint(inner.owner)[inner.parcel[meadow]]

    texture = TEXTURE[surface]
    relief = 1 + inner.tone
    relief += texture[..., 0] * (
        np.float32(0.6) * value_noise(window, 60, land.key("grain"))
        + np.float32(0.6) * pixel_noise(window, land.key("pixel"))
    )
    relief += texture[..., 1] * value_noise(window, 240, land.key("tufts"))
    relief += texture[..., 2] * value_noise(window, 1_200, land.key("patches"))
    relief = np.maximum(relief, np.float32(0.15))

    sunlit = _slope_light(scene, domain)[rows, cols] * ~_shadows(scene, domain)[rows, cols]
    light = _SKY + (1 - _SKY) * sunlit[..., None]
    return np.clip(colour * light * relief[..., None], 0, 1).transpose(2, 0, 1)


def field_colours(owner: Owners, stream: int) -> Floats:
    """Colour of each parcel's standing crop on one day, (P, 4): a draw that ignores the crop."""
    weights = np.stack([draw(owner.hash, stream + k) for k in range(10, 13)], axis=1)
    weights *= weights * weights
    weights /= weights[:, 0:1] + weights[:, 1:2] + weights[:, 2:3]
    mixed = sum(weights[:, k : k + 1] * _FIELD_COLOURS[k] for k in range(3))
    bright = np.float32(0.85) + np.float32(0.3) * draw(owner.hash, stream + 13)
    result: Floats = mixed * bright[:, None]
    return result


def _meadow_tint(owner: Owners) -> Floats:
    """Green after rain or yellow after drought, per parcel, (P, 4) factors around 1."""
    dry = draw(owner.hash, 62)[:, None] * np.array([0.7, 0.25, 0.25, -0.2], dtype=np.float32)
    shade = np.float32(0.8) + np.float32(0.3) * draw(owner.hash, 63)[:, None]
    result: Floats = (1 + dry) * shade
    return result


def _slope_light(scene: Scene, domain: Domain) -> Floats:
    """Direct light by the slope of ground and objects, 1 on flat ground, (H, W)."""
    east, south, tangent = domain.sun
    top = scene.ground + scene.height
    pitch = np.float32(scene.window.step_cm / METRE)
    slope_u = np.zeros_like(top)
    slope_v = np.zeros_like(top)
    slope_u[:, 1:-1] = (top[:, 2:] - top[:, :-2]) / (2 * pitch)
    slope_v[1:-1] = (top[2:] - top[:-2]) / (2 * pitch)
    facing = tangent - east * slope_u - south * slope_v
    light = facing / (np.float32(tangent) * np.sqrt(1 + slope_u * slope_u + slope_v * slope_v))
    return np.clip(light, 0, 1.35)


def _shadows(scene: Scene, domain: Domain) -> NDArray[np.bool_]:
    """Where an object between a pixel and the sun stands higher than the ray, (H, W)."""
    east, south, tangent = domain.sun
    height = scene.height
    total_v, total_u = height.shape
    shadow = np.zeros(height.shape, dtype=bool)
    for k in range(1, int(MAX_HEIGHT_M / tangent / _STRIDE_M) + 1):
        distance = k * _STRIDE_M
        step = distance * METRE / scene.window.step_cm
        move_u, move_v = round(east * step), round(south * step)
        here = (slice(0, total_v - move_v), slice(max(0, -move_u), total_u - max(0, move_u)))
        there = (slice(move_v, total_v), slice(max(0, move_u), total_u + min(0, move_u)))
        shadow[here] |= height[there] > height[here] + np.float32(distance * tangent)
    return shadow
