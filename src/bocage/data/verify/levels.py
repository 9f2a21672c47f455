"""The three levels of declared crops: which classes occur together, and what the tree says.

The tree of `nomenclatures/crops.py` is partly inferred. The labels themselves settle it: a class
has one parent, with which all of its pixels occur.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.verify.finding import Finding
from bocage.nomenclatures import (
    CROPS,
    CROPS_2,
    CROPS_3,
    LEVEL_2_PARENTS,
    LEVEL_3_PARENTS,
    Nomenclature,
)

LEVELS = (CROPS, CROPS_2, CROPS_3)
"""The tasks of the three levels, coarse to fine."""

# One slot more per level, for pixels that are ignored or of no class there.
_SHAPE = tuple(len(task.nomenclature) + 1 for task in LEVELS)
_PARENTS = {CROPS_2.name: LEVEL_2_PARENTS, CROPS_3.name: LEVEL_3_PARENTS}
# A tree is right about a class when at least this share of its pixels says so.
_MOST = 0.99
_EXAMPLES = 5
_CSV_COLUMNS = (
    "level", "child", "child_name", "parent", "parent_name", "pixels", "patches",
    "share_of_child", "in_tree",
)  # fmt: skip


def count_levels(labels: Mapping[str, NDArray[np.uint8]]) -> dict[int, int]:
    """Pixels per combination of the three levels that occurs; empty unless all three are there.

    Keys number the cells of a table of shape (24, 32, 47): class ids of the levels, the last of
    each standing for "no class".
    """
    if not all(task.name in labels for task in LEVELS):
        return {}
    slots = [
        np.minimum(labels[task.name], size - 1).astype(np.int64)
        for task, size in zip(LEVELS, _SHAPE, strict=True)
    ]
    cells = np.ravel_multi_index(slots, _SHAPE).ravel()
    counts = np.bincount(cells, minlength=1)
    found = np.flatnonzero(counts)
    return dict(zip(found.tolist(), counts[found].tolist(), strict=True))


@dataclass(frozen=True)
class Combination:
    """A child and a parent that occur on the same pixels. `examples` are patch ids."""

    level: int
    child: int
    parent: int
    pixels: int
    patches: int
    in_tree: bool
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What the labels say about one class of level 2 or 3.

    `seen`: its pixels that have a class at the level above; `share` of them lies under the parent
    that the tree gives; `found` is the parent under which most lie, None where nothing was seen.
    """

    level: int
    child: int
    expected: int
    found: int | None
    seen: int
    share: float

    @property
    def agrees(self) -> bool | None:
        """Whether the tree is right; None for a class that does not occur."""
        return None if self.found is None else self.share >= _MOST


