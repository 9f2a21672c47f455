"""What an evaluation leaves behind: JSON for programs, a table and a picture for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.evaluation.confusion import ConfusionMatrix
from bocage.evaluation.scores import Scores, score
from bocage.files import atomic_path, write_json, write_text
from bocage.nomenclatures import Task


def write_report(
    folder: Path, matrices: Mapping[str, ConfusionMatrix], about: Mapping[str, Any]
) -> dict[str, Scores]:
    """Write `scores.json`, `scores.txt` and `confusion-TASK.png` into `folder`.

    `matrices` is by task name; `about` (run, split, data, number of patches) heads the JSON.
    Returns the scores over all domains, by task name.
    """
    overall: dict[str, Scores] = {}
    document: dict[str, Any] = {**about, "tasks": {}}
    text = ["  ".join(f"{key}: {value}" for key, value in about.items()), ""]
    for name, confusion in matrices.items():
        task = confusion.task
        matrix = confusion.compute().cpu().numpy()
        domains = {d: score(m, task) for d, m in confusion.by_domain().items()}
        overall[name] = score(matrix, task)
        document["tasks"][name] = {
            "overall": overall[name].to_json(),
            "domains": {d: s.to_json() for d, s in domains.items()},
            "confusion": {
                "rows": "reference",
                "columns": "prediction",
                "classes": list(task.nomenclature.names),
                "counts": matrix.tolist(),
                "domains": {d: m.tolist() for d, m in confusion.by_domain().items()},
            },
        }
        text += [format_table(overall[name], domains), ""]
        draw_confusion(matrix, task, overall[name], folder / f"confusion-{task.slug}.png")
    write_text(folder / "scores.txt", "\n".join(text))
    write_json(folder / "scores.json", document)
    return overall


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal, a dash when undefined."""
    return "–" if value is None else f"{100 * value:.1f}"


def format_table(scores: Scores, domains: Mapping[str, Scores]) -> str:
    """A readable table: averages, then one line per class, then one per domain (percent)."""
    lines = [
        f"{scores.task}: {scores.pixels:,} pixels",
        f"  overall accuracy {percent(scores.overall_accuracy)}   mIoU {percent(scores.miou)}"
        f"   (all classes {percent(scores.miou_all_classes)},"
        f" foreground {percent(scores.miou_foreground)})   macro F1 {percent(scores.macro_f1)}",
        "",
        f"  {'class':<28}{'IoU':>7}{'F1':>7}{'prec.':>7}{'recall':>7}{'pixels':>14}",
    ]
    lines += [
        f"  {f'{c.id} {c.name}':<28}{percent(c.iou):>7}{percent(c.f1):>7}"
        f"{percent(c.precision):>7}{percent(c.recall):>7}{c.support:>14,}"
        for c in scores.classes
    ]
    lines += ["", f"  {'domain':<28}{'OA':>7}{'mIoU':>7}{'':>14}{'pixels':>14}"]
    lines += [
        f"  {name:<28}{percent(s.overall_accuracy):>7}{percent(s.miou):>7}{'':>14}{s.pixels:>14,}"
        for name, s in domains.items()
    ]
    return "\n".join(lines)


def draw_confusion(matrix: NDArray[np.int64], task: Task, scores: Scores, target: Path) -> None:
    """The matrix as a picture: each row in percent of its reference class, absent classes left out.

    A last column gathers predictions in classes that the reference does not hold.
    """
    from matplotlib.figure import Figure

    rows = np.flatnonzero(matrix.sum(axis=1))
    others = np.setdiff1d(np.arange(len(matrix)), rows)
    counts = np.column_stack([matrix[np.ix_(rows, rows)], matrix[np.ix_(rows, others)].sum(axis=1)])
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [task.nomenclature.names[i] for i in rows]

    side = 3.0 + 0.42 * len(rows)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="BuPu", vmin=0, vmax=100)
    for (y, x), value in np.ndenumerate(share):
        if value >= 0.5:
            shade = "white" if value > 55 else "black"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color=shade)
    axes.set_xticks(range(len(names) + 1), [*names, "other"], rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("prediction")
    axes.set_ylabel("reference")
    axes.set_title(
        f"{task.name}: OA {percent(scores.overall_accuracy)} %, mIoU {percent(scores.miou)} %",
        fontsize=10,
    )
    figure.colorbar(image, ax=axes, shrink=0.7, label="percent of the reference class")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=110)
