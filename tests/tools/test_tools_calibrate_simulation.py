"""What the calibration's figures are computed from."""

from __future__ import annotations

import numpy as np
import pytest

from bocage.nomenclatures import COSIA
from bocage.simulate.sites import FLAIR1_SHARES
from tools.calibrate_simulation.marginals import Pixels
from tools.calibrate_simulation.simulated import _weights

pytestmark = pytest.mark.unit

WATER, SNOW = COSIA.names.index("water"), COSIA.names.index("snow")


def test_pixels_of_a_class_share_what_the_class_counts_for():
    """Two pixels of water halve its share; the other seventeen classes are absent."""
    weights = _weights(np.array([WATER, SNOW, WATER]))
    water, snow = FLAIR1_SHARES["water"], FLAIR1_SHARES["snow"]
    assert weights == pytest.approx([water / 2, snow, water / 2])
    assert _weights(np.array([SNOW])) == pytest.approx([snow])


def test_moments_are_those_of_the_weighted_pixels():
    values = np.array([[0, 10], [4, 10], [8, 40]], dtype=np.uint8)
    mean, spread = Pixels(values, np.array([1.0, 1.0, 2.0])).moments()
    assert mean == pytest.approx([5, 25])
    assert spread == pytest.approx([np.sqrt(11), 15])
    alone, none = Pixels(values, np.array([0.0, 3.0, 0.0])).moments()
    assert alone == pytest.approx([4, 10])
    assert none == pytest.approx([0, 0])
