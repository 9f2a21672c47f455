"""The model card: what a network is, what it takes, how good it is and how to use it.

Markdown under YAML front matter, as the Hugging Face hub reads it (`model-index` holds the
metrics). Everything comes as plain values: this room knows no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bocage.evaluation.report import percent

LIBRARY = "bocage"


@dataclass(frozen=True)
class CardInput:
    """One sensor as the network takes it."""

    name: str
    slug: str
    bands: tuple[str, ...]
    """Stored bands, in the order in which they must be given."""
    channels: tuple[str, ...]
    """What the network makes of them, in its order."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution_m: float
    dtype: str
    nodata: float | None
    series: bool
    mappable: bool = True
    """Whether `bocage map` can be given it."""


@dataclass(frozen=True)
class CardClass:
    """One class of a task."""

    id: int
    name: str
    name_fr: str
    color: str
    scored: bool


@dataclass(frozen=True)
class CardTask:
    """One thing that is predicted."""

    name: str
    slug: str
    classes: tuple[CardClass, ...]


@dataclass(frozen=True)
class CardMetric:
    """One score: of what, on what, and how much (in the unit that its name says)."""

    name: str
    value: float
    where: str
    """Split or data set that it was measured on."""


@dataclass(frozen=True)
class ModelCard:
    """All that a card says."""

    title: str
    repository: str
    """Owner and name on the hub; empty for a card that is only looked at."""
    file: str
    """Name of the bundle in the repository."""
    licence: str
    """The hub's identifier, such as etalab-2.0."""
    inputs: tuple[CardInput, ...]
    tasks: tuple[CardTask, ...]
    tile_px: int
    output_resolution_m: float
    parameters: int
    data: str
    """What it was trained on, in words."""
    needs_all_inputs: bool
    """Whether a place that lacks one of the sensors cannot be predicted."""
    metrics: tuple[CardMetric, ...] = ()
    scores: Mapping[str, Any] | None = None
    """A `scores.json` of `bocage evaluate`."""
    configuration: Mapping[str, Any] | None = None
    """The network's own configuration."""
    series: Mapping[str, Any] | None = None
    """Which dates of a series it was trained on."""
    bocage_version: str = ""


def render_card(card: ModelCard) -> str:
    """The card as the text of a README.md."""
    matter = yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True, width=1000)
    sections = [*_about(card), *_use(card), *_inputs(card), *_classes(card), *_scores(card)]
    sections += [*_training(card), *_limits(card)]
    return f"---\n{matter}---\n\n" + "\n".join(sections).rstrip() + "\n"


def _front_matter(card: ModelCard) -> dict[str, Any]:
    datasets = _datasets(card)
    matter: dict[str, Any] = {
        "license": card.licence,
        "library_name": LIBRARY,
        "pipeline_tag": "image-segmentation",
        "tags": [
            LIBRARY,
            "remote-sensing",
            "semantic-segmentation",
            *(task.slug for task in card.tasks),
            *(sensor.slug for sensor in card.inputs),
        ],
    }
    if datasets:
        matter["datasets"] = datasets
    results = [_result(card, m) for m in (*card.metrics, *_measured(card))]
    if results:
        matter["model-index"] = [{"name": card.title, "results": results}]
    return matter


def _result(card: ModelCard, metric: CardMetric) -> dict[str, Any]:
    slug = re.sub(r"[^a-z0-9]+", "_", metric.name.lower()).strip("_")
    return {
        "task": {"type": "image-segmentation"},
        "dataset": {
            "type": (*_datasets(card), re.sub(r"[^a-z0-9]+", "-", metric.where.lower()))[0],
            "name": metric.where,
        },
        "metrics": [{"type": slug, "name": metric.name, "value": round(metric.value, 4)}],
    }


def _datasets(card: ModelCard) -> list[str]:
    """Datasets by their names on the hub, as far as known."""
    return ["IGNF/FLAIR-HUB"] if re.match(r"flair-hub\b", card.data, re.IGNORECASE) else []


def _measured(card: ModelCard) -> Iterator[CardMetric]:
    """The averages of a `scores.json`, in percent."""
    names = {"miou": "mIoU", "overall_accuracy": "overall accuracy", "macro_f1": "macro F1"}
    for task, scores in _by_task(card.scores):
        for key, name in names.items():
            value = scores["overall"].get(key)
            if value is not None:
                yield CardMetric(f"{task} {name}, percent", 100 * value, _measured_on(card))


