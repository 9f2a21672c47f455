"""Cloud-Optimised GeoTIFFs from the compressed tiles of block files.

A country's map must not be compressed twice. GDAL writes the file's head: from a virtual raster
without a pixel it makes a COG of which every tile is missing, with all tags, overviews and the
order of the parts. Behind it the tiles are appended as the blocks hold them, each with its size
before it and its last four bytes after it, as GDAL's notes in the head say ("Layout of COG files",
documentation of the COG driver), the smallest overview first; then the head's lists of places are
filled in. What no block holds as whole tiles, the smaller overviews, is joined to a file first.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio.shutil
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFileError

from bocage.errors import DataError
from bocage.mapping.outputs import Layer
from bocage.mapping.plan import BLOCK_STEP_PX


@dataclass(frozen=True)
class Piece:
    """Tiles of a level of the map that lie in a file of tiles.

    `rows` and `cols` are the first tile and the one behind the last, on the level; `at` is the row
    and column of the first tile in the file. All in tiles.
    """

    path: Path
    rows: tuple[int, int]
    cols: tuple[int, int]
    at: tuple[int, int] = (0, 0)


def check_whole(temporary: Path, target: Path) -> None:
    """Refuse what GDAL writes on a full disk: a truncated file, closed without an error.

    Raises `DataError` that names `target`, for which the file is meant.
    """
    if not _is_whole(temporary):
        raise DataError(
            f"{target}: could not be written whole (the disk is full, or a limit is reached). Make "
            "room, then run the same command again."
        )


def _is_whole(path: Path) -> bool:
    """Whether a GeoTIFF is there with all its tiles, and none of them lies beyond its end."""
    try:
        size = path.stat().st_size
        with TiffFile(path) as tiff:
            return all(
                count > 0 and offset + count <= size
                for page in tiff.pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
    except (TiffFileError, OSError):
        return False


def in_tiles(size_px: int) -> int:
    """Tiles that hold so many pixels."""
    return -(-size_px // BLOCK_STEP_PX)


def tile_options(layer: Layer) -> dict[str, Any]:
    """How every tile of a layer is written, that it can be copied: GDAL's options of a GeoTIFF."""
    return {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": BLOCK_STEP_PX,
        "blockysize": BLOCK_STEP_PX,
        "interleave": "pixel",
        "compress": "deflate",  # every reader has it, ZSTD not
        "zlevel": _effort(layer),
        "bigtiff": "IF_SAFER",
    }


def cog_options(layer: Layer) -> dict[str, Any]:
    """The same for GDAL's COG driver."""
    return {
        "driver": "COG",
        "blocksize": BLOCK_STEP_PX,
        "compress": "deflate",
        "level": _effort(layer),
        "overview_compress": "deflate",
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }


def _effort(layer: Layer) -> int:
    # Probabilities are noise to a compressor: effort doubles the time and saves a hundredth.
    return 6 if layer.classes else 1


def assemble(target: Path, outline: Path, layer: Layer, levels: Sequence[Sequence[Piece]]) -> None:
    """Write the COG that `outline` describes, a virtual raster without pixels.

    `levels` are the pieces of the map and of each of its overviews, largest first; where there is
    none is nodata.
    """
    rasterio.shutil.copy(outline, target, sparse_ok=True, **cog_options(layer))
    nothing = bytes([layer.nodata]) * (BLOCK_STEP_PX**2 * len(layer.bands))
    missing = zlib.compress(nothing, _effort(layer))
    with TiffFile(target) as tiff:
        assert len(tiff.pages) == len(levels), "a level of the map is not in its outline"
        lists = [_Lists.of(tiff, number) for number in range(len(levels))]
    with target.open("r+b") as file:
        file.seek(0, 2)
        # Smallest first: the order in which a COG's tiles follow each other.
        for where, pieces in zip(reversed(lists), reversed(levels), strict=True):
            offsets = np.zeros(where.rows * where.cols, np.uint64)
            sizes = np.zeros_like(offsets)
            for number, tile in enumerate(_tiles(pieces, where.rows, where.cols, missing)):
                file.write(struct.pack("<I", len(tile)))
                offsets[number], sizes[number] = file.tell(), len(tile)
                file.write(tile)
                file.write(tile[-4:])
            where.fill(file, offsets, sizes)
            file.seek(0, 2)


@dataclass(frozen=True)
class _Lists:
    """Where a level's lists of tiles' places and sizes lie in the file, with their types."""

    rows: int
    cols: int
    offsets: tuple[int, np.dtype[Any]]
    sizes: tuple[int, np.dtype[Any]]

    @classmethod
    def of(cls, tiff: TiffFile, number: int) -> _Lists:
        page: Any = tiff.pages[number]
        tags = page.tags["TileOffsets"], page.tags["TileByteCounts"]
        types = {3: "u2", 4: "u4", 16: "u8"}
        found = [(tag.valueoffset, np.dtype(tiff.byteorder + types[tag.dtype])) for tag in tags]
        return cls(in_tiles(page.imagelength), in_tiles(page.imagewidth), *found)

    def fill(self, file: BinaryIO, offsets: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> None:
        """Write the lists."""
        for (place, kind), values in ((self.offsets, offsets), (self.sizes, sizes)):
            assert values.max() <= np.iinfo(kind).max, "the head has no room for such numbers"
            file.seek(place)
            file.write(values.astype(kind).tobytes())


def _tiles(pieces: Sequence[Piece], rows: int, cols: int, missing: bytes) -> Iterator[bytes]:
    """A level's tiles in reading order, `missing` where no piece has one."""
    waiting = sorted(pieces, key=lambda piece: piece.rows, reverse=True)
    here: list[_Held] = []
    for row in range(rows):
        here = [held for held in here if held.piece.rows[1] > row]
        while waiting and waiting[-1].rows[0] <= row:
            here.append(_Held.of(waiting.pop()))
        here.sort(key=lambda held: held.piece.cols)
        col = 0
        for held in here:
            first, last = held.piece.cols
            yield from itertools.repeat(missing, first - col)
            yield from held.row(row)
            col = last
        yield from itertools.repeat(missing, cols - col)


@dataclass(frozen=True)
class _Held:
    """A piece with the places of all tiles of its file."""

    piece: Piece
    across: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, piece: Piece) -> _Held:
        with TiffFile(piece.path) as tiff:
            page: Any = tiff.pages[0]
            return cls(piece, in_tiles(page.imagewidth), page.dataoffsets, page.databytecounts)

    def row(self, row: int) -> Iterator[bytes]:
        """The piece's tiles in the level's tile row `row`."""
        down, across = self.piece.at
        first = (down + row - self.piece.rows[0]) * self.across + across
        count = self.piece.cols[1] - self.piece.cols[0]
        # Opened for each row: a country has more blocks side by side than files may be open.
        with self.piece.path.open("rb") as file:
            for tile in range(first, first + count):
                file.seek(self.offsets[tile])
                yield file.read(self.sizes[tile])
