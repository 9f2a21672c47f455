"""Stored numbers become the sensor's: offsets of Sentinel-2, scaled reflectance, repeated days."""

from __future__ import annotations

import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagery_files import reflectance, write, write_items, write_series

from bocage.errors import ConfigError, DataError
from bocage.imagery import (
    Sensor,
    SensorGrid,
    Source,
    doubts,
    inspect,
    read_raster,
    reading_of,
    without_offset,
)
from bocage.imagery.scale import Scale, offset_doubt, rescale
from bocage.sample import Series

DAYS = ["2021-05-01", "2021-06-01", "2021-07-01", "2022-03-01", "2022-05-01", "2022-07-01"]
SHIFTED = [0, 0, 0, 1000, 1000, 1000]


def read(sensor: Sensor, ratio: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    """All of the sensor's pixels, (T, C, H, W), on its own grid or on `ratio` times coarser one."""
    grid = sensor.raster.grid
    rows, cols = (0, grid.height // ratio), (0, grid.width // ratio)
    return read_raster(
        sensor.raster, SensorGrid(grid, Fraction(ratio)), rows, cols, reading_of(sensor.modality)
    )


def shifted(series: np.ndarray, by: list[int] = SHIFTED) -> np.ndarray:
    return series + np.array(by, np.uint16)[:, None, None, None]


@pytest.fixture
def truth() -> np.ndarray:
    return reflectance(6)


@pytest.mark.integration
def test_an_offset_of_some_dates_stands_behind_them(tmp_path: Path, truth: np.ndarray) -> None:
    stored = shifted(truth)
    stored[4, :, :3, :3] = 0  # no data, also where there is an offset
    stored[5, 2, 5, 5] = 800  # below zero
    order = [3, 0, 5, 1, 4, 2]
    lines = [f"{DAYS[i]} {-1000 if SHIFTED[i] else ''}" for i in order]
    path = write_series(tmp_path, stored[order], lines)
    sensor = inspect(Source("sentinel2", path, tmp_path / "dates.txt"))
    assert sensor.dates.astype(str).tolist() == DAYS
    assert sensor.notes == (
        f"{path}: numbers of 50% of its bands are taken minus 1000, for SENTINEL2_TS.",
    )
    values, valid = read(sensor)
    assert not valid[4, :3, :3].any()
    assert valid.sum() == valid.size - 9
    expected = truth.copy()
    expected[4, :, :3, :3] = 0
    expected[5, 2, 5, 5] = 1  # dark, but measured
    np.testing.assert_array_equal(values, expected)
    assert doubts(sensor) == ()
    # Before resampling: means of what is measured, not of the stored numbers.
    coarse, _ = read(sensor, 3)
    plain = inspect(
        Source("sentinel2", write_series(tmp_path, truth, DAYS), tmp_path / "dates.txt")
    )
    np.testing.assert_array_equal(coarse[:4], read(plain, 3)[0][:4])


@pytest.mark.integration
@pytest.mark.parametrize(
    ("stored", "options", "source", "note"),
    [
        (lambda t: t + 1000, {}, {"offset": -1000.0}, "taken minus 1000"),
        (lambda t: t + 1000, {"offset": -1000.0}, {}, "taken minus 1000"),
        (lambda t: t + 1000, {"scale": 1e-4, "offset": -0.1}, {}, "taken minus 1000"),
        (lambda t: t, {"scale": 1e-4, "offset": -0.1}, {"offset": 0.0}, None),
        (lambda t: t, {"scale": 1e-4}, {}, None),
        (lambda t: (t / 1e4).astype(np.float32), {}, {"scale": 1e4}, "taken times 10000"),
        (lambda t: t.astype(np.int16), {}, {"scale": 1.0}, None),
        (lambda t: (t * 2).astype(np.int16), {"scale": 5e-5}, {}, "taken times 0.5"),
    ],
)
def test_numbers_of_a_file(
    tmp_path: Path,
    truth: np.ndarray,
    stored: Any,
    options: dict[str, float],
    source: dict[str, float],
    note: str | None,
) -> None:
    path = write_series(tmp_path, stored(truth).astype(stored(truth).dtype), DAYS, **options)
    sensor = inspect(Source("sentinel2", path, tmp_path / "dates.txt", **source))
    assert [note in text for text in sensor.notes] == ([True] if note else [])
    values, valid = read(sensor)
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, truth)
    assert valid is None


@pytest.mark.integration
def test_reflectance_of_another_type_is_refused_until_it_is_explained(tmp_path: Path) -> None:
    part = (reflectance(2) / 1e4).astype(np.float32)
    part[0, :, 0, 0] = np.nan
    path = write_series(tmp_path, part, DAYS[:2], nodata=np.nan)
    with pytest.raises(DataError, match=r"type float32 .* scale=10000 for reflectance from 0 to 1"):
        inspect(Source("sentinel2", path, tmp_path / "dates.txt"))
    sensor = inspect(Source("sentinel2", path, tmp_path / "dates.txt", scale=10_000))
    values, valid = read(sensor)
    np.testing.assert_array_equal(values[1], reflectance(2)[1])
    assert np.argwhere(~valid).tolist() == [[0, 0, 0]]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("stated", "words", "shift"),
    [
        # What the document declares is taken; of the raster extension, and of STAC 1.1.
        ({}, {"scale": 0.0001, "offset": -0.1}, -1000),
        ({}, {"raster:scale": 0.0001, "raster:offset": -0.1}, -1000),
        # Nothing is declared, but the baseline is known.
        ({"s2:processing_baseline": "05.11"}, {}, -1000),
        ({"s2:processing_baseline": "03.01"}, {}, 0),
        # It is declared, but the catalogue has taken it off already.
        (
            {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True},
            {"scale": 0.0001, "offset": -0.1},
            0,
        ),
        ({}, {"scale": 0.0001, "offset": 0}, 0),
    ],
)
def test_items_of_a_catalogue(
    tmp_path: Path, stated: dict[str, Any], words: dict[str, float], shift: int
) -> None:
    """Each item has its own account: the first two are of the old baseline."""
    truth = reflectance(4)
    stored = truth.copy()
    stored[2:] += -shift
    path = write_items(tmp_path, DAYS[:4], stored, [{}, {}, stated, stated], [{}, {}, words, words])
    sensor = inspect(Source("sentinel2", path))
    np.testing.assert_array_equal(read(sensor)[0], truth)
    assert any("of 50% of its bands are taken minus 1000" in note for note in sensor.notes) == bool(
        shift
    )
    told = inspect(Source("sentinel2", path, offset=0))
    np.testing.assert_array_equal(read(told)[0], stored)


