"""Class lists of one's own: a YAML file becomes a `Task`.

```yaml
name: roofs                 # the task's name: letters, digits, hyphens
label: ROOFS                # label set in the dataset; the name in capitals unless given
band: 1                     # band of the label set
classes:                    # in the order of the outputs
  - {id: 0, name: ground, color: "#cccccc", scored: true}
  - {id: 10, name: roof, name_fr: toit, color: "#c00000"}
```

`id` is the value in labels and in maps. French names default to the others, colours to a palette,
`scored` to true; values that are not listed are refused, or ignored if the run says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bocage.errors import ConfigError, unknown_name
from bocage.nomenclatures.nomenclature import LandClass, Nomenclature
from bocage.nomenclatures.task import IGNORE, UNKNOWN, Task

PALETTE = (
    "#1f78b4", "#e31a1c", "#33a02c", "#ff7f00", "#6a3d9a", "#b15928",
    "#a6cee3", "#fb9a99", "#b2df8a", "#fdbf6f", "#cab2d6", "#ffff99",
)  # fmt: skip
"""ColorBrewer's twelve paired colours (colorbrewer2.org), the strong ones first."""

_KEYS = {"name": True, "slug": False, "label": False, "band": False, "classes": True}
_CLASS_KEYS = {"id": True, "name": True, "name_fr": False, "color": False, "scored": False}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@lru_cache(maxsize=64)
def load_task(path: Path) -> Task:
    """The task that a YAML file describes; `ConfigError` names file, place and remedy."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the class list cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({error}).") from error
    given = _checked(document, _KEYS, str(path))
    name = str(given["name"])
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{path}: name '{name}': use letters, digits, hyphens and underscores, so that files "
            "can carry it."
        )
    band = given.get("band", 1)
    if not isinstance(band, int) or band < 1:
        raise ConfigError(f"{path}: band {band!r}: bands count from 1.")
    rows = given["classes"]
    if not isinstance(rows, list) or len(rows) < 2:
        raise ConfigError(f"{path}: classes: a list of at least two is needed to tell them apart.")
    classes = tuple(_class(row, place, path) for place, row in enumerate(rows))
    for what, values in (("id", [str(c.id) for c in classes]), ("name", [c.name for c in classes])):
        repeated = sorted({value for value in values if values.count(value) > 1})
        if repeated:
            raise ConfigError(f"{path}: {what} {', '.join(repeated)} is given to several classes.")
    if not any(c.scored for c in classes):
        raise ConfigError(f"{path}: no class is scored, so there is nothing to learn.")
    return Task(
        name,
        str(given.get("slug", name)).lower(),
        str(given.get("label", name.upper())),
        band,
        Nomenclature(name, classes),
        source=str(path),
    )


def _class(row: Any, place: int, path: Path) -> LandClass:
    given = _checked(row, _CLASS_KEYS, f"{path}, class {place + 1}")
    class_id, name = given["id"], str(given["name"])
    if not isinstance(class_id, int) or isinstance(class_id, bool) or not 0 <= class_id < UNKNOWN:
        raise ConfigError(
            f"{path}, class '{name}': id {class_id!r}: whole numbers from 0 to {UNKNOWN - 1} "
            f"({IGNORE} in a label means: not known)."
        )
    color = str(given.get("color", PALETTE[place % len(PALETTE)]))
    if re.fullmatch(r"#[0-9a-fA-F]{6}", color) is None:
        raise ConfigError(f"{path}, class '{name}': color '{color}': write #rrggbb, in quotes.")
    scored = given.get("scored", True)
    if not isinstance(scored, bool):
        raise ConfigError(f"{path}, class '{name}': scored is true or false, not {scored!r}.")
    return LandClass(class_id, name, str(given.get("name_fr", name)), color.lower(), scored)


def _checked(document: Any, keys: Mapping[str, bool], place: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise ConfigError(f"{place}: expected 'key: value' lines, found {type(document).__name__}")
    for key in document:
        if key not in keys:
            raise ConfigError(f"{place}: {unknown_name('key', str(key), keys)}")
    for key, needed in keys.items():
        if needed and key not in document:
            raise ConfigError(f"{place}: '{key}' is missing. Add it.")
    return document
