"""Running `bocage map …` within a test, as the shell does."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

from bocage.cli import main


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def run_map(*words: object) -> Result:
    """`run_map("areas", …)`: exit code and output."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["bocage", "map", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Result(code, out.getvalue(), err.getvalue())
