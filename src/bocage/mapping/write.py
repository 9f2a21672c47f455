"""Block files and the Cloud-Optimised GeoTIFF that they become."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what copying raises is not rasterio's own
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from tifffile import TiffFile, TiffFileError

from bocage.errors import DataError
from bocage.files import atomic_path, write_text
from bocage.mapping.outputs import Layer
from bocage.mapping.plan import BLOCK_STEP_PX, Block
from bocage.rasters import GDAL_OPTIONS, Grid

_WRITING = {"GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": GDAL_OPTIONS["GDAL_CACHEMAX"]}


def write_block(
    target: Path, array: NDArray[np.uint8], layer: Layer, grid: Grid, block: Block
) -> None:
    """Write one block, (H, W) or (C, H, W), as a GeoTIFF of its own georeference, atomically."""
    bands_CHW = array.reshape(-1, *block.shape)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": len(bands_CHW),
        "height": block.shape[0],
        "width": block.shape[1],
        "crs": grid.crs,
        "transform": grid.transform @ rasterio.Affine.translation(block.col0, block.row0),
        "nodata": layer.nodata,
        "interleave": "band",
        "tiled": True,
        "blockxsize": BLOCK_STEP_PX,
        "blockysize": BLOCK_STEP_PX,
        "compress": "zstd",
        "zstd_level": 1,
    }
    # In memory first: on a full disk GDAL closes a truncated file without an error.
    with _gdal_errors(target), MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(bands_CHW)
        with atomic_path(target) as temporary:
            temporary.write_bytes(memory.getbuffer())


def write_cog(
    target: Path, layer: Layer, grid: Grid, parts: Sequence[tuple[Block, Path]], scratch: Path
) -> None:
    """Join block files into one Cloud-Optimised GeoTIFF, atomically.

    Where a block is missing the map is nodata. `scratch` is a folder for the virtual mosaic.
    Class names go into the file's metadata, and beside it into GDAL's `.aux.xml`, the only place
    from which GIS programs take them for their legend.
    """
    mosaic = scratch / f"{layer.stem}.vrt"
    write_text(mosaic, _mosaic_xml(layer, grid, parts))
    with _gdal_errors(target):
        with atomic_path(target) as temporary, rasterio.Env(**_WRITING):
            rasterio.shutil.copy(mosaic, temporary, driver="COG", **cog_options(layer))
            _check_whole(temporary, target)
        if layer.classes:
            write_text(target.with_name(f"{target.name}.aux.xml"), _category_xml(layer))


def cog_options(layer: Layer) -> dict[str, Any]:
    """What GDAL's COG driver is told of a layer."""
    return {
        "blocksize": BLOCK_STEP_PX,
        "compress": "deflate",  # every reader has it, ZSTD not
        # Probabilities are noise to a compressor: effort doubles the time and saves a hundredth.
        "level": 6 if layer.classes else 1,
        "overview_resampling": layer.overviews,
        "overview_compress": "deflate",
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }


def _check_whole(temporary: Path, target: Path) -> None:
    """Refuse a file whose tiles lie beyond its end: a full disk that GDAL did not tell of."""
    size = temporary.stat().st_size
    try:
        with TiffFile(temporary) as tiff:
            ends = [
                offset + count
                for page in tiff.pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    except TiffFileError:
        ends = []
    if not ends or max(ends) > size:
        raise DataError(
            f"{target}: could not be written whole (the disk is full, or a limit is reached). Make "
            "room, then run the same command again."
        )


@contextlib.contextmanager
def _gdal_errors(target: Path) -> Iterator[None]:
    """GDAL's own errors while writing, as the error that `atomic_path` gives for a full disk."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise DataError(
            f"{target}: could not be written ({error}). Check free space and permissions, then "
            "run the same command again."
        ) from error


def _mosaic_xml(layer: Layer, grid: Grid, parts: Sequence[tuple[Block, Path]]) -> str:
    """GDAL's virtual mosaic of the block files, with all that the final file shall say."""
    root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    assert grid.crs is not None
    ET.SubElement(root, "SRS").text = grid.crs.to_wkt()
    ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, grid.transform.to_gdal()))
    metadata = ET.SubElement(root, "Metadata")
    for key, value in layer.tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    for number, text in enumerate(layer.bands, start=1):
        _add_band(root, layer, number, text, parts)
    return ET.tostring(root, encoding="unicode")


def _add_band(
    root: ET.Element, layer: Layer, number: int, text: str, parts: Sequence[tuple[Block, Path]]
) -> None:
    band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
    names = ET.SubElement(band, "Metadata")
    for class_id, name in layer.classes.items():
        ET.SubElement(names, "MDI", key=f"class_{class_id}").text = name
    ET.SubElement(band, "Description").text = text
    ET.SubElement(band, "NoDataValue").text = str(layer.nodata)
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
    for block, path in parts:
        height, width = (str(side) for side in block.shape)
        source = ET.SubElement(band, "SimpleSource")
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = path.name
        ET.SubElement(source, "SourceBand").text = str(number)
        # The properties spare GDAL from opening every block to learn its size.
        ET.SubElement(
            source,
            "SourceProperties",
            RasterXSize=width,
            RasterYSize=height,
            DataType="Byte",
            BlockXSize=str(BLOCK_STEP_PX),
            BlockYSize=str(BLOCK_STEP_PX),
        )
        ET.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=width, ySize=height)
        ET.SubElement(
            source,
            "DstRect",
            xOff=str(block.col0),
            yOff=str(block.row0),
            xSize=width,
            ySize=height,
        )


def _category_xml(layer: Layer) -> str:
    root = ET.Element("PAMDataset")
    names = ET.SubElement(ET.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for class_id in range(max(layer.classes) + 1):
        ET.SubElement(names, "Category").text = layer.classes.get(class_id, "")
    return ET.tostring(root, encoding="unicode")
