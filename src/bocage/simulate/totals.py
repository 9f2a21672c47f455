"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 5
TOTALS: dict[tuple[str, str], str] = {
    ("v1", "small"): "69fc84a5bbf3b3a1400fa2c286c65a08543b61f4acea2690f83370730792a3b0",
    ("v1", "standard"): "01440bc11d4b716a02150124284e1d2423452eaf511dabd6a60884db7b13fba4",
}
