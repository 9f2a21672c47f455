"""A validation's confusion matrix, from the file that `bocage evaluate` writes or from a table.

Legend: D clusters, K classes in the order of the map's ids.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.mapping.maps import ClassMap

MAP, REFERENCE = "map", "reference"


@dataclass(frozen=True)
class Places:
    """Where the N units of a sample lie: rows and columns of the map's pixels.

    `mapped_N` and `reference_N` are places in the validation's `class_ids`.
    """

    row_N: NDArray[np.int64]
    col_N: NDArray[np.int64]
    mapped_N: NDArray[np.intp]
    reference_N: NDArray[np.intp]


@dataclass(frozen=True)
class Validation:
    """Validated units by cluster, map class and reference class, (D, K, K) int64.

    `clusters` are names of the clusters that the units came in; none: the units were drawn one by
    one, and D is 1. `places` of such units, where they are known; `notes` are sentences on what
    was left out in reading them.
    """

    path: Path
    class_ids: tuple[int, ...]
    counts_DKK: NDArray[np.int64]
    clusters: tuple[str, ...]
    places: Places | None = None
    notes: tuple[str, ...] = ()


def read_validation(path: Path, source: ClassMap) -> Validation:
    """Read the matrix that belongs to a map.

    `scores.json` of `bocage evaluate` has the map's task among its own and the domains as
    clusters. A CSV has the class names (or ids) in its first row and column, counts of units drawn
    one by one in the others, and in its first cell what the rows are: `map` or `reference`.

    Raises `ConfigError` when it is of other classes than the map, `DataError` for a file that is
    no such matrix.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give scores.json, or a CSV of counts.")
    check_named(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}).") from error
    if path.suffix.lower() == ".json":
        names, clusters, counts_DKK = _from_scores(path, text, source)
    else:
        names, counts_DKK = _from_csv(path, text)
        clusters = ()
    if (counts_DKK < 0).any() or not counts_DKK.any():
        raise DataError(f"{path}: counts are whole numbers from 0, and not all of them 0.")
    ids = _match(path, names, source)
    wanted = tuple(sorted(source.classes))
    order = [ids.index(class_id) for class_id in wanted]
    return Validation(path, wanted, counts_DKK[:, order][:, :, order], clusters)


def check_named(source: ClassMap) -> None:
    """Refuse a map without class names (`ConfigError`): nothing could be matched with it."""
    if not source.classes:
        raise ConfigError(
            f"{source.path}: the map does not name its classes, so that no validation can be "
            "matched with it. Give a map made by 'bocage map'."
        )


def class_ids_by_name(source: ClassMap) -> dict[str, int]:
    """The map's class ids by name, folded, and by number as text."""
    by_name = {name.casefold(): class_id for class_id, name in source.classes.items()}
    return by_name | {str(class_id): class_id for class_id in source.classes}


def _from_scores(
    path: Path, text: str, source: ClassMap
) -> tuple[list[str], tuple[str, ...], NDArray[np.int64]]:
    try:
        tasks: dict[str, Any] = json.loads(text)["tasks"]
        tasks.items()  # a list, say, is no such document
        if source.task not in tasks:
            raise ConfigError(f"{path}: {unknown_name('task', source.task, tasks)}")
        matrix = tasks[source.task]["confusion"]
        names = [str(name) for name in matrix["classes"]]
        domains: dict[str, Any] = matrix["domains"]
        counts = _square(list(domains.values()), len(names))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the scores.json of 'bocage evaluate' ({error!r}). Evaluate again."
        ) from error
    return names, tuple(domains), counts.transpose(0, 2, 1)  # rows there are the reference


def _from_csv(path: Path, text: str) -> tuple[list[str], NDArray[np.int64]]:
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    corner = rows[0][0].strip().lower() if rows else ""
    if corner not in (MAP, REFERENCE):
        raise DataError(
            f"{path}: the first cell says '{corner[:40]}'; it shall say what the rows are: 'map' "
            "or 'reference'."
        )
    columns = [cell.strip() for cell in rows[0][1:]]
    names = [row[0].strip() for row in rows[1:]]
    if sorted(names) != sorted(columns) or len(set(names)) != len(names):
        raise DataError(f"{path}: rows and columns shall name the same classes, each once.")
    try:
        counts = _square([[[int(cell) for cell in row[1:]] for row in rows[1:]]], len(names))
    except ValueError as error:
        raise DataError(f"{path}: counts are whole numbers, one per class ({error}).") from error
    counts = counts[:, :, [columns.index(name) for name in names]]
    return names, counts if corner == MAP else counts.transpose(0, 2, 1)


def _square(values: Any, classes: int) -> NDArray[np.int64]:
    counts = np.array(values, dtype=np.int64)
    if counts.ndim != 3 or counts.shape[1:] != (classes, classes):
        raise ValueError(f"counts of shape {counts.shape} for {classes} classes")
    return counts


def _match(path: Path, names: Sequence[str], source: ClassMap) -> list[int]:
    """The map's class id of each of the matrix's classes, which are the same as the map's."""
    by_name = class_ids_by_name(source)
    ids = [by_name.get(name.casefold()) for name in names]
    strange = [name for name, class_id in zip(names, ids, strict=True) if class_id is None]
    lacking = [name for class_id, name in source.classes.items() if class_id not in ids]
    if strange or lacking:
        found = [
            f"{what}: {', '.join(some[:6])}"
            for what, some in (("only in the matrix", strange), ("only in the map", lacking))
            if some
        ]
        raise ConfigError(
            f"{path}: its classes are not those of {source.path.name}; {'; '.join(found)}. "
            "Validate this map, with its class list."
        )
    return [class_id for class_id in ids if class_id is not None]
