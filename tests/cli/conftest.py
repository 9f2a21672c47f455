"""Running commands as a shell does, without starting a process for each."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bocage.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def bocage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """`bocage("train", "demo", …)`: exit code and output."""

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["bocage", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
