"""The 24 configurations of the FLAIR-HUB paper by name.

Scores and parameter counts in millions are the README's of IGNF/FLAIR-HUB: test split, overall
accuracy and mean IoU in percent; land cover over 15 classes, crops over the 21 that occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bocage.errors import ConfigError, unknown_name
from bocage.modalities import get_modality
from bocage.models.config import TaskHead
from bocage.models.published.config import DEFAULT_ARCHITECTURE, PublishedConfig, get_architecture
from bocage.models.published.preparation import published_input

LAND_COVER_HEAD = TaskHead(name="AERIAL_LABEL-COSIA", num_classes=19)
CROPS_HEAD = TaskHead(name="ALL_LABEL-LPIS", num_classes=23)

_AERIAL, _PAN, _DEM, _SPOT = "AERIAL_RGBI", "AERIAL-RLT_PAN", "DEM_ELEV", "SPOT_RGBI"
_S2 = "SENTINEL2_TS"
_S1 = ("SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS")


@dataclass(frozen=True)
class ZooEntry:
    """One line of the paper's two tables of results."""

    name: str
    inputs: tuple[str, ...]
    task: TaskHead
    overall_accuracy: float
    """Percent of pixels."""
    mean_iou: float
    """Percent."""
    published_millions: float
    """Parameters as published: encoders, decoders and, with several inputs, auxiliary decoders;
    the fusion's convolutions are left out."""
    parameters: int
    """All parameters of the network without auxiliary decoders."""


_Row = tuple[tuple[str, ...], float, float, float, int]


def _entries(prefix: str, task: TaskHead, rows: Mapping[str, _Row]) -> dict[str, ZooEntry]:
    entries = {}
    for letter, (inputs, accuracy, iou, millions, parameters) in rows.items():
        name = f"{prefix}-{letter}"
        entries[name] = ZooEntry(name, inputs, task, accuracy, iou, millions, parameters)
    return entries


ZOO: dict[str, ZooEntry] = {
    **_entries("LC", LAND_COVER_HEAD, {
        "A": ((_AERIAL,), 77.5, 64.1, 89.4, 90_816_843),
        "B": ((_AERIAL, _DEM), 78.1, 65.1, 181.4, 179_083_971),
        "C": ((_AERIAL, _DEM, _SPOT), 78.2, 65.2, 270.6, 267_176_763),
        "D": ((_AERIAL, _S2), 77.6, 64.7, 93.9, 92_877_508),
        "E": ((_AERIAL, *_S1), 77.7, 64.5, 95.8, 94_928_957),
        "F": ((_AERIAL, _S2, *_S1), 77.7, 64.9, 97.7, 96_989_622),
        "G": ((_S2,), 57.8, 34.2, 0.9, 922_487),
        "H": (_S1, 54.5, 28.2, 1.8, 1_835_376),
        "I": ((_SPOT,), 64.1, 43.5, 89.2, 90_640_459),
        "J": ((_DEM,), 67.4, 51.2, 89.4, 90_814_795),
        "K": ((_AERIAL, _PAN), 77.6, 64.3, 181.4, 179_062_467),
        "L": ((_AERIAL, _DEM, _SPOT, _S2, *_S1), 78.2, 65.8, 276.4, 273_349_542),
        "ALL": ((_AERIAL, _PAN, _DEM, _SPOT, _S2, *_S1), 78.2, 65.6, 365.8, 361_595_166),
    }),
    **_entries("LPIS", CROPS_HEAD, {
        "A": ((_AERIAL,), 86.6, 24.4, 89.4, 90_817_103),
        "B": ((_AERIAL, _SPOT), 87.1, 26.1, 181.2, 178_909_895),
        "C": ((_AERIAL, _S2), 87.5, 29.8, 93.9, 92_881_770),
        "D": ((_AERIAL, _S2, *_S1), 88.0, 36.1, 97.7, 97_001_888),
        "E": ((_AERIAL, _SPOT, _S2), 87.6, 30.3, 183.1, 180_974_562),
        "F": ((_S2,), 85.3, 23.8, 0.9, 926_661),
        "G": (_S1, 84.5, 18.1, 1.8, 1_843_552),
        "H": ((_S2, *_S1), 84.9, 23.8, 2.8, 2_769_659),
        "I": ((_SPOT, _S2, *_S1), 87.2, 39.2, 97.5, 96_825_504),
        "J": ((_AERIAL, _SPOT, _S2, *_S1), 88.0, 35.4, 186.9, 185_094_680),
        "K": ((_SPOT,), 84.5, 15.1, 89.2, 90_640_719),
    }),
}  # fmt: skip


def get_entry(name: str) -> ZooEntry:
    """The configuration of that name, such as `LC-L`; `ConfigError` lists all."""
    if name not in ZOO:
        raise ConfigError(unknown_name("published configuration", name, ZOO))
    return ZOO[name]


def published_config(
    name: str,
    architecture: str = DEFAULT_ARCHITECTURE,
    *,
    auxiliary: bool = False,
    both_tasks: bool = False,
    channels: Mapping[str, tuple[str, ...]] | None = None,
) -> PublishedConfig:
    """A published configuration, or a relative of it.

    `auxiliary` adds a decoder per sensor; `both_tasks` predicts land cover and crops; `channels`
    replaces those of a sensor (some cards take red, green and blue). `ConfigError` for an unknown
    name, or for channels of a sensor that this configuration does not have.
    """
    entry = get_entry(name)
    chosen = {get_modality(sensor).name: names for sensor, names in (channels or {}).items()}
    for sensor in chosen:
        if sensor not in entry.inputs:
            raise ConfigError(unknown_name(f"input of {name}", sensor, entry.inputs))
    try:
        inputs = tuple(published_input(sensor, chosen.get(sensor)) for sensor in entry.inputs)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    return PublishedConfig(
        name=name,
        inputs=inputs,
        tasks=(LAND_COVER_HEAD, CROPS_HEAD) if both_tasks else (entry.task,),
        architecture=get_architecture(architecture).name,
        auxiliary=entry.inputs if auxiliary else (),
    )
