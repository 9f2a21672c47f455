"""Options that name a territory's rasters, shared by `map` and `data cut`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bocage.errors import ConfigError

if TYPE_CHECKING:
    from bocage.imagery import Source

_FILE = "a file, folder, pattern or list of tiles, address or STAC document; :BANDS as :1,2,3,4"

Aerial = Annotated[str | None, typer.Option(help=f"Red, green, blue, NIR: {_FILE}.")]
Rgb = Annotated[str | None, typer.Option(help=f"A photograph without infrared: {_FILE}.")]
Historical = Annotated[str | None, typer.Option(help="Panchromatic.")]
Elevation = Annotated[str | None, typer.Option(help="Surface and terrain, metres.")]
Height = Annotated[str | None, typer.Option(help="Object height, uint8, 0.2 m.")]
Spot = Annotated[str | None, typer.Option(help="Red, green, blue, NIR reflectance.")]
Sentinel2 = Annotated[str | None, typer.Option(help="Ten bands per date.")]
Sentinel2Dates = Annotated[
    Path | None, typer.Option("--sentinel2-dates", "--dates", help="One date per line.")
]
Sentinel2Scale = Annotated[
    float | None, typer.Option(help="10000 for reflectance from 0 to 1 (default: as declared).")
]
Sentinel2Offset = Annotated[
    float | None,
    typer.Option(help="-1000 for baseline 04.00 and later; 0: none (default: as declared)."),
]
Sentinel2Mask = Annotated[str | None, typer.Option(help="Snow and cloud probability per date.")]
Sentinel1 = Annotated[str | None, typer.Option(help="VV and VH per date, linear.")]
Dates = Annotated[Path | None, typer.Option(help="One date per line.")]

_SENSORS = ("aerial", "rgb", "historical", "elevation", "height", "spot", "sentinel2",
            "sentinel1_asc", "sentinel1_desc")  # fmt: skip


def split_bands(text: str) -> tuple[str, tuple[int, ...] | None]:
    """A path and the bands chosen behind a colon: `a.tif:4,1,2` to ("a.tif", (4, 1, 2)).

    The port of an address (`http://localhost:8080`) is none.
    """
    match = re.fullmatch(r"(.+):(\d+(?:,\d+)*)", text)
    if match is None or re.fullmatch(r"\w+://[^/]*", text):
        return text, None
    return match.group(1), tuple(int(band) for band in match.group(2).split(","))


def options_of(modality: str, raster: Path, dates: Path | None, mask: Path | None) -> list[str]:
    """The words of a command that give it these files of a sensor."""
    from bocage.modalities import get_modality

    slug = get_modality(modality).slug
    files = ((f"--{slug}", raster), (f"--{slug}-dates", dates), (f"--{slug}-mask", mask))
    return [word for option, path in files if path is not None for word in (option, str(path))]


def sources(options: dict[str, Any]) -> list[Source]:
    """The sources that a command's options name; `options` are all that it was called with.

    What belongs to images that are not given is a `ConfigError`.
    """
    from bocage.imagery import Source

    found = []
    for sensor in _SENSORS:
        text, slug = options.get(sensor), sensor.replace("_", "-")
        dates, mask = options.get(f"{sensor}_dates"), options.get(f"{sensor}_mask")
        scale, offset = options.get(f"{sensor}_scale"), options.get(f"{sensor}_offset")
        if text is not None:
            path, bands = split_bands(text)
            found.append(Source(slug, path, dates, mask, bands, scale, offset))
            continue
        for what, lone in (
            ("dates or a mask", (dates, mask)),
            ("a scale or offset", (scale, offset)),
        ):
            if any(option is not None for option in lone):
                raise ConfigError(f"{what} are given for {slug}, but not its images")
    return found
