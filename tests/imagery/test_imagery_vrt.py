"""Virtual mosaics: read tile by tile on their own terms, or left to GDAL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from image_cases import CRS, PIXEL_M, X, Y, photograph, read_all, save

from bocage.errors import ConfigError, DataError
from bocage.imagery import Mosaic, Source, headers, inspect
from bocage.rasters import grid_of, same_crs

pytestmark = pytest.mark.integration

SIDE = 40
PLACES = [(0, 0), (0, 40), (40, 0), (40, 40)]


def write_vrt(
    path: Path,
    tiles: Sequence[tuple[str, float, float]],
    *,
    bands: Sequence[int] = (1, 2, 3, 4),
    size: tuple[int, int] = (2 * SIDE, 2 * SIDE),
    corner: tuple[float, float] = (X, Y),
    crs: str = CRS,
    nodata: int | None = None,
    colours: Sequence[str] = (),
) -> Path:
    """What gdalbuildvrt writes of tiles given by name, row and column."""
    stated = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
    hidden = "" if nodata is None else f"<NODATA>{nodata}</NODATA>"
    shape = f'xSize="{SIDE}" ySize="{SIDE}"'
    text = [
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{corner[0]}, {PIXEL_M}, 0, {corner[1]}, 0, -{PIXEL_M}</GeoTransform>"
    ]
    for number, band in enumerate(bands, start=1):
        colour = f"<ColorInterp>{colours[number - 1]}</ColorInterp>" if colours else ""
        text.append(f'<VRTRasterBand dataType="Byte" band="{number}">{stated}{colour}')
        text += [
            f'<ComplexSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{SIDE}" RasterYSize="{SIDE}" DataType="Byte" '
            f'BlockXSize="{SIDE}" BlockYSize="{SIDE}"/><SrcRect xOff="0" yOff="0" {shape}/>'
            f'<DstRect xOff="{col}" yOff="{row}" {shape}/>{hidden}</ComplexSource>'
            for name, row, col in tiles
        ]
        text.append("</VRTRasterBand>")
    path.write_text("".join(text) + "</VRTDataset>")
    return path


def cut(folder: Path, **options: object) -> list[tuple[str, int, int]]:
    """Four tiles of one photograph, with their places."""
    image = photograph(2 * SIDE, 2 * SIDE)
    tiles = []
    for row, col in PLACES:
        name = f"t_{row}_{col}.tif"
        part = image[:, row : row + SIDE, col : col + SIDE]
        save(folder / name, part, row=row, col=col, **options)  # type: ignore[arg-type]
        tiles.append((name, row, col))
    return tiles


def other_crs(folder: Path) -> Source:
    return Source("aerial", write_vrt(folder / "m.vrt", cut(folder, crs="EPSG:32631")))


def tiles_without_crs(folder: Path) -> Source:
    return Source("aerial", write_vrt(folder / "m.vrt", cut(folder, crs=None)))


def tiles_without_place(folder: Path) -> Source:
    return Source("aerial", write_vrt(folder / "m.vrt", cut(folder, placed=False)))


def larger(folder: Path) -> Source:
    moved = [(name, row + 7, col + 11) for name, row, col in cut(folder)]
    corner = (X - 11 * PIXEL_M, Y + 7 * PIXEL_M)
    path = write_vrt(folder / "m.vrt", moved, size=(100, 110), corner=corner, nodata=0)
    return Source("aerial", path)


def elsewhere(folder: Path) -> Source:
    return Source("aerial", write_vrt(folder / "m.vrt", cut(folder), corner=(X + 500, Y - 77)))


def first_bands(folder: Path) -> Source:
    tiles = cut(folder, photometric="RGB", alpha="YES")
    return Source("rgb", write_vrt(folder / "m.vrt", tiles, bands=(1, 2, 3)))


def other_order(folder: Path) -> Source:
    return Source("aerial", write_vrt(folder / "m.vrt", cut(folder), bands=(4, 2, 1, 3)))


def bands_of_the_request(folder: Path) -> Source:
    path = write_vrt(folder / "m.vrt", cut(folder), bands=(4, 2, 1, 3))
    return Source("rgb", path, bands=(3, 4, 1))


def last_digits(folder: Path) -> Source:
    tiles = [(name, row + 3e-9, col - 2e-9) for name, row, col in cut(folder)]
    return Source("aerial", write_vrt(folder / "m.vrt", tiles))


def topmost_last(folder: Path) -> Source:
    tiles = [(name, row * 3 / 4, col * 3 / 4) for name, row, col in cut(folder)]
    return Source("aerial", write_vrt(folder / "m.vrt", tiles, size=(70, 70)))


@pytest.mark.parametrize(
    "case",
    [other_crs, tiles_without_crs, tiles_without_place, larger, elsewhere, first_bands,
     other_order, bands_of_the_request, last_digits, topmost_last],
)  # fmt: skip
def test_tiles_are_the_raster_that_the_mosaic_says(
    tmp_path: Path, case: Callable[[Path], Source]
) -> None:
    source = case(tmp_path)
    raster = inspect(source).raster
    assert isinstance(raster, Mosaic)
    values, holes = read_all(source)
    with rasterio.open(source.path) as dataset:
        grid = grid_of(dataset)
        shown = dataset.read(source.bands)
    assert same_crs(raster.grid.crs, grid.crs)
    assert raster.grid.transform.almost_equals(grid.transform, 1e-9)
    assert (raster.grid.width, raster.grid.height) == (grid.width, grid.height)
    np.testing.assert_array_equal(values, shown)
    np.testing.assert_array_equal(holes, (shown == 0).all(axis=0))


def between_pixels(text: str) -> str:
    return text.replace('xOff="40"', 'xOff="40.5"')


def cut_off(text: str) -> str:
    old, new = f'<SrcRect xOff="0" yOff="0" xSize="{SIDE}"', '<SrcRect xOff="0" yOff="0" xSize="30"'
    return text.replace(old, new)


def converted(text: str) -> str:
    return text.replace('DataType="Byte"', 'DataType="UInt16"')


def rescaled(text: str) -> str:
    return text.replace("<SrcRect", "<ScaleRatio>0.5</ScaleRatio><SrcRect")


def of_another_nodata(text: str) -> str:
    return text.replace("</ComplexSource>", "<NODATA>3</NODATA></ComplexSource>")


def of_a_mask_file(text: str) -> str:
    own = text[text.index("<ComplexSource>") : text.index("</VRTRasterBand>")]
    band = f'<VRTRasterBand dataType="Byte">{own}</VRTRasterBand>'
    return text.replace("</VRTDataset>", f"<MaskBand>{band}</MaskBand></VRTDataset>")


def mixed(text: str) -> str:
    """Two bands show tiles in another order."""
    first, rest = text.split("</VRTRasterBand>", 1)
    return first.replace("t_0_0.tif", "t_40_0.tif") + "</VRTRasterBand>" + rest


@pytest.mark.parametrize(
    "change",
    [between_pixels, cut_off, converted, rescaled, of_another_nodata, of_a_mask_file, mixed],
)
def test_what_does_more_is_left_to_gdal(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = write_vrt(tmp_path / "m.vrt", cut(tmp_path))
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    assert not isinstance(inspect(Source("aerial", path)).raster, Mosaic)


@pytest.mark.parametrize("placed", [True, False])
def test_a_missing_tile_is_a_hole_of_the_whole(tmp_path: Path, placed: bool) -> None:
    """Even at the rim, and of tiles that do not know their place."""
    path = write_vrt(tmp_path / "m.vrt", cut(tmp_path, placed=placed))
    (tmp_path / "t_0_0.tif").unlink()
    (tmp_path / "t_0_40.tif").unlink()
    with pytest.raises(DataError, match=r"t_0_\d+\.tif: no such file.*missing_tiles=report"):
        inspect(Source("aerial", path))
    sensor = inspect(Source("aerial", path), "report")
    assert sum("no such file" in note for note in sensor.notes) == 2
    assert any("2 tiles cover 50% of its rectangle" in note for note in sensor.notes)
    _, holes = read_all(Source("aerial", path))
    assert holes.shape == (80, 80)
    assert holes[:40].all()
    assert not holes[40:].any()


def test_every_header_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_vrt(tmp_path / "m.vrt", cut(tmp_path))
    opened: Counter[str] = Counter()
    real = headers.open_source

    def counting(name: str):  # type: ignore[no-untyped-def] # what `open_source` returns
        opened[Path(name).name] += 1
        return real(name)

    monkeypatch.setattr(headers, "open_source", counting)
    monkeypatch.setattr("bocage.imagery.mosaic._PROBES", 0)
    inspect(Source("aerial", path))
    assert opened == {"m.vrt": 1, **{f"t_{row}_{col}.tif": 1 for row, col in PLACES}}


@pytest.mark.parametrize(
    ("bands", "side", "dtype", "words"),
    [
        (4, SIDE + 1, np.uint8, "41 x 41 pixels, where the virtual mosaic .* says 40 x 40"),
        (3, SIDE, np.uint8, "3 bands, where .* says at least 4"),
        (4, SIDE, np.uint16, "type uint16, where .* says type uint8"),
    ],
)
def test_a_tile_that_is_not_what_the_mosaic_says(
    tmp_path: Path, bands: int, side: int, dtype: type, words: str
) -> None:
    path = write_vrt(tmp_path / "m.vrt", cut(tmp_path))
    save(tmp_path / "t_40_0.tif", photograph(side, side)[:bands].astype(dtype))
    with pytest.raises(DataError, match=rf"t_40_0\.tif: {words}"):
        inspect(Source("aerial", path), "report")


def test_opacity_and_masks_of_tiles(tmp_path: Path) -> None:
    """Opacity is the band that the mosaic says; masks, in the file or beside it, are the tiles'."""
    image = photograph(SIDE, SIDE)
    opaque = np.full((1, SIDE, SIDE), 255, np.uint8)
    opaque[:, :9] = 0
    save(tmp_path / "a.tif", np.concatenate([opaque, image]))
    colours = ("Red", "Green", "Blue", "Undefined", "Alpha")
    path = write_vrt(
        tmp_path / "a.vrt", [("a.tif", 0, 0)], bands=(2, 3, 4, 5, 1), size=(SIDE, SIDE),
        colours=colours,
    )  # fmt: skip
    values, holes = read_all(Source("aerial", path))
    np.testing.assert_array_equal(holes, opaque[0] == 0)
    np.testing.assert_array_equal(values[:, 9:], image[:, 9:])
    for internal in (True, False):
        name = f"{internal}.tif"
        save(tmp_path / name, image)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
            rasterio.open(tmp_path / name, "r+") as dataset,
        ):
            dataset.write_mask(opaque[0] > 0)
        path = write_vrt(tmp_path / "m.vrt", [(name, 0, 0)], size=(SIDE, SIDE))
        assert isinstance(inspect(Source("aerial", path)).raster, Mosaic)
        np.testing.assert_array_equal(read_all(Source("aerial", path))[1], opaque[0] == 0)


def test_what_the_mosaic_lacks_is_said_of_the_mosaic(tmp_path: Path) -> None:
    tiles = cut(tmp_path)
    path = write_vrt(tmp_path / "m.vrt", tiles, bands=(1, 2, 3))
    with pytest.raises(DataError, match=r"m\.vrt: 3 bands where AERIAL_RGBI has 4"):
        inspect(Source("aerial", path))
    with pytest.raises(ConfigError, match=r"m\.vrt: bands \(1, 2, 4\) of a file with 3 bands"):
        inspect(Source("rgb", path, bands=(1, 2, 4)))
    path.write_text(path.read_text().replace(f"<SRS>{CRS}</SRS>", ""))
    with pytest.raises(DataError, match=r"m\.vrt: the raster has no CRS"):
        inspect(Source("rgb", path))
