"""A simulated data set in the exact folder layout of FLAIR-HUB after unzipping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bocage.errors import ConfigError, unknown_name
from bocage.modalities import (
    AERIAL_RLT_PAN,
    FLAIR_HUB_INPUTS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
    get_modality,
)
from bocage.nomenclatures import CROPS, LAND_COVER, LPIS_3
from bocage.simulate import folder
from bocage.simulate.checksums import CHECKSUMS, file_digest, image_digest
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Domain
from bocage.simulate.jobs import Progress, check_share, run_jobs
from bocage.simulate.landscape import Landscape
from bocage.simulate.landuse import MEADOW_CROP
from bocage.simulate.metadata import METADATA, metadata_is_there, write_metadata
from bocage.simulate.patches import (
    MOST_PATCHES_PER_REGION,
    Patch,
    Plan,
    draw_up,
    plan_patches,
    region_side,
)
from bocage.simulate.render import Rendered, render_past, render_present, render_series, step_cm
from bocage.simulate.sites import MAX_REGIONS, check_classes

__all__ = [
    "METADATA",
    "Progress",
    "empty_splits",
    "plan_patches",
    "simulate_dataset",
    "write_dataset",
]

Digests = dict[str, str]
Shard = tuple[int, int]
"""Part i of n, from 1: every n-th patch, beginning with the i-th."""

_LABEL_SETS = (LAND_COVER.label_set, CROPS.label_set)
_SENSORS = {modality.name: modality for modality in FLAIR_HUB_INPUTS}
_SPLITS = {"train": "training", "valid": "validation", "test": "the test"}
_SERIES = tuple(modality.name for modality in FLAIR_HUB_INPUTS if modality.series)


def simulate_dataset(
    out: Path,
    *,
    domains: int | Sequence[str] = 3,
    patches: int = 20,
    seed: int = 7,
    sensors: Sequence[str] = (),
    classes: Sequence[str] = (),
    workers: int = 1,
    shard: Shard = (1, 1),
    progress: Progress | None = None,
) -> bool:
    """Write simulated patches with sensors, labels and metadata; True when all of them are there.

    `domains` is a number (the first so many of `DOMAINS`) or keys; each gets `patches` patches.
    `sensors` are official names, all when empty; labels are always written. `classes` are names of
    land cover or crops that the patches should show where a domain has them. Of several shards the
    last to end writes the metadata. With `workers` above 1 the calling script needs the usual
    `if __name__ == "__main__"`.

    The same seed gives the same pixels on every machine. Started again, it renders only the
    patches of which a file is missing. Test patches are whole domains (whole regions when there is
    only one domain); validation patches are whole regions of the training domains.

    Raises `ConfigError` for an unknown name, a class that none of the domains has, a number out of
    range and a folder that holds anything but this very simulation; `DataError` when a file cannot
    be written.
    """
    chosen = _choose(domains, patches)
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more.")
    for name in sensors:
        if name not in _SENSORS:
            raise ConfigError(unknown_name("sensor", name, _SENSORS))
    check_classes(classes)
    _check_grown(classes, chosen)
    check_share(workers, shard)
    held = domains if isinstance(domains, int) else [domain.key for domain in chosen]
    request: dict[str, Any] = {"kind": "dataset", "seed": seed, "domains": held, "patches": patches}
    if sensors:
        request["sensors"] = sorted(set(sensors))
    if classes:
        request["classes"] = sorted(set(classes))
    side, alone = region_side(patches), len(chosen) == 1
    plans = [
        Plan(domain, seed, patches, side, alone=alone, classes=tuple(classes)) for domain in chosen
    ]
    names = tuple(name for name in _SENSORS if name in sensors or not sensors)
    whole = write_dataset(
        out, plans, request, names, workers=workers, shard=shard, progress=progress
    )
    if whole is None:
        return False
    folder.finish(out, request)
    return True


def empty_splits(domains: int | Sequence[str], patches: int) -> str | None:
    """What a data set of these domains lacks: a sentence on splits without a patch, or None.

    Raises `ConfigError` for domains, or a number of patches, that there are not.
    """
    chosen = _choose(domains, patches)
    side, alone = region_side(patches), len(chosen) == 1
    filled = set().union(
        *(Plan(domain, 0, patches, side, alone=alone).first_splits() for domain in chosen)
    )
    lacking = [name for split, name in _SPLITS.items() if split not in filled]
    if not lacking:
        return None
    if "train" not in filled:
        one = next(domain.key for domain in DOMAINS if not domain.held_out)
        remedy = f"the chosen domains are held out for the test. Add others, such as {one}"
    elif alone or "valid" not in filled:
        remedy = "validation, and the test of a single domain, take one region in five each. Ask "
        remedy += "for more patches"
    else:
        one = next(domain.key for domain in DOMAINS if domain.held_out)
        remedy = f"none of the chosen domains is held out. Add one, such as {one}"
    return f"No patch will be for {' or '.join(lacking)}: {remedy}, if you need them."


def _choose(domains: int | Sequence[str], patches: int) -> list[Domain]:
    """The domains of a number or of keys; `ConfigError` for what there is not."""
    most = MAX_REGIONS * MOST_PATCHES_PER_REGION
    if not 1 <= patches <= most:
        raise ConfigError(f"patches is {patches}; a domain has between 1 and {most:,}.")
    if isinstance(domains, int):
        if not 1 <= domains <= len(DOMAINS):
            raise ConfigError(f"domains is {domains}; between 1 and {len(DOMAINS)} are simulated.")
        return list(DOMAINS[:domains])
    for key in domains:
        if key not in DOMAINS_BY_KEY:
            raise ConfigError(unknown_name("domain", key, DOMAINS_BY_KEY))
    if not domains or len(set(domains)) < len(domains):
        raise ConfigError(f"domains is {list(domains)}; name at least one, and each once.")
    return [DOMAINS_BY_KEY[key] for key in domains]


def _check_grown(classes: Sequence[str], chosen: Sequence[Domain]) -> None:
    """`ConfigError` for a class that none of the domains has: asking for it would change nothing.

    Of land cover only what hangs on a domain's own figures can be ruled out.
    """
    for name in classes:
        if name not in LPIS_3.names and name != "snow":
            continue
        if not any(_grows(name, domain) for domain in chosen):
            keys = [domain.key for domain in DOMAINS if _grows(name, domain)]
            raise ConfigError(
                f"classes: {name!r} occurs in none of {', '.join(d.key for d in chosen)}; it does "
                f"in {', '.join(keys)}. Add one of these to the domains, or leave the class out."
            )


def _grows(name: str, domain: Domain) -> bool:
    if name == "snow":
        return domain.snow_line_m is not None
    return name in (LPIS_3.names[MEADOW_CROP], *domain.crops, *domain.permanent)


def write_dataset(
    out: Path,
    plans: Sequence[Plan],
    request: dict[str, Any],
    sensors: Sequence[str],
    *,
    workers: int,
    shard: Shard,
    progress: Progress | None,
    digests: bool = False,
) -> Digests | None:
    """Claim the folder and write what is missing of this shard; None while other shards lack files.

    The caller marks the folder as complete, after what it adds itself; where files of a complete
    one are gone, the mark is taken back first.

    With `digests`, the value holds the digest of every patch's file of this shard by its path in
    `out`: of what was written, or of the file where it was there already. Otherwise it is empty.
    """
    complete = folder.claim(out, request)
    plan = list(chain.from_iterable(run_jobs(draw_up, plans, workers)))
    every = [_Job(out, patch, tuple(sensors), digests) for patch in plan]
    beside = metadata_is_there(out, sensors) and (not digests or (out / CHECKSUMS).is_file())
    if complete and not (beside and all(job.done for job in every)):
        folder.reopen(out, request)
    jobs = every[shard[0] - 1 :: shard[1]]
    rendered, found = False, {}
    for done, (wrote, known) in enumerate(run_jobs(_write_patch, jobs, workers), start=1):
        rendered |= wrote
        found.update(known)
        if progress is not None:
            progress(done, len(jobs))
    if shard[1] > 1 and not all(job.done for job in every):
        return None
    write_metadata(out, plan, sensors, only_missing=complete and not rendered)
    return found


@dataclass(frozen=True)
class _Job:
    """One patch to write, the sensors of which files are wanted, and whether digests are."""

    root: Path
    patch: Patch
    sensors: tuple[str, ...]
    digests: bool

    @property
    def paths(self) -> dict[str, Path]:
        """Every file of the patch, by modality or label set."""
        mask = [SENTINEL2_MASK] if SENTINEL2_TS.name in self.sensors else []
        tags = [*(_SENSORS[name].file_tag for name in self.sensors), *mask, *_LABEL_SETS]
        return {tag: self.patch.path(self.root, tag) for tag in tags}

    @property
    def done(self) -> bool:
        """Whether every file stands under its final name."""
        return all(path.is_file() for path in self.paths.values())


def _write_patch(job: _Job) -> tuple[bool, Digests]:
    """Render the patch and write its files, unless all are there: whether it did, and digests."""
    patch, found = job.patch, {}
    if job.done:
        for path in job.paths.values() if job.digests else ():
            found[path.relative_to(job.root).as_posix()] = file_digest(path)
        return False, found
    images = _render(patch, job.sensors)
    with folder.writing(job.root):
        for tag, path in job.paths.items():
            pixel = patch.window.step_cm
            if tag == SENTINEL2_MASK:
                pixel = step_cm(SENTINEL2_TS)
            elif tag not in _LABEL_SETS:
                pixel = step_cm(get_modality(tag))
            window = patch.window.resampled(pixel)
            folder.write_image(path, images[tag], window, patch.domain)
            if job.digests:
                place = folder.place(window, patch.domain)
                found[path.relative_to(job.root).as_posix()] = image_digest(images[tag], place)
    return True, found


def _render(patch: Patch, sensors: tuple[str, ...]) -> Rendered:
    seed = patch.granule.seed
    land = Landscape(patch.domain, seed)
    images = render_present(land, patch.window)
    if AERIAL_RLT_PAN.name in sensors:
        images |= render_past(Landscape(patch.domain, seed, past=True), patch.window)
    if any(name in sensors for name in _SERIES):
        images |= render_series(land, patch.window.resampled(step_cm(SENTINEL2_TS)), patch.granule)
    return images
