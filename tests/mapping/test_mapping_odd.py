"""Malformed and unusual GeoTIFFs as input to a map: bounded time and memory, and clear words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MOST_SECONDS, MOST_MB = 20, 400


@pytest.mark.real
def test_every_odd_file_ends_in_bounded_time_and_memory(real_data: Path) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "odd_runner.py"), str(real_data / "odd")],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    files = [path.name for path in (real_data / "odd").iterdir()]
    assert len(runs) == 3 * len(files) > 180
    for one in runs:
        what = f"{one['file']} as {one['sensor']} {one['crs']}: {one['text']}"
        assert one["code"] in (0, 1, 2), what
        assert one["seconds"] < MOST_SECONDS, what
        assert one["grown_mb"] < MOST_MB, what
        if one["code"]:
            assert one["file"] in one["text"], what
    mapped = {one["file"] for one in runs if one["code"] == 0}
    assert "rasterio__cogeo.tif" in mapped
    # Asking for a grid opens what has none to take over.
    warped = {one["file"] for one in runs if one["code"] == 0 and one["crs"]}
    plain = {one["file"] for one in runs if one["code"] == 0 and not one["crs"]}
    assert "gdal__epsg_2853_with_us_feet.tif" in warped - plain
