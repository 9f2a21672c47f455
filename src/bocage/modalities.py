"""The sensors that Bocage knows: one frozen `Modality` each, from which all else is derived.

Names, bands, pixel sizes and types are those of FLAIR-HUB (Garioud et al. 2025, arXiv 2506.07080).
A FLAIR-HUB patch covers 102.4 m x 102.4 m; the number of pixels follows from the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bocage.errors import ConfigError, unknown_name

COMMON_NODATA = -9999.0
"""Means "no data" in floating-point rasters whether or not the file says so."""

PATCH_SIZE_M = 102.4
"""Side of a FLAIR-HUB patch on the ground, metres."""

Quantity = Literal["digital_number", "reflectance", "sigma0", "elevation", "height", "acquisition"]
"""What the stored numbers measure; decides how they are brought to a scale fit for a network."""


@dataclass(frozen=True)
class Modality:
    """One sensor's product as FLAIR-HUB stores it.

    `mean` and `std` describe the *prepared* values, one per band: what the network sees before
    normalisation. For `sigma0` that is decibel; for `elevation` the two prepared channels are
    terrain altitude (DTM) and object height (DSM - DTM), both in metres; otherwise the stored
    numbers themselves.
    """

    name: str
    slug: str
    bands: tuple[str, ...]
    resolution_m: float
    dtype: Literal["uint8", "uint16", "float32"]
    quantity: Quantity
    mean: tuple[float, ...]
    std: tuple[float, ...]
    display: tuple[str, ...]
    series: bool = False
    nodata: float | None = None
    scale: float = 1.0
    """Stored number times `scale` is the physical value (metres for heights)."""
    extent_m: float | None = None
    """Side of the ground that an image covers, centred on the patch, where that is not the patch
    itself; None: the patch, like every other sensor's."""

    def __post_init__(self) -> None:
        assert len(self.mean) == len(self.std) == len(self.bands)
        assert all(band in self.bands for band in self.display)

    @property
    def size_px(self) -> int:
        """Pixels along one side of the image of a FLAIR-HUB patch."""
        return round((self.extent_m or PATCH_SIZE_M) / self.resolution_m)

    @property
    def covers_patch(self) -> bool:
        """Whether its pixels lie on the patch, no more and no less, as most networks take it."""
        return self.extent_m is None and self.quantity != "acquisition"

    @property
    def file_tag(self) -> str:
        """The sensor's part of FLAIR-HUB folder and file names."""
        return self.name

    def band_indices(self, bands: tuple[str, ...]) -> tuple[int, ...]:
        """Zero-based positions of `bands`; an unknown band is a `ConfigError` that lists all."""
        for band in bands:
            if band not in self.bands:
                raise ConfigError(unknown_name(f"band of {self.name}", band, self.bands))
        return tuple(self.bands.index(band) for band in bands)


