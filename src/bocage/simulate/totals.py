"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 4
TOTALS: dict[tuple[str, str], str] = {
    ("v1", "small"): "f6b7bfd8b33fc9993d146f9c324f855734d41877506d02b77612c3d48fc648d7",
}
