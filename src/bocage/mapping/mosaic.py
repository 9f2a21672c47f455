"""Block files as one map: an outline of it for GDAL, and for every level the tiles of its own.

A block's file holds the block and its smaller pictures (`bocage.mapping.overviews`). The block
itself, and its first half where that stands on whole tiles, are tiles of the map as they are. The
other pictures are joined by GDAL through a virtual raster (VRT) per level; overviews smaller by
more than `OWN_LEVEL` are made of that one, less than a hundredth of the work: a department has ten
thousand blocks, and naming them all for every level would be gigabytes. Nothing is computed from
full resolution at the end.
"""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from rasterio.windows import Window

from bocage.files import write_text
from bocage.mapping.cog import Piece, check_whole, in_tiles, tile_options
from bocage.mapping.outputs import Layer
from bocage.mapping.overviews import canvas_shape, halved, places
from bocage.mapping.plan import BLOCK_STEP_PX, Block
from bocage.rasters import Grid

OWN_LEVEL = 16
"""By how much a block's smallest overview is smaller."""
_PIECE_TILES = 4
"""To a side of what is halved at once, of one band."""
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


def write_outline(folder: Path, layer: Layer, grid: Grid) -> Path:
    """A virtual raster of the map and its overviews that says all there is to say of it, and has
    no pixels."""
    assert grid.crs is not None
    root = _raster(grid.width, grid.height)
    ET.SubElement(root, "SRS").text = grid.crs.to_wkt()
    ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, grid.transform.to_gdal()))
    metadata = ET.SubElement(root, "Metadata")
    for key, value in layer.tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    overviews = []
    for level in map_levels(grid):
        empty = _raster(-(-grid.width // level), -(-grid.height // level))
        for number in range(1, len(layer.bands) + 1):
            _add_band(empty, layer, number)
        overviews.append(_write(folder / f"{layer.stem}_{level}_outline.vrt", empty).name)
    for number, text in enumerate(layer.bands, start=1):
        band = _add_band(root, layer, number)
        _describe(band, layer, text)
        for name in overviews:
            overview = ET.SubElement(band, "Overview")
            ET.SubElement(overview, "SourceFilename", relativeToVRT="1").text = name
            ET.SubElement(overview, "SourceBand").text = str(number)
    return _write(folder / f"{layer.stem}_outline.vrt", root)


def level_pieces(
    folder: Path, layer: Layer, grid: Grid, parts: Sequence[_Part]
) -> list[list[Piece]]:
    """The tiles of the map and of each of its overviews, largest first.

    `parts` are blocks, in pixels of the map, and their files. What has to be joined is written into
    `folder`, which lies in the folder of these.
    """
    found = []
    deepest = len(block_levels(grid))
    joined: Path | None = None
    for halvings, level in enumerate((1, *map_levels(grid))):
        if halvings < 2 and len(layer.bands) == 1 and _on_tiles(parts, level, grid):
            found.append([_own_tiles(*part, halvings, deepest) for part in parts])
            continue
        target = folder / f"{layer.stem}_{level}.tif"
        shape = -(-grid.height // level), -(-grid.width // level)
        if halvings > deepest:
            assert joined is not None, "the blocks' own smallest overview is always joined"
            _halve_file(joined, target, layer)
        else:
            _join(target, layer, shape, parts, halvings, deepest)
        check_whole(target, target)
        joined = target
        found.append([Piece(target, (0, in_tiles(shape[0])), (0, in_tiles(shape[1])))])
    return found


def _on_tiles(parts: Sequence[_Part], level: int, grid: Grid) -> bool:
    """Whether the blocks' pictures of that level are whole tiles of the map's, but at its end."""
    step = BLOCK_STEP_PX * level
    return all(
        edge % step == 0 or edge == size_px
        for block, _ in parts
        for start, stop, size_px in (
            (block.row0, block.row1, grid.height),
            (block.col0, block.col1, grid.width),
        )
        for edge in (start, stop)
    )


def _own_tiles(block: Block, path: Path, halvings: int, levels: int) -> Piece:
    """The block itself, or its first half, which stands at the left of its canvas."""
    place = list(places(block.shape, levels))[halvings]
    top, left = (start // (BLOCK_STEP_PX << halvings) for start in (block.row0, block.col0))
    return Piece(
        path,
        (top, top + in_tiles(place.height)),
        (left, left + in_tiles(place.width)),
        (place.row // BLOCK_STEP_PX, place.col // BLOCK_STEP_PX),
    )


def _join(
    target: Path,
    layer: Layer,
    shape: tuple[int, int],
    parts: Sequence[_Part],
    halvings: int,
    deepest: int,
) -> None:
    """Write the blocks' pictures after so many halvings as one file of tiles."""
    root = _raster(shape[1], shape[0])
    for number in range(1, len(layer.bands) + 1):
        band = _add_band(root, layer, number)
        for block, path in parts:
            _add_block(band, block, path, number, deepest, halvings)
    mosaic = _write(target.with_suffix(".vrt"), root)
    rasterio.shutil.copy(mosaic, target, num_threads="ALL_CPUS", **tile_options(layer))


def _halve_file(large: Path, small: Path, layer: Layer) -> None:
    """Write a raster of half the width and height, piece by piece."""
    with rasterio.open(large) as source:
        height, width = (-(-side // 2) for side in source.shape)
        profile: dict[str, Any] = {
            **tile_options(layer), "dtype": "uint8", "count": source.count, "height": height,
            "width": width, "nodata": layer.nodata,
        }  # fmt: skip
        with rasterio.open(small, "w", **profile) as target:
            # All bands of a piece at once, as they lie: smaller pieces where there are many.
            side = max(1, _PIECE_TILES // math.isqrt(source.count)) * BLOCK_STEP_PX
            for row, col in itertools.product(range(0, height, side), range(0, width, side)):
                size = min(side, width - col), min(side, height - row)
                # Beyond an odd edge there is nothing to read.
                whole = Window(2 * col, 2 * row, 2 * size[0], 2 * size[1]).intersection(
                    Window(0, 0, source.width, source.height)
                )
                for number, band in enumerate(source.read(window=whole), start=1):
                    part = halved(band, layer.nodata, layer.overviews == "average")
                    target.write(part, number, window=Window(col, row, *size))


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
    band: ET.Element, block: Block, path: Path, number: int, levels: int, halvings: int
) -> None:
    """A block as a source, or its picture after so many `halvings` of the `levels` there are."""
    source = ET.SubElement(band, "SimpleSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = f"../{path.name}"
    ET.SubElement(source, "SourceBand").text = str(number)
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


def _add_rectangle(
    source: ET.Element, name: str, left: int, top: int, width: int, height: int
) -> None:
    ET.SubElement(source, name, xOff=str(left), yOff=str(top), xSize=str(width), ySize=str(height))


def _write(target: Path, root: ET.Element) -> Path:
    write_text(target, ET.tostring(root, encoding="unicode"))
    return target
