from __future__ import annotations

from pathlib import Path

import pytest

from bocage.simulate import simulate_area, simulate_dataset

DOMAINS, PATCHES, SEED = 2, 8, 7


@pytest.fixture(scope="session")
def simulated_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "dataset"
    simulate_dataset(out, domains=DOMAINS, patches=PATCHES, seed=SEED)
    return out


@pytest.fixture(scope="session")
def simulated_area(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "area"
    simulate_area(out, size_m=130.0, seed=SEED)
    return out
