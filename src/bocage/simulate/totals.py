"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 5
TOTALS: dict[tuple[str, str], str] = {
    ("v1", "small"): "69fc84a5bbf3b3a1400fa2c286c65a08543b61f4acea2690f83370730792a3b0",
}
