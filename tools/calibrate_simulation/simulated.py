"""Marginals of the simulated imagery."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bocage.nomenclatures import COSIA, LPIS_3
from bocage.simulate.domains import DOMAINS, Domain
from bocage.simulate.landscape import Landscape
from bocage.simulate.noise import Window
from bocage.simulate.render import render_past, render_present, render_series
from bocage.simulate.sites import FLAIR1_SHARES
from bocage.simulate.sky import Granule, sentinel1_days, sentinel2_days
from bocage.simulate.surfaces import DECLARED, Surface
from tools.calibrate_simulation.marginals import (
    Array,
    Photographs,
    Pixels,
    Years,
    by_month,
    ndvi,
    speckle,
)

SEED = 7
_APART_CM = 409_600
_SIDE_PX = 48
"""Series are drawn over squares of that many pixels of 10.24 m."""
_POINTS = 8
_WOODS = {"broad-leaved": Surface.DECIDUOUS, "coniferous": Surface.CONIFER}
_NORTH_M = 6_800_000
"""Domains north of it are compared with Flanders and Germany."""

Progress = Callable[[str], None]


def photographs(patches: int, say: Progress) -> tuple[Photographs, dict[str, Pixels]]:
    """Patches of every domain; and all pixels of every photographic sensor."""
    found = Photographs()
    sensors: dict[str, list[Array]] = {"aerial": [], "SPOT": [], "historical": []}
    covers: list[Array] = []
    for domain in DOMAINS:
        say(f"photographs of {domain.key}")
        land, past = Landscape(domain, SEED), Landscape(domain, SEED, past=True)
        for number in range(patches):
            window = Window(number * _APART_CM, 2 * number * _APART_CM, 20, 512, 512)
            seen = render_present(land, window)
            surface, terrain = seen["DEM_ELEV"].astype(float)
            found.add(
                seen["AERIAL_RGBI"],
                np.clip(surface - terrain, 0, 51),
                seen["AERIAL_LABEL-COSIA"][0],
            )
            covers.append(seen["AERIAL_LABEL-COSIA"][0])
            old = render_past(past, window)["AERIAL-RLT_PAN"]
            for name, image in zip(
                sensors, (seen["AERIAL_RGBI"], seen["SPOT_RGBI"], old), strict=True
            ):
                sensors[name].append(image.reshape(len(image), -1).T)
    pixels = {name: np.concatenate(parts) for name, parts in sensors.items()}
    # SPOT's pixels are eight of the photograph's wide; a middle stands for each.
    fine, coarse = np.stack(covers).reshape(-1), np.stack(covers)[:, 4::8, 4::8].reshape(-1)
    return found, {
        "aerial": Pixels(pixels["aerial"], _weights(fine)),
        "SPOT": Pixels(pixels["SPOT"], _weights(coarse)),
        # What the land of 1955 was covered with, no statistic says.
        "historical": Pixels(pixels["historical"], np.ones(len(pixels["historical"]))),
    }


def _weights(cover: Array) -> Array:
    """What each pixel counts for its land cover to have FLAIR #1's share, (N,)."""
    shares = np.array([FLAIR1_SHARES[name] for name in COSIA.names])
    counts = np.bincount(cover, minlength=len(shares))
    return (shares / np.maximum(counts, 1))[cover]


def years(places: int, say: Progress) -> Years:
    """Series of pure pixels: those of which every point carries one crop or wood."""
    found = Years()
    values: dict[tuple[str, str], dict[str, list[tuple[Array, Array]]]] = {}
    summers: dict[str, list[Array]] = {}
    for domain in DOMAINS:
        say(f"series of {domain.key}")
        for number in range(places):
            _place(domain, number, found, values, summers)
    found.summer |= {wood: np.median(places, axis=0) for wood, places in summers.items()}
    for key, curves in values.items():
        found.curves[key] = {
            name: by_month(
                np.concatenate([day for day, _ in parts]),
                np.concatenate([value for _, value in parts]),
            )
            for name, parts in curves.items()
        }
    return found


