"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real imagery, or a skip that says how to provide it."""
    folder = os.environ.get("BOCAGE_REAL_DATA")
    if not folder:
        pytest.skip("real imagery is not here: set BOCAGE_REAL_DATA to its folder")
    return Path(folder)
