"""QGIS styles: legends of maps in both languages, ramps of confidence."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from mapping_command import run_map
from mapping_stubs import task, write_raster

from bocage.errors import ConfigError
from bocage.mapping.maps import open_map
from bocage.mapping.styles import style_map, write_class_style
from bocage.nomenclatures import LAND_COVER
from bocage.nomenclatures.qgis import class_style, share_style

pytestmark = pytest.mark.unit


def legend(path: Path) -> list[tuple[int, str, str]]:
    """What QGIS would show: value, label, colour."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE qgis")
    renderer = ET.fromstring(text).find("pipe/rasterrenderer")
    assert renderer is not None
    assert renderer.get("type") == "paletted"
    entries = renderer.findall("colorPalette/paletteEntry")
    return [(int(e.get("value")), e.get("label"), e.get("color")) for e in entries]


def a_map(folder: Path, names: dict[int, str], task_name: str) -> Path:
    path = folder / "land-cover.tif"
    write_raster(path, np.zeros((1, 8, 8), np.uint8), nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, **{f"class_{i}": name for i, name in names.items()})
        dataset.update_tags(task=task_name)
        dataset.write_colormap(1, {i: (i, 2 * i, 3 * i, 255) for i in names})
    return path


def test_a_bundles_classes_become_a_legend(tmp_path: Path) -> None:
    file = write_class_style(tmp_path / "cover.tif", task(count=3), "fr")
    assert file == tmp_path / "cover.qml"
    assert legend(file) == [(c.id, c.name_fr, c.color) for c in task(count=3).classes]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_finished_map_is_styled_from_its_own_file(tmp_path: Path, language) -> None:
    nomenclature = LAND_COVER.nomenclature
    path = a_map(tmp_path, {c.id: c.name for c in nomenclature}, LAND_COVER.name)
    write_raster(tmp_path / "land-cover_confidence.tif", np.zeros((1, 8, 8), np.uint8), nodata=255)
    style, ramp = style_map(open_map(path), language)
    names = [c.name_fr if language == "fr" else c.name for c in nomenclature]
    found = legend(style)
    assert [label for _, label, _ in found] == names
    assert found[2][2] == "#020406"
    items = ET.fromstring(ramp.read_text(encoding="utf-8")).findall(".//colorrampshader/item")
    assert [(i.get("value"), i.get("label")) for i in items][::2] == [
        ("0", "0%"), ("127", "50%"), ("254", "100%"),
    ]  # fmt: skip


def test_labels_are_escaped() -> None:
    root = ET.fromstring(class_style([(1, 'a <b> & "c"', "#000000")]))
    assert root.find(".//paletteEntry").get("label") == 'a <b> & "c"'
    assert ET.fromstring(share_style(254)).find(".//colorrampshader").get("maximumValue") == "254"


def test_a_map_without_names_or_without_french_ones_is_refused(tmp_path: Path) -> None:
    bare = write_raster(tmp_path / "bare.tif", np.zeros((1, 8, 8), np.uint8), nodata=255)
    with pytest.raises(ConfigError, match="does not name its classes"):
        style_map(open_map(bare))
    roofs = open_map(a_map(tmp_path, {0: "roof"}, "ROOFS"))
    with pytest.raises(ConfigError, match="French names are known for"):
        style_map(roofs, "fr")


def test_the_command_names_the_files(tmp_path: Path) -> None:
    path = a_map(tmp_path, {0: "roof"}, "ROOFS")
    result = run_map("style", path)
    assert (result.code, result.out.strip()) == (0, str(tmp_path / "land-cover.qml"))
