"""`python -m benchmarks NAME [--json]`: run one benchmark and print its rows."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from benchmarks.measure import document, table

NAMES = (
    "backends",
    "build",
    "evaluate",
    "gpu",
    "index",
    "loss",
    "mapping",
    "memory",
    "packing",
    "polygons",
    "reading",
    "step",
    "temporal",
    "validate",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = importlib.import_module(f"benchmarks.{options.name}").run()
    if options.json:
        json.dump(document(options.name, rows), sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
