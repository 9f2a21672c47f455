"""The table of crops in `docs/simulation.md`."""

from __future__ import annotations

import numpy as np
import pytest

from bocage.nomenclatures import LPIS_3
from tools.simulation_shares import NATIONAL, crop_table

pytestmark = pytest.mark.unit


def test_every_column_of_shares_adds_up_to_a_hundred():
    names = LPIS_3.names
    pixels = np.random.default_rng(3).integers(0, 1_000, (3, len(names))).astype(np.float64)
    pixels[:, -1] = 1e6  # background, which is no crop
    counts = np.ones(len(names), dtype=np.int64)
    lines = [line.strip("|").split("|") for line in crop_table(pixels, counts, counts)[2:]]
    crops = {cells[0].strip(): cells[1:] for cells in lines}
    figured, every = crops.pop("all with a figure"), crops.pop("all crops")
    assert list(crops) == list(names[:-1])
    france = [float(cells[0].split("(")[0]) for cells in crops.values() if cells[0].strip()]
    assert len(france) == len(NATIONAL)
    assert sum(france) == pytest.approx(100, abs=0.2)
    for split in (1, 2, 3):
        assert sum(float(cells[split]) for cells in crops.values()) == pytest.approx(100, abs=0.3)
        assert every[split].strip() == "100.00"
        known = sum(float(crops[name][split]) for name in NATIONAL)
        assert float(figured[split]) == pytest.approx(known, abs=0.3)
