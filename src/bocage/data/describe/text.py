"""A description as text, for the terminal and for `describe.txt`."""

from __future__ import annotations

from collections.abc import Iterator

from bocage.data.describe.facts import MONTHS, Description, slug_of
from bocage.data.describe.splits import TRAIN, PartFacts, SplitFacts

_WIDTH = 30


def text_lines(d: Description) -> list[str]:
    """Everything, section by section."""
    return [*_whole(d), *_classes(d), *_dates(d), *_clouds(d), *_domains(d), *_splits(d)]


def _whole(d: Description) -> Iterator[str]:
    yield f"{d.patches:,} patches, {d.rois:,} ROIs, {len(d.domains):,} domains ({d.layout})"
    yield "years: " + ", ".join(f"{year} ({count:,})" for year, count in d.years.items())
    for name, patches in d.products.items():
        yield f"  {name:<24}{patches:>10,} patches  {patches / d.patches:6.1%}"


def _classes(d: Description) -> Iterator[str]:
    for task, classes in d.classes.items():
        total = sum(c.pixels for c in classes)
        yield ""
        yield f"{task} ({slug_of(task)}): {total:,} labelled pixels"
        present = [c for c in classes if c.pixels]
        largest = max(c.share for c in present)
        for c in sorted(present, key=lambda c: -c.pixels):
            bar = "█" * round(_WIDTH * c.share / largest)
            scored = "" if c.scored else " (not scored)"
            yield f"  {c.name:<30}{c.share:9.4%}{c.patches:>10,} patches  {bar}{scored}"
        absent = [c.name for c in classes if not c.pixels]
        if absent:
            yield f"  nowhere: {', '.join(absent)}"


def _dates(d: Description) -> Iterator[str]:
    if not d.dates:
        return
    yield ""
    yield "dates per patch (fewest, median, most), and their share by month in percent"
    yield f"{'':<24}{'':>20}  " + " ".join(f"{m:>4}" for m in MONTHS)
    for name, f in d.dates.items():
        total = max(sum(f.per_month), 1)
        months = " ".join(f"{100 * n / total:4.0f}" for n in f.per_month)
        numbers = f"{f.fewest} {f.median:g} {f.most}"
        yield f"{name:<24}{numbers:>20}  {months}   {f.first} to {f.last}"


def _clouds(d: Description) -> Iterator[str]:
    yield ""
    if not d.clouds:
        if any(name.startswith("SENTINEL2") for name in d.dates):
            yield "clear dates: unknown. Build the index with 'bocage data index' to measure them."
        return
    for name, f in d.clouds.items():
        yield (
            f"clear dates of {name}: {f.clear:.1%} of all; per patch {f.fewest} {f.median:g} "
            f"{f.most}; {f.without:,} of {f.patches:,} patches have none"
        )
        shares = ["   –" if s is None else f"{100 * s:4.0f}" for s in f.clear_per_month]
        yield f"{'  clear by month, %':<46}" + " ".join(shares)


def _domains(d: Description) -> Iterator[str]:
    label_sets = list(dict.fromkeys(n for f in d.domains for n in f.labelled_pixels))
    yield ""
    yield f"{'domain':<24}{'patches':>10}{'ROIs':>8}" + "".join(
        f"{name + ' pixels':>28}" for name in label_sets
    )
    for f in d.domains:
        pixels = "".join(f"{f.labelled_pixels.get(name, 0):>28,}" for name in label_sets)
        yield f"{f.name:<24}{f.patches:>10,}{f.rois:>8,}{pixels}"


def _splits(d: Description) -> Iterator[str]:
    for column, facts in d.splits.items():
        yield ""
        yield from split_lines(column, facts)


def split_lines(column: str, facts: SplitFacts) -> Iterator[str]:
    """What one split column does."""
    unused = f", {facts.unused:,} patches in no part" if facts.unused else ""
    verdict = "parts share ground with the training part" if facts.leaks else "no leakage"
    yield f"{column}: {verdict}{unused}"
    for name, part in facts.parts.items():
        yield from _part(name, part)


def _part(name: str, p: PartFacts) -> Iterator[str]:
    years = ", ".join(f"{year} ({count:,})" for year, count in p.years.items())
    yield (
        f"  {name:<8}{p.patches:>10,} patches {p.share:6.1%}{p.rois:>8,} ROIs{p.domains:>5} "
        f"{'domain' if p.domains == 1 else 'domains':<10}{years}"
    )
    dates = [f"{n} {number:.1f}" for n, number in p.dates.items() if number]
    dates += [f"clear {n} {number:.1f}" for n, number in p.clear_dates.items()]
    if dates:
        yield f"{'':<10}dates per patch: {', '.join(dates)}"
    if name == TRAIN:
        return
    beside = "unknown" if p.beside is None else f"{p.beside:.1%}"
    yield (
        f"{'':<10}leakage: {p.same_roi:.1%} of its patches lie in ROIs that are trained on, "
        f"{beside} beside a training patch"
    )
    for task, bits in p.divergence.items():
        classes = "; ".join(
            f"{c} {a:.1%} → {b:.1%}" for c, (a, b) in p.shifted[task].items() if a or b
        )
        yield f"{'':<10}shift of {slug_of(task)}: {bits:.3f} bits ({classes})"
