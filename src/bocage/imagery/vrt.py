"""A virtual mosaic as its tiles: what `gdalbuildvrt` writes, taken apart.

Read as one file a VRT fails as a whole where one of its tiles breaks. Those that do no more than
put tiles side by side are therefore read as tiles; any other is left to GDAL.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from bocage.imagery.locate import address, is_remote

_MOST_BYTES = 256 * 2**20
_PLAIN = {"SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect", "NODATA"}


@dataclass(frozen=True)
class VrtTiles:
    """Paths of the tiles, the topmost first, and the nodata value that the VRT gives them."""

    paths: tuple[str, ...]
    nodata: float | None


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
        if root.get("subClass") or any(band.get("subClass") for band in bands):
            return None
        found = {_tiles_of_band(band, n, local.parent) for n, band in enumerate(bands, start=1)}
    except (ET.ParseError, OSError, ValueError):
        # GDAL says better what is wrong with it.
        return None
    tiles = found.pop() if len(found) == 1 else None
    return tiles if tiles is not None and tiles.paths else None


def _tiles_of_band(band: ET.Element, number: int, folder: Path) -> VrtTiles | None:
    nodata = band.findtext("NoDataValue")
    value = None if nodata is None else float(nodata)
    names = []
    for source in band:
        if source.tag in ("SimpleSource", "ComplexSource"):
            stated = source.findtext("NODATA")
            if not _is_whole(source, number) or (stated is not None and float(stated) != value):
                return None
            name = source.find("SourceFilename")
            text = "" if name is None or name.text is None else name.text
            if is_remote(text):
                names.append(address(text))
            else:
                beside = name is not None and name.get("relativeToVRT") == "1"
                names.append(str(folder / text) if beside else text)
        elif source.tag.endswith("Source") or source.tag in ("MaskBand", "Overview"):
            return None
    return VrtTiles(tuple(reversed(names)), value)


def _is_whole(source: ET.Element, number: int) -> bool:
    """Whether a source shows all of a file, pixel for pixel, in the same band."""
    rect, place, own = (source.find(t) for t in ("SrcRect", "DstRect", "SourceProperties"))
    if {child.tag for child in source} - _PLAIN or source.findtext("SourceBand") != str(number):
        return False
    if rect is None or place is None or own is None:
        return False
    shown = [float(rect.get(k, "nan")) for k in ("xOff", "yOff", "xSize", "ySize")]
    drawn = [float(place.get(k, "nan")) for k in ("xSize", "ySize")]
    size = [float(own.get(k, "nan")) for k in ("RasterXSize", "RasterYSize")]
    return shown[:2] == [0, 0] and shown[2:] == drawn == size
