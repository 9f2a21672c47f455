"""Rewrites what tests and users compare the simulator with; run it once after a change of content.

Usage: python -m tools.simulation_goldens [--real DIR] [--size small] [--size standard]
       [--workers N]

Raise `SIMULATOR_VERSION` first. Writes `tests/simulate/golden.json` (checksums of tables, of chosen
regions and of windows by every sensor); with --real, `tests/simulate/calibration.json` (how far the
sensors lie from real imagery, see `tools/calibrate_simulation`); and, for every size that is named,
the total of the benchmark to `src/bocage/simulate/totals.py`; totals of another version are
dropped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bocage.files import write_json, write_text
from bocage.simulate import benchmark, totals
from bocage.simulate.folder import SIMULATOR_VERSION
from bocage.simulate.golden import golden_checks

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/simulate/golden.json"
CALIBRATION = ROOT / "tests/simulate/calibration.json"

_HEAD = '''"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = {version}
TOTALS: dict[tuple[str, str], str] = {{'''


def quick_distances(real: Path, out: Path) -> dict[str, float]:
    """Mean distance to real imagery by topic and measure, of the cheap subset of the calibration.

    Args:
        real: folder of real imagery.
        out: where the calibration writes its files.
    """
    words = ["-m", "tools.calibrate_simulation", "--quick", "--real", str(real), "--out", str(out)]
    ran = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    found = defaultdict(list)
    for row in json.loads((out / "calibration.json").read_text()):
        # The passes' measures are all medians, of unlike things.
        kind = row["subject" if row["topic"] == "passes" else "measure"]
        found[f"{row['topic']}: {kind}, {row['unit']}"].append(row["distance"])
    return {key: round(sum(values) / len(values), 4) for key, values in found.items()}


def _total(size: str, workers: int) -> str:
    """Total of a benchmark of that size, drawn anew and not compared with the known one."""
    totals.TOTALS.clear()
    with tempfile.TemporaryDirectory() as folder:
        found = benchmark.simulate_benchmark(Path(folder), size=size, workers=workers)
    assert found is not None
    return found


def main(sizes: list[str], workers: int, real: Path | None) -> None:
    """Write the golden checksums, the distances and the totals of these sizes."""
    write_json(GOLDEN, {"version": SIMULATOR_VERSION, "checks": golden_checks()})
    if real is not None:
        with tempfile.TemporaryDirectory() as folder:
            distances = quick_distances(real, Path(folder))
        write_json(CALIBRATION, {"version": SIMULATOR_VERSION, "distances": distances})
    known = dict(totals.TOTALS) if totals.VERSION == SIMULATOR_VERSION else {}
    for size in sizes:
        known["v1", size] = _total(size, workers)
    lines = "".join(
        f'    ("{name}", "{size}"): "{total}",\n' for (name, size), total in sorted(known.items())
    )
    target = Path(totals.__file__)
    body = f"\n{lines}}}\n" if lines else "}\n"
    write_text(target, _HEAD.format(version=SIMULATOR_VERSION) + body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rewrite the simulator's goldens.")
    parser.add_argument("--size", action="append", choices=["small", "standard"], default=[])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--real", type=Path, help="folder of real imagery, to measure distances to")
    given = parser.parse_args()
    main(given.size, given.workers, given.real)
