"""Real imagery: indexed outside its folder, which stays as it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bocage.data import build_index

FOLDERS = {"flair": "flair2", "treesatai": "treesatai_ts", "crop-cube": "crop_cubes"}


@pytest.fixture
def real_set(real_data: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """Overrides that point a preset at the real imagery of a layout."""

    def point(layout: str) -> list[str]:
        root = real_data / FOLDERS[layout]
        index = tmp_path / f"{layout}.parquet"
        build_index(root, layout).write(index)
        return [f"data.root={root}", f"data.index={index}"]

    return point