@dataclass(frozen=True)
class LevelTable:
    """Every combination of two neighbouring levels, and the verdict on every class."""

    combinations: tuple[Combination, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def findings(self) -> list[Finding]:
        """One finding per combination that the tree does not hold."""
        judged = {(v.level, v.child): v for v in self.verdicts}
        return [_explain(c, judged[c.level, c.child]) for c in self.combinations if not c.in_tree]

    def as_csv(self) -> str:
        """The co-occurrence table, one row per combination."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        totals: dict[tuple[int, int], int] = {}
        for c in self.combinations:
            totals[c.level, c.child] = totals.get((c.level, c.child), 0) + c.pixels
        for c in self.combinations:
            child, parent = _names(c.level, c.child, c.parent)
            share = f"{c.pixels / totals[c.level, c.child]:.6f}"
            row = (c.level, c.child, child, c.parent, parent, c.pixels, c.patches, share, c.in_tree)
            writer.writerow(row)
        return stream.getvalue()

    def lines(self) -> list[str]:
        """The verdicts for people: what agrees in a line, what does not and what was not seen."""
        if not self.combinations:
            return []
        right = [v for v in self.verdicts if v.agrees]
        missing = [v for v in self.verdicts if v.agrees is None]
        out = [
            f"crop levels: {len(right)} of {len(self.verdicts)} classes of levels 2 and 3 lie "
            f"under the parent that the tree gives, {len(missing)} do not occur"
        ]
        for v in self.verdicts:
            if v.agrees is False and v.found is not None:
                child, expected = _names(v.level, v.child, v.expected)
                _, found = _names(v.level, v.child, v.found)
                out.append(
                    f"  level {v.level} '{child}' ({v.child}): {v.share:.1%} of {v.seen:,} pixels "
                    f"under '{expected}' as in the tree, most under '{found}' ({v.found})"
                )
        return out


def tabulate(
    rows: Sequence[int] | NDArray[np.int64],
    cells: NDArray[np.int64],
    pixels: NDArray[np.int64],
    patch_ids: Sequence[str],
) -> LevelTable:
    """The table out of (patch row, cell, pixels) triples, as `count_levels` numbers the cells."""
    levels = np.unravel_index(np.asarray(cells, dtype=np.int64), _SHAPE)
    places = np.asarray(rows, dtype=np.int64)
    combinations: list[Combination] = []
    verdicts: list[Verdict] = []
    for level, task in ((2, CROPS_2), (3, CROPS_3)):
        children, parents = levels[level - 1], levels[level - 2]
        table = np.zeros((_SHAPE[level - 1], _SHAPE[level - 2]), dtype=np.int64)
        np.add.at(table, (children, parents), pixels)
        # Pixels without a class on either level say nothing about the tree.
        known = table[:-1, :-1]
        tree = _PARENTS[task.name]
        for child, parent in np.argwhere(known).tolist():
            here = places[(children == child) & (parents == parent)]
            first, sizes = np.unique(here, return_counts=True)
            combinations.append(
                Combination(
                    level,
                    child,
                    parent,
                    int(known[child, parent]),
                    len(sizes),
                    tree[child] == parent,
                    tuple(patch_ids[row] for row in first[:_EXAMPLES].tolist()),
                )
            )
        verdicts += [_judge(level, child, tree[child], known[child]) for child in range(len(known))]
    return LevelTable(tuple(combinations), tuple(verdicts))


def _judge(level: int, child: int, expected: int, row: NDArray[np.int64]) -> Verdict:
    seen = int(row.sum())
    if not seen:
        return Verdict(level, child, expected, None, 0, 0.0)
    return Verdict(level, child, expected, int(row.argmax()), seen, float(row[expected] / seen))


def _explain(c: Combination, verdict: Verdict) -> Finding:
    child, parent = _names(c.level, c.child, c.parent)
    _, expected = _names(c.level, c.child, verdict.expected)
    text = (
        f"level {c.level} '{child}' ({c.child}) lies under '{parent}' ({c.parent}) on {c.pixels:,} "
        f"pixels of {c.patches:,} patches, in the tree under '{expected}' ({verdict.expected}). "
    )
    if verdict.found == c.parent and verdict.share < 1 - _MOST:
        text += "Nearly all of its pixels say so: correct the tree in nomenclatures/crops.py."
    else:
        text += "Correct these labels."
    return Finding("error", "levels", f"{text} Such as: {', '.join(c.examples)}.", c.examples[0])


def _names(level: int, child: int, parent: int) -> tuple[str, str]:
    own: Nomenclature = LEVELS[level - 1].nomenclature
    above: Nomenclature = LEVELS[level - 2].nomenclature
    return own.by_id(child).name, above.by_id(parent).name


def as_json(table: LevelTable) -> list[dict[str, Any]]:
    """Verdicts as plain values, one per class of levels 2 and 3."""
    return [
        {
            "level": v.level,
            "class": v.child,
            "tree": v.expected,
            "labels": v.found,
            "pixels": v.seen,
            "share": v.share,
            "agrees": v.agrees,
        }
        for v in table.verdicts
    ]
