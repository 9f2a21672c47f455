"""The benchmark: one simulated data set, the same for everybody, split by domain."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.modalities import FLAIR_HUB_INPUTS
from bocage.simulate import folder
from bocage.simulate.checksums import check_total, verify, write_checksums
from bocage.simulate.dataset import Shard, write_dataset
from bocage.simulate.domains import DOMAINS_BY_KEY
from bocage.simulate.jobs import Progress, check_share
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

    `classes`: by domain, in how many of its regions a class should stand, so that even the small
    size trains on all of them, and on several places of what the test asks for.
    """

    seed: int
    domains: dict[str, tuple[str, ...]]
    classes: dict[str, dict[str, int]]
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
                classes=tuple(Counter(self.classes.get(key, {})).elements()),
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
            "valid": ("D021-2020", "D032-2019", "D005-2018"),
            "test": ("D068-2021", "D085-2019", "D012-2019", "D069-2020", "D064-2021"),
        },
        classes={
            "D024047-2021": {"nut orchards": 2, "berries": 1, "other permanent crops": 1,
                             "mixed": 1, "soy": 2, "mixed crops": 1, "other arable crops": 1,
                             "rapeseed": 1, "winter triticale": 1, "sunflower": 1, "clover": 1},
            "D051-2019": {"mustard": 1, "other flax": 1, "other oilseed crops": 1, "rapeseed": 2,
                          "hemp, tobacco": 1, "beetroots": 1, "spring peas": 1,
                          "winter barley": 1},
            "D074-2020": {"snow": 1, "clover": 2, "soy": 1, "mixed crops": 1,
                          "winter triticale": 1, "clear cut": 1},
            "D080-2021": {"spring wheat": 1, "potatoes": 2, "fibre flax": 1, "beetroots": 2,
                          "winter protein crops": 1, "spring peas": 1, "hemp, tobacco": 1,
                          "other permanent crops": 1},
            "D035-2020": {"buckwheat": 1, "other spring cereals": 1, "mixed crops": 1,
                          "winter oat": 1, "rapeseed": 1, "potatoes": 1,
                          "winter barley": 1, "spring oat": 1, "winter protein crops": 1},
            "D034-2021": {"olive groves": 1, "sorghum": 1, "swimming pool": 1, "undefined": 1,
                          "other protein crops": 1, "other arable crops": 1, "mixed crops": 1},
            "D030-2021": {"rice": 2, "millet, foxtail": 1, "other fodder legumes": 1,
                          "greenhouse": 1, "other arable crops": 1, "sunflower": 1,
                          "fruits and vegetables": 1},
            "D004-2021": {"lavandin": 1, "other cereals": 1, "aromatic and medicinal plants": 1,
                          "ligneous": 1, "winter rye": 1, "nut orchards": 1, "olive groves": 1},
            "D021-2020": {"beetroots": 1, "potatoes": 1, "berries": 1, "spring peas": 1, "soy": 1,
                          "rapeseed": 1},
            "D032-2019": {"mixed crops": 1, "nut orchards": 1, "winter protein crops": 1,
                          "fruit orchards": 1, "swimming pool": 1, "rapeseed": 1,
                          "greenhouse": 1},
            "D005-2018": {"snow": 1, "alfalfa": 1, "fruit orchards": 1, "mixed crops": 1},
            "D068-2021": {"rapeseed": 1, "beetroots": 1, "potatoes": 1, "hemp, tobacco": 1},
            "D085-2019": {"winter protein crops": 1, "winter durum wheat": 1},
            "D012-2019": {"nut orchards": 1, "mixed crops": 1, "alfalfa": 1},
            "D069-2020": {"swimming pool": 1, "soy": 1, "other permanent crops": 1},
            "D064-2021": {"snow": 1, "swimming pool": 1, "sunflower": 1},
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
    a file is not what `checksums.txt` says or the total is not the published one. Where none is
    published, nothing is compared: see `has_published_total`.
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
    expected = TOTALS.get((name, size))
    total = write_checksums(out, found, workers, _command(out, name, size), expected)
    # Complete is what is all there; whether it is what others get is asked next, and by `--verify`.
    folder.finish(out, request)
    return check_total(out, total, expected)


def has_published_total(out: Path) -> bool:
    """Whether this version of Bocage knows the total that the benchmark in `out` must have.

    Without it a benchmark's files can only be compared with their own list.
    """
    _, request = folder.read_claim(out)
    return (request.get("benchmark"), request.get("size")) in TOTALS


def verify_benchmark(out: Path, *, workers: int = 1, progress: Progress | None = None) -> str:
    """Check every file of a complete benchmark; returns the total of its checksums.

    `progress` is called with files checked and their number. Raises `ConfigError` for a number of
    workers that cannot be, and `DataError` for a folder that is no complete benchmark of this
    version, for files that changed, and for a total that is not the published one.
    """
    check_share(workers, (1, 1))
    complete, request = folder.read_claim(out)
    if request.get("kind") != "benchmark":
        raise DataError(
            f"{out}: holds no benchmark but a simulated {request.get('kind')}. Only benchmarks "
            "have checksums: name a folder that `bocage simulate OUT --benchmark v1` has written."
        )
    name, size = str(request.get("benchmark")), str(request.get("size"))
    if request.get("version") != folder.SIMULATOR_VERSION:
        raise DataError(
            f"{out}: was written by version {request.get('version')} of the simulator, this is "
            f"version {folder.SIMULATOR_VERSION}. Simulate it again in another folder: "
            f"`{_command(Path('OUT'), name, size)}`."
        )
    again = _command(out, name, size)
    if not complete:
        raise DataError(f"{out}: is not complete. Run `{again}` to complete it.")
    return check_total(out, verify(out, workers, again, progress), TOTALS.get((name, size)))


def _command(out: Path, name: str, size: str) -> str:
    """The command that writes a benchmark, or what of it is missing."""
    return f"bocage simulate {shlex.quote(str(out))} --benchmark {name} --size {size}"


def _find(name: str, size: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise ConfigError(unknown_name("benchmark", name, BENCHMARKS))
    benchmark = BENCHMARKS[name]
    if size not in benchmark.sizes:
        raise ConfigError(unknown_name("size", size, benchmark.sizes))
    return benchmark
