"""Several answers to one question, averaged: networks of an ensemble, flips and rotations.

Logits are averaged, as they are where windows overlap: the softmax of their mean is the geometric
mean of the probabilities, and what a network adds to all its logits alike does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bocage.errors import ConfigError
from bocage.mapping.predict import SPATIAL, Predictor, to_device
from bocage.modalities import get_modality
from bocage.models.kinds import WindowSides, window_sides

if TYPE_CHECKING:
    from bocage.models import Bundle


def check_members(bundles: Sequence[Bundle], given: Sequence[str]) -> None:
    """Refuse bundles that cannot answer together (`ConfigError` says in what they differ).

    `given` are the sensors that there is imagery of: each network must see one of them. They must
    predict the same classes on the same grid from windows of the same size, choose dates
    alike, and have the pixel size of each shared sensor in common. Their sensors may differ.
    """
    first = bundles[0].meta
    there = {get_modality(name).name for name in given}
    sizes: dict[str, tuple[float, int]] = {}
    for number, bundle in enumerate(bundles, start=1):
        meta = bundle.meta
        found = {
            "classes": [[(c.id, c.name, c.scored) for c in t.classes] for t in meta.tasks],
            "tasks": [t.name for t in meta.tasks],
            "output pixel size": meta.network.output_resolution_m,
            "tile size": meta.tile_px,
            "choice of dates": meta.series,
        }
        wanted = {
            "classes": [[(c.id, c.name, c.scored) for c in t.classes] for t in first.tasks],
            "tasks": [t.name for t in first.tasks],
            "output pixel size": first.network.output_resolution_m,
            "tile size": first.tile_px,
            "choice of dates": first.series,
        }
        differing = [key for key in found if found[key] != wanted[key]]
        if differing:
            raise ConfigError(
                f"network {number} of the ensemble differs from the first in: "
                f"{', '.join(differing)}. Only networks that answer the same question on the same "
                "windows can be averaged."
            )
        names = [get_modality(one.modality).name for one in meta.network.inputs]
        if len(bundles) > 1 and there.isdisjoint(names):
            raise ConfigError(
                f"network {number} of the ensemble sees none of the given sensors, only "
                f"{', '.join(names)}. Give one of these, or leave the network out."
            )
        for one in meta.network.inputs:
            modality = get_modality(one.modality)
            size = one.resolution_m or modality.resolution_m
            before, owner = sizes.setdefault(modality.name, (size, number))
            if before != size:
                raise ConfigError(
                    f"network {number} of the ensemble takes {modality.name} in pixels of {size:g} "
                    f"m, network {owner} in pixels of {before:g} m. Leave one of them out."
                )


def sides_of(bundles: Sequence[Bundle]) -> WindowSides:
    """The windows that all of them take; `ConfigError` where there are none."""
    found = [window_sides(bundle.meta.network) for bundle in bundles]
    only = sorted({sides.only_px for sides in found if sides.only_px is not None})
    step_px = math.lcm(*(sides.step_px for sides in found))
    if len(only) > 1 or (only and only[0] % step_px):
        raise ConfigError(
            f"the ensemble's networks take no windows in common: some only those of "
            f"{' or '.join(map(str, only))} px, others multiples of {step_px}. Leave one out."
        )
    return WindowSides(step_px, only[0] if only else None)


class EnsemblePredictor:
    """Means over networks, each of which sees only its own sensors."""

    def __init__(self, members: Sequence[tuple[Predictor, Sequence[str]]]) -> None:
        """`members` are predictors with the names of their sensors."""
        self._members = [(predictor, frozenset(names)) for predictor, names in members]
        self.device = members[0][0].device

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) per task."""
        total = _Mean()
        inputs = to_device(inputs, self.device, SPATIAL)
        for predictor, names in self._members:
            seen = {
                key: {n: t for n, t in part.items() if n in names}
                if isinstance(part, dict)
                else part
                for key, part in inputs.items()
            }
            # A network that sees nothing of a window has no say in it.
            sees = torch.stack(list(seen["present"].values())).any(dim=0)
            if bool(sees.any()):
                total.add(predictor(seen), sees)
        return total.value()


class D4Predictor:
    """Means over the eight flips and rotations of a square window."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.device = predictor.device

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) per task."""
        total = _Mean()
        inputs = to_device(inputs, self.device, SPATIAL)
        for turns in range(4):
            for mirrored in (False, True):
                seen = {
                    key: {name: _turn(t, turns, mirrored) for name, t in part.items()}
                    if key in SPATIAL
                    else part
                    for key, part in inputs.items()
                }
                answer = self._predictor(seen)
                total.add({n: _turn_back(t, turns, mirrored) for n, t in answer.items()})
        return total.value()


def averaged(
    open_one: Callable[[Bundle], Predictor], bundles: Sequence[Bundle], d4: bool
) -> Predictor:
    """The predictor of all bundles together, turned and mirrored if wanted."""
    members = [
        (open_one(b), [get_modality(i.modality).name for i in b.meta.network.inputs])
        for b in bundles
    ]
    predictor: Predictor = members[0][0] if len(members) == 1 else EnsemblePredictor(members)
    return D4Predictor(predictor) if d4 else predictor


def _turn(tensor: Tensor, turns: int, mirrored: bool) -> Tensor:
    turned = tensor.rot90(turns, (-2, -1)) if turns else tensor
    return turned.flip(-1) if mirrored else turned


def _turn_back(tensor: Tensor, turns: int, mirrored: bool) -> Tensor:
    unflipped = tensor.flip(-1) if mirrored else tensor
    return unflipped.rot90(-turns, (-2, -1)) if turns else unflipped


class _Mean:
    """A running mean of logits by task: one answer more in memory, however many there are."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: Tensor | int = 0

    def add(self, answer: dict[str, Tensor], counts_B: Tensor | None = None) -> None:
        """Add an answer, of the samples that count (None: all)."""
        for name, logits in answer.items():
            weight = 1 if counts_B is None else counts_B.to(logits.device)[:, None, None, None]
            part = logits if counts_B is None else logits * weight
            self._sums[name] = self._sums[name] + part if name in self._sums else part
        self._counts = self._counts + (1 if counts_B is None else counts_B.long())

    def value(self) -> dict[str, Tensor]:
        counts = self._counts
        if isinstance(counts, int):
            return {name: total / counts for name, total in self._sums.items()}
        shares = counts.clamp(min=1)[:, None, None, None]
        return {name: total / shares.to(total.device) for name, total in self._sums.items()}
