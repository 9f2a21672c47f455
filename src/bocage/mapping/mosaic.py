"""Block files as one virtual raster, from which GDAL makes the final file.

A raster of GDAL's (VRT) for the map and one for each of its overviews, which blocks bring along:
nothing is computed from full resolution at the end. Those which are smaller by more than
`OWN_LEVEL` are made of that one, less than a hundredth of the work: a department has ten thousand
blocks, and naming them all for every level and every probability would be gigabytes.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rasterio
from rasterio.windows import Window

from bocage.files import write_text
from bocage.mapping.outputs import Layer
from bocage.mapping.overviews import canvas_shape, halved, places
from bocage.mapping.plan import BLOCK_STEP_PX, Block
from bocage.rasters import Grid

OWN_LEVEL = 16
"""By how much a block's smallest overview is smaller."""
_PIECE_PX = 2048
_Part = tuple[Block, Path]


def map_levels(grid: Grid) -> list[int]:
    """By how much the map's overviews are smaller: 2, 4, ... until one is a single tile."""
    levels, level = [], 2
    while -(-max(grid.width, grid.height) // (level // 2)) > BLOCK_STEP_PX:
        levels.append(level)
        level *= 2
    return levels


def block_levels(grid: Grid) -> list[int]:
    """Those of `map_levels` that a block makes for itself: it stands on multiples of them."""
    return [level for level in map_levels(grid) if level <= OWN_LEVEL]


def write_mosaic(folder: Path, layer: Layer, grid: Grid, parts: Sequence[_Part]) -> Path:
    """Write the virtual rasters of a layer into `folder`; the map's own is returned.

    `parts` are blocks, in pixels of the map, and their files, which lie in the folder too. Where
    none is, is nodata.
    """
    assert grid.crs is not None
    root = _raster(grid.width, grid.height)
    ET.SubElement(root, "SRS").text = grid.crs.to_wkt()
    ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, grid.transform.to_gdal()))
    metadata = ET.SubElement(root, "Metadata")
    for key, value in layer.tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    overviews = _write_overviews(folder, layer, grid, parts)
    for number, text in enumerate(layer.bands, start=1):
        band = _add_band(root, layer, number)
        _describe(band, layer, text)
        for name in overviews:
            overview = ET.SubElement(band, "Overview")
            ET.SubElement(overview, "SourceFilename", relativeToVRT="1").text = name
            ET.SubElement(overview, "SourceBand").text = str(number)
        for block, path in parts:
            _add_block(band, block, path, number, len(block_levels(grid)))
    return _write(folder / f"{layer.stem}.vrt", root)


def _write_overviews(folder: Path, layer: Layer, grid: Grid, parts: Sequence[_Part]) -> list[str]:
    """The virtual rasters of the overviews, by name, largest first."""
    files: list[Path] = []
    deepest = len(block_levels(grid))
    for halvings, level in enumerate(map_levels(grid), start=1):
        if halvings > deepest:
            files.append(_halve_file(files[-1], folder / f"{layer.stem}_{level}.tif", layer))
            continue
        root = _raster(-(-grid.width // level), -(-grid.height // level))
        for number in range(1, len(layer.bands) + 1):
            band = _add_band(root, layer, number)
            for block, path in parts:
                _add_block(band, block, path, number, deepest, halvings)
        files.append(_write(folder / f"{layer.stem}_{level}.vrt", root))
    return [file.name for file in files]


def _halve_file(large: Path, small: Path, layer: Layer) -> Path:
    """Write a raster of half the width and height, piece by piece."""
    with rasterio.open(large) as source:
        height, width = (-(-side // 2) for side in source.shape)
        profile: dict[str, Any] = {
            "driver": "GTiff", "dtype": "uint8", "count": source.count, "height": height,
            "width": width, "nodata": layer.nodata, "interleave": "band", "tiled": True,
            "blockxsize": BLOCK_STEP_PX, "blockysize": BLOCK_STEP_PX, "compress": "zstd",
            "bigtiff": "IF_SAFER",
        }  # fmt: skip
        with rasterio.open(small, "w", **profile) as target:
            pieces = itertools.product(
                source.indexes, range(0, height, _PIECE_PX), range(0, width, _PIECE_PX)
            )
            for band, row, col in pieces:
                size = min(_PIECE_PX, width - col), min(_PIECE_PX, height - row)
                # Beyond an odd edge there is nothing to read.
                whole = Window(2 * col, 2 * row, 2 * size[0], 2 * size[1]).intersection(
                    Window(0, 0, source.width, source.height)
                )
                part = source.read(band, window=whole)
                part = halved(part, layer.nodata, layer.overviews == "average")
                target.write(part, band, window=Window(col, row, *size))
    return small


def _raster(width: int, height: int) -> ET.Element:
    return ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))


def _add_band(root: ET.Element, layer: Layer, number: int) -> ET.Element:
    band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
    ET.SubElement(band, "NoDataValue").text = str(layer.nodata)
    return band


def _describe(band: ET.Element, layer: Layer, text: str) -> None:
    """All that the final file shall say of a band."""
    names = ET.SubElement(band, "Metadata")
    for class_id, name in layer.classes.items():
        ET.SubElement(names, "MDI", key=f"class_{class_id}").text = name
    ET.SubElement(band, "Description").text = text
    if layer.classes:
        ET.SubElement(band, "ColorInterp").text = "Palette"
        table = ET.SubElement(band, "ColorTable")
        for value in range(256):
            red, green, blue, alpha = layer.colors.get(value, (0, 0, 0, 0))
            ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
    else:
        ET.SubElement(band, "ColorInterp").text = "Gray"
        ET.SubElement(band, "Offset").text = "0"
        ET.SubElement(band, "Scale").text = repr(layer.scale)


def _add_block(
    band: ET.Element, block: Block, path: Path, number: int, levels: int, halvings: int = 0
) -> None:
    """A block as a source, or its picture after so many `halvings` of the `levels` there are."""
    source = _add_source(band, path.name, number)
    height, width = canvas_shape(block.shape, levels)
    # The properties spare GDAL from opening every block to learn its size.
    ET.SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(width),
        RasterYSize=str(height),
        DataType="Byte",
        BlockXSize=str(BLOCK_STEP_PX),
        BlockYSize=str(BLOCK_STEP_PX),
    )
    row, col, height, width = list(places(block.shape, levels))[halvings]
    _add_rectangle(source, "SrcRect", col, row, width, height)
    top, left = block.row0 >> halvings, block.col0 >> halvings
    _add_rectangle(source, "DstRect", left, top, width, height)


def _add_source(band: ET.Element, file: str, number: int) -> ET.Element:
    source = ET.SubElement(band, "SimpleSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = file
    ET.SubElement(source, "SourceBand").text = str(number)
    return source


def _add_rectangle(
    source: ET.Element, name: str, left: int, top: int, width: int, height: int
) -> None:
    ET.SubElement(source, name, xOff=str(left), yOff=str(top), xSize=str(width), ySize=str(height))


def _write(target: Path, root: ET.Element) -> Path:
    write_text(target, ET.tostring(root, encoding="unicode"))
    return target
