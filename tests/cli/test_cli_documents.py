"""The commands that the documents show are commands that there are."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from bocage.cli.app import app

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _commands(page: Path) -> list[list[str]]:
    """Words of every `bocage …` line in a page's shell blocks, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("bocage ")]


SHOWN = [(page.name, words) for page in PAGES for words in _commands(page)]


def test_the_documents_show_commands() -> None:
    assert len(SHOWN) > 15
    assert {"README.md", "real-input.md"} <= {name for name, _ in SHOWN}


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=lambda x: x if isinstance(x, str) else " ")
def test_every_shown_command_parses(page: str, words: list[str]) -> None:
    command, rest = get_command(app), words[1:]
    while hasattr(command, "commands"):
        if words[1] == "map" and rest[0] not in command.commands:
            rest = ["area", *rest]
        assert rest[0] in command.commands, f"{page}: {' '.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(command.name, list(rest))
    assert context.params


def test_a_benchmark_prints_the_agreed_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "evaluate", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    assert document["benchmark"] == "evaluate"
    assert document["machine"]["cores"] >= 1
    assert document["versions"]["torch"]
    for row in document["rows"]:
        assert set(row) == {"name", "ours", "baseline", "ratio", "unit", "spread"}
        assert row["ratio"] == pytest.approx(row["baseline"] / row["ours"])
        assert row["spread"][0] <= row["spread"][1]
