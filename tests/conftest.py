"""Fixtures that every room's tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import LoopbackHub

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


@pytest.fixture
def loopback_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub on loopback that this process and its children take for the Hugging Face hub.

    The client library reads its settings when it is imported: they are set in the environment, for
    children, and in the library. Nobody is logged in; `HF_TOKEN=hub_server.TOKEN` logs in.
    """
    from huggingface_hub import close_session, constants

    home = tmp_path / "huggingface"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with LoopbackHub() as server:
        for name, value in {
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",  # its storage service is not played
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }.items():
            monkeypatch.setenv(name, value)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        yield server
        close_session()


@pytest.fixture
def hub(loopback_hub: LoopbackHub) -> LoopbackHub:
    """The same in short, where a room's tests have no `hub` of their own."""
    return loopback_hub
