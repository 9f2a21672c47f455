"""What can be downloaded: which archives a dataset has, and what each of them holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bocage.data.layouts.flair_hub import HISTORICAL_YEAR
from bocage.data.layouts.flair_hub_metadata import FOLDER as METADATA
from bocage.errors import ConfigError, unknown_name
from bocage.modalities import (
    AERIAL_RGBI,
    FLAIR_HUB_INPUTS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
)
from bocage.nomenclatures import CROPS, LAND_COVER

HUB_DATASET = "IGNF/FLAIR-HUB"
"""The dataset's repository on the hub; its archives lie in `HUB_FOLDER`."""
HUB_FOLDER = "data"
OFFICIAL = "https://storage.gra.cloud.ovh.net/v1/AUTH_366279ce616242ebb14161b7991a8461/defi-ia"
"""Where IGN keeps FLAIR #1, FLAIR #2 and the toy sets."""

LABELS = {LAND_COVER.slug: LAND_COVER.label_set, CROPS.slug: CROPS.label_set}
"""Label sets by the name of their task."""

_ARCHIVE = re.compile(
    rf"(?P<department>D\d{{3}}(?:\d{{3}})?)-(?P<year>\d{{4}}|{HISTORICAL_YEAR})_(?P<product>.+)"
)
_LEARNT, _TEST = ("train", "valid"), ("test",)
_ALWAYS = (*_LEARNT, *_TEST)


@dataclass(frozen=True)
class Archive:
    """One zip file elsewhere, and the folder that it becomes."""

    location: str
    """Path in the repository, or below the address of the plain files."""
    folder: str
    """Final name below the output folder; being there, it is complete."""
    part: str = ""
    """The modality or label that it holds, by the user's name; empty: needed with anything."""
    splits: tuple[str, ...] = _ALWAYS
    """Splits of which it holds patches, where an archive tells."""
    domain: str = ""
    """Domain and year, where an archive tells."""
    any_top: bool = False
    """Whether a single folder at its top is left out whatever its name."""


def flair_hub_products() -> dict[str, tuple[str, ...]]:
    """Products to fetch by modality or label; a Sentinel-2 series comes with its cloud mask."""
    products: dict[str, tuple[str, ...]] = {
        modality.slug: (modality.file_tag,) for modality in FLAIR_HUB_INPUTS
    }
    products[SENTINEL2_TS.slug] = (SENTINEL2_TS.file_tag, SENTINEL2_MASK)
    return products | {name: (label_set,) for name, label_set in LABELS.items()}


def flair_hub_archives(paths: Iterable[str]) -> list[Archive]:
    """FLAIR-HUB's archives among the files of its repository, metadata first."""
    part_of = {tag: part for part, tags in flair_hub_products().items() for tag in tags}
    found: list[Archive] = []
    for path in sorted(paths):
        folder, _, file = path.rpartition("/")
        name = file.removesuffix(".zip")
        if folder != HUB_FOLDER or name == file:
            continue
        match = _ARCHIVE.fullmatch(name)
        if name == METADATA:
            found.insert(0, Archive(path, name))
        elif match is not None and match["product"] in part_of:
            domain = f"{match['department']}-{match['year']}"
            found.append(Archive(path, name, part_of[match["product"]], domain=domain))
    return found


def select_domains(archives: Iterable[Archive], domains: Iterable[str]) -> list[Archive]:
    """Archives of these domains, and those that belong to none.

    A domain is given with its year, or without for all of its years. The historical archive has a
    year of its own (`195X`) and goes with every year of its department. `ConfigError` lists the
    domains that there are.
    """
    archives = list(archives)
    dated = {a.domain for a in archives if a.domain and not a.domain.endswith(HISTORICAL_YEAR)}
    departments = {domain.split("-")[0] for domain in dated}
    wanted = set()
    for name in domains:
        if name in dated:
            wanted.add(name)
        elif name in departments:
            wanted |= {domain for domain in dated if domain.split("-")[0] == name}
        else:
            raise ConfigError(unknown_name("domain", name, dated))
    historical = {f"{domain.split('-')[0]}-{HISTORICAL_YEAR}" for domain in wanted}
    return [a for a in archives if not a.domain or a.domain in wanted | historical]


def _plain(folder: str, name: str, part: str = "", splits: tuple[str, ...] = _ALWAYS) -> Archive:
    return Archive(f"{folder}/{name}.zip", name, part, splits)


_AERIAL, _SERIES, _LABEL = AERIAL_RGBI.slug, SENTINEL2_TS.slug, LAND_COVER.slug

PLAIN: dict[str, tuple[Archive, ...]] = {
    "flair1": (
        _plain("flair_data_1", "flair-1_metadata_aerial"),
        _plain("flair_data_1", "flair_labels_train", _LABEL, _LEARNT),
        _plain("flair_data_1", "flair_1_labels_test", _LABEL, _TEST),
        _plain("flair_data_1", "flair_aerial_train", _AERIAL, _LEARNT),
        _plain("flair_data_1", "flair_1_aerial_test", _AERIAL, _TEST),
    ),
    "flair2": (
        _plain("flair_data_2", "flair_2_aerial_metadata"),
        _plain("flair_data_2", "flair_2_centroids_sp_to_patch", _SERIES),
        _plain("flair_data_2", "flair_labels_train", _LABEL, _LEARNT),
        _plain("flair_data_2", "flair_2_labels_test", _LABEL, _TEST),
        _plain("flair_data_2", "flair_aerial_train", _AERIAL, _LEARNT),
        _plain("flair_data_2", "flair_2_aerial_test", _AERIAL, _TEST),
        _plain("flair_data_2", "flair_sen_train", _SERIES, _LEARNT),
        _plain("flair_data_2", "flair_2_sen_test", _SERIES, _TEST),
    ),
    "toy": (Archive("flair_hub/FLAIR-HUB_TOY_DATASET.zip", "FLAIR-HUB_TOY", any_top=True),),
    "flair1-toy": (Archive("flair_data_1/flair_1_toy_dataset.zip", "FLAIR-1_TOY", any_top=True),),
    "flair2-toy": (Archive("flair_data_2/flair_2_toy_dataset.zip", "FLAIR-2_TOY", any_top=True),),
}
"""Archives of the datasets that lie as plain files on IGN's server."""

DATASETS = ("flair-hub", *PLAIN)


def parts_of(dataset: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Modalities and labels that a dataset lets choose, by the user's names."""
    if dataset == "flair-hub":
        names = tuple(flair_hub_products())
    else:
        names = tuple(dict.fromkeys(a.part for a in PLAIN[dataset] if a.part))
    return tuple(n for n in names if n not in LABELS), tuple(n for n in names if n in LABELS)
