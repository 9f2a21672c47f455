"""A virtual mosaic as its tiles: what `gdalbuildvrt` writes, taken apart.

Read as one file a VRT fails as a whole where one of its tiles breaks. Those that do no more than
put whole tiles side by side are therefore read tile by tile, on the VRT's own terms: its CRS,
geotransform, size, bands and nodata count, whatever the tiles say of theirs. Any other is left to
GDAL.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from bocage.imagery.headers import Expected, MissingTiles, RasterFile
from bocage.imagery.locate import address, is_remote
from bocage.imagery.mosaic import ALIGNED_PX, Mosaic, read_headers
from bocage.rasters import Grid

_MOST_BYTES = 256 * 2**20
_PLAIN = {
    "SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect", "NODATA",
    "UseMaskBand",
}  # fmt: skip

_Place = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class VrtTiles:
    """The tiles of a virtual mosaic, the topmost first, and where it draws them.

    `places_N4` are as a `Mosaic` has them, in the VRT's pixels. `bands` are the tiles' bands, from
    1, that its own show.
    """

    paths: tuple[str, ...]
    places_N4: NDArray[np.int64]
    bands: tuple[int, ...]


def tiles_of_vrt(path: str) -> VrtTiles | None:
    """The tiles of a virtual mosaic; None for what is no plain mosaic of whole tiles."""
    local = Path(path)
    if local.suffix.lower() != ".vrt" or is_remote(path) or not local.is_file():
        return None
    if local.stat().st_size > _MOST_BYTES:
        return None
    try:
        root = ET.parse(local).getroot()
        bands = root.findall("VRTRasterBand")
        kinds = {band.get("dataType") for band in bands}
        if root.get("subClass") or any(band.get("subClass") for band in bands) or len(kinds) != 1:
            return None
        if not _shows_masks(root):
            return None
        found = [_tiles_of_band(band, local.parent) for band in bands]
        first, _ = found[0]
        if not first or any(tiles != first for tiles, _ in found):
            return None
        paths, places = zip(*reversed(first), strict=True)
        return VrtTiles(paths, np.array(places, np.int64), tuple(band for _, band in found))
    except (ET.ParseError, OSError, ValueError, OverflowError):
        # GDAL says better what is wrong with it.
        return None


def join_virtual(
    whole: RasterFile, virtual: VrtTiles, expected: Expected, missing: MissingTiles
) -> tuple[Mosaic, tuple[str, ...]]:
    """The tiles of a virtual mosaic as the raster that it says it is, and what had to be left out.

    `whole` is the VRT's own header. Raises `DataError` for tiles that cannot be read or are not
    what it says of them.
    """
    jobs = [
        (path, replace(expected, said=_tile(whole, virtual.bands, path, place)))
        for path, place in zip(virtual.paths, virtual.places_N4.tolist(), strict=True)
    ]
    headers, notes = read_headers(jobs, missing)
    there = [header is not None for header in headers]
    tiles = tuple(header for header in headers if header is not None)
    return Mosaic(whole.path, whole.grid, tiles, virtual.places_N4[there]), notes


def _tile(whole: RasterFile, bands: Sequence[int], path: str, place: _Place) -> RasterFile:
    """What the VRT says of one of its tiles."""
    top, bottom, left, right = place
    shifted = whole.grid.transform @ Affine.translation(left, top)
    return replace(
        whole,
        path=path,
        grid=Grid(whole.grid.crs, shifted, right - left, bottom - top),
        bands=tuple(bands[band - 1] for band in whole.bands),
        alpha=None if whole.alpha is None else bands[whole.alpha - 1],
    )


def _tiles_of_band(band: ET.Element, folder: Path) -> tuple[list[tuple[str, _Place]], int]:
    """Tiles and their places in the order they are drawn, and the one band of theirs that is.

    Raises `ValueError` for a band that shows anything else.
    """
    value = _number(band.findtext("NoDataValue"))
    tiles = []
    numbers = set()
    for source in band:
        if source.tag in ("SimpleSource", "ComplexSource"):
            stated = source.findtext("NODATA")
            if {child.tag for child in source} - _PLAIN:
                raise ValueError("pixels are changed on their way")
            # One NaN is not equal to another.
            if stated is not None and str(_number(stated)) != str(value):
                raise ValueError("the source has another nodata value than the band")
            kind = source.find("SourceProperties")
            if kind is None or kind.get("DataType") not in (None, band.get("dataType")):
                raise ValueError("numbers are converted")
            numbers.add(int(source.findtext("SourceBand", "")))
            tiles.append((_path(source.find("SourceFilename"), folder), _place(source)))
        elif source.tag.endswith("Source") or source.tag in ("MaskBand", "Overview"):
            raise ValueError(f"a {source.tag} is no tile")
    (number,) = numbers
    return tiles, number


def _path(name: ET.Element | None, folder: Path) -> str:
    if name is None or not name.text:
        raise ValueError("a source without a file")
    if is_remote(name.text):
        return address(name.text)
    return str(folder / name.text) if name.get("relativeToVRT") == "1" else name.text


def _place(source: ET.Element) -> _Place:
    """First row, last row + 1, and columns alike, where a source shows all of a file as it is.

    Raises `ValueError` where it shows a part, or stretches it.
    """
    rect, place, own = (source.find(t) for t in ("SrcRect", "DstRect", "SourceProperties"))
    if rect is None or place is None or own is None:
        raise ValueError("a source without its place")
    names = ("xOff", "yOff", "xSize", "ySize")
    shown = np.array([float(rect.get(k, "nan")) for k in names])
    drawn = np.array([float(place.get(k, "nan")) for k in names])
    size = [float(own.get(k, "nan")) for k in ("RasterXSize", "RasterYSize")]
    # gdalbuildvrt reckons from coordinates, which leaves traces in the last digits.
    wanted = np.array([*np.rint(drawn[:2]), *size])
    if list(shown) != [0, 0, *size] or not (np.abs(drawn - wanted) <= ALIGNED_PX).all():
        raise ValueError("a source is cut, stretched or between pixels")
    left, top, width, height = (int(v) for v in wanted)
    return top, top + height, left, left + width


def _shows_masks(root: ET.Element) -> bool:
    """Whether the mosaic has no other mask than those of its tiles."""
    parts = [part for band in root.findall("MaskBand/VRTRasterBand") for part in band]
    shown = [part.findtext("SourceBand", "") for part in parts if part.tag.endswith("Source")]
    return all(band.startswith("mask") for band in shown)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