def _by_task(scores: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    return list((scores or {}).get("tasks", {}).items())


def _measured_on(card: ModelCard) -> str:
    about = card.scores or {}
    return f"{about.get('data', 'data')}, {about.get('split', 'test')}"


def _about(card: ModelCard) -> list[str]:
    tasks = " and ".join(task.slug for task in card.tasks)
    sensors = ", ".join(sensor.slug for sensor in card.inputs)
    version = f" {card.bocage_version}" if card.bocage_version else ""
    return [
        f"# {card.title}",
        "",
        f"Predicts {tasks} at {card.output_resolution_m:g} m from {sensors}. "
        f"{card.parameters:,} parameters in one safetensors file, which holds weights, bands, "
        f"statistics and classes: prediction needs no other file. Written by Bocage{version}.",
        "",
    ]


def _use(card: ModelCard) -> list[str]:
    local = card.file
    lines = ["## How to use", "", "```bash"]
    if card.repository:
        local = f"models/{card.repository.split('/')[1]}.safetensors"
        lines.append(f"bocage models pull {card.repository}")
    if all(sensor.mappable for sensor in card.inputs):
        words = [f"bocage map {local}"]
        for sensor in card.inputs:
            words.append(f"--{sensor.slug} {sensor.slug}.tif")
            if sensor.series:
                words.append(f"--{sensor.slug}-dates {sensor.slug}-dates.txt")
        lines.append(" \\\n  ".join([*words, "-o out"]))
    return [*lines, "```", ""] if len(lines) > 3 else []


def _inputs(card: ModelCard) -> list[str]:
    rows = [
        "| option | sensor | bands, in order | pixel | type | no data |",
        "|---|---|---|---|---|---|",
    ]
    for given in card.inputs:
        nodata = "–" if given.nodata is None else f"{given.nodata:g}"
        per_date = " of each date" if given.series else ""
        rows.append(
            f"| `--{given.slug}` | {given.name} | {', '.join(given.bands)}{per_date} | "
            f"{given.resolution_m:g} m | {given.dtype} | {nodata} |"
        )
    rows += ["", "Normalisation, after preparation (decibel for radar, metres for heights):", ""]
    rows += ["| sensor | channel | mean | deviation |", "|---|---|---|---|"]
    rows += [
        f"| {given.slug} | {channel} | {mean:g} | {std:g} |"
        for given in card.inputs
        for channel, mean, std in zip(given.channels, given.mean, given.std, strict=True)
    ]
    return ["## Inputs", "", *rows, ""]


def _classes(card: ModelCard) -> list[str]:
    lines = ["## Classes", ""]
    for task in card.tasks:
        lines += [f"### {task.slug} ({task.name})", ""]
        lines += ["| id | name | nom | colour | predicted |", "|---|---|---|---|---|"]
        lines += [
            f"| {c.id} | {c.name} | {c.name_fr} | `{c.color}` | {'yes' if c.scored else 'never'} |"
            for c in task.classes
        ]
        lines.append("")
    return lines


def _scores(card: ModelCard) -> list[str]:
    lines = ["## Scores", ""]
    if not card.metrics and not card.scores:
        return [*lines, "None are known.", ""]
    if card.metrics:
        lines += ["| on | score | value |", "|---|---|---|"]
        lines += [f"| {m.where} | {m.name} | {m.value:g} |" for m in card.metrics]
        lines.append("")
    for task, scores in _by_task(card.scores):
        lines += _score_table(f"{task}, {_measured_on(card)}", scores["overall"])
    return lines


def _score_table(title: str, overall: Mapping[str, Any]) -> list[str]:
    classes: Sequence[Mapping[str, Any]] = overall["classes"]
    return [
        f"### {title}",
        "",
        f"Overall accuracy {percent(overall['overall_accuracy'])} %, mIoU "
        f"{percent(overall['miou'])} %, macro F1 {percent(overall['macro_f1'])} % over "
        f"{overall['pixels']:,} pixels. In percent by class:",
        "",
        "| class | IoU | F1 | precision | recall | pixels |",
        "|---|---|---|---|---|---|",
        *(
            f"| {c['name']} | {percent(c['iou'])} | {percent(c['f1'])} | {percent(c['precision'])} "
            f"| {percent(c['recall'])} | {c['support']:,} |"
            for c in classes
        ),
        "",
    ]


def _training(card: ModelCard) -> list[str]:
    side_m = card.tile_px * card.output_resolution_m
    lines = [
        "## Training",
        "",
        f"Data: {card.data or 'not said'}. Patches of {card.tile_px} x {card.tile_px} label "
        f"pixels ({side_m:g} m).",
        "",
    ]
    for title, values in (("Network", card.configuration), ("Dates used", card.series)):
        if values:
            text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
            lines += [f"{title}:", "", "```yaml", text.rstrip(), "```", ""]
    return lines


def _limits(card: ModelCard) -> list[str]:
    items = [
        "Trained on the places, seasons and sensors named above; elsewhere it must be measured "
        "before it is trusted.",
        "Bands in another order, other units or other statistics give wrong maps. Bocage refuses "
        "what it can tell.",
    ]
    if card.needs_all_inputs and len(card.inputs) > 1:
        items.append("A place that lacks one of its sensors cannot be predicted.")
    elif len(card.inputs) > 1:
        items.append("A place that lacks some of its sensors is predicted from the others.")
    if any(sensor.series for sensor in card.inputs):
        items.append("A series needs dates that are clear of cloud and snow over the place.")
    never = [c.name for task in card.tasks for c in task.classes if not c.scored]
    if never:
        items.append(f"Never predicts: {', '.join(never)}.")
    return ["## Limits", "", *(f"- {item}" for item in items), ""]
