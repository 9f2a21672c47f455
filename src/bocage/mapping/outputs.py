"""What a map consists of: the layers that a bundle's tasks and the configuration ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bocage import __version__
from bocage.errors import ConfigError, unknown_name
from bocage.mapping.config import MapConfig
from bocage.modalities import get_modality

Color = tuple[int, int, int, int]
Product = Literal["classes", "confidence", "entropy", "probabilities", "coverage"]

COVERAGE = "coverage"
CONFIDENCE_STEPS = 254
"""A probability of 1.0 is stored as this; 255 is nodata."""
NODATA = 255
_BITS = 8


@dataclass(frozen=True)
class TaskOutput:
    """Which logits of a task count, the class id that each stands for, and what is written."""

    name: str
    slug: str
    num_classes: int
    scored: tuple[int, ...]
    class_ids: tuple[int, ...]
    """Ids of the scored classes, in the order of `scored`."""
    confidence: bool = True
    """Probability of the mapped class."""
    entropy: bool = False
    """How undecided the network is, as a share of what is possible."""
    probabilities: tuple[int, ...] = ()
    """Places in `scored` of the classes whose probability is wanted."""


@dataclass(frozen=True)
class Layer:
    """One file of the map, uint8: its name without suffix and what its numbers mean.

    `classes`: class ids, named in `classes` (id to name) and `colors` (id to RGBA). `confidence`,
    `entropy` and `probabilities`: stored number times `scale` is a share. `coverage`: bit k is set
    where the sensor `bands[k]` of the tags has data.
    """

    stem: str
    product: Product
    task: str
    bands: tuple[str, ...]
    """What each band holds."""
    classes: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, Color] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """Stored number to quantity."""
        return 1.0 if self.product in ("classes", "coverage") else 1.0 / CONFIDENCE_STEPS

    @property
    def nodata(self) -> int:
        """Stored number where nothing is known; no sensor at all for a coverage."""
        return 0 if self.product == "coverage" else NODATA

    @property
    def overviews(self) -> str:
        """How smaller pictures of the layer are made."""
        return "average" if self.scale != 1.0 else "mode"

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the layer again."""
        return {
            "stem": self.stem,
            "product": self.product,
            "task": self.task,
            "bands": list(self.bands),
            "classes": {str(k): v for k, v in self.classes.items()},
            "colors": {str(k): list(v) for k, v in self.colors.items()},
            "tags": dict(self.tags),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Layer:
        """The layer that `to_json` described."""
        colors = {int(k): (v[0], v[1], v[2], v[3]) for k, v in given["colors"].items()}
        return cls(
            given["stem"],
            given["product"],
            given["task"],
            tuple(given["bands"]),
            {int(k): v for k, v in given["classes"].items()},
            colors,
            given["tags"],
        )


def task_outputs(tasks: Sequence[Any], config: MapConfig) -> tuple[TaskOutput, ...]:
    """What the blending of each of the bundle's tasks yields.

    `ConfigError` for a wanted probability of no scored class, and for one beside `all`.
    """
    wanted = set(config.probabilities)
    if "all" in wanted and len(wanted) > 1:
        raise ConfigError(
            "probabilities: beside 'all' naming classes has no effect. Leave them, or 'all', out."
        )
    found = []
    for task in tasks:
        scored = [(i, c) for i, c in enumerate(task.classes) if c.scored]
        names = {c.name for _, c in scored}
        chosen = names if "all" in config.probabilities else names & set(config.probabilities)
        wanted -= names
        found.append(
            TaskOutput(
                task.name,
                task.slug,
                len(task.classes),
                tuple(i for i, _ in scored),
                tuple(c.id for _, c in scored),
                config.confidence,
                config.entropy,
                tuple(k for k, (_, c) in enumerate(scored) if c.name in chosen),
            )
        )
    unknown = sorted(wanted - {"all"})
    if unknown:
        valid = ["all", *(c.name for task in tasks for c in task.classes if c.scored)]
        raise ConfigError("probabilities: " + unknown_name("scored class", unknown[0], valid))
    return tuple(found)


def map_layers(
    tasks: Sequence[Any], outputs: Sequence[TaskOutput], inputs: Sequence[str], config: MapConfig
) -> tuple[Layer, ...]:
    """All files of the map, in the order in which they are written."""
    layers: list[Layer] = []
    for task, output in zip(tasks, outputs, strict=True):
        tags = {"bocage_version": __version__, "task": task.name}
        names = {c.id: c.name for c in task.classes}
        colors = {c.id: (*_rgb(c.color), 255) for c in task.classes}
        slug = task.slug
        layers.append(Layer(slug, "classes", task.name, (slug,), names, colors, tags))
        if output.confidence:
            text = f"probability of the mapped class, {slug}"
            layers.append(Layer(f"{slug}_confidence", "confidence", task.name, (text,), tags=tags))
        if output.entropy:
            text = f"entropy of the class probabilities as a share of its largest value, {slug}"
            layers.append(Layer(f"{slug}_entropy", "entropy", task.name, (text,), tags=tags))
        if output.probabilities:
            bands = tuple(names[output.class_ids[k]] for k in output.probabilities)
            stem = f"{slug}_probabilities"
            layers.append(Layer(stem, "probabilities", task.name, bands, tags=tags))
    sensors = coverage_bits(inputs)
    if config.coverage and "coverage" in config.model_fields_set and len(sensors) < 2:
        raise ConfigError(
            "coverage=true has no effect: this network has one sensor, and where it has no data is "
            "nodata. Leave it out."
        )
    if config.coverage and len(sensors) > 1:
        if len(sensors) > _BITS:
            raise ConfigError(
                f"a coverage layer tells {_BITS} sensors apart, here are {len(sensors)}. Set "
                "coverage=false."
            )
        tags = {"bocage_version": __version__}
        tags |= {f"bit_{k}": name for k, name in enumerate(sensors)}
        layers.append(
            Layer(COVERAGE, "coverage", "", ("sensors with data, a bit each",), tags=tags)
        )
    return tuple(layers)


def coverage_bits(inputs: Sequence[str]) -> tuple[str, ...]:
    """The sensor that each bit of a coverage stands for: those that show the ground mapped."""
    return tuple(name for name in inputs if get_modality(name).covers_patch)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
