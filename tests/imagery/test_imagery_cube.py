"""NetCDF cubes: days from the time axis, bands from variables or a dimension."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from imagery_files import BANDS, reflectance, write_cube

from bocage.errors import DataError
from bocage.imagery import SensorGrid, Source, inspect, read_raster, reading_of

pytestmark = pytest.mark.integration

STEPS = [0, 30, 75]
DAYS = ["2021-04-01", "2021-05-01", "2021-06-15"]
COMMON = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16",
          "swir22")  # fmt: skip


def read(source: Source) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    sensor = inspect(source)
    grid = sensor.raster.grid
    found = read_raster(
        sensor.raster,
        SensorGrid(grid, Fraction(1)),
        (0, grid.height),
        (0, grid.width),
        reading_of(sensor.modality),
    )
    return sensor.dates.astype(str).tolist(), *found


@pytest.mark.parametrize("order", ["variables", "time-band", "band-time"])
@pytest.mark.parametrize("steps", [STEPS, STEPS[::-1]])
def test_a_cube_is_a_series(tmp_path: Path, order: str, steps: list[int]) -> None:
    frames = reflectance(3)
    days, values, valid = read(
        Source("sentinel2", write_cube(tmp_path / "c.nc", frames, steps, order=order))
    )
    assert days == DAYS
    np.testing.assert_array_equal(values, frames[np.argsort(steps)])
    assert valid is None


def test_variables_by_common_name_packed_with_holes_in_hours(tmp_path: Path) -> None:
    frames = reflectance(3)
    stored = (frames / 2).astype(np.int16)
    stored[1, 4, 2, 3] = -1
    path = write_cube(
        tmp_path / "c.nc", stored, [24 * s + 10 for s in STEPS], names=COMMON,
        units="hours since 2021-04-01 00:30:00", scale_factor=2e-4, add_offset=0.0,
        _FillValue=np.int16(-1),
    )  # fmt: skip
    days, values, valid = read(Source("sentinel2", path))
    assert days == DAYS
    assert np.argwhere(~valid).tolist() == [[1, 2, 3]]
    here = np.broadcast_to(valid[:, None], values.shape)
    np.testing.assert_array_equal(values[here], (frames // 2 * 2)[here])


def test_one_variable_of_many_is_named(tmp_path: Path) -> None:
    frames = reflectance(3)
    path = write_cube(tmp_path / "c.nc", frames, STEPS, order="time-band")
    (tmp_path / "d.txt").write_text("\n".join(DAYS))
    named = f'NETCDF:"{path}":reflectance'
    days, values, _ = read(Source("sentinel2", named, tmp_path / "d.txt"))
    assert days == DAYS
    np.testing.assert_array_equal(values, frames)


@pytest.mark.parametrize(
    ("cube", "sensor", "message"),
    [
        ({"names": [f"x{b}" if b == "B8A" else b for b in BANDS]}, "sentinel2",
         "no variable for B8A; its variables are"),
        ({"order": "time-band", "units": "months since 2021-04-01"}, "sentinel2",
         "time in 'months since 2021-04-01'"),
        ({"order": "time-band"}, "sentinel1-asc", "30 layers, where 3 days of 2 bands have 6"),
    ],
)  # fmt: skip
def test_cubes_that_are_refused(tmp_path: Path, cube: dict, sensor: str, message: str) -> None:
    path = write_cube(tmp_path / "c.nc", reflectance(3), STEPS, **cube)
    with pytest.raises(DataError, match=message):
        inspect(Source(sensor, path))


def test_what_is_no_cube_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.nc").write_bytes(b"not a cube")
    with pytest.raises(DataError, match=r"c\.nc: cannot be read as a raster"):
        inspect(Source("sentinel2", tmp_path / "c.nc"))
