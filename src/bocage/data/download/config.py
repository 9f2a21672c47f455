"""What is to be downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bocage.data.download.catalogue import DATASETS, PLAIN, parts_of
from bocage.errors import ConfigError, unknown_name


class DownloadConfig(BaseModel):
    """Which parts of which dataset, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """flair-hub, flair1, flair2, or a small set to try things on: toy, flair1-toy, flair2-toy."""
    output: Path
    """Folder to write: every archive becomes a folder in it."""
    domains: tuple[str, ...] | None = None
    """Domains such as D012-2019, or D012 for all of its years. Default: all."""
    modalities: tuple[str, ...] | None = None
    """Sensors by short name. Default: all."""
    labels: tuple[str, ...] | None = None
    """land-cover, crops. Default: all. Empty: none."""
    split: Literal["train", "valid", "test"] | None = None
    """Only what holds patches of this split. Default: all."""
    split_column: str = "split_1"
    """Which of FLAIR-HUB's official splits."""
    mirror: str | None = None
    """Address of a copy of IGN's plain files. FLAIR-HUB follows HF_ENDPOINT."""
    connections: int = Field(default=4, ge=1, le=32)
    """Files fetched at once."""

    @model_validator(mode="before")
    @classmethod
    def _known_dataset(cls, given: object) -> object:
        name = given.get("dataset") if isinstance(given, dict) else None
        if name is not None and name not in DATASETS:
            raise ValueError(unknown_name("dataset", str(name), DATASETS))
        return given

    @field_validator("mirror")
    @classmethod
    def _without_slash(cls, address: str | None) -> str | None:
        return None if address is None else address.rstrip("/")

    @model_validator(mode="after")
    def _known_parts(self) -> DownloadConfig:
        kinds = zip(("modality", "label"), parts_of(self.dataset), strict=True)
        for (kind, valid), given in zip(kinds, (self.modalities, self.labels), strict=True):
            for name in (given or ()) if valid else ():
                if name not in valid:
                    raise ValueError(unknown_name(f"{kind} of {self.dataset}", name, valid))
        if any(parts_of(self.dataset)) and not self.parts:
            raise ValueError("neither a modality nor a label is chosen")
        useless = self.ineffective().keys() & self.model_fields_set
        if useless:
            reasons = (f"{name}: {self.ineffective()[name]}" for name in sorted(useless))
            raise ValueError(f"without effect here: {'; '.join(reasons)}")
        return self

    def ineffective(self) -> dict[str, str]:
        """Options without effect on this request, with the reason."""
        reasons = {}
        if self.dataset == "flair-hub":
            reasons["mirror"] = "FLAIR-HUB lies on the hub; set HF_ENDPOINT"
        else:
            reasons["domains"] = "its archives hold all domains"
            reasons["split_column"] = "its archives are cut by the challenge's split"
            if len(PLAIN[self.dataset]) == 1:
                alone = "it is a single archive"
                reasons |= dict.fromkeys(("modalities", "labels", "split", "connections"), alone)
        if self.split is None:
            reasons.setdefault("split_column", "no split is chosen")
        return reasons

    @property
    def parts(self) -> frozenset[str]:
        """Chosen modalities and labels."""
        modalities, labels = parts_of(self.dataset)
        return frozenset(
            (
                *(modalities if self.modalities is None else self.modalities),
                *(labels if self.labels is None else self.labels),
            )
        )


def parse_request(options: Mapping[str, Any]) -> DownloadConfig:
    """The request that these options make; those that are None are as if not given.

    A `ConfigError` lists all that is wrong. (The whole run's configuration has a reader of its own,
    which brings every room along: too much for a command that only fetches.)
    """
    try:
        given = {name: value for name, value in options.items() if value is not None}
        return DownloadConfig.model_validate(given)
    except ValidationError as error:
        findings = (
            ": ".join([*map(str, item["loc"]), item["msg"].removeprefix("Value error, ")])
            for item in error.errors()
        )
        raise ConfigError("; ".join(findings)) from error
