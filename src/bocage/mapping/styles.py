"""QGIS styles beside finished maps: `land-cover.qml` is loaded with `land-cover.tif`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bocage.errors import ConfigError
from bocage.files import write_text
from bocage.mapping.maps import ClassMap
from bocage.mapping.outputs import CONFIDENCE_STEPS
from bocage.nomenclatures import TASKS
from bocage.nomenclatures.own import PALETTE
from bocage.nomenclatures.qgis import class_style, share_style

if TYPE_CHECKING:
    from bocage.models import BundleTask

Language = Literal["en", "fr"]


def style_file(raster: Path) -> Path:
    """Where QGIS looks for the style of a raster."""
    return raster.with_suffix(".qml")


def write_class_style(raster: Path, task: BundleTask, language: Language = "en") -> Path:
    """Write the legend of a class map from its bundle's class list; returns the file."""
    entries = ((c.id, c.name_fr if language == "fr" else c.name, c.color) for c in task.classes)
    write_text(style_file(raster), class_style(entries))
    return style_file(raster)


def write_share_style(raster: Path) -> Path:
    """Write the ramp of a layer of shares stored as 0 to 254 (confidence, entropy)."""
    write_text(style_file(raster), share_style(CONFIDENCE_STEPS))
    return style_file(raster)


def style_map(source: ClassMap, language: Language = "en") -> list[Path]:
    """Write the styles of a finished map and of its confidence layer, and return the files.

    Names and colours are the file's; colours that it lacks are taken from a palette. French names
    are those of the class lists that come with Bocage. Raises `ConfigError` for a map that names
    no classes, and for French where the map's class list is not one of these.
    """
    if not source.classes:
        raise ConfigError(f"{source.path}: the map does not name its classes.")
    names = source.classes if language == "en" else _french(source)
    entries = [
        (class_id, name, source.colors.get(class_id, PALETTE[place % len(PALETTE)]))
        for place, (class_id, name) in enumerate(sorted(names.items()))
    ]
    write_text(style_file(source.path), class_style(entries))
    written = [style_file(source.path)]
    if source.confidence is not None:
        written.append(write_share_style(source.confidence))
    return written


def _french(source: ClassMap) -> Mapping[int, str]:
    for task in TASKS.values():
        known = {c.id: c for c in task.nomenclature}
        if source.task in (task.name, task.slug) and all(
            i in known and known[i].name == name for i, name in source.classes.items()
        ):
            return {i: known[i].name_fr for i in source.classes}
    raise ConfigError(
        f"{source.path}: French names are known for {', '.join(TASKS)} only; this map is of "
        f"'{source.task}'. Use --language en, or write the map again with its bundle's names."
    )
