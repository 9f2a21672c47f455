"""What a check leaves in its folder, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bocage.data.verify.finding import Finding, counted, told, write_findings
from bocage.data.verify.levels import LevelTable, as_json
from bocage.files import write_json, write_text

FINDINGS, TEXT, LEVELS, SUMMARY = "findings.parquet", "findings.txt", "levels.csv", "summary.json"


def write_report(
    folder: Path, patches: int, findings: Sequence[Finding], levels: LevelTable
) -> None:
    """Write the four files, `summary.json` last."""
    write_findings(findings, folder / FINDINGS)
    write_text(folder / TEXT, "\n".join(text_lines(patches, findings, levels)) + "\n")
    write_text(folder / LEVELS, levels.as_csv())
    numbers = Counter(f.severity for f in findings)
    write_json(
        folder / SUMMARY,
        {
            "patches": patches,
            "errors": numbers["error"],
            "notes": numbers["note"],
            "kinds": {f"{s} {k}": n for (s, k), n in sorted(_by_kind(findings).items())},
            "levels": as_json(levels),
        },
    )


def text_lines(
    patches: int, findings: Sequence[Finding], levels: LevelTable, most: int | None = None
) -> list[str]:
    """Counts by kind, the crop levels, then one line per finding (at most `most` of them)."""
    lines = [f"{patches:,} patches, {len(findings):,} findings"]
    lines += counted(findings)
    lines += levels.lines()
    if findings:
        lines += ["", *map(told, findings[:most])]
    if most is not None and len(findings) > most:
        lines.append(f"… and {len(findings) - most:,} more in {TEXT}")
    return lines


def _by_kind(findings: Sequence[Finding]) -> Counter[tuple[str, str]]:
    return Counter((f.severity, f.kind) for f in findings)
