"""A large raster from small ones: pieces that are drawn in any order, by any number of runs.

`OUT/blocks/STEM/ROW-COL.tif` is one piece of `OUT/STEM.tif`. Each appears when it is complete, so a
run that is killed loses no more than the block in hand. When all are there they are joined, row by
row, which gives the same bytes whoever drew them and in whatever order; then they are removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow
from tifffile import TiffFile, TiffFileError

from bocage.errors import DataError
from bocage.files import atomic_path
from bocage.simulate import folder
from bocage.simulate.domains import Domain
from bocage.simulate.noise import Window

_BLOCKS = "blocks"
_PROBE_BYTES = 2**20
"""More than a tile: what a disk on which a tile found no room cannot take."""


@dataclass(frozen=True)
class Layer:
    """One raster of a territory: file stem, pixel size in cm, number of bands and type."""

    stem: str
    pixel_cm: int
    bands: int
    dtype: str

    def raster(self, out: Path) -> Path:
        """The finished file."""
        return out / f"{self.stem}.tif"

    def pieces(self, out: Path) -> Path:
        """Where its pieces lie."""
        return out / _BLOCKS / self.stem

    def piece(self, out: Path, row: int, col: int) -> Path:
        """The file of one block."""
        return self.pieces(out) / f"{row:04d}-{col:04d}.tif"

    @property
    def compression(self) -> dict[str, Any]:
        """GDAL's options for pieces and raster."""
        predictor = 3 if self.dtype == "float32" else 2
        return {"compress": "zstd", "zstd_level": 1, "predictor": predictor}


@dataclass(frozen=True)
class Place:
    """A block of a territory: its row and column among the blocks, and its window."""

    row: int
    col: int
    window: Window


def write_piece(out: Path, layer: Layer, place: Place, image: NDArray[Any], domain: Domain) -> None:
    """One block of a layer, (C, H, W), atomically."""
    window = place.window.resampled(layer.pixel_cm)
    path = layer.piece(out, place.row, place.col)
    folder.write_image(path, image, window, domain, **layer.compression)


def join(
    out: Path, layer: Layer, whole: Window, places: Sequence[Place], block_px: int, domain: Domain
) -> None:
    """The raster of a layer over `whole` from its pieces, tiled by `block_px`; appears when whole.

    Raises `DataError` for a piece that cannot be read and for a disk that is full.
    """
    target = layer.raster(out)
    pieces = [layer.piece(out, place.row, place.col) for place in places]
    with atomic_path(target) as temporary:
        _make_room(temporary, pieces)
        try:
            with rasterio.open(
                temporary,
                "w",
                tiled=True,
                blockxsize=block_px,
                blockysize=block_px,
                bigtiff="IF_SAFER",
                **layer.compression,
                **folder.profile(whole, domain, layer.bands, layer.dtype),
            ) as raster:
                for place, piece in zip(places, pieces, strict=True):
                    image = _read(piece)
                    left = (place.window.u0 - whole.u0) // layer.pixel_cm
                    top = (place.window.v0 - whole.v0) // layer.pixel_cm
                    raster.write(image, window=RasterWindow(left, top, *image.shape[:0:-1]))
        except RasterioError:
            _ask_why(temporary)
            raise
        if not _is_whole(temporary):
            _ask_why(temporary)
            raise DataError(
                f"{target}: could not be written whole; the disk was full for a while. Make room, "
                "then run the same command again."
            )


def remove_pieces(out: Path, layer: Layer | None = None) -> None:
    """Remove the pieces of a layer that is joined, or of all."""
    place = out / _BLOCKS if layer is None else layer.pieces(out)
    if place.is_dir():
        shutil.rmtree(place)


def _read(path: Path) -> NDArray[Any]:
    try:
        with rasterio.open(path) as source:
            image: NDArray[Any] = source.read()
    except RasterioError as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Delete it and run the same command again."
        ) from error
    return image


def _make_room(temporary: Path, pieces: Sequence[Path]) -> None:
    """`OSError` of a disk without room for what the pieces hold, before they are joined.

    And instead of GDAL, whose TIFF library prints what the system told it on the terminal. What
    fills the disk later is still found by `_ask_why` and `_is_whole`.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with temporary.open("wb") as handle:
        size = sum(piece.stat().st_size for piece in pieces if piece.is_file())
        os.posix_fallocate(handle.fileno(), 0, max(size, 1))


def _ask_why(temporary: Path) -> None:
    """Raise what the system says to one more write: GDAL does not pass on why one of its failed."""
    with temporary.open("ab") as handle:
        handle.write(bytes(_PROBE_BYTES))


def _is_whole(path: Path) -> bool:
    """Whether every tile lies inside the file: on a full disk GDAL may end without an error."""
    size = path.stat().st_size
    try:
        with TiffFile(path) as tiff:
            page = tiff.pages.first
            tiles = zip(page.dataoffsets, page.databytecounts, strict=True)
            return all(0 < offset <= offset + count <= size for offset, count in tiles)
    except TiffFileError:
        return False