@pytest.mark.integration
def test_a_series_with_an_offset_that_nobody_declares_is_doubted(tmp_path: Path, truth) -> None:
    def found(stored: np.ndarray, **source: float) -> tuple[str, ...]:
        path = write_series(tmp_path, stored, DAYS)
        return doubts(inspect(Source("sentinel2", path, tmp_path / "dates.txt", **source)))

    assert found(truth) == ()
    (text,) = found(shifted(truth))
    assert "as if these 3 dates had the offset of 1000" in text
    assert "20220301 -1000" in text
    (text,) = found(truth + 1000)
    assert "as if all had the offset" in text
    assert found(truth + 1000, offset=-1000) == ()
    # Clouds are bright, and say nothing.
    assert (
        found(np.where(np.arange(6)[:, None, None, None] > 2, 6000, truth).astype(np.uint16)) == ()
    )


@pytest.mark.integration
def test_an_offset_that_is_taken_twice_is_doubted(tmp_path: Path, truth: np.ndarray) -> None:
    """Catalogues declare offsets that their files have lost."""
    words = [{"scale": 0.0001, "offset": -0.1}] * 6
    path = write_items(tmp_path, DAYS, truth, [{}] * 6, words)
    (text,) = doubts(inspect(Source("sentinel2", path)))
    assert "fall to zero or below, as if it had been taken away before" in text
    assert "say offset=0" in text


