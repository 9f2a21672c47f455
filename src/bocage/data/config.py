"""What a run says about its data."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bocage.data.augment.config import AugmentConfig
from bocage.data.sampling import SamplingConfig
from bocage.series import SeriesConfig

INDEX_NAME = "index.parquet"


def index_path(root: Path) -> Path:
    """Where the index of the dataset under `root` lies unless a config says otherwise."""
    return root / INDEX_NAME


class DataConfig(BaseModel):
    """Where the patches are, which are used for what, and how they are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    """Folder of the dataset; of packed data also an address such as s3://bucket/folder."""
    layout: str = "flair-hub"
    """How the dataset lies on disk: flair-hub, flair, treesatai, crop-cube, pastis,
    territory or packed."""
    index: Path | None = None
    """Index file written by `bocage data index`. Default: `index.parquet` in `root`, built at the
    first run."""
    split_column: str = "split_1"
    """Column of the index that tells training, validation and test patches apart."""
    train_splits: tuple[str, ...] = ("train",)
    """Values of the split column that are trained on."""
    valid_splits: tuple[str, ...] = ("valid",)
    """Values of the split column that choose the best epoch."""
    test_splits: tuple[str, ...] = ("test",)
    """Values of the split column that are scored, and predicted."""
    domains: tuple[str, ...] | None = None
    """Use only these domains, such as D012-2019. Default: all."""
    batch_size: int = Field(default=8, ge=1)
    """Patches per batch and device."""
    num_workers: int = Field(default=2, ge=0)
    """Processes or threads that read, per loader; 0 reads between the steps."""
    readers: Literal["auto", "processes", "threads"] = "auto"
    """What they are. Processes do not disturb each other but copy every batch to the one that
    learns; threads share memory, and take turns at what Python does. `auto`: threads for packed
    data, whose decoding needs no turn; processes for files."""
    series: SeriesConfig = SeriesConfig()
    """Which dates of a series are used."""
    sentinel2_offset_from: datetime.date | None = None
    """First day on which Sentinel-2 is stored with the offset of 1000 of processing baseline 04.00,
    such as 2022-01-25: it is taken off from then on. None: no date has it. Imagery that is mapped
    is brought to the same numbers by its own scale and offset."""
    unknown_labels: Literal["refuse", "ignore"] = "refuse"
    """What a label value outside the nomenclature is: an error, or an ignored pixel."""
    without_sensors: Literal["refuse", "allow"] = "refuse"
    """What a patch is of which no input can be used: an error, or a patch without input."""
    sampling: SamplingConfig = SamplingConfig()
    """How often each training patch is drawn."""
    augment: AugmentConfig = AugmentConfig()
    """What may happen to a training patch."""

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, value: str) -> str:
        # The layouts bring GDAL along; a config that is only printed should not wait for it.
        from bocage.data.layouts import get_layout

        return get_layout(value).name

    @property
    def reads_in_threads(self) -> bool:
        """Whether threads of this process read, rather than processes."""
        if self.readers == "auto":
            return self.layout == "packed"
        return self.readers == "threads"

    @property
    def index_path(self) -> Path:
        """The index file."""
        return self.index if self.index is not None else index_path(self.root)

    def splits(self, split: str) -> tuple[str, ...]:
        """Values of the split column that stand for train, valid or test."""
        return {
            "train": self.train_splits,
            "valid": self.valid_splits,
            "test": self.test_splits,
        }[split]
