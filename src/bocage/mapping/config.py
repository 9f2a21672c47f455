"""What a map is made from (`Source`) and how (`MapConfig`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Source:
    """One sensor's raster over the area; any extent, and any CRS and resolution but the finest's.

    `modality` is an official name or a slug. `path` is a file or anything else that GDAL opens.
    A series has its dates in the text file `dates`, one `YYYYMMDD` or `YYYY-MM-DD` per line, in
    the order of the bands (all bands of the first date, then all of the second). `mask` is the
    snow and cloud raster of a Sentinel-2 series, two bands per date. `bands`, counted from 1, are
    those of the file that hold the modality's bands, for a file that holds more.
    """

    modality: str
    path: Path | str
    dates: Path | None = None
    mask: Path | str | None = None
    bands: tuple[int, ...] | None = None


class MapConfig(BaseModel):
    """How an area is cut, predicted and written. No field changes what a network has learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_px: int | None = Field(default=None, gt=0)
    """Side of the square that the network sees at once, output pixels. None: the size that the
    bundle was trained on, made a multiple of the alignment unit."""
    overlap_px: int | None = Field(default=None, ge=0)
    """How far neighbouring windows overlap, output pixels. None: a quarter of the window, made a
    multiple of the alignment unit."""
    block_px: int | None = Field(default=None, gt=0, multiple_of=512)
    """Side of the square that is computed and stored at once, output pixels. Sets memory and what
    is lost when a run is killed, never the result. None: chosen from the inputs, at most 4096."""
    batch_size: int | None = Field(default=None, gt=0)
    """Windows per pass through the network. None: 8 on a GPU, 1 on a CPU, which gains nothing from
    more and pays for the fresh memory that large batches take each time."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`."""
    precision: Literal["float32", "bf16"] = "float32"
    """Number format of the network's arithmetic; blending is always in float32."""
    confidence: bool = True
    """Also write the probability of the chosen class."""
    year: int | None = Field(default=None, ge=1900, le=2200)
    """Campaign year, from whose 15 May the days of a series count. None: the median year of the
    dates."""
    check_values: bool = True
    """Refuse sources whose bands are named in another order, or whose numbers are of another scale,
    than what the network has learnt from."""
    overwrite: bool = False
    """Replace a map that stands in the output folder, and forget blocks of an earlier run."""
