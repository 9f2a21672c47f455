"""Single-date optical sensors: the aerial photograph, SPOT, and the historical photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats
from bocage.simulate.landscape import Landscape, Scene
from bocage.simulate.light import field_colours
from bocage.simulate.noise import Window, pixel_noise, value_noise
from bocage.simulate.surfaces import Surface

# Exposure of the camera per band (red, green, blue, nir) and the shoulder of its tone curve, set
# so that meadows, woods and roads come near the digital numbers of real BD ORTHO patches.
_EXPOSURE = np.array([0.95, 1.0, 1.12, 0.34], dtype=np.float32)
_HAZE = np.array([0.030, 0.035, 0.045, 0.010], dtype=np.float32)
_SHOULDER = np.float32(0.26)

_PAN_WEIGHTS = np.array([0.45, 0.35, 0.20, 0.0], dtype=np.float32)

# SPOT 6/7 surface reflectance x 10000 against ours, per band: means of FLAIR-HUB are 432, 507,
# 467 and 1126 (paper's Table VIII), darker than the ground because the product is uncorrected.
_SPOT_GAIN = np.array([3_600, 4_200, 4_300, 4_600], dtype=np.float32)


def aerial(light: Floats, window: Window, land: Landscape) -> NDArray[np.uint8]:
    """Digital numbers (4, H, W) uint8 from reflectance (4, H, W): haze, exposure, tone curve."""
    gain = (_EXPOSURE * np.array(land.domain.cast, dtype=np.float32))[:, None, None]
    exposed = light * gain + _HAZE[:, None, None]
    exposed += np.float32(0.004) * pixel_noise(window, land.key("camera"))
    return _tone_curve(exposed)


def _tone_curve(exposed: Floats) -> NDArray[np.uint8]:
    """A saturating curve, 255 at 1."""
    value = np.maximum(exposed, 0)
    value = 255 * (1 + _SHOULDER) * value / (value + _SHOULDER)
    return np.clip(np.rint(value), 0, 255).astype(np.uint8)


def spot(light: Floats, scene: Scene) -> NDArray[np.uint16]:
    """SPOT's (4, H / 8, W / 8) uint16 from 0.2 m reflectance (4, H, W) of `scene` (no margin).

    The image is another day's: fields have a second colour drawn in the same way, of which half
    shows, so that it tells no more about the crop than the photograph. Averages are taken over
    whole numbers, so that their order does not matter.
    """
    field = scene.surface == Surface.FIELD
    parcel = scene.parcel[field]
    change = field_colours(scene.owner, 80) - field_colours(scene.owner, 60)
    shifted = light.copy()
    shifted[:, field] += np.float32(0.5) * change[parcel].T
    whole = np.rint(np.clip(shifted, 0, 1) * 10_000).astype(np.int64)
    bands, height, width = whole.shape
    blocks = whole.reshape(bands, height // 8, 8, width // 8, 8).sum(axis=(2, 4))
    mean = blocks.astype(np.float32) / np.float32(64 * 10_000)
    scaled = _SPOT_GAIN[:, None, None] * (mean + np.float32(0.01))
    stored: NDArray[np.uint16] = np.clip(np.rint(scaled), 1, 10_000).astype(np.uint16)
    return stored


def historical(light: Floats, window: Window, land: Landscape) -> NDArray[np.uint8]:
    """Panchromatic film (1, H, W) uint8 of the past landscape's reflectance (4, H, W).

    Film grain and uneven development of the print are chosen.
    """
    pan = sum(_PAN_WEIGHTS[k] * light[k] for k in range(3))
    grain = np.float32(0.5) * pixel_noise(window, land.key("grain of film"))
    grain += np.float32(0.7) * value_noise(window, 120, land.key("clumps of film"))
    uneven = 1 + np.float32(0.12) * value_noise(window, 20_000, land.key("development"))
    exposed = (pan * np.float32(1.15) + np.float32(0.05)) * uneven + np.float32(0.016) * grain
    return _tone_curve(exposed)[None]
