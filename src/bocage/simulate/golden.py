"""A fingerprint of the simulator: two windows by every sensor."""

from __future__ import annotations

import zlib

from bocage.simulate.domains import DOMAINS_BY_KEY
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.render import render_past, render_present, render_series
from bocage.simulate.sky import Granule

_SEED = 7
_CORNERS = (("D068-2021", 225_280, 245_760), ("D074-2020", 1_105_920, 61_440))


def golden_checks() -> dict[str, int]:
    """CRC-32 of every sensor's image of two windows, by domain and name."""
    checks = {}
    for key, u, v in _CORNERS:
        domain = DOMAINS_BY_KEY[key]
        land, past = Landscape(domain, _SEED), Landscape(domain, _SEED, past=True)
        window = Window(u, v, 20, 256, 256)
        granule = Granule.at(domain, _SEED, u, v)
        images = {
            **render_present(land, window),
            **render_past(past, window),
            **render_series(land, window.resampled(1_024), granule),
        }
        for name, image in images.items():
            checks[f"{key} {name}"] = zlib.crc32(image.tobytes())
    return checks
