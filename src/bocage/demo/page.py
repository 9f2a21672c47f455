"""The demonstration's one page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from bocage.evaluation.report import percent
from bocage.files import write_text
from bocage.nomenclatures import Task


@dataclass(frozen=True)
class Figures:
    """What the page reports: scores by run ("fusion", "aerial", "map"), time, map report."""

    scores: dict[str, Any]
    tasks: Sequence[Task]
    seconds: int
    map: dict[str, Any]


def write_page(target: Path, figures: Figures) -> None:
    """Write the page; its pictures are expected in `pictures/` beside it."""
    template = Template((resources.files("bocage.demo") / "page.html").read_text(encoding="utf-8"))
    crops = next(t for t in figures.tasks if t.slug == "crops")
    gain = _overall(figures, "fusion", crops)["miou"] - _overall(figures, "aerial", crops)["miou"]
    write_text(
        target,
        template.substitute(
            summary=_summary(figures),
            gain=f"{100 * gain:+.1f}",
            classes="".join(_class_table(figures, task) for task in figures.tasks),
            maps="".join(_figure(f"map-{t.slug}.png", f"1 km²: {t.slug}") for t in figures.tasks),
            confusion="".join(
                _figure(f"confusion-{run}-{t.slug}.png", f"{run}, {t.slug}")
                for t in figures.tasks
                for run in ("fusion", "aerial")
            ),
            minutes=f"{figures.seconds / 60:.1f}",
            speed=html.escape(f"{figures.map['km2_per_s'] * 3600:.1f} km² per hour"),
        ),
    )


def _overall(figures: Figures, run: str, task: Task) -> dict[str, Any]:
    overall = figures.scores[run]["tasks"][task.name]["overall"]
    assert isinstance(overall, dict)
    return overall


def _figure(name: str, caption: str) -> str:
    return (
        f'<figure><a href="pictures/{name}"><img src="pictures/{name}" alt="{caption}" '
        f'loading="lazy"></a><figcaption>{caption}</figcaption></figure>'
    )


_TITLES = {
    "fusion": "all sensors, test patches",
    "aerial": "photograph alone, test patches",
    "map": "all sensors, map of 1 km²",
}


def _summary(figures: Figures) -> str:
    rows = []
    for run, title in _TITLES.items():
        cells = "".join(
            f"<td>{percent(_overall(figures, run, t)['miou'])}</td>"
            f"<td>{percent(_overall(figures, run, t)['overall_accuracy'])}</td>"
            for t in figures.tasks
        )
        rows.append(f"<tr><th>{title}</th>{cells}</tr>")
    heads = "".join(f'<th colspan="2">{t.slug.replace("-", " ")}</th>' for t in figures.tasks)
    units = "<th>mIoU</th><th>accuracy</th>" * len(figures.tasks)
    return f"<table><tr><th></th>{heads}</tr><tr><th></th>{units}</tr>{''.join(rows)}</table>"


def _class_table(figures: Figures, task: Task) -> str:
    by_run = {
        run: {c["id"]: c for c in _overall(figures, run, task)["classes"]}
        for run in ("fusion", "aerial")
    }
    colors = {c.id: c.color for c in task.nomenclature}
    rows = [
        f'<tr><th><i style="background:{colors[i]}"></i>{html.escape(c["name"])}</th>'
        f"<td>{percent(c['iou'])}</td><td>{percent(by_run['aerial'][i]['iou'])}</td></tr>"
        for i, c in by_run["fusion"].items()
        if c["support"]
    ]
    return (
        f"<table><caption>{task.slug.replace('-', ' ')}, IoU per class</caption>"
        f"<tr><th></th><th>all sensors</th><th>photograph</th></tr>{''.join(rows)}</table>"
    )
