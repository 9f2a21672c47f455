"""How often each patch is drawn: as it comes, or more often where a class or domain is rare.

Shapes: N patches, K classes of a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bocage.data.index import PatchIndex
from bocage.errors import ConfigError, unknown_name
from bocage.nomenclatures import Task, get_task

_ROUNDS, _EXACT = 500, 1e-4


class SamplingConfig(BaseModel):
    """Which training patches an epoch shows, and how often. By default each one once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: dict[str, float] = {}
    """By task, how far classes are evened out: 0 as they come, 1 all alike. A class is drawn in
    proportion to its pixels to the power of 1 less this, and then a patch in proportion to the
    pixels that it has of the class."""
    at_least: dict[str, dict[str, float]] = {}
    """By task and class name, the share of drawn patches that must hold the class."""
    domains: float = Field(default=0.0, ge=0, le=1)
    """How far domains are evened out: 0 as they come, 1 all alike."""
    hardness: float = Field(default=0.0, ge=0)
    """Power of the share of a patch's pixels that the network got wrong when it last saw it, by
    which the patch is drawn more often in the next epoch."""
    draws: int | None = Field(default=None, ge=1)
    """Patches per epoch. None: as many as there are."""

    @field_validator("classes")
    @classmethod
    def _shares(cls, by_task: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= power <= 1 for power in by_task.values()):
            raise ValueError(f"must be from 0 to 1, got {by_task}")
        return by_task

    @field_validator("at_least")
    @classmethod
    def _portions(cls, by_task: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for shares in by_task.values():
            if any(not 0 < share < 1 for share in shares.values()):
                raise ValueError(f"shares lie between 0 and 1, got {shares}")
        return by_task

    @property
    def uniform(self) -> bool:
        """Whether every patch is drawn alike."""
        return not (any(self.classes.values()) or self.at_least or self.domains or self.hardness)


def draw_weights(
    index: PatchIndex,
    config: SamplingConfig,
    tasks: Sequence[Task] = (),
    wrong: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """Share of each patch among the draws, (N,) summing to 1; None where all are drawn alike.

    `tasks` are the run's, which `config` may name beside those that come with Bocage. `wrong`
    (N,) is the share of wrong pixels when a patch was last seen, NaN where it was not yet.
    Raises `ConfigError` for an unknown task or class, for class counts that the index does not
    have, and for shares that cannot be met.
    """
    if config.uniform:
        return None
    count = len(index)
    weights = np.full(count, 1.0 / count)
    for name, power in config.classes.items():
        if power:
            weights *= _evened_by_class(_counts(index, _task(name, tasks)), power)
    if config.domains:
        domains = np.asarray(index.table.column("domain").to_pylist())
        _, group, sizes = np.unique(domains, return_inverse=True, return_counts=True)
        weights *= (sizes[group] / count) ** -config.domains
    if config.hardness and wrong is not None and not np.isnan(wrong).all():
        # Patches not seen yet count as the mean; none is ever left out for good.
        known = np.where(np.isnan(wrong), np.nanmean(wrong), wrong)
        weights *= (known + 0.02) ** config.hardness
    weights /= weights.sum()
    wanted = {
        (task.name, class_name): (_holds(index, task, class_name), share)
        for task, shares in ((_task(name, tasks), own) for name, own in config.at_least.items())
        for class_name, share in shares.items()
    }
    return _raised(weights, wanted) if wanted else weights


def _task(name: str, tasks: Sequence[Task]) -> Task:
    own = [task for task in tasks if name in (task.name, task.slug)]
    return own[0] if own else get_task(name)


def _counts(index: PatchIndex, task: Task) -> NDArray[np.int64]:
    counts = index.class_counts(task.name)[:, task.scored]
    if not counts.any():
        raise ConfigError(
            f"data.sampling: the index has no class counts of {task.name}. Build it again with "
            "'bocage data index', or leave this task out of data.sampling."
        )
    return counts


def _evened_by_class(counts_NK: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """Factor of each patch, (N,), relative to drawing all alike."""
    totals = counts_NK.sum(axis=0)
    found = totals > 0
    chosen = np.zeros(len(totals))
    chosen[found] = totals[found] ** (1 - power)
    chosen /= chosen.sum()
    factors = counts_NK[:, found] / totals[found] @ chosen[found] * len(counts_NK)
    # A patch without a labelled pixel teaches nothing here, but may teach another task.
    return np.asarray(np.maximum(factors, 1e-3))


def _holds(index: PatchIndex, task: Task, class_name: str) -> NDArray[np.bool_]:
    names = {c.name: place for place, c in enumerate(task.nomenclature)}
    if class_name not in names:
        raise ConfigError(unknown_name(f"class of {task.name}", class_name, names))
    _counts(index, task)
    holds: NDArray[np.bool_] = index.class_counts(task.name)[:, names[class_name]] > 0
    if not holds.any():
        raise ConfigError(
            f"data.sampling.at_least: no training patch holds '{class_name}' of {task.name}."
        )
    return holds


def _raised(
    weights: NDArray[np.float64],
    wanted: Mapping[tuple[str, str], tuple[NDArray[np.bool_], float]],
) -> NDArray[np.float64]:
    """The weights nearest to the given ones under which each class is held often enough.

    One class after the other is raised to its share, again and again, until all have theirs: the
    odds of holding it are scaled, which leaves proportions within and without as they are
    (iterative proportional fitting; nearest in relative entropy).
    """
    for _ in range(_ROUNDS):
        settled = True
        for holds, share in wanted.values():
            held = weights[holds].sum()
            if held < share - _EXACT:
                if held > 1 - _EXACT:
                    continue
                weights = weights * np.where(holds, share / held, (1 - share) / (1 - held))
                settled = False
        if settled:
            return weights
    short = [
        f"{task} '{name}' {weights[holds].sum():.2f} of {share:g}"
        for (task, name), (holds, share) in wanted.items()
        if weights[holds].sum() < share - _EXACT
    ]
    raise ConfigError(
        "data.sampling.at_least: these shares cannot be met together, because too few patches hold "
        f"several of the classes: {', '.join(short)}. Lower some."
    )
