"""Timing two ways of doing one thing in turn, and reporting their ratio.

The machines that run this are small and shared, so single times mean little: both ways alternate,
medians are compared, and the spread of the per-round ratios is reported beside the ratio.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement. `ratio` above 1 means ours is better; `spread` is its range over rounds."""

    name: str
    ours: float
    baseline: float
    ratio: float
    unit: str
    spread: tuple[float, float]


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str,
    ours: Callable[[], object],
    baseline: Callable[[], object],
    *,
    rounds: int = 7,
    items: float = 1.0,
    unit: str = "ms",
) -> Row:
    """Time both, alternating, after one unmeasured call of each.

    `items` is how much one call does: times are reported per item, in milliseconds.
    """
    ours()
    baseline()
    return row(name, *alternate((ours, baseline), rounds), items=items, unit=unit)


def alternate(works: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each work in every round; in a round each has one turn."""
    turns = [[seconds(work) for work in works] for _ in range(rounds)]
    return [list(times) for times in zip(*turns, strict=True)]


def row(
    name: str,
    ours: Sequence[float],
    baseline: Sequence[float],
    *,
    items: float = 1.0,
    unit: str = "ms",
) -> Row:
    """Medians of seconds, as milliseconds per item, and the range of the rounds' ratios."""
    ratios = [slow / fast for fast, slow in zip(ours, baseline, strict=True)]
    fast, slow = (statistics.median(times) * 1000 / items for times in (ours, baseline))
    return Row(name, fast, slow, slow / fast, unit, (min(ratios), max(ratios)))


def amounts(name: str, ours: float, baseline: float, unit: str) -> Row:
    """A row for sizes, which have no spread; the ratio says how many times smaller ours is."""
    ratio = baseline / ours
    return Row(name, ours, baseline, ratio, unit, (ratio, ratio))


def document(benchmark: str, rows: list[Row]) -> dict[str, Any]:
    """What `--json` prints: the rows, and once the machine and the versions."""
    packages = ("torch", "numpy", "rasterio", "tifffile", "timm", "lightning")
    return {
        "benchmark": benchmark,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("bocage", *packages)},
        },
        "rows": [asdict(row) for row in rows],
    }


def table(rows: list[Row]) -> str:
    """The rows for people."""
    lines = [f"{'measurement':<44}{'ours':>10}{'baseline':>10}  {'unit':<14}{'ratio':>7}  spread"]
    lines += [
        f"{r.name:<44}{r.ours:>10.2f}{r.baseline:>10.2f}  {r.unit:<14}{r.ratio:>6.1f}×"
        f"  {r.spread[0]:.1f}–{r.spread[1]:.1f}"
        for r in rows
    ]
    return "\n".join(lines)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in handle if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
