"""The benchmark: one simulated data set, the same for everybody, split by domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.modalities import FLAIR_HUB_INPUTS
from bocage.simulate import folder
from bocage.simulate.checksums import check_total, verify, write_checksums
from bocage.simulate.dataset import Progress, Shard, write_dataset
from bocage.simulate.domains import DOMAINS_BY_KEY
from bocage.simulate.jobs import check_share
from bocage.simulate.patches import Plan
from bocage.simulate.totals import TOTALS


@dataclass(frozen=True)
class Size:
    """Patches of every domain by split, in regions of `side` squared."""

    patches: dict[str, int]
    side: int


@dataclass(frozen=True)
class Benchmark:
    """A fixed seed and the domains of each split; no domain is in two.

    `classes`: by domain, the rarest classes that its regions should show, so that even the small
    size trains on all of them.
    """

    seed: int
    domains: dict[str, tuple[str, ...]]
    classes: dict[str, tuple[str, ...]]
    sizes: dict[str, Size]

    def plans(self, size: str) -> list[Plan]:
        """What is asked of every domain."""
        chosen = self.sizes[size]
        return [
            Plan(
                DOMAINS_BY_KEY[key],
                self.seed,
                chosen.patches[split],
                chosen.side,
                split,
                classes=self.classes.get(key, ()),
            )
            for split, keys in self.domains.items()
            for key in keys
        ]


BENCHMARKS = {
    "v1": Benchmark(
        seed=1,
        domains={
            "train": ("D024047-2021", "D051-2019", "D074-2020", "D080-2021", "D035-2020",
                      "D034-2021", "D030-2021", "D004-2021"),
            "valid": ("D021-2020", "D032-2019"),
            "test": ("D068-2021", "D085-2019", "D012-2019", "D069-2020"),
        },
        classes={
            "D024047-2021": ("nut orchards", "berries", "other permanent crops", "mixed"),
            "D051-2019": ("mustard", "other flax", "other oilseed crops", "hemp, tobacco"),
            "D074-2020": ("snow", "clover", "spring oat", "winter rye"),
            "D080-2021": ("spring wheat", "potatoes", "fibre flax", "winter protein crops"),
            "D035-2020": ("buckwheat", "other spring cereals", "mixed crops", "winter oat"),
            "D034-2021": ("olive groves", "sorghum", "swimming pool", "undefined"),
            "D030-2021": ("rice", "millet, foxtail", "other fodder legumes", "greenhouse"),
            "D004-2021": ("lavandin", "other cereals", "aromatic and medicinal plants", "ligneous"),
        },
        sizes={
            # Every patch is a region of its own: few patches then show many parcels.
            "small": Size({"train": 10, "valid": 8, "test": 8}, side=1),
            "standard": Size({"train": 240, "valid": 120, "test": 160}, side=2),
        },
    )
}  # fmt: skip
"""Benchmarks by name. A published one never changes but with `SIMULATOR_VERSION`."""


def simulate_benchmark(
    out: Path,
    *,
    name: str = "v1",
    size: str = "small",
    workers: int = 1,
    shard: Shard = (1, 1),
    progress: Progress | None = None,
) -> str | None:
    """Write a benchmark and its `checksums.txt`; returns their total once all shards are there.

    Started again it writes what is missing. Raises as `simulate_dataset` does, and `DataError` when
    the total is not the published one.
    """
    benchmark = _find(name, size)
    check_share(workers, shard)
    request = {"kind": "benchmark", "benchmark": name, "size": size}
    sensors = [modality.name for modality in FLAIR_HUB_INPUTS]
    found = write_dataset(
        out, benchmark.plans(size), request, sensors,
        workers=workers, shard=shard, progress=progress, digests=True,
    )  # fmt: skip
    if found is None:
        return None
    return check_total(out, write_checksums(out, found, workers), TOTALS.get((name, size)))


def verify_benchmark(out: Path, *, workers: int = 1) -> str:
    """Check every file of a complete benchmark; returns the total of its checksums.

    Raises `DataError` for a folder that is no complete benchmark of this version, for files that
    changed, and for a total that is not the published one.
    """
    complete, request = folder.read_claim(out)
    if request.get("kind") != "benchmark":
        raise DataError(f"{out}: holds no benchmark but a simulated {request.get('kind')}.")
    if request.get("version") != folder.SIMULATOR_VERSION:
        raise DataError(
            f"{out}: was written by version {request.get('version')} of the simulator, this is "
            f"version {folder.SIMULATOR_VERSION}. Simulate it again in another folder."
        )
    if not complete:
        raise DataError(f"{out}: is not complete. Run the same command again to complete it.")
    name, size = str(request["benchmark"]), str(request["size"])
    return check_total(out, verify(out, workers), TOTALS.get((name, size)))


def _find(name: str, size: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise ConfigError(unknown_name("benchmark", name, BENCHMARKS))
    benchmark = BENCHMARKS[name]
    if size not in benchmark.sizes:
        raise ConfigError(unknown_name("size", size, benchmark.sizes))
    return benchmark
