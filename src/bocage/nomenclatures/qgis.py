"""QGIS layer styles (.qml) from class lists: a legend of classes, or a ramp of shares.

Only what a style needs is written; QGIS fills in the rest when it reads the file (3.x and later).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"

SHARE_RAMP = (
    (0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21918c"), (0.75, "#5ec962"), (1.0, "#fde725"),
)  # fmt: skip
"""Five colours of viridis, which is even to the eye and safe for the colour-blind
(Nuñez, Anderton and Renslow 2018, PLoS ONE 13(7))."""


def class_style(entries: Iterable[tuple[int, str, str]]) -> str:
    """Style of a raster of class ids, from (value, label, #rrggbb) in the legend's order."""
    root, renderer = _style("paletted")
    palette = ET.SubElement(renderer, "colorPalette")
    for value, label, color in entries:
        ET.SubElement(
            palette, "paletteEntry", value=str(value), label=label, color=color, alpha="255"
        )
    return _text(root)


def share_style(top: float, ramp: Sequence[tuple[float, str]] = SHARE_RAMP) -> str:
    """Style of a raster whose stored numbers 0 to `top` are shares 0 to 1, labelled in percent.

    `ramp` gives (share, #rrggbb), rising.
    """
    root, renderer = _style("singlebandpseudocolor")
    renderer.set("classificationMin", "0")
    renderer.set("classificationMax", f"{top:g}")
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue="0",
        maximumValue=f"{top:g}",
    )
    for share, color in ramp:
        ET.SubElement(
            shader,
            "item",
            value=f"{share * top:g}",
            label=f"{share:.0%}",
            color=color,
            alpha="255",
        )
    return _text(root)


def _style(kind: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("qgis", version="3.16", styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    # Enlarging or shrinking must not mix class ids.
    provider = ET.SubElement(pipe, "provider")
    ET.SubElement(
        provider,
        "resampling",
        enabled="false",
        zoomedInResamplingMethod="nearestNeighbour",
        zoomedOutResamplingMethod="nearestNeighbour",
    )
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    return root, renderer


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return _HEAD + ET.tostring(root, encoding="unicode") + "\n"
