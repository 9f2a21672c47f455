"""Block files and the Cloud-Optimised GeoTIFF that they become."""

from __future__ import annotations

import contextlib
import shutil
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what copying raises is not rasterio's own
from rasterio.errors import RasterioError
from tifffile import TiffFileError

from bocage.errors import DataError
from bocage.files import atomic_path, write_text
from bocage.mapping.cog import assemble, check_whole, tile_options
from bocage.mapping.mosaic import block_levels, level_pieces, write_outline
from bocage.mapping.outputs import Layer
from bocage.mapping.overviews import canvas_shape, with_overviews
from bocage.mapping.plan import Block
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
        **tile_options(layer),
        "dtype": "uint8",
        "count": len(bands_CHW),
        "height": height,
        "width": width,
        "crs": grid.crs,
        "transform": grid.transform @ rasterio.Affine.translation(block.col0, block.row0),
        "nodata": layer.nodata,
        # By bands, of which one at a time is in memory: those of several are copied in the end.
        "interleave": "band",
    }
    with _gdal_errors(target), atomic_path(target) as temporary, rasterio.Env(**_WRITING):
        with rasterio.open(temporary, "w", **profile) as dataset:
            for number, band_HW in enumerate(bands_CHW, start=1):
                dataset.write(with_overviews(band_HW, levels, layer.nodata, average), number)
        check_whole(temporary, target)


def write_cog(
    target: Path, layer: Layer, grid: Grid, parts: Sequence[tuple[Block, Path]], folder: Path
) -> None:
    """Join block files into one Cloud-Optimised GeoTIFF, atomically.

    Blocks lie in pixels of the map; where one is missing it is nodata. `folder` is that of their
    files, and for what is made on the way. Class names go into the file's metadata, and
    beside it into GDAL's `.aux.xml`, the only place from which GIS programs take them for their
    legend.
    """
    with (
        _gdal_errors(target),
        rasterio.Env(**_WRITING),
        _scratch(folder / f".{layer.stem}.{uuid.uuid4().hex[:8]}") as scratch,
    ):
        outline = write_outline(scratch, layer, grid)
        levels = level_pieces(scratch, layer, grid, parts)
        with atomic_path(target) as temporary:
            assemble(temporary, outline, layer, levels)
            check_whole(temporary, target)
        if layer.classes:
            write_text(target.with_name(f"{target.name}.aux.xml"), _category_xml(layer))


@contextlib.contextmanager
def _gdal_errors(target: Path) -> Iterator[None]:
    """GDAL's own errors while writing, as the error that `atomic_path` gives for a full disk."""
    try:
        yield
    # Of the threads in which GDAL reads many files at once there is no more than a SystemError.
    except (RasterioError, CPLE_BaseError, TiffFileError, SystemError, OSError) as error:
        raise DataError(
            f"{target}: could not be written ({error}). Check free space and permissions, then "
            "run the same command again."
        ) from error


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for what is made on the way, under a name that a later run removes."""
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _category_xml(layer: Layer) -> str:
    root = ET.Element("PAMDataset")
    names = ET.SubElement(ET.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for class_id in range(max(layer.classes) + 1):
        ET.SubElement(names, "Category").text = layer.classes.get(class_id, "")
    return ET.tostring(root, encoding="unicode")
