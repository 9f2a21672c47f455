"""A simulated countryside and the sensors that look at it.

`Landscape` says what stands at every point; each sensor is a function from that to an image; and
two writers make files of them: a data set in FLAIR-HUB's layout, and a territory to map.
"""

from bocage.simulate.area import simulate_area
from bocage.simulate.benchmark import (
    has_published_total,
    simulate_benchmark,
    verify_benchmark,
)
from bocage.simulate.dataset import empty_splits, simulate_dataset

__all__ = [
    "empty_splits",
    "has_published_total",
    "simulate_area",
    "simulate_benchmark",
    "simulate_dataset",
    "verify_benchmark",
]
