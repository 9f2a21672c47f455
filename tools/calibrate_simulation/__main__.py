"""Compares the simulated sensors with real imagery.

Usage: python -m tools.calibrate_simulation --real DIR [--out DIR] [--before JSON] [--quick]

Prints a Markdown table of distances; with --out writes it as `calibration.json` and plots of the
spectra and seasonal curves as PNG there. --before names the `calibration.json` of an earlier run,
whose distances then stand beside the new ones. --quick draws fewer places.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from tools.calibrate_simulation import plots, real, simulated
from tools.calibrate_simulation.compare import Row, as_json, rows

_PATCHES, _PLACES = 8, 6
_QUICK_PATCHES, _QUICK_PLACES = 1, 1


def main() -> int:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", type=Path, default=os.environ.get("BOCAGE_REAL_DATA"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.real is None or not Path(options.real).is_dir():
        parser.error("name the folder of real imagery: --real DIR, or BOCAGE_REAL_DATA")
    warnings.simplefilter("ignore", NotGeoreferencedWarning)

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    root = Path(options.real)
    patches = _QUICK_PATCHES if options.quick else _PATCHES
    places = _QUICK_PLACES if options.quick else _PLACES
    truth = real.photographs(root), real.years(root)
    photographs, sensors = simulated.photographs(patches, say)
    ours = photographs, simulated.years(places, say)
    table = rows(truth, ours, sensors)
    before = {}
    if options.before:
        before = {Row(**row).key: row["distance"] for row in json.loads(options.before.read_text())}
    print(markdown(table, before))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "calibration.json").write_text(json.dumps(as_json(table), indent=1))
        plots.spectra(truth[0], ours[0], options.out / "simulation-spectra.png")
        plots.curves(truth[1], ours[1], options.out / "simulation-curves.png")
    return 0


def markdown(table: list[Row], before: dict[str, float]) -> str:
    """The table, with the distances of an earlier run where they are known."""
    lines = ["| what | of | measure | real | simulated | before | now | unit |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in table:
        earlier = f"{before[row.key]:.3g}" if row.key in before else ""
        lines.append(
            f"| {row.topic} | {row.subject} | {row.measure} | {row.real} | {row.simulated} "
            f"| {earlier} | {row.distance:.3g} | {row.unit} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
