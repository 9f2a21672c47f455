"""From what is wanted to a list of archives: what is here, what is missing, how large it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bocage.data.download.catalogue import (
    HUB_DATASET,
    OFFICIAL,
    PLAIN,
    Archive,
    flair_hub_archives,
    select_domains,
)
from bocage.data.download.config import DownloadConfig
from bocage.data.layouts.flair_hub_metadata import SPLITS, read_splits
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.hub import list_files
from bocage.transfer import BRIEF, Patience, Source, probe

WORK = ".download"
"""Folder below the output for what is under way."""
AHEAD = 2
"""Archives that may wait to be unpacked beside those on their way."""


@dataclass(frozen=True)
class Item:
    """One archive of a plan."""

    archive: Archive
    source: Source
    root: Path
    """The output folder."""

    @property
    def folder(self) -> Path:
        """What the archive becomes. It gets this name when it is complete."""
        return self.root / self.archive.folder

    @property
    def here(self) -> bool:
        """Whether nothing is left to do."""
        return self.folder.is_dir()

    @property
    def zip(self) -> Path:
        """The archive while it is needed; its name says which version it is."""
        version = self.source.version or "unversioned"
        return self.root / WORK / f"{self.archive.folder}.{version}.zip"

    @property
    def size(self) -> int:
        """Bytes of the archive; 0 if the server does not say."""
        return self.source.size or 0


@dataclass(frozen=True)
class Plan:
    """All archives of a request."""

    config: DownloadConfig
    items: tuple[Item, ...]

    @cached_property
    def missing(self) -> tuple[Item, ...]:
        """Archives that are not here, as of now."""
        return tuple(item for item in self.items if not item.here)

    @property
    def size(self) -> int:
        """Bytes of the archives that are missing."""
        return sum(item.size for item in self.missing)

    @property
    def needed(self) -> int:
        """Bytes of disk at the worst moment, estimated.

        Imagery is compressed before it is packed: unpacked it is about as large. To that come the
        archives that are on their way or wait to be unpacked.
        """
        waiting = sorted((item.size for item in self.missing), reverse=True)
        return self.size + sum(waiting[: self.config.connections + AHEAD])

    @property
    def free(self) -> int:
        """Bytes free on the disk of the output folder."""
        place = self.config.output.absolute()
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free


def make_plan(
    config: DownloadConfig,
    fetch_first: Callable[[Plan], None],
    *,
    patience: Patience = BRIEF,
) -> Plan:
    """What the request means: asks the server what there is, and the output folder what is here.

    `fetch_first` is called with a plan of FLAIR-HUB's metadata when a split is chosen and they are
    not here: which domains a split has only they tell.

    Raises `ConfigError` for domains and splits that there are not, and when nothing is chosen;
    `DataError` when the server cannot be reached.
    """
    if config.output.exists() and not config.output.is_dir():
        raise ConfigError(f"{config.output}: is a file. Name a folder with --output.")
    if config.dataset == "flair-hub":
        items = _from_hub(config, fetch_first, patience)
    else:
        base = config.mirror or OFFICIAL
        chosen = [a for a in PLAIN[config.dataset] if _is_chosen(a, config)]
        items = [
            Item(archive, probe(f"{base}/{archive.location}", patience), config.output)
            for archive in chosen
        ]
    return Plan(config, tuple(items))


def _is_chosen(archive: Archive, config: DownloadConfig) -> bool:
    part = not archive.part or archive.part in config.parts
    return part and (config.split is None or config.split in archive.splits)


def _from_hub(
    config: DownloadConfig, fetch_first: Callable[[Plan], None], patience: Patience
) -> list[Item]:
    listing = list_files(HUB_DATASET, "dataset", patience=patience)
    archives = [a for a in flair_hub_archives(listing.files) if _is_chosen(a, config)]

    def items_of(chosen: Sequence[Archive]) -> list[Item]:
        return [Item(a, listing.source(a.location), config.output) for a in chosen]

    if config.domains is not None:
        archives = select_domains(archives, config.domains)
    if config.split is not None:
        common = [archive for archive in archives if not archive.domain]
        first = Plan(config, tuple(items_of(common)))
        if first.missing:
            fetch_first(first)
        held = _domains_of_split(config)
        chosen = {archive.domain for archive in archives} & held
        if not chosen:
            raise ConfigError(
                f"none of these domains has patches of {config.split} in {config.split_column}. "
                f"Those that have: {', '.join(sorted(held))}"
            )
        archives = select_domains(archives, sorted(chosen))
    if not any(archive.domain for archive in archives):
        raise DataError(
            f"{HUB_DATASET}: {listing.endpoint} lists no archive of what is asked for. Is it the "
            "right hub?"
        )
    return items_of(archives)


def _domains_of_split(config: DownloadConfig) -> set[str]:
    """Domains with at least one patch of the chosen split."""
    splits = read_splits(config.output)
    columns = {column for values in splits.values() for column in values}
    if config.split_column not in columns:
        if not columns:
            raise DataError(
                f"{config.output}: {SPLITS} is not among the metadata, so no split can be told. "
                "Leave --split out, or remove the metadata's folder and try again."
            )
        raise ConfigError(unknown_name("split column", config.split_column, columns))
    return {
        patch.split("_")[0]
        for patch, values in splits.items()
        if values.get(config.split_column) == config.split
    }
