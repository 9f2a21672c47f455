"""A fingerprint of the simulator: what the benchmark's bytes depend on, part by part."""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Any

from bocage.simulate import patches, sites
from bocage.simulate.benchmark import BENCHMARKS
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Domain
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.render import Rendered, render_past, render_present, render_series
from bocage.simulate.sky import Granule

_SEED = 7
_CORNERS = (("D068-2021", 225_280, 245_760), ("D074-2020", 1_105_920, 61_440))
"""Two windows by every sensor: one in the plain, one in the mountains."""
_EVERYWHERE = (1_024_000, 1_024_000)
"""One window in every domain."""
_SITED = ("D080-2021", "D064-2021")
"""Domains whose regions are chosen: one of the plain for training, one with snow for the test."""


def golden_checks() -> dict[str, int]:
    """CRC-32 by name: of tables and constants, of chosen regions, of windows in every domain."""
    checks = table_checks()
    for key in _SITED:
        checks[f"{key} regions"] = _crc(_regions(key))
    for key, u, v in _CORNERS:
        for name, image in _images(DOMAINS_BY_KEY[key], u, v).items():
            checks[f"{key} {name}"] = zlib.crc32(image.tobytes())
    for domain in DOMAINS:
        check = 0
        for _, image in sorted(_images(domain, *_EVERYWHERE).items()):
            check = zlib.crc32(image.tobytes(), check)
        checks[f"{domain.key} everything"] = check
    return checks


def table_checks() -> dict[str, int]:
    """CRC-32 of what is written down: domains, benchmarks, and constants of siting and plans."""
    return {
        "domains": _crc(DOMAINS),
        "benchmarks": _crc(BENCHMARKS),
        "siting": _crc(_constants(sites)),
        "plans": _crc(_constants(patches)),
    }


def _constants(module: ModuleType) -> dict[str, Any]:
    """A module's numbers, names and tables of both; arrays are made of these.

    A constant that is merely renamed needs new goldens but no new version: the images say so.
    """
    return {
        name: value
        for name, value in sorted(vars(module).items())
        if name.isupper() and isinstance(value, (int, float, str, tuple, dict))
    }


def _regions(key: str) -> list[Any]:
    """Names, places, passes and splits of a domain's patches in the small benchmark."""
    plan = next(plan for plan in BENCHMARKS["v1"].plans("small") if plan.domain.key == key)
    return [
        (patch.id, patch.window, patch.granule.column, patch.granule.row, patch.splits)
        for patch in patches.draw_up(plan)
    ]


def _images(domain: Domain, u: int, v: int) -> Rendered:
    """What all sensors see of 51.2 m, and the labels."""
    window = Window(u, v, 20, 256, 256)
    return {
        **render_present(Landscape(domain, _SEED), window),
        **render_past(Landscape(domain, _SEED, past=True), window),
        **render_series(
            Landscape(domain, _SEED), window.resampled(1_024), Granule.at(domain, _SEED, u, v)
        ),
    }


def _crc(value: object) -> int:
    """Of a value's text: numbers are written the same on every machine."""
    return zlib.crc32(repr(value).encode())
