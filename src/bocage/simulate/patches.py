"""Which patches a simulated data set holds, and where each of their files lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bocage.modalities import AERIAL_RGBI, AERIAL_RLT_PAN
from bocage.simulate.domains import Domain
from bocage.simulate.noise import Window
from bocage.simulate.render import step_cm
from bocage.simulate.sites import PATCH_CM, regions
from bocage.simulate.sky import Granule

PAST_YEAR = "195X"
"""FLAIR-HUB's stand-in for the year of historical photographs, in folder and file names."""
SPLIT_COLUMNS = (*(f"split_{k}" for k in range(1, 6)), "split_flairchallenge")

_REGION_SIDE = 2
MOST_PATCHES_PER_REGION = _REGION_SIDE**2
_FEW_PATCHES = 8
"""Below this a region is one patch, so that training and validation both get some."""


@dataclass(frozen=True)
class Patch:
    """One patch: its place and its split in each of `SPLIT_COLUMNS`."""

    domain: Domain
    region: str
    row: int
    col: int
    window: Window
    granule: Granule
    splits: tuple[str, ...]

    @property
    def id(self) -> str:
        """FLAIR-HUB's patch id."""
        return f"{self.domain.key}_{self.region}_{self.row}-{self.col}"

    def path(self, root: Path, tag: str) -> Path:
        """Where FLAIR-HUB keeps this patch's file of a modality or label set."""
        key = self.domain.key
        if tag == AERIAL_RLT_PAN.file_tag:
            key = f"{key.partition('-')[0]}-{PAST_YEAR}"
        stem = f"{key}_{tag}"
        return root / stem / self.region / f"{stem}_{self.region}_{self.row}-{self.col}.tif"


@dataclass(frozen=True)
class Plan:
    """What is asked of one domain: so many `patches` in regions of `side` squared.

    `split` for all of them, or None for the usual one: test patches in held-out domains, elsewhere
    one region in five for validation (`alone`: and one for the test). `classes`: names of classes
    that the regions should show.
    """

    domain: Domain
    seed: int
    patches: int
    side: int
    split: str | None = None
    alone: bool = False
    classes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many regions it needs."""
        return -(-self.patches // self.side**2)

    def splits(self, number: int) -> tuple[str, ...]:
        """The split of a region in each of `SPLIT_COLUMNS`."""
        return tuple(
            self.split or _split(self.domain, number, self.count, turn, self.alone)
            for turn in (0, 1, 2, 3, 4, 0)
        )

    def first_splits(self) -> set[str]:
        """The splits that get a patch, by the first of `SPLIT_COLUMNS`."""
        return {self.splits(number)[0] for number in range(self.count)}


def region_side(patches: int) -> int:
    """Patches along a region of a domain of so many."""
    return _REGION_SIDE if patches >= _FEW_PATCHES else 1


def plan_patches(
    domain: Domain, seed: int, patches: int, *, alone: bool, classes: Sequence[str] = ()
) -> list[Patch]:
    """The patches of one domain, region by region; `alone`: test regions must come from it too."""
    side = region_side(patches)
    return draw_up(Plan(domain, seed, patches, side, alone=alone, classes=tuple(classes)))


def draw_up(plan: Plan) -> list[Patch]:
    """The patches of a plan, region by region."""
    side, domain = plan.side, plan.domain
    found = []
    for number, region in enumerate(regions(domain, plan.seed, plan.count, side, plan.classes)):
        granule = Granule.at(domain, plan.seed, region.u, region.v)
        splits = plan.splits(number)
        for k in range(min(side**2, plan.patches - number * side**2)):
            row, col = divmod(k, side)
            pixels = AERIAL_RGBI.size_px
            window = Window(
                region.u + col * PATCH_CM,
                region.v + row * PATCH_CM,
                step_cm(AERIAL_RGBI),
                pixels,
                pixels,
            )
            found.append(Patch(domain, region.name, row + 1, col + 1, window, granule, splits))
    return found


def _split(domain: Domain, number: int, count: int, turn: int, alone: bool) -> str:
    """Split of a domain's region: one region in five is for validation, a different one per turn.

    Whole regions: unlike FLAIR-HUB's own split, no validation patch touches a training patch.
    """
    if domain.held_out:
        return "test"
    place = (number + turn) % min(5, count)
    if place == 1:
        return "valid"
    return "test" if alone and place == 2 else "train"
