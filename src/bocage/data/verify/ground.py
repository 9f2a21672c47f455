"""Where the products of a patch lie, and whether that is one place.

All sensors of a patch must cover the same ground; the patches of an ROI must lie on one pixel grid
beside each other, for a map that is put together from them would show every shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from bocage.data.geotiff import crs_agree, epsg_of
from bocage.data.verify.finding import Finding
from bocage.modalities import MODALITIES
from bocage.rasters import Grid, describe_crs

# Corners may differ by this share of the coarser of two pixels, and by half of the finer one.
_SHIFT = 0.1
# A pixel may be this much larger or smaller than the sensor's own: 10 m stand for 10.24 m.
_SCALE = 0.05
# Origins of the patches of an ROI, in parts of a pixel.
_PHASE = 0.05


@dataclass(frozen=True)
class Ground:
    """The pixels of one product of a patch on Earth. `path` relative to the dataset's root.

    `own_pixels`: they should be as large as the sensor's.
    """

    product: str
    path: str
    grid: Grid
    own_pixels: bool = True

    @property
    def pixel_m(self) -> float:
        """The wider side of a pixel, in units of the CRS."""
        return max(self.grid.resolution)


@dataclass(frozen=True)
class Place:
    """Where a patch lies: the ground on which most of its products agree."""

    crs: str
    bounds: tuple[float, float, float, float]
    pixel_m: float


@lru_cache(maxsize=256)
def parse_crs(text: str | None) -> CRS | None:
    """The CRS of a sample; None for none, or for one that nobody understands."""
    if text is None:
        return None
    try:
        return CRS.from_user_input(text)
    except CRSError:
        return None


def check_grounds(
    grounds: Sequence[Ground],
) -> tuple[Place | None, list[tuple[str, Ground, str]]]:
    """The place of a patch, and (kind, product, sentence) of what does not lie there."""
    wrong: list[tuple[str, Ground, str]] = []
    placed = []
    for ground in grounds:
        if not ground.grid.crs:
            wrong.append(("crs", ground, "no CRS, so nobody knows where it lies. Assign one."))
            continue
        placed.append(ground)
        wrong += [("grid", ground, text) for text in _odd_pixels(ground)]
    if not placed:
        return None, wrong
    # What most products say is taken for true; of equals, the finest.
    reference = max(
        placed, key=lambda a: (sum(_agree(a, b) for b in placed), -a.pixel_m, -len(a.product))
    )
    for ground in placed:
        if ground is reference or _agree(reference, ground):
            continue
        if not crs_agree(reference.grid.crs, ground.grid.crs):
            text = f"lies in {describe_crs(ground.grid.crs)}, but {reference.product} in "
            text += f"{describe_crs(reference.grid.crs)}. Warp it to that."
            wrong.append(("crs", ground, text))
        else:
            text = f"covers {_told(ground.grid.bounds)}, but {reference.product} "
            text += f"{_told(reference.grid.bounds)}. Cut it to the same ground."
            wrong.append(("grid", ground, text))
    coded = [g for g in placed if _agree(reference, g) and _code(g) is not None]
    crs = f"EPSG:{_code(coded[0])}" if coded else _wkt(reference)
    return Place(crs, reference.grid.bounds, reference.pixel_m), wrong


def _agree(first: Ground, second: Ground) -> bool:
    if not crs_agree(first.grid.crs, second.grid.crs):
        return False
    fine, coarse = sorted((first.pixel_m, second.pixel_m))
    apart = np.subtract(first.grid.bounds, second.grid.bounds)
    return bool(np.abs(apart).max() <= max(0.5 * fine, _SHIFT * coarse))


def _odd_pixels(ground: Ground) -> list[str]:
    grid, out = ground.grid, []
    if grid.transform.b or grid.transform.d or grid.transform.e > 0:
        out.append("is rotated or not north-up. Warp it to a north-up grid.")
    modality = MODALITIES.get(ground.product)
    if modality is not None and ground.own_pixels:
        factors = np.divide(grid.resolution, modality.resolution_m)
        if (np.abs(factors - 1.0) > _SCALE).any():
            size = " x ".join(f"{side:g}" for side in grid.resolution)
            out.append(
                f"has pixels of {size} where {modality.name} has {modality.resolution_m:g} m. "
                "Check its geotransform, or resample it."
            )
    return out


def _code(ground: Ground) -> int | None:
    return epsg_of(ground.grid.crs)


def _wkt(ground: Ground) -> str:
    assert ground.grid.crs is not None  # grounds without a CRS have been sorted out
    return str(ground.grid.crs.to_wkt())


def _told(bounds: tuple[float, float, float, float]) -> str:
    left, bottom, right, top = bounds
    return f"({left:.10g}, {bottom:.10g}) to ({right:.10g}, {top:.10g})"


def check_neighbours(
    domain: str, roi: str, patch_ids: Sequence[str], places: Sequence[Place]
) -> list[Finding]:
    """What is inconsistent among the patches of one ROI."""

    def found(row: int, kind: str, text: str) -> Finding:
        text = f"patch {patch_ids[row]}: {text}"
        return Finding("error", kind, text, patch_ids[row], domain, roi)

    out: list[Finding] = []
    spellings = [place.crs for place in places]
    common = max(sorted(set(spellings)), key=spellings.count)
    kept = []
    for row, text in enumerate(spellings):
        if crs_agree(parse_crs(text), parse_crs(common)):
            kept.append(row)
        else:
            here, there = describe_crs(parse_crs(text)), describe_crs(parse_crs(common))
            out.append(found(row, "crs", f"lies in {here}, but ROI {roi} in {there}. Warp it."))
    bounds = np.array([places[row].bounds for row in kept])
    pixels = np.array([places[row].pixel_m for row in kept])
    usual = float(np.median(pixels))
    same = np.abs(pixels / usual - 1.0) < 1e-3
    out += [
        found(kept[i], "neighbours", f"pixels of {pixels[i]:g}, but in ROI {roi} of {usual:g}.")
        for i in np.flatnonzero(~same)
    ]
    # Left and top in pixels: their fractions say on which grid of that pixel size a patch lies.
    phase = bounds[:, (0, 3)] / usual
    _, first_of, times = np.unique(
        np.rint(phase[same] / _PHASE) % round(1 / _PHASE),
        axis=0,
        return_index=True,
        return_counts=True,
    )
    usual_phase = phase[same][first_of[times.argmax()]]
    apart = np.abs((phase - usual_phase + 0.5) % 1.0 - 0.5).max(axis=1)
    for i in np.flatnonzero(same & (apart > _PHASE)):
        text = f"lies {apart[i]:.2f} pixels beside the grid of the others in ROI {roi}. Resample it"
        out.append(found(kept[i], "neighbours", f"{text}, or cut the ROI again."))
    boxes = shapely.box(*bounds.T)
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    for i, j in zip(first[first < second], second[first < second], strict=True):
        shared = shapely.intersection(boxes[i], boxes[j])
        width, height = shared.bounds[2] - shared.bounds[0], shared.bounds[3] - shared.bounds[1]
        if min(width, height) > usual / 2:
            text = f"overlaps {patch_ids[kept[j]]} by {width:.4g} x {height:.4g}. "
            text += "One of the two has a wrong place, or is there twice."
            out.append(found(kept[i], "neighbours", text))
    return out
