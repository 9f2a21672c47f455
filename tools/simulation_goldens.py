"""Rewrites what tests and users compare the simulator with; run it once after a change of content.

Usage: python -m tools.simulation_goldens [--size small] [--size standard] [--workers N]

Raise `SIMULATOR_VERSION` first. Writes `tests/simulate/golden.json` (checksums of two windows by
every sensor) and, for every size that is named, the total of the benchmark to
`src/bocage/simulate/totals.py`; totals of another version are dropped.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bocage.files import write_json, write_text
from bocage.simulate import benchmark, totals
from bocage.simulate.folder import SIMULATOR_VERSION
from bocage.simulate.golden import golden_checks

GOLDEN = Path(__file__).parents[1] / "tests/simulate/golden.json"

_HEAD = '''"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = {version}
TOTALS: dict[tuple[str, str], str] = {{
'''


def _total(size: str, workers: int) -> str:
    """Total of a benchmark of that size, drawn anew and not compared with the known one."""
    totals.TOTALS.clear()
    with tempfile.TemporaryDirectory() as folder:
        found = benchmark.simulate_benchmark(Path(folder), size=size, workers=workers)
    assert found is not None
    return found


def main(sizes: list[str], workers: int) -> None:
    """Write the golden checksums and the totals of these sizes."""
    write_json(GOLDEN, {"version": SIMULATOR_VERSION, "checks": golden_checks()})
    known = dict(totals.TOTALS) if totals.VERSION == SIMULATOR_VERSION else {}
    for size in sizes:
        known["v1", size] = _total(size, workers)
    lines = "".join(
        f'    ("{name}", "{size}"): "{total}",\n' for (name, size), total in sorted(known.items())
    )
    target = Path(totals.__file__)
    write_text(target, _HEAD.format(version=SIMULATOR_VERSION) + lines + "}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rewrite the simulator's goldens.")
    parser.add_argument("--size", action="append", choices=["small", "standard"], default=[])
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    main(given.size, given.workers)
