"""Which of the paper's networks are released on the hub, and under which names.

The names say all: `FLAIR-HUB_LC-A_RGB_swintiny-upernet` is LC-A with Swin tiny and UPerNet, fed
with red, green and blue. A repository holds `<its name>.safetensors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bocage.errors import ConfigError, unknown_name
from bocage.modalities import AERIAL_RGBI, get_modality
from bocage.models.published.config import DEFAULT_ARCHITECTURE, PublishedConfig, get_architecture
from bocage.models.published.zoo import ZOO, get_entry, published_config

OWNER = "IGNF"
RGB = ("red", "green", "blue")
"""Channels of the networks that take no infrared."""

_NAMES = (
    "LC-A_IR_swinbase-upernet",
    "LC-A_IR_swinlarge-upernet",
    "LC-A_IR_swinbase-unet",
    "LC-A_IR_convnextv2tiny-upernet",
    "LC-A_IR_convnextv2base-upernet",
    "LC-A_IR_convnextv2base-unet",
    "LC-A_RGB_swintiny-upernet",
    "LC-A_RGB_swinsmall-upernet",
    "LC-A_RGB_swinbase-upernet",
    "LC-A_RGB_swinlarge-upernet",
    "LC-D_swinbase-upernet",
    "LC-F_swinbase-upernet",
    "LC-G_utae",
    "LC-I_swinbase-upernet",
    "LC-L_swinbase-upernet",
    "LPIS-A_swinbase-upernet",
    "LPIS-F_utae",
    "LPIS-I_swinbase-upernet",
    "LPIS-J_swinbase-upernet",
)
_PATTERN = re.compile(
    r"(?P<owner>[^/]+)/FLAIR-HUB_(?P<name>LC-(?:[A-L]|ALL)|LPIS-[A-K])(?P<colours>_IR|_RGB)?_"
    r"(?:utae|(?P<family>swin|convnextv2|resnet)(?P<size>[a-z0-9]+)-(?P<decoder>upernet|unet))"
)


@dataclass(frozen=True)
class Release:
    """One published checkpoint on the hub."""

    repository: str
    """Owner and name."""
    configuration: str
    """Name in the paper, such as LC-A."""
    architecture: str
    """Encoder and decoder by published name; the default where every input is a series."""
    rgb: bool
    """Whether it takes red, green and blue instead of infrared, red and green."""

    @property
    def file(self) -> str:
        """The checkpoint's name in the repository."""
        return f"{self.repository.split('/')[1]}.safetensors"

    @property
    def bundle_name(self) -> str:
        """Name for the bundle: `lc-a`, with what differs from the usual."""
        parts = [self.configuration.lower()]
        if self.architecture != DEFAULT_ARCHITECTURE:
            chosen = get_architecture(self.architecture)
            parts.append(chosen.short + ("" if chosen.decoder == "upernet" else "-unet"))
        return "-".join([*parts, *(["rgb"] if self.rgb else [])]) + ".safetensors"

    def config(self) -> PublishedConfig:
        """The network that the checkpoint is of."""
        channels: Mapping[str, tuple[str, ...]] = {AERIAL_RGBI.name: RGB} if self.rgb else {}
        return published_config(self.configuration, self.architecture, channels=channels)


def parse_repository(repository: str) -> Release | None:
    """What a repository of that name holds, released or not yet; None for any other name."""
    match = _PATTERN.fullmatch(repository)
    if match is None:
        return None
    architecture = DEFAULT_ARCHITECTURE
    if match["family"]:
        joint = "" if match["family"] == "resnet" else "_"
        short = f"{match['family']}{joint}{match['size']}-{match['decoder']}"
        architecture = get_architecture(short).name
    return Release(repository, match["name"], architecture, match["colours"] == "_RGB")


def _released(names: Iterable[str]) -> dict[str, Release]:
    found = (parse_repository(f"{OWNER}/FLAIR-HUB_{name}") for name in names)
    return {release.repository: release for release in found if release is not None}


RELEASES: dict[str, Release] = _released(_NAMES)
"""All released checkpoints by repository name (FLAIR-HUB's collection and its model cards)."""


def find_release(name: str, architecture: str | None = None, *, rgb: bool = False) -> Release:
    """The released checkpoint of a configuration; `ConfigError` lists what is released.

    `architecture` is a name that `get_architecture` takes; the usual one if None. Where every input
    is a series there is none to choose.
    """
    entry = get_entry(name)
    images = [sensor for sensor in entry.inputs if not get_modality(sensor).series]
    if architecture is not None and not images:
        raise ConfigError(f"{name}: every input is a series, there is no encoder to choose.")
    if rgb and AERIAL_RGBI.name not in images:
        raise ConfigError(f"{name}: has no aerial image whose colours could be chosen.")
    wanted = get_architecture(architecture or DEFAULT_ARCHITECTURE).name
    for release in RELEASES.values():
        if (release.configuration, release.architecture, release.rgb) == (name, wanted, rgb):
            return release
    chosen = get_architecture(wanted)
    what = f"{name} with {chosen.short}-{chosen.decoder}" if images else name
    raise ConfigError(
        f"{what}{' in red, green and blue' if rgb else ''} is not released. Released are: "
        f"{', '.join(r.removeprefix(f'{OWNER}/FLAIR-HUB_') for r in RELEASES)}. "
        "Train it with `bocage train`, or import a checkpoint that you have."
    )


def get_release(name: str, architecture: str | None = None, *, rgb: bool = False) -> Release | None:
    """What `name` stands for: a configuration, or a repository of that kind; None for another.

    A repository says itself what it holds: options beside it, and names that are neither, are a
    `ConfigError`.
    """
    if "/" not in name:
        if name not in ZOO and not name.startswith("FLAIR-HUB_"):
            raise ConfigError(unknown_name("published configuration", name, ZOO))
        if name in ZOO:
            return find_release(name, architecture, rgb=rgb)
        name = f"{OWNER}/{name}"
    if architecture is not None or rgb:
        raise ConfigError(f"{name}: the repository says what it holds. Leave --arch and --rgb out.")
    return parse_repository(name)
