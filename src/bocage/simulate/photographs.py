"""Single-date optical sensors: the aerial photograph, SPOT, and the historical photograph.

No published model of a camera is followed: each is a chain of blur, haze as an offset, gain and
noise, in an order and in amounts that are chosen or fitted, as each function says. The blurs are
small kernels in place of a point spread function, the tone curves x / (x + s) in place of a film's
or camera's characteristic curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.domains import Domain, day_of_year
from bocage.simulate.filters import displaced, smooth
from bocage.simulate.hashing import Floats, draw, hash_at, make_key
from bocage.simulate.light import View, colours, kinds_of
from bocage.simulate.noise import Window, pixel_noise, value_noise

# Exposure of the camera per band (red, green, blue, nir), haze between it and the ground, and the
# shoulder of the tone curve (the infrared band is nearly linear), fitted to the digital numbers of
# real FLAIR patches by class and of FLAIR-HUB as a whole (`tools/calibrate_simulation`).
_EXPOSURE = np.array([0.99, 0.955, 1.155, 1.00], dtype=np.float32)
_HAZE = np.array([0.005, 0.002, 0.007, 0.034], dtype=np.float32)
_SHOULDER = np.array([0.16, 0.16, 0.16, 2.0], dtype=np.float32)
_DODGING = np.float32(0.10)
"""Brightness left over between the photographs of a mosaic, relative, over some 400 m (chosen)."""

_FILM, _FILM_SHOULDER = np.float32(1.45), np.full((1, 1), 0.20, dtype=np.float32)
"""Exposure of the film and shoulder of its tone curve: chosen so that mean and spread come near
those that FLAIR-HUB publishes for historical photographs (126 and 39)."""
_PAN_WEIGHTS = np.array([0.45, 0.35, 0.20, 0.0], dtype=np.float32)
"""What red, green, blue and near infrared blacken of the film (chosen: panchromatic, most in red,
as behind the yellow or orange filter that cuts the haze of blue; nothing in the infrared)."""

# SPOT 6/7 x 10000 against our reflectance, and its haze, per band: brought to FLAIR-HUB's means of
# 432, 507, 467 and 1126 (the paper's table VIII); they are darker than the ground, because the
# product is not fully corrected.
_SPOT_GAIN = np.array([3_740, 4_030, 4_240, 3_670], dtype=np.float32)
_SPOT_HAZE = np.array([0.014, 0.012, 0.030, 0.010], dtype=np.float32)
_SPOT_BLUR = (0.72, 0.14)
"""SPOT's image is softer than its pixel: half the contrast of fine detail is gone (chosen)."""

MISREGISTRATION_PX = 19
"""Largest error of place of the historical photograph, in its pixels of 0.4 m per axis: 7.6 m.

Orthophotographs of French archives from the 1950s, oriented automatically, are out by one to
several metres (Giordano, Le Bris & Mallet 2018)."""
HISTORICAL_MARGIN_PX = MISREGISTRATION_PX + 3


@dataclass(frozen=True)
class _Camera:
    """A survey's camera and laboratory.

    `blur`: share of a pixel's light that each neighbour gets; `noise` relative to white; `gain` and
    `shoulder` (4,): exposure and tone curve per band; `vivid`: saturation around 1.
    """

    blur: float
    noise: float
    vivid: float
    gain: Floats
    shoulder: Floats

    @classmethod
    def of(cls, domain: Domain) -> _Camera:
        """Every domain was flown by another camera (FLAIR's metadata number 20 and more)."""
        number = hash_at(make_key(domain.key, "camera"), 0)
        blur, noise, vivid, bend, bright = (float(draw(number, k)[0]) for k in range(1, 6))
        tint = draw(hash_at(make_key(domain.key, "camera"), np.arange(1, 5)), 1)
        cast = np.array(domain.cast, dtype=np.float32)
        return cls(
            0.04 + 0.11 * blur,
            0.001 + 0.003 * noise,
            0.85 + 0.3 * vivid,
            _EXPOSURE * cast * (np.float32(0.84 + 0.32 * bright) + np.float32(0.06) * tint),
            _SHOULDER * np.float32(0.85 + 0.3 * bend),
        )


def aerial(view: View) -> NDArray[np.uint8]:
    """Digital numbers (4, H, W) uint8: optics, haze, exposure, colour of the camera, tone curve.

    The chain is chosen and follows no published camera; exposure, haze and shoulder are fitted to
    real FLAIR patches and FLAIR-HUB's published statistics (`tools/calibrate_simulation`), blur,
    noise, saturation and dodging are chosen. The reflectances come from `surfaces` and `phenology`.
    """
    window = view.around
    camera = _Camera.of(view.land.domain)
    exposed = smooth(view.light, (1 - 2 * camera.blur, camera.blur))
    exposed *= camera.gain[:, None, None]
    exposed += _HAZE[:, None, None]
    exposed *= 1 + _DODGING * value_noise(window, 40_000, view.land.key("mosaic"))
    grey = (exposed[0] + exposed[1] + exposed[2]) * np.float32(1 / 3)
    exposed[:3] += np.float32(camera.vivid - 1) * (exposed[:3] - grey)
    exposed += np.float32(camera.noise) * pixel_noise(window, view.land.key("camera"))
    return _tone_curve(view.inner(exposed), camera.shoulder[:, None, None])


