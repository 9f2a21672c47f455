"""The plate of simulated patches in `docs/simulation.md`."""

from __future__ import annotations

import numpy as np
import pytest

from bocage.simulate.domains import DOMAINS_BY_KEY
from tools.simulation_plate import COLUMNS, DOMAINS, place, plate

pytestmark = pytest.mark.unit


def test_every_row_is_a_domain_and_every_column_has_something_to_show():
    figure = plate([DOMAINS_BY_KEY[key] for key in DOMAINS[:2]], side_px=256)
    panels = np.array(figure.axes).reshape(2, len(COLUMNS))
    assert tuple(axes.get_title() for axes in panels[0]) == COLUMNS
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["Ille-et-Vilaine, 2020", "Marne, 2019"]
    for axes in panels.flat:
        picture = axes.get_images()[0].get_array()
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert np.ptp(picture) > 0, axes.get_title()
    assert [legend.get_title().get_text() for legend in figure.legends] == ["land cover", "crops"]
    assert place(DOMAINS_BY_KEY["D051-2019"], 256).width == 256
