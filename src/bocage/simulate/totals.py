"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 4
TOTALS: dict[tuple[str, str], str] = {
    ("v1", "small"): "72c77f5d23647d76187f09d09873b6ab73fca29a974b5157bc683217e8e20e32",
}
