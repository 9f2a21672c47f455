"""What a territory is made of: the frozen `TerritoryConfig`, kept as `territory.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bocage.errors import ConfigError, DataError
from bocage.files import write_text
from bocage.imagery import Source
from bocage.modalities import get_modality
from bocage.nomenclatures import Task, get_task

TERRITORY = "territory.yaml"


class SourceConfig(BaseModel):
    """One sensor's rasters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """A file or anything else that GDAL opens (a NetCDF or Zarr array), a folder, pattern, list or
    VRT of tiles, an address, or a STAC document."""
    bands: tuple[int, ...] | None = None
    """Bands of the file, from 1, that hold the sensor's; all when not given."""
    dates: Path | None = None
    """For a series: a text file with one date per line, in the order of the bands; behind a date
    what is to be added to its numbers, where that differs between dates."""
    mask: str | None = None
    """For Sentinel-2: snow and cloud probability, two bands per date."""
    scale: float | None = Field(default=None, gt=0)
    """What stored numbers are multiplied by: 10000 for reflectance from 0 to 1. As the files or the
    STAC document declare when not given."""
    offset: float | None = None
    """What is then added: -1000 for Sentinel-2 of processing baseline 04.00 and later, 0 to take
    the numbers as they are. As the files or the document declare when not given."""


class LabelConfig(BaseModel):
    """What is known of the ground: polygons with a field, or a raster of class ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """A vector file, or a raster on any grid."""
    task: str
    """Name of the task that the labels serve, or the YAML file of a class list."""
    field: str | None = None
    """Field of the polygons that holds the class: its id or its name. None: a raster."""
    layer: str | None = None
    """Layer of the vector file; its only one when not given."""
    band: int = Field(default=1, ge=1)
    """Band of the raster."""
    background: str | None = None
    """Class of ground that no polygon covers. None: it is not known, nothing is learnt there."""

    unknown: Literal["refuse", "ignore"] = "refuse"
    """What polygons are of which the class list knows nothing: an error, or ground not known."""

    @model_validator(mode="after")
    def _one_kind(self) -> LabelConfig:
        if self.field is None and (self.layer is not None or self.background is not None):
            raise ValueError("layer and background belong to polygons: name their field")
        return self


class TerritoryConfig(BaseModel):
    """Rasters of a territory and how it is cut into patches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: dict[str, SourceConfig] = Field(min_length=1)
    """By sensor."""
    labels: LabelConfig | None = None
    """What is known of the ground."""
    tile_px: int = Field(default=512, ge=16, multiple_of=16)
    """Side of a patch in pixels of the label grid."""
    resolution_m: float | None = Field(default=None, gt=0)
    """Pixel size of the label grid, metres; that of the finest sensor when not given."""
    crs: str | None = None
    """CRS of the patches, in metres, such as EPSG:2154; the finest sensor's when not given."""
    year: int | None = Field(default=None, ge=1900, le=2200)
    """Campaign year, from whose 15 May days count; the median year of the dates when not given."""
    block_tiles: int = Field(default=4, ge=1)
    """Neighbouring patches, to a side, that stay in one split: who has learnt one half knows its
    neighbour."""
    valid: float = Field(default=0.15, ge=0, lt=1)
    """Share of the blocks that choose the best epoch."""
    test: float = Field(default=0.15, ge=0, lt=1)
    """Share of the blocks that are scored."""
    seed: int = 0
    """Decides which blocks."""

    @field_validator("sources")
    @classmethod
    def _official_names(cls, sources: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        try:
            return {get_modality(name).name: source for name, source in sources.items()}
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _something_left(self) -> TerritoryConfig:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid={self.valid:g} and test={self.test:g} leave nothing to learn")
        return self

    @property
    def task(self) -> Task | None:
        """The task that the labels serve."""
        return None if self.labels is None else get_task(self.labels.task)

    def imagery(self) -> list[Source]:
        """The sources as mapping takes them."""
        return [
            Source(name, **{key: getattr(source, key) for key in SourceConfig.model_fields})
            for name, source in self.sources.items()
        ]

    def write(self, root: Path) -> None:
        """Keep it under `root`, atomically."""
        document = self.model_dump(mode="json", exclude_defaults=True)
        write_text(root / TERRITORY, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def read_territory(root: Path) -> TerritoryConfig:
    """The territory under `root`; `DataError` when there is none or it is damaged."""
    path = root / TERRITORY
    if not path.is_file():
        raise DataError(f"{root}: no {TERRITORY} here. Write one with 'bocage data cut'.")
    try:
        return TerritoryConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, OSError) as error:
        raise DataError(
            f"{path}: not a territory's description ({' '.join(str(error).split())[:300]}). Write "
            "it again with 'bocage data cut'."
        ) from error
