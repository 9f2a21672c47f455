"""`bocage data split`: a split column in which no ROI is both learnt from and scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bocage.data.index import PatchIndex
from bocage.data.split.assign import assign_groups
from bocage.data.split.space import join_neighbours
from bocage.errors import ConfigError, unknown_name
from bocage.nomenclatures import CROPS, LAND_COVER

TRAIN, VALID, TEST = "train", "valid", "test"
_PREFIX = "split"
_STRATIFIED = (LAND_COVER, CROPS)


@dataclass(frozen=True)
class SplitPlan:
    """How patches are to be split.

    `by` is roi or domain: what is held out as a whole. `valid` and `test` are shares of the
    patches. ROIs nearer to each other than `buffer_m` stay together. `keep_test` names a split
    column whose test patches are taken over as they are: then `test` says nothing, and only the
    rest is divided.
    """

    by: str = "roi"
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0
    buffer_m: float = 0.0
    keep_test: str | None = None


def split_index(index: PatchIndex, name: str, plan: SplitPlan, replace: bool = False) -> PatchIndex:
    """The index with the split column `name`: train, valid, test, or nothing.

    Whole ROIs or domains go to one part, together with those that they touch; parts resemble the
    whole in size and in the shares of land-cover and crop classes as well as whole groups allow.
    With `keep_test`, patches that touch its test patches are in no part. Raises `ConfigError` for
    shares, names and columns that cannot be, and where there are fewer groups than parts.
    """
    if not name.startswith(_PREFIX):
        raise ConfigError(f"--name {name}: a split column begins with '{_PREFIX}'.")
    if name in index.table.column_names and not replace:
        raise ConfigError(f"--name {name}: the index has it already. Say --replace, or rename.")
    return index.with_column(name, pa.array(assign_patches(index, plan).tolist(), pa.string()))


def assign_patches(index: PatchIndex, plan: SplitPlan) -> NDArray[np.object_]:
    """The part of each patch, (N,): train, valid, test or None."""
    group_of = join_neighbours(index, plan.by, plan.buffer_m)
    kept = _kept_test(index, plan)
    held = np.zeros(group_of.max() + 1, dtype=bool)
    held[group_of[kept]] = True
    names, targets = _targets(plan)
    free = np.flatnonzero(~held)
    if len(free) < len(names):
        raise ConfigError(
            f"--by {plan.by}: only {len(free)} groups that do not touch each other, for "
            f"{', '.join(names)}. Hold out smaller units, lessen --buffer-m, or ask for fewer "
            "parts."
        )
    features = _features(index, group_of)[free]
    total = features.sum(axis=0)
    features = features[:, total > 0] / total[total > 0]
    # Size counts as much as all classes together; a class as much as any other.
    weights = np.full(features.shape[1], 1.0 / max(features.shape[1] - 1, 1))
    weights[0] = 1.0
    parts = assign_groups(features, weights, targets, plan.seed)
    by_group = np.full(len(held), None, dtype=object)
    by_group[free] = np.array(names, dtype=object)[parts]
    out = by_group[group_of]
    out[kept] = TEST
    return out


def _targets(plan: SplitPlan) -> tuple[list[str], NDArray[np.float64]]:
    for name, share in (("valid", plan.valid), ("test", plan.test)):
        if not 0 <= share < 1:
            raise ConfigError(f"--{name} {share:g}: expected a share from 0 to below 1.")
    test = 0.0 if plan.keep_test is not None else plan.test
    if plan.valid + test >= 1 or plan.valid + test == 0:
        raise ConfigError(
            f"--valid {plan.valid:g} --test {test:g}: something must be held out, and something "
            "left to learn from."
        )
    if plan.buffer_m < 0:
        raise ConfigError(f"--buffer-m {plan.buffer_m:g}: expected metres, 0 or more.")
    shares = {TRAIN: 1 - plan.valid - test, VALID: plan.valid, TEST: test}
    wanted = {name: share for name, share in shares.items() if share > 0}
    return list(wanted), np.array(list(wanted.values()))


def _kept_test(index: PatchIndex, plan: SplitPlan) -> NDArray[np.bool_]:
    if plan.keep_test is None:
        return np.zeros(len(index), dtype=bool)
    if plan.keep_test not in index.split_columns:
        raise ConfigError(unknown_name("split column", plan.keep_test, index.split_columns))
    values = index.table.column(plan.keep_test).cast(pa.string()).to_pylist()
    return np.array([value == TEST for value in values], dtype=bool)


def _features(index: PatchIndex, group_of: NDArray[np.int64]) -> NDArray[np.float64]:
    """Patches and pixels per scored class, by group: (G, F)."""
    columns = [np.bincount(group_of).astype(np.float64)[:, None]]
    for task in _STRATIFIED:
        counts = index.class_counts(task.name)
        table = np.zeros((len(columns[0]), counts.shape[1]))
        np.add.at(table, group_of, counts)
        columns.append(table[:, task.scored])
    return np.concatenate(columns, axis=1)
