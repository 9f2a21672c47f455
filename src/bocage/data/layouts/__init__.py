"""Dataset layouts by name. A new one is one class with `scan` and `read`, and a line here."""

from bocage.data.layouts.base import Layout
from bocage.data.layouts.crop_cube import CropCube
from bocage.data.layouts.flair import Flair
from bocage.data.layouts.flair_hub import FlairHub
from bocage.data.layouts.packed import Packed
from bocage.data.layouts.pastis import Pastis
from bocage.data.layouts.territory import Rasters
from bocage.data.layouts.treesatai import TreeSatAI
from bocage.errors import ConfigError, unknown_name

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (FlairHub(), Flair(), TreeSatAI(), CropCube(), Pastis(), Packed(), Rasters())
}


def get_layout(name: str) -> Layout:
    """The layout of that name; `ConfigError` lists the valid ones."""
    if name not in LAYOUTS:
        raise ConfigError(unknown_name("layout", name, LAYOUTS))
    return LAYOUTS[name]


__all__ = ["LAYOUTS", "Layout", "get_layout"]