def _tone_curve(exposed: Floats, shoulder: Floats) -> NDArray[np.uint8]:
    """A saturating curve, 255 at 1."""
    value = np.maximum(exposed, 0)
    value = 255 * (1 + shoulder) * value / (value + shoulder)
    return np.clip(np.rint(value), 0, 255).astype(np.uint8)


def spot(view: View) -> NDArray[np.uint16]:
    """SPOT's (4, H / 8, W / 8) uint16: another day's plants, 1.6 m pixels, soft optics.

    A pixel is the mean of its area (area-weighted linear mixing, as for Sentinel-2), blurred; gain
    and haze bring the bands to FLAIR-HUB's published means, the rest is chosen. Sun and shadows are
    those of the photograph's hour. Averages are taken over whole numbers, so that their order does
    not matter.
    """
    land, owner = view.land, view.scene.owner
    then = colours(land, owner, day_of_year(land.domain.spot_day))
    change = then / np.maximum(view.table, np.float32(1e-3))
    place = kinds_of(view.scene)
    bands, height, width = view.light.shape
    mean = np.empty((bands, height // 8, width // 8), dtype=np.float32)
    for band in range(bands):
        shifted = np.clip(view.light[band] * change[:, band][place], 0, 1)
        whole = np.rint(shifted * 10_000).astype(np.int32)
        blocks = whole.reshape(height // 8, 8, width // 8, 8).sum(axis=(1, 3), dtype=np.int64)
        mean[band] = blocks.astype(np.float32) / np.float32(64 * 10_000)
    margin = view.margin // 8
    soft = smooth(mean, _SPOT_BLUR)[:, margin:-margin, margin:-margin]
    scaled = _SPOT_GAIN[:, None, None] * (soft + _SPOT_HAZE[:, None, None])
    stored: NDArray[np.uint16] = np.clip(np.rint(scaled), 1, 10_000).astype(np.uint16)
    return stored


def historical(view: View) -> NDArray[np.uint8]:
    """Panchromatic film (1, H, W) uint8 of a view of the past with `HISTORICAL_MARGIN_PX`.

    Out of place by metres (Giordano, Le Bris & Mallet 2018), as soft as film of 0.4 to 1.2 m, with
    grain, dust, scratches and uneven development of the print (amounts chosen).
    """
    land, window = view.land, view.around
    pan = sum(_PAN_WEIGHTS[k] * view.light[k] for k in range(3))
    moved = displaced(pan, *_misregistration(view))
    native = float(draw(hash_at(make_key(land.domain.key, "film"), 0), 1)[0])
    soft = smooth(moved, (0.5 - 0.1 * native, 0.2, 0.05 + 0.05 * native))
    grain = np.float32(0.5) * pixel_noise(window, land.key("grain of film"))
    grain += np.float32(0.7) * value_noise(window, 120, land.key("clumps of film"))
    uneven = 1 + np.float32(0.12) * value_noise(window, 20_000, land.key("development"))
    uneven *= 1 + np.float32(0.20) * value_noise(window, 110_000, land.key("sheet"))
    exposed = (soft * _FILM + np.float32(0.02)) * uneven + np.float32(0.012) * grain
    exposed += np.float32(0.5) * _blemishes(window, land.key("blemishes"))
    return _tone_curve(view.inner(exposed), _FILM_SHOULDER)[None]


def _misregistration(view: View) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """By how many rows and columns the old image is out of place, (H, W) each."""
    moves = []
    for axis in ("down", "across"):
        number = hash_at(make_key(view.land.domain.key, "misregistration", axis), 0)
        everywhere = (float(draw(number, 1)[0]) - 0.5) * 0.8 * MISREGISTRATION_PX
        here = value_noise(view.around, 80_000, view.land.key("misregistration", axis))
        moves.append(
            np.rint(np.float32(everywhere) + np.float32(0.6 * MISREGISTRATION_PX) * here).astype(
                np.intp
            )
        )
    return moves[0], moves[1]


def _blemishes(window: Window, key: int) -> Floats:
    """Specks of dust and thin scratches along the film, 0 or about 1, (H, W)."""
    cell = 4 * window.step_cm
    specks = draw(hash_at(key, (window.v // cell)[:, None], (window.u // cell)[None, :]), 1)
    column, reach = window.u // window.step_cm, window.v // 6_000
    scratches = draw(hash_at(key ^ 1, reach[:, None], column[None, :]), 1)
    marks: Floats = (specks < 6e-5).astype(np.float32) - (specks > 1 - 3e-5)
    marks += np.float32(0.6) * (scratches < 8e-4)
    return marks
