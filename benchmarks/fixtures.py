"""Simulated patches for the benchmarks, made once per run in a temporary folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bocage.data import PatchIndex, build_index
from bocage.simulate import simulate_dataset


@contextlib.contextmanager
def simulated_patches(patches: int) -> Iterator[tuple[Path, PatchIndex]]:
    """A dataset of one domain in FLAIR-HUB's layout, and its index."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        simulate_dataset(root, domains=1, patches=patches, seed=7)
        index = build_index(root, "flair-hub")
        index.write(root / "index.parquet")
        yield root, index