def _place(
    domain: Domain,
    number: int,
    found: Years,
    values: dict[tuple[str, str], dict[str, list[tuple[Array, Array]]]],
    summers: dict[str, list[Array]],
) -> None:
    land = Landscape(domain, SEED)
    window = Window(number * _APART_CM, 2 * number * _APART_CM, 1_024, _SIDE_PX, _SIDE_PX)
    granule = Granule.at(domain, SEED, number * 2_048_000, 0)
    seen = render_series(land, window, granule)
    day, radar_day = sentinel2_days(granule), sentinel1_days(granule, "ASC")
    bands = seen["SENTINEL2_TS"].reshape(len(day), 10, _SIDE_PX, _SIDE_PX).astype(float)
    cloud = seen["SENTINEL2_MSK-SC"].reshape(len(day), 2, _SIDE_PX, _SIDE_PX)
    clear = cloud.max(axis=1) <= 1
    index = np.where(clear, ndvi(bands[:, 2], bands[:, 6]), np.nan)
    power = seen["SENTINEL1-ASC_TS"].reshape(len(radar_day), 2, _SIDE_PX, _SIDE_PX).astype(float)
    found.dates.append(len(day))
    found.clear.append(float((clear[:, :6, :6].mean(axis=(1, 2)) >= 0.95).mean()))
    kind, parcel = _pure(land, window)
    sources = ["France"] + ["Flanders", "Germany"] * (domain.anchor_m[1] > _NORTH_M)
    names = dict(enumerate(LPIS_3.names)) | {
        100 + int(surface): name for name, surface in _WOODS.items()
    }
    for each in np.unique(kind[kind >= 0]).tolist():
        here = kind == each
        if here.sum() < 6 or each not in names:
            continue
        crop = names[each]
        for stand in np.unique(parcel[here]).tolist():
            part = here & (parcel == stand)
            if part.sum() < 4:
                continue
            curve = {
                "NDVI": (day, _medians(index[:, part])),
                **{
                    name: (radar_day, 10 * np.log10(power[:, band][:, part].mean(axis=1)))
                    for band, name in enumerate(("VV", "VH"))
                },
            }
            for source in sources:
                store = values.setdefault((source, crop), {})
                for name, pair in curve.items():
                    store.setdefault(name, []).append(pair)
        summer = (day > 150) & (day < 245) & clear[:, here].all(axis=1)
        if crop in _WOODS and summer.any():
            summers.setdefault(crop, []).append(np.median(bands[summer][:, :, here], axis=(0, 2)))
    wood = kind == 100 + int(Surface.DECIDUOUS)
    for top in range(0, _SIDE_PX - 5, 6):
        for left in range(0, _SIDE_PX - 5, 6):
            square = slice(top, top + 6), slice(left, left + 6)
            if wood[square].all():
                looks, correlation = speckle(power[:, 0][:, square[0], square[1]])
                found.looks.append(looks)
                found.correlation.append(correlation)


def _pure(land: Landscape, window: Window) -> tuple[Array, Array]:
    """Crop, or 100 + surface, that fills each pixel, else -1; and the parcel it belongs to."""
    scene = land.scene(window.resampled(window.step_cm // _POINTS))
    crop = scene.owner.crop[scene.parcel].astype(int)
    code = np.where(DECLARED[scene.surface], crop, 100 + scene.surface.astype(int))
    whole = code + 1_000 * scene.parcel.astype(int)
    blocks = whole.reshape(_SIDE_PX, _POINTS, _SIDE_PX, _POINTS)
    low, high = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    return np.where(low == high, low % 1_000, -1), low // 1_000


def _medians(value: Array) -> Array:
    """Median of each row's known numbers, NaN where a row has none."""
    known = np.isfinite(value).any(axis=1)
    result = np.full(len(value), np.nan)
    result[known] = np.nanmedian(value[known], axis=1)
    return result
