"""A finished class map, read back: what its numbers mean and how it lies on the ground."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rasterio.io import DatasetReader
from rasterio.windows import Window

from bocage.errors import ConfigError, DataError
from bocage.mapping.outputs import NODATA
from bocage.rasters import Grid, grid_of, open_raster

CLASS_TAG = "class_"
"""Class names stand in the band's metadata as `class_<id>`."""
CONFIDENCE_SUFFIX = "_confidence"


@dataclass(frozen=True)
class ClassMap:
    """One band of class ids, uint8, 255 = nodata.

    `classes` are names by id, `colors` RGB by id as `#rrggbb`; a map of other software may have
    neither. `confidence` is the file beside the map, if there is one: stored number / 254 is the
    probability of the mapped class. `files` are all that the map is read from: its own, those that
    a virtual raster is made of, the confidence.
    """

    path: Path
    grid: Grid
    classes: dict[int, str]
    colors: dict[int, str]
    task: str
    confidence: Path | None
    files: tuple[Path, ...]

    def name(self, class_id: int) -> str:
        """The class's name, or its number where the file does not say."""
        return self.classes.get(class_id, f"class {class_id}")

    @property
    def pixel_m2(self) -> float:
        """Area of a pixel in the map's plane."""
        width, height = self.grid.resolution
        return width * height


def open_map(path: Path) -> ClassMap:
    """Read the description of a class map.

    Raises `DataError` when the file is no raster of one uint8 band of class ids in a projected CRS
    in metres with north up: areas and distances would mean nothing.
    """
    with open_raster(str(path)) as dataset:
        found = _describe(path, dataset)
        files = dict.fromkeys([path, *map(Path, dataset.files)])
    beside = path.with_name(f"{path.stem}{CONFIDENCE_SUFFIX}{path.suffix}")
    confidence = beside if beside.is_file() else None
    own = () if confidence is None else (confidence,)
    return ClassMap(path, *found, confidence, (*files, *own))


def check_not_input(
    targets: Iterable[Path], inputs: Iterable[Path], remedy: str = "name another file"
) -> None:
    """Refuse to write over what is read (`ConfigError`), however the names are spelt."""
    read = list(inputs)
    for target in targets:
        if any(_same_file(target, path) for path in read):
            raise ConfigError(f"{target}: would replace its own input; {remedy}.")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # what is not there is nothing's input
        return False


def check_min_area(source: ClassMap, min_area_m2: float | None) -> None:
    """Refuse a smallest area that every patch has (`ConfigError`)."""
    # As closely as a pixel's size is known: 0.2 m may stand in the file as 0.19999999999.
    if min_area_m2 is not None and round(min_area_m2 / source.pixel_m2, 6) <= 1:
        raise ConfigError(
            f"min_area_m2={min_area_m2:g} has no effect: a pixel of {source.path} has "
            f"{source.pixel_m2:g} m². Give more, or leave it out."
        )


def _describe(
    path: Path, dataset: DatasetReader
) -> tuple[Grid, dict[int, str], dict[int, str], str]:
    grid = grid_of(dataset)
    if dataset.count != 1 or dataset.dtypes[0] != "uint8":
        raise DataError(
            f"{path}: {dataset.count} band(s) of {dataset.dtypes[0]}, where a class map has one of "
            "uint8. Give a map made by 'bocage map', not its probabilities."
        )
    if dataset.scales[0] != 1:
        raise DataError(
            f"{path}: holds shares, not class ids; give the map of classes, e.g. land-cover.tif."
        )
    if dataset.nodata not in (None, NODATA):
        raise DataError(f"{path}: nodata is {dataset.nodata:g}, where a class map has {NODATA}.")
    crs, transform = grid.crs, grid.transform
    if crs is None or not crs.is_projected or crs.linear_units_factor[1] != 1.0:
        raise DataError(
            f"{path}: a class map lies in a projected CRS in metres; this one in "
            f"{crs.to_string()[:80] if crs else 'none'}. Reproject it with 'gdalwarp -r near'."
        )
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise DataError(f"{path}: the map is not north-up. Reproject it with 'gdalwarp -r near'.")
    tags = dataset.tags(1)
    classes = {
        int(key.removeprefix(CLASS_TAG)): name
        for key, name in tags.items()
        if key.startswith(CLASS_TAG) and key.removeprefix(CLASS_TAG).isdigit()
    }
    colors = {}
    if dataset.colorinterp[0].name == "palette":
        table = dataset.colormap(1)
        colors = {i: "#{:02x}{:02x}{:02x}".format(*c[:3]) for i, c in table.items() if c[3]}
    return grid, classes, colors, dataset.tags().get("task", path.stem)


def strips(grid: Grid, rows: int) -> Iterator[Window]:
    """The raster in full-width strips of `rows` rows, the last one shorter."""
    for row in range(0, grid.height, rows):
        yield Window(0, row, grid.width, min(rows, grid.height - row))
