"""Starting a network from another one's weights, to go on learning: fine-tuning.

What has the same name and shape is taken over. A sensor that the other network does not have takes
the weights of one with all of its channels, in their order (a photograph without infrared those of
one with it), a task that it does not have those of its first task, but for the last layer where the
number of classes differs. Everything else starts anew, and is named; so does a sensor of which the
other network sees other channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bocage.errors import DataError
from bocage.models.inputs import InputConfig
from bocage.models.kinds import AnyNetwork, AnyNetworkConfig

_OWN = "preparation."
"""Statistics belong to the run's inputs, not to what was learnt."""


@dataclass(frozen=True)
class Start:
    """What a network has taken over: numbers of parameters, and the names that start anew."""

    taken: int
    parameters: int
    anew: tuple[str, ...]


@dataclass(frozen=True)
class _Sensor:
    """The sensor that another one's weights come from, and the places of its channels there."""

    name: str
    channels: int
    places: tuple[int, ...]


def start_from(network: AnyNetwork, other: AnyNetwork) -> Start:
    """Fill `network` with what fits of `other`'s weights, in place.

    Raises:
        DataError: nothing but statistics fits; the network is as it was.
    """
    sensors = _sensors(network.config, other.config)
    tasks = _tasks(network.config, other.config)
    found, state = other.state_dict(), network.state_dict()
    taken: dict[str, Tensor] = {}
    for name, wanted in state.items():
        if name.startswith(_OWN):
            continue
        parts = name.split(".")
        own = next((part for part in parts if part in sensors), None)
        sensor = None if own is None else sensors[own]
        if own is not None and sensor is None:
            continue
        there = (tasks.get(part, part) for part in parts)
        if own is not None and sensor is not None:
            there = (sensor.name if part == own else part for part in there)
        given = found.get(".".join(there))
        fitting = None if given is None else _fitted(given, wanted.shape, sensor)
        if fitting is not None:
            taken[name] = fitting
    learnt = dict(network.named_parameters())
    count = sum(learnt[name].numel() for name in taken if name in learnt)
    if not count:
        raise DataError(
            "no weight of the network to start from fits this one: another architecture, other "
            "widths or other sensors. Give network.* the values of its config.yaml, or leave "
            "training.start_from out."
        )
    with torch.no_grad():
        network.load_state_dict({**state, **taken})
    return Start(
        taken=count,
        parameters=sum(p.numel() for p in learnt.values()),
        anew=tuple(name for name in learnt if name not in taken),
    )


def _sensors(config: AnyNetworkConfig, other: AnyNetworkConfig) -> dict[str, _Sensor | None]:
    """Of each input, by name, whose weights it takes; None where none shows its channels."""
    theirs = {given.modality: given for given in other.inputs}
    found: dict[str, _Sensor | None] = {}
    for own in config.inputs:
        candidates = [theirs[own.modality]] if own.modality in theirs else list(other.inputs)
        found[own.modality] = next((_sensor(g, own) for g in candidates if _shows(g, own)), None)
    return found


def _sensor(given: InputConfig, own: InputConfig) -> _Sensor:
    places = tuple(given.channel_names.index(name) for name in own.channel_names)
    return _Sensor(given.modality, len(given.channel_names), places)


def _shows(given: InputConfig, own: InputConfig) -> bool:
    """Whether one input has all channels of another, in their order and as the same numbers."""
    alike = (given.spec.quantity, given.spec.series) == (own.spec.quantity, own.spec.series)
    shared = tuple(name for name in given.channel_names if name in own.channel_names)
    return alike and shared == tuple(own.channel_names)


def _tasks(config: AnyNetworkConfig, other: AnyNetworkConfig) -> Mapping[str, str]:
    """Of each task, by name, whose decoder it takes."""
    theirs = [task.name for task in other.tasks]
    return {task.name: task.name if task.name in theirs else theirs[0] for task in config.tasks}


def _fitted(given: Tensor, shape: torch.Size, sensor: _Sensor | None) -> Tensor | None:
    """The weight for that shape, its input channels chosen where only they differ; else None."""
    if given.shape == shape:
        return given
    if sensor is None or given.ndim < 2 or given.shape[1] % sensor.channels:
        return None
    # A first layer that sees squares of pixels as channels has them channel by channel.
    by_channel = torch.unflatten(given, 1, (sensor.channels, -1))
    chosen = by_channel[:, list(sensor.places)].flatten(1, 2)
    return chosen if chosen.shape == shape else None
