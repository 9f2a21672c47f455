"""A patch as rasters: what `bocage map` reads back is what the layout reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from bocage.cli.app import app
from bocage.data import PatchIndex, export_patch, get_layout
from bocage.errors import DataError
from bocage.modalities import FLAIR_HUB_INPUTS, get_modality

pytestmark = pytest.mark.integration


def test_every_sensor_comes_out_as_it_is_read(dataset, tmp_path):
    record = PatchIndex.read(dataset.root / "index.parquet")[0]
    names = [modality.name for modality in FLAIR_HUB_INPUTS]
    sample = get_layout("flair-hub").read(dataset.root, record, names, ())
    made = {each.modality: each for each in export_patch(
        dataset.root, "flair-hub", record, tmp_path
    )}  # fmt: skip
    assert sorted(made) == sorted(names)
    for name, image in sample.images.items():
        with rasterio.open(made[name].raster) as raster:
            assert np.array_equal(raster.read(), image)
            assert raster.nodata == get_modality(name).nodata
            np.testing.assert_allclose(raster.bounds, record.bounds)
            assert raster.crs.to_epsg() == record.epsg
        assert made[name].dates is made[name].mask is None
    for name, series in sample.series.items():
        with rasterio.open(made[name].raster) as raster:
            assert np.array_equal(raster.read(), series.values.reshape(-1, *raster.shape))
        dates = made[name].dates.read_text().split()
        assert dates == [str(day) for day in series.dates]
        assert (made[name].mask is None) == (series.snow_cloud is None)
    with rasterio.open(made["SENTINEL2_TS"].mask) as raster:
        assert raster.read().max() == 100


def test_the_command_says_how_to_map_what_it_wrote(dataset, tmp_path):
    patch = PatchIndex.read(dataset.root / "index.parquet")[0].patch_id
    words = ["data", "export", patch, "--root", str(dataset.root), "-o", str(tmp_path / "p")]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    said = ran.stdout.split()
    assert said[:3] == ["bocage", "map", "RUN"]
    for option in ("--aerial", "--sentinel2", "--sentinel2-dates", "--sentinel2-mask",
                   "--sentinel1-asc", "--sentinel1-asc-dates", "--elevation"):  # fmt: skip
        assert said[said.index(option) + 1].startswith(str(tmp_path / "p"))


def test_a_patch_without_a_place_or_without_sensors_is_refused(dataset, tmp_path):
    record = PatchIndex.read(dataset.root / "index.parquet")[0]
    with pytest.raises(DataError, match="place is not known"):
        export_patch(dataset.root, "flair-hub", replace(record, epsg=None), tmp_path)
    with pytest.raises(DataError, match="no file of any sensor"):
        export_patch(dataset.root, "flair-hub", replace(record, paths={}), tmp_path)
    assert not list(tmp_path.iterdir())
