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
from tifffile import TiffFile, TiffFileError

from bocage.errors import DataError
from bocage.files import atomic_path, write_text
from bocage.mapping.mosaic import block_levels, write_mosaic
from bocage.mapping.outputs import Layer
from bocage.mapping.overviews import canvas_shape, with_overviews
from bocage.mapping.plan import BLOCK_STEP_PX, Block
from bocage.rasters import GDAL_OPTIONS, Grid

_WRITING = {"GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": GDAL_OPTIONS["GDAL_CACHEMAX"]}


def write_block(
    target: Path, array: NDArray[np.uint8], layer: Layer, grid: Grid, block: Block
) -> None:
    """Write one block, (H, W) or (C, H, W), atomically; its place is in pixels of the map.

    A GeoTIFF of the block's own georeference with all that the overviews of `grid`, the whole map,
    need of it (`bocage.mapping.overviews`).
    """
    bands_CHW = array.reshape(-1, *block.shape)
    levels, average = len(block_levels(grid)), layer.overviews == "average"
    height, width = canvas_shape(block.shape, levels)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": len(bands_CHW),
        "height": height,
        "width": width,
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
    with _gdal_errors(target), atomic_path(target) as temporary, rasterio.Env(**_WRITING):
        with rasterio.open(temporary, "w", **profile) as dataset:
            for number, band_HW in enumerate(bands_CHW, start=1):
                dataset.write(with_overviews(band_HW, levels, layer.nodata, average), number)
        _check_whole(temporary, target)


def write_cog(
    target: Path, layer: Layer, grid: Grid, parts: Sequence[tuple[Block, Path]], scratch: Path
) -> None:
    """Join block files into one Cloud-Optimised GeoTIFF, atomically.

    Blocks lie in pixels of the map; where one is missing it is nodata. `scratch` is a folder for
    the virtual mosaics. Class names go into the file's metadata, and beside it into GDAL's
    `.aux.xml`, the only place from which GIS programs take them for their legend.
    """
    with _gdal_errors(target), rasterio.Env(**_WRITING):
        mosaic = write_mosaic(scratch, layer, grid, parts)
        with atomic_path(target) as temporary:
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
        "overview_compress": "deflate",
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }


def is_whole(path: Path) -> bool:
    """Whether a GeoTIFF is there, and none of its tiles lies beyond its end."""
    try:
        size = path.stat().st_size
        with TiffFile(path) as tiff:
            ends = [
                offset + count
                for page in tiff.pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    except (TiffFileError, OSError):
        return False
    return bool(ends) and max(ends) <= size


def _check_whole(temporary: Path, target: Path) -> None:
    """Refuse what GDAL writes on a full disk: a truncated file, closed without an error."""
    if not is_whole(temporary):
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


def _category_xml(layer: Layer) -> str:
    root = ET.Element("PAMDataset")
    names = ET.SubElement(ET.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for class_id in range(max(layer.classes) + 1):
        ET.SubElement(names, "Category").text = layer.classes.get(class_id, "")
    return ET.tostring(root, encoding="unicode")
