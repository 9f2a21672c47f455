"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 2
TOTALS: dict[tuple[str, str], str] = {
}
