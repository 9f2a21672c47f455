"""What is made of a map never replaces what it is made from."""

from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio.shutil
import shapely
from mapping_command import run_map
from vector_cases import X, Y, save_map

from bocage.errors import ConfigError
from bocage.mapping.area_table import measure_areas, write_table
from bocage.mapping.maps import open_map
from bocage.mapping.zones import read_zones

pytestmark = pytest.mark.integration


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a map and its confidence, zones in two layers, points, a matrix and parcels."""
    array = np.tile(np.array([[0, 1], [2, 3]], np.uint8), (4, 4))
    save_map(tmp_path / "change.tif", array, confidence=np.full_like(array, 200))
    save_map(tmp_path / "after.tif", array.T.copy())
    zones = geopandas.GeoDataFrame(
        {"nom": ["a"]}, geometry=[shapely.box(X, Y - 8, X + 4, Y)], crs="EPSG:2154"
    )
    for layer in ("communes", "cantons"):
        zones.to_file(tmp_path / "z.gpkg", layer=layer)
    zones.to_file(tmp_path / "par.gpkg")
    zones.to_parquet(tmp_path / "z.parquet")
    points = shapely.points(X + np.arange(4) + 0.5, Y - 0.5)
    names = {"class": ["zero", "one", "zero", "one"]}
    frame = geopandas.GeoDataFrame(names, geometry=points, crs="EPSG:2154")
    frame.to_file(tmp_path / "p.gpkg")
    rows = [f"{name},1,1,1,1" for name in ("zero", "one", "two", "three")]
    (tmp_path / "m.csv").write_text("\n".join(["map,zero,one,two,three", *rows]))
    return tmp_path


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("z.gpkg", "areas change.tif --zones z.gpkg:nom --zones-layer communes"),
        ("link.gpkg", "areas change.tif --zones z.gpkg:nom --zones-layer communes"),
        ("z.parquet", "areas change.tif --zones z.parquet"),
        ("p.gpkg", "areas change.tif --zones z.parquet --samples p.gpkg:class"),
        ("m.csv", "areas change.tif --confusion m.csv"),
        ("par.gpkg", "parcels change.tif par.gpkg"),
        (".", "diff change.tif after.tif"),
        (".", "diff after.tif change.tif"),
        (".", "diff virtual.vrt after.tif"),
    ],
)
def test_an_input_is_not_replaced(
    files: Path, monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    monkeypatch.chdir(files)
    Path("link.gpkg").symlink_to("z.gpkg")
    with rasterio.open("change.tif") as dataset:
        rasterio.shutil.copy(dataset, "virtual.vrt", driver="VRT")
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    # By another spelling: what counts is the file.
    result = run_map(*words.split(), "-o", Path("..") / files.name / output)
    said = " ".join(result.err.split())
    assert result.code == 2, said
    kind = "folder" if output == "." else "file"
    assert f"would replace its own input; name another {kind}." in said
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def _rename(folder: Path, name: str) -> Path:
    """The map under a vector file's name, which GDAL does not mind."""
    (folder / "change.tif").rename(folder / f"{name}.gpkg")
    (folder / "change_confidence.tif").rename(folder / f"{name}_confidence.gpkg")
    return folder / f"{name}.gpkg"


@pytest.mark.parametrize("part", ["", "_confidence"])
@pytest.mark.parametrize(
    "words",
    [
        lambda f: ("polygons",),
        lambda f: ("parcels", f / "par.gpkg"),
        lambda f: ("areas", "--zones", f / "z.parquet"),
    ],
    ids=["polygons", "parcels", "areas"],
)
def test_a_map_named_like_an_output_is_not_replaced(
    files: Path, words: Callable[[Path], tuple[object, ...]], part: str
) -> None:
    source = _rename(files, "map")
    target = source.with_stem(f"map{part}")
    before = target.read_bytes()
    command, *rest = words(files)
    result = run_map(command, source, *rest, "-o", target)
    said = " ".join(result.err.split())
    assert (result.code, "would replace its own input" in said) == (2, True), said
    assert target.read_bytes() == before


def test_a_table_does_not_replace_its_zones(files: Path) -> None:
    source = open_map(files / "change.tif")
    zones = read_zones(files / "par.gpkg", source.grid)
    table = measure_areas(source, zones)
    with pytest.raises(ConfigError, match="would replace its own input"):
        write_table(files / "par.gpkg", table, zones, source)
