"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 2
TOTALS: dict[tuple[str, str], str] = {
    ("v1", "small"): "5ed8e1fd8fcef1a392270ded6d4f0c8cf7a014d502522e86965676a06a721cbd",
}
