"""What every machine gets: totals of the benchmarks' checksums, by benchmark and size.

Written by `python -m tools.simulation_goldens` for one version of the simulator.
"""

VERSION = 3
TOTALS: dict[tuple[str, str], str] = {
    ("v1", "small"): "b2cbb7bf25ed4313f070ed7b52a609046237f90931cc5d339440cff3afa0045b",
    ("v1", "standard"): "7825a387edf6584f1b45fea5e6805538940b1e36e158ab48c17532e878d80447",
}
