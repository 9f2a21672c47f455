"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

TINY = [
    "data.num_workers=0",
    "data.batch_size=2",
    "data.series.max_dates=6",
    "network.encoder.width=4",
    "network.temporal.width=8",
    "network.temporal.heads=2",
    "network.temporal.output_width=8",
    "network.fusion.width=8",
    "network.decoder.width=8",
]
"""Overrides that make any network small enough for a test."""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real imagery, or a skip that says how to provide it."""
    folder = os.environ.get("BOCAGE_REAL_DATA")
    if not folder:
        pytest.skip("real imagery is not here: set BOCAGE_REAL_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated dataset in FLAIR-HUB's layout: two domains of eight patches."""
    from bocage.simulate import simulate_dataset

    root = tmp_path_factory.mktemp("simulated")
    simulate_dataset(root, domains=2, patches=8, seed=7)
    return root


@pytest.fixture
def tiny() -> list[str]:
    """Overrides for a network that trains in seconds."""
    return list(TINY)