@pytest.mark.unit
@given(
    low=st.integers(100, 900),
    counts=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    seed=st.integers(0, 99),
)
def test_doubts_follow_the_darkest_days(low: int, counts: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = counts
    days = np.datetime64("2022-01-25") + np.arange(-before, after)
    dark = low + rng.uniform(0, 4000, before + after)  # the rest are clouds
    dark[[0, -1]] = low
    assert offset_doubt(days, dark) is None
    text = offset_doubt(days, dark + np.where(np.arange(before + after) < before, 0, 1000))
    assert text is not None
    assert f"reach {low} before 2022-01-25 and {low + 1000} from then on" in text
    assert "as if all" in (offset_doubt(days, dark + 1000) or "")
    assert offset_doubt(days[:2], dark[:2] + 1000) is None


@pytest.mark.unit
@given(values=st.lists(st.integers(0, 65_535), min_size=1, max_size=30))
def test_an_offset_keeps_zero_and_order(values: list[int]) -> None:
    stored = np.array(values, np.uint16).reshape(1, 1, 1, -1)
    found = rescale(stored, [Scale(1.0, -1000.0)], stored.dtype).ravel().astype(int)
    expected = [0 if v == 0 else min(max(v - 1000, 1), 65_534) for v in values]
    assert found.tolist() == expected


@pytest.mark.unit
def test_the_offset_of_a_dataset_is_taken_from_its_late_dates() -> None:
    dates = np.array(["2022-01-24", "2022-01-25"], "datetime64[D]")
    values = np.full((2, 10, 2, 2), 1500, np.uint16)
    values[:, :, 0, 0] = 65_535
    valid = np.ones((2, 2, 2), bool)
    valid[:, 0, 0] = False
    found = without_offset(Series(values, dates, None, valid), datetime.date(2022, 1, 25))
    assert found.values[0, 0].tolist() == [[65_535, 1500], [1500, 1500]]
    assert found.values[1, 0].tolist() == [[65_535, 500], [500, 500]]
    assert values[1, 0, 1, 1] == 1500, "the input has been changed"
    early = without_offset(found, datetime.date(2023, 1, 1))
    assert early is found


@pytest.mark.integration
def test_days_that_repeat_in_a_file_stay_apart_in_its_order(tmp_path: Path) -> None:
    frames = reflectance(4)
    lines = ["20210701", "20210401", "20210701", "20210401"]
    path = write_series(tmp_path, frames, lines)
    sensor = inspect(Source("sentinel2", path, tmp_path / "dates.txt"))
    assert sensor.dates.astype(str).tolist() == ["2021-04-01"] * 2 + ["2021-07-01"] * 2
    np.testing.assert_array_equal(read(sensor)[0], frames[[1, 3, 0, 2]])


@pytest.mark.integration
def test_items_of_one_day_are_one_date(tmp_path: Path) -> None:
    """Of two tiles or orbits of a day the first with data is shown, pixel by pixel."""
    frames = reflectance(3)
    frames[0, :, :, 6:] = 0
    days = ["2021-07-01", "2021-07-01", "2021-05-01"]
    sensor = inspect(Source("sentinel2", write_items(tmp_path, days, frames, [{}] * 3, [{}] * 3)))
    assert sensor.dates.astype(str).tolist() == ["2021-05-01", "2021-07-01"]
    expected = np.concatenate([frames[0, :, :, :6], frames[1, :, :, 6:]], axis=-1)
    np.testing.assert_array_equal(read(sensor)[0], np.stack([frames[2], expected]))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "source", "message"),
    [
        ("sentinel2", {"scale": 0.0}, "scale=0. Give a number above zero"),
        ("sentinel2", {"offset": float("nan")}, "offset=nan. Give a number"),
        ("sentinel2", {"offset": 0.0}, "offsets stand behind the dates"),
        ("aerial", {"offset": 1.0}, "numbers of AERIAL_RGBI are as the camera gave them"),
    ],
)
def test_scales_that_cannot_be(
    tmp_path: Path, kind: str, source: dict[str, float], message: str
) -> None:
    path = write_series(tmp_path, reflectance(1), ["20220301 -1000"])
    dates = tmp_path / "dates.txt" if kind == "sentinel2" else None
    with pytest.raises(ConfigError, match=message):
        inspect(Source(kind, path, dates, **source))


@pytest.mark.integration
@pytest.mark.parametrize("line", ["20220301 -1000 5", "20220301 off", "-1000 20220301"])
def test_lines_that_are_no_date_with_an_offset(tmp_path: Path, line: str) -> None:
    path = write_series(tmp_path, reflectance(1), [line])
    with pytest.raises(DataError, match=f"line 1: '{line}' is not a date"):
        inspect(Source("sentinel2", path, tmp_path / "dates.txt"))


@pytest.mark.integration
def test_heights_in_decimetres_become_metres(tmp_path: Path) -> None:
    stored = np.array([[[3215, -9999]], [[3104, 3100]]], np.int16)
    path = write(tmp_path / "dem.tif", stored, scale=0.1, nodata=-9999)
    values, valid = read(inspect(Source("elevation", path)))
    np.testing.assert_allclose(values[0, :, 0, 0], [321.5, 310.4], rtol=1e-6)
    assert valid.tolist() == [[[True, False]]]
