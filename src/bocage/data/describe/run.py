"""The whole description, written into a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from bocage.data.build import Progress, open_index
from bocage.data.describe.facts import Description, describe_index
from bocage.data.describe.plots import draw_all
from bocage.data.describe.text import text_lines
from bocage.data.index import PatchIndex
from bocage.data.layouts import get_layout
from bocage.files import write_json, write_text

TEXT, NUMBERS = "describe.txt", "describe.json"


def describe_dataset(
    where: Path, layout: str, out: Path | None = None, progress: Progress | None = None
) -> Description:
    """Describe the index at `where`, or the dataset in that folder, whose index may be built first.

    `out` receives `describe.txt`, `describe.json` and the pictures.
    """
    index = PatchIndex.read(where) if where.is_file() else open_index(where, layout, None, progress)
    root = where.parent if where.is_file() else where
    description = describe_index(index, get_layout(index.layout).own_tasks(root))
    if out is not None:
        write_text(out / TEXT, "\n".join(text_lines(description)) + "\n")
        write_json(out / NUMBERS, asdict(description))
        draw_all(description, out)
    return description
