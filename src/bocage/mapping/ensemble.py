"""Several answers to one question, averaged: networks of an ensemble, flips and rotations.

Logits are averaged, as they are where windows overlap: the softmax of their mean is the geometric
mean of the probabilities, and what a network adds to all its logits alike does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bocage.errors import ConfigError
from bocage.mapping.predict import Predictor
from bocage.modalities import get_modality

if TYPE_CHECKING:
    from bocage.models import Bundle

_SPATIAL = ("images", "valid", "series", "series_valid")


def check_members(bundles: Sequence[Bundle]) -> None:
    """Refuse bundles that cannot answer together (`ConfigError` says in what they differ).

    They must predict the same classes on the same grid from windows of the same size, choose dates
    alike, and have the pixel size of each shared sensor in common. Their sensors may differ.
    """
    first = bundles[0].meta
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
        for given in meta.network.inputs:
            modality = get_modality(given.modality)
            size = given.resolution_m or modality.resolution_m
            before, owner = sizes.setdefault(modality.name, (size, number))
            if before != size:
                raise ConfigError(
                    f"network {number} of the ensemble takes {modality.name} in pixels of {size:g} "
                    f"m, network {owner} in pixels of {before:g} m. Leave one of them out."
                )


class EnsemblePredictor:
    """Means over networks, each of which sees only its own sensors."""

    def __init__(self, members: Sequence[tuple[Predictor, Sequence[str]]]) -> None:
        """`members` are predictors with the names of their sensors."""
        self._members = [(predictor, frozenset(names)) for predictor, names in members]
        self.device = members[0][0].device

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) per task."""
        total = _Mean()
        for predictor, names in self._members:
            seen = {
                key: {n: t for n, t in part.items() if n in names}
                if isinstance(part, dict)
                else part
                for key, part in inputs.items()
            }
            total.add(predictor(seen))
        return total.value()


class D4Predictor:
    """Means over the eight flips and rotations of a square window."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.device = predictor.device

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """Logits (B, K, S, S) per task."""
        total = _Mean()
        for turns in range(4):
            for mirrored in (False, True):
                seen = {
                    key: {name: _turn(t, turns, mirrored) for name, t in part.items()}
                    if key in _SPATIAL
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
        self._count, self._sums = 0, dict[str, Tensor]()

    def add(self, answer: dict[str, Tensor]) -> None:
        for name, logits in answer.items():
            self._sums[name] = self._sums[name] + logits if self._count else logits
        self._count += 1

    def value(self) -> dict[str, Tensor]:
        return {name: total / self._count for name, total in self._sums.items()}
