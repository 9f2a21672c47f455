"""What `bocage data verify` finds, and how findings are kept and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from bocage.files import atomic_path

Severity = Literal["error", "note"]
"""An error is what a reader stumbles over or learns wrongly from; a note is worth a look."""

KINDS = {
    "file": "missing, unreadable, or not the product: bands, size, type, frames",
    "stuck": "not read within the time limit, or the reading process died of it",
    "labels": "values outside the nomenclature",
    "levels": "crop levels that contradict the tree of classes",
    "values": "numbers that are no measurement",
    "dates": "dates that repeat, or of other years",
    "crs": "no coordinate system, or another one than the rest",
    "grid": "other ground or other pixels than the rest of the patch",
    "neighbours": "patches of an ROI that overlap or lie on different pixel grids",
    "absent": "a product that other patches of the domain have",
    "left out": "files and folders that the layout does not know",
}
"""Every kind of finding, in the order in which they are told."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `patch_id`, `product` and `path` are empty where it has none."""

    severity: Severity
    kind: str
    text: str
    patch_id: str = ""
    domain: str = ""
    roi: str = ""
    product: str = ""
    path: str = ""


SCHEMA = pa.schema([(name, pa.string()) for name in Finding.__dataclass_fields__])
"""Columns of `findings.parquet`: the fields of `Finding`."""


def write_findings(findings: Sequence[Finding], path: Path) -> None:
    """Write one row per finding as Parquet, atomically."""
    table = pa.Table.from_pylist([asdict(f) for f in findings], SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors before notes, then by kind, place and product."""
    kinds = list(KINDS)
    return sorted(
        findings,
        key=lambda f: (f.severity, kinds.index(f.kind), f.domain, f.patch_id, f.product, f.text),
    )


def counted(findings: Iterable[Finding]) -> list[str]:
    """One line per severity and kind with the number of findings, the most serious first."""
    numbers = Counter((f.severity, f.kind) for f in findings)
    kinds = list(KINDS)
    ordered = sorted(numbers, key=lambda pair: (pair[0], kinds.index(pair[1])))
    return [f"{numbers[s, k]:8,}  {s:5}  {k:10}  {KINDS[k]}" for s, k in ordered]


def told(finding: Finding) -> str:
    """One line of `findings.txt`."""
    return f"{finding.severity:5}  {finding.kind:10}  {finding.text}"


def named(patch_id: str, text: str) -> str:
    """A sentence that names its patch, once."""
    return text if patch_id in text else f"patch {patch_id}: {text}"


def from_row(row: dict[str, Any]) -> Finding:
    """A finding out of a row with the columns of `SCHEMA`."""
    return Finding(**row)
