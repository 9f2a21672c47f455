"""A description as pictures: one PNG per question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bocage.data.describe.facts import MONTHS, ClassFacts, Description, slug_of
from bocage.data.describe.splits import TRAIN, SplitFacts
from bocage.data.show.panels import new_figure, save
from bocage.modalities import MODALITIES
from bocage.nomenclatures import CROPS, LAND_COVER, Task

# Colours that also those tell apart who see no red or no green (Okabe and Ito).
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_EDGE, _GREY = "#555555", "#8c8c8c"
_MOST_DOMAINS = 80
_SHIFT_TASKS = (LAND_COVER, CROPS)


def draw_all(d: Description, folder: Path) -> list[Path]:
    """Write every picture that the index has material for, and say which."""
    pictures: dict[str, Callable[[Description], Figure | None]] = {
        "classes.png": _classes,
        "dates.png": _dates,
        "clouds.png": _clouds,
        "domains.png": _domains,
    }
    out = []
    for name, draw in pictures.items():
        figure = draw(d)
        if figure is not None:
            out.append(folder / name)
            save(figure, out[-1])
    for column, facts in d.splits.items():
        figure = _shift(column, facts)
        if figure is not None:
            out.append(folder / f"shift_{column}.png")
            save(figure, out[-1])
    return out


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)


def _classes(d: Description) -> Figure | None:
    tasks = {t: [c for c in found if c.pixels] for t, found in d.classes.items()}
    if not tasks:
        return None
    columns = min(len(tasks), 2)
    rows = -(-len(tasks) // columns)
    tallest = max(len(found) for found in tasks.values())
    figure = new_figure(6.5 * columns, (0.9 + 0.21 * tallest) * rows)
    for i, (task, found) in enumerate(tasks.items()):
        _bars(figure.add_subplot(rows, columns, i + 1), slug_of(task), found)
    figure.suptitle("Labelled pixels by class", fontsize=11)
    return figure


def _bars(axes: Axes, title: str, classes: list[ClassFacts]) -> None:
    ordered = sorted(classes, key=lambda c: c.share)
    places = np.arange(len(ordered))
    axes.barh(
        places, [c.share for c in ordered], color=[c.color for c in ordered], edgecolor=_EDGE,
        linewidth=0.5,
    )  # fmt: skip
    axes.set_yticks(places, [c.name if c.scored else f"({c.name})" for c in ordered])
    # Classes differ by a factor of thousands; the axis begins just below the rarest.
    axes.set_xscale("log")
    axes.set_xlim(min(c.share for c in ordered) / 2, 1.6 * max(c.share for c in ordered))
    axes.xaxis.set_major_formatter(_percent_axis())
    for place, c in enumerate(ordered):
        text = f" {c.share:.2%}" if c.share >= 1e-4 else f" {c.pixels:,} px"
        axes.text(c.share, place, text, va="center", fontsize=6.5)
    axes.set_title(f"{title}: {sum(c.pixels for c in ordered):,} pixels", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    _plain(axes)


def _percent_axis() -> FuncFormatter:
    return FuncFormatter(lambda share, _: f"{100 * share:g}%")


def _occurring(facts: SplitFacts, task: Task) -> list[int]:
    """Places of the scored classes that any part has, the rarest first."""
    mean = np.mean(list(facts.class_shares[task.name].values()), axis=0)
    return [int(k) for k in np.argsort(mean, kind="stable") if mean[k] > 0]


def _dates(d: Description) -> Figure | None:
    if not d.dates:
        return None
    figure = new_figure(9, 1.6 * len(d.dates) + 0.5)
    for i, (name, f) in enumerate(d.dates.items()):
        axes = figure.add_subplot(len(d.dates), 1, i + 1)
        per_patch = np.array(f.per_month) / f.patches
        axes.bar(range(12), per_patch, color=_COLORS[i % len(_COLORS)], width=0.8)
        axes.set_xticks(range(12), MONTHS)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        series = name in MODALITIES and MODALITIES[name].series
        number = f"{f.fewest} to {f.most}, median {f.median:g} dates per patch, " if series else ""
        axes.set_title(f"{name}: {number}{f.first} to {f.last}", fontsize=9, loc="left")
        _plain(axes)
    figure.supylabel("dates per patch and month", fontsize=8)
    return figure


def _clouds(d: Description) -> Figure | None:
    if not d.clouds:
        return None
    figure = new_figure(9, 2.6 * len(d.clouds))
    for i, (name, f) in enumerate(d.clouds.items()):
        axes = figure.add_subplot(len(d.clouds), 1, i + 1)
        per_month = np.array(d.dates[name].per_month) / f.patches
        clear = np.array([s or 0.0 for s in f.clear_per_month]) * per_month
        axes.bar(range(12), per_month, color="#d9d9d9", label="cloudy or snow")
        axes.bar(range(12), clear, color=_COLORS[0], label="clear")
        for month, share in enumerate(f.clear_per_month):
            if share is not None:
                axes.text(month, per_month[month], f"{share:.0%}", ha="center", va="bottom",
                          fontsize=7)  # fmt: skip
        axes.set_xticks(range(12), MONTHS)
        axes.set_ylabel("dates per patch", fontsize=8)
        axes.set_ylim(0, 1.15 * max(per_month.max(), 1e-9))
        title = f"{name}: {f.clear:.0%} of dates clear, median {f.median:g} per patch, "
        axes.set_title(f"{title}{f.without:,} patches without", fontsize=9, loc="left")
        axes.legend(fontsize=7, frameon=False, ncols=2, loc="upper right")
        _plain(axes)
    return figure


def _domains(d: Description) -> Figure | None:
    label_set = next((n for f in d.domains for n in f.labelled_pixels), None)

    def size(number: int) -> float:
        return d.domains[number].labelled_pixels.get(label_set or "", 0)

    order = sorted(range(len(d.domains)), key=lambda k: (-size(k), -d.domains[k].patches))
    shown = [d.domains[k] for k in order[:_MOST_DOMAINS]]
    column = next(iter(d.splits), None)
    figure = new_figure(max(6.0, 0.16 * len(shown) + 3.0), 4.2)
    axes = figure.add_subplot()
    below = np.zeros(len(shown))
    places = np.arange(len(shown))
    whole = np.array([f.patches for f in shown], dtype=float)
    # Pixels of a domain, divided as its patches are divided among the parts.
    heights = whole
    if label_set is not None:
        heights = np.array([f.labelled_pixels.get(label_set, 0) for f in shown]) / 1e6
    parts = list(d.splits[column].parts) if column is not None else []
    for k, part in enumerate(parts):
        count = np.array([f.splits.get(column or "", {}).get(part, 0) for f in shown])
        height = heights * count / whole
        axes.bar(places, height, bottom=below, color=_COLORS[k % len(_COLORS)], label=part)
        below += height
    if (heights - below > 1e-9 * heights).any():
        label = "in no part" if parts else None
        axes.bar(places, heights - below, bottom=below, color="#bdbdbd", label=label)
    axes.set_xticks(places, [f.name for f in shown], rotation=90)
    axes.margins(x=0.01)
    unit = "patches" if label_set is None else f"million labelled pixels ({label_set})"
    axes.set_ylabel(unit, fontsize=8)
    more = f", the largest {len(shown)}" if len(shown) < len(d.domains) else ""
    axes.set_title(f"{len(d.domains)} domains{more}", fontsize=10, loc="left")
    if parts:
        axes.legend(
            title=column, fontsize=7, title_fontsize=7, frameon=False,
            loc="upper left", bbox_to_anchor=(1.0, 1.0),
        )  # fmt: skip
    _plain(axes)
    axes.tick_params(axis="x", labelsize=6.5)
    return figure


def _shift(column: str, facts: SplitFacts) -> Figure | None:
    tasks = [
        task for task in _SHIFT_TASKS
        if TRAIN in facts.class_shares.get(task.name, {})
        and len(facts.class_shares[task.name]) > 1
    ]  # fmt: skip
    if not tasks:
        return None
    shown = {task.name: _occurring(facts, task) for task in tasks}
    tallest = max(len(classes) for classes in shown.values())
    figure = new_figure(5.2 * len(tasks), 1.6 + 0.24 * tallest)
    for i, task in enumerate(tasks):
        axes = figure.add_subplot(1, len(tasks), i + 1)
        shares = {part: np.array(v) for part, v in facts.class_shares[task.name].items()}
        order = shown[task.name]
        names = [c.name for c in task.nomenclature if c.scored]
        places = np.arange(len(order))
        for k, (part, values) in enumerate(shares.items()):
            ordered = values[order]
            there = ordered > 0
            title = part
            if task.name in facts.parts[part].divergence:
                title += f" ({facts.parts[part].divergence[task.name]:.3f} bits from training)"
            axes.scatter(
                ordered[there], places[there], s=26, color=_COLORS[k % len(_COLORS)],
                marker="osD^v<"[k % 6], label=title, zorder=3, alpha=0.85,
            )  # fmt: skip
        for place in places:
            found = [v[order[place]] for v in shares.values() if v[order[place]] > 0]
            axes.plot([min(found), max(found)], [place, place], color=_GREY, linewidth=0.8)
        axes.set_yticks(places, [names[k] for k in order])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_percent_axis())
        axes.grid(alpha=0.3)
        axes.set_title(task.slug, fontsize=10, loc="left")
        axes.legend(
            fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=1
        )
        _plain(axes)
    figure.suptitle(f"{column}: share of each class in each part", fontsize=11)
    return figure