# Statistics of AERIAL, RLT and SPOT: paper's Table VIII (training and validation patches).
AERIAL_RGBI = Modality(
    name="AERIAL_RGBI",
    slug="aerial",
    bands=("red", "green", "blue", "nir"),
    resolution_m=0.2,
    dtype="uint8",
    quantity="digital_number",
    mean=(105.35, 111.31, 102.09, 106.12),
    std=(52.36, 45.63, 44.39, 40.01),
    display=("red", "green", "blue"),
)
AERIAL_RLT_PAN = Modality(
    name="AERIAL-RLT_PAN",
    slug="historical",
    bands=("panchromatic",),
    resolution_m=0.4,
    dtype="uint8",
    quantity="digital_number",
    mean=(125.92,),
    std=(38.69,),
    display=("panchromatic",),
)
# DTM: Table VIII. Height: mean and spread of the fifth band of seven real FLAIR #2 patches, in
# metres; seven patches justify no more digits.
DEM_ELEV = Modality(
    name="DEM_ELEV",
    slug="elevation",
    bands=("dsm", "dtm"),
    resolution_m=0.2,
    dtype="float32",
    quantity="elevation",
    mean=(322.42, 4.5),
    std=(535.75, 7.8),
    display=("dsm",),
    nodata=-9999.0,
)
SPOT_RGBI = Modality(
    name="SPOT_RGBI",
    slug="spot",
    bands=("red", "green", "blue", "nir"),
    resolution_m=1.6,
    dtype="uint16",
    quantity="reflectance",
    mean=(432.03, 507.34, 466.75, 1126.26),
    std=(324.70, 300.28, 239.36, 535.28),
    display=("red", "green", "blue"),
)
# FLAIR-HUB publishes no statistics for the series. These are of the clear dates of real
# Sentinel-2 and of all dates of real Sentinel-1 over woods and crops in Germany and Flanders
# (`docs/data.md`, "Statistics of the series").
SENTINEL2_TS = Modality(
    name="SENTINEL2_TS",
    slug="sentinel2",
    bands=("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    resolution_m=10.24,
    dtype="uint16",
    quantity="reflectance",
    mean=(576.0, 843.0, 820.0, 1315.0, 2607.0, 3148.0, 3285.0, 3393.0, 2248.0, 1521.0),
    std=(350.0, 363.0, 510.0, 469.0, 812.0, 1101.0, 1177.0, 1139.0, 675.0, 669.0),
    display=("B04", "B03", "B02"),
    series=True,
    nodata=65535.0,
)


def _sentinel1(orbit: str, slug: str) -> Modality:
    return Modality(
        name=f"SENTINEL1-{orbit}_TS",
        slug=slug,
        bands=("VV", "VH"),
        resolution_m=10.24,
        dtype="float32",
        quantity="sigma0",
        mean=(-8.9, -16.7),
        std=(3.7, 3.2),
        display=("VV", "VH"),
        series=True,
    )


SENTINEL1_ASC_TS = _sentinel1("ASC", "sentinel1-asc")
SENTINEL1_DESC_TS = _sentinel1("DESC", "sentinel1-desc")

FLAIR_HUB_INPUTS = (
    AERIAL_RGBI,
    AERIAL_RLT_PAN,
    DEM_ELEV,
    SPOT_RGBI,
    SENTINEL2_TS,
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
)
"""The seven inputs of FLAIR-HUB, in the paper's order."""

AERIAL_HEIGHT = Modality(
    name="AERIAL_HEIGHT",
    slug="height",
    bands=("height",),
    resolution_m=0.2,
    dtype="uint8",
    quantity="height",
    mean=(4.5,),
    std=(7.8,),
    display=("height",),
    scale=0.2,
)
"""Object height, the fifth band of FLAIR #1 and #2 aerial files, in steps of 0.2 m up to 51 m."""

AERIAL_RGB = replace(
    AERIAL_RGBI,
    name="AERIAL_RGB",
    slug="rgb",
    bands=AERIAL_RGBI.bands[:3],
    mean=AERIAL_RGBI.mean[:3],
    std=AERIAL_RGBI.std[:3],
)
"""A photograph without infrared: most orthophotos in the world, and pictures from drones."""

AERIAL_METADATA = Modality(
    name="AERIAL_METADATA",
    slug="metadata",
    bands=("x_m", "y_m", "altitude_m", "camera", "year", "month", "day", "minute"),
    resolution_m=PATCH_SIZE_M,
    dtype="float32",
    quantity="acquisition",
    mean=(0.0,) * 8,
    std=(1.0,) * 8,
    display=(),
)
"""Where, when and by which camera a photograph of FLAIR #1 or #2 was taken: numbers of the patch as
a whole, kept as an image of one pixel. Position in Lambert 93 and altitude of the patch's centre;
camera 0 for an UltraCam, 1 for IGN's own; minute of the day."""

ACQUISITION_YEARS = (2018, 2019, 2020, 2021)
"""Years in which the photographs of FLAIR #1 and #2 were taken: networks know no other."""

SENTINEL2_SUPERPATCH = replace(
    SENTINEL2_TS,
    name="SENTINEL2_SUPERPATCH",
    slug="sentinel2-superpatch",
    resolution_m=10.0,
    extent_m=400.0,
)
"""FLAIR #2's Sentinel-2: the patch and its surroundings, 40 x 40 pixels of 10 m, while the patch is
102.4 m wide: 10.24 pixels."""

MODALITIES: dict[str, Modality] = {
    m.name: m
    for m in (
        *FLAIR_HUB_INPUTS,
        AERIAL_RGB,
        AERIAL_HEIGHT,
        AERIAL_METADATA,
        SENTINEL2_SUPERPATCH,
    )
}

CLOUDY_SERIES = frozenset({SENTINEL2_TS.name, SENTINEL2_SUPERPATCH.name})
"""Series with a snow and cloud mask, of which only clear dates are used."""

SENTINEL2_MASK = "SENTINEL2_MSK-SC"
"""Snow and cloud probability of every Sentinel-2 date: two uint16 bands per date, 0 to 100."""
SENTINEL2_MASK_BANDS = ("snow", "cloud")


def get_modality(name: str) -> Modality:
    """The modality of that official name or slug; `ConfigError` lists the valid ones."""
    if name in MODALITIES:
        return MODALITIES[name]
    for modality in MODALITIES.values():
        if modality.slug == name:
            return modality
    raise ConfigError(unknown_name("modality", name, MODALITIES))
