"""Every sensor's view of one window, as arrays; what patches and territories are both made of."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bocage.modalities import (
    AERIAL_RGBI,
    AERIAL_RLT_PAN,
    DEM_ELEV,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
    SPOT_RGBI,
    Modality,
)
from bocage.nomenclatures import CROPS, LAND_COVER
from bocage.simulate import labels, photographs
from bocage.simulate.elevation import elevation
from bocage.simulate.landscape import Landscape
from bocage.simulate.light import View
from bocage.simulate.noise import METRE, Window
from bocage.simulate.sentinel1 import sentinel1
from bocage.simulate.sentinel2 import sentinel2
from bocage.simulate.sky import Granule, sentinel1_days, sentinel2_days

Rendered = dict[str, NDArray[Any]]
"""Arrays (C, H, W) as FLAIR-HUB stores them, by the official name of modality or label set."""


def step_cm(modality: Modality) -> int:
    """Pixel size in world units."""
    return round(modality.resolution_m * METRE)


def render_present(land: Landscape, window: Window, *, truth: bool = False) -> Rendered:
    """Photograph, elevation, SPOT and both label sets of a 0.2 m window (sides in whole 1.6 m).

    Labels are as people make them, or with `truth` what really stands there.
    """
    view = View.of(land, window, labels.LABEL_MARGIN_PX)
    scene = view.scene.inside(*(view.margin,) * 4)
    return {
        AERIAL_RGBI.name: photographs.aerial(view),
        DEM_ELEV.name: elevation(view),
        SPOT_RGBI.name: photographs.spot(view),
        LAND_COVER.label_set: labels.land_cover(scene) if truth else labels.photo_interpreted(view),
        CROPS.label_set: labels.crops(scene) if truth else labels.declared(view),
    }


def render_past(past: Landscape, window: Window) -> Rendered:
    """The historical photograph of a 0.2 m window: the `past` landscape at 0.4 m."""
    coarse = window.resampled(step_cm(AERIAL_RLT_PAN))
    view = View.of(past, coarse, photographs.HISTORICAL_MARGIN_PX)
    return {AERIAL_RLT_PAN.name: photographs.historical(view)}


def render_series(land: Landscape, window: Window, granule: Granule) -> Rendered:
    """Sentinel-2 with its mask and both Sentinel-1 orbits of a 10.24 m window."""
    optical, mask = sentinel2(land, window, granule, sentinel2_days(granule))
    rendered: Rendered = {SENTINEL2_TS.name: optical, SENTINEL2_MASK: mask}
    for modality in (SENTINEL1_ASC_TS, SENTINEL1_DESC_TS):
        orbit = orbit_of(modality)
        days = sentinel1_days(granule, orbit)
        rendered[modality.name] = sentinel1(land, window, granule, days, orbit)
    return rendered


def orbit_of(modality: Modality) -> str:
    """`ASC` or `DESC`, from Sentinel-1's official name."""
    return modality.name.removeprefix("SENTINEL1-").removesuffix("_TS")
