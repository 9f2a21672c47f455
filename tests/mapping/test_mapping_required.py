"""Networks that know no absence map where all their sensors are, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mapping_stubs import read_map, write_raster

from bocage.errors import ConfigError
from bocage.mapping import MapConfig, Source, map_area
from bocage.models import Bundle, BundleMeta, InputConfig, TaskHead, build_network
from bocage.models.published import PublishedConfig, published_input
from bocage.nomenclatures import LAND_COVER
from bocage.series import SeriesConfig
from bocage.training.bundling import bundle_tasks

pytestmark = pytest.mark.integration


@pytest.fixture
def bundle() -> Bundle:
    """A published network of a photograph and a series, on patches of 10.24 m."""
    torch.manual_seed(0)
    inputs: list[InputConfig] = [published_input("aerial"), published_input("sentinel2")]
    config = PublishedConfig(
        inputs=tuple(inputs),
        tasks=(TaskHead(name=LAND_COVER.name, num_classes=LAND_COVER.num_classes),),
        architecture="resnet34-unet",
        tile_px=256,
    )
    meta = BundleMeta(
        network=config, tasks=bundle_tasks([LAND_COVER]), tile_px=256,
        series=SeriesConfig(min_dates=1),
    )  # fmt: skip
    return Bundle(build_network(config).eval(), meta)


@pytest.fixture
def imagery(tmp_path: Path) -> list[Source]:
    """A photograph of 768 x 256 px, and a series over its western two thirds."""
    rng = np.random.default_rng(0)
    photo = write_raster(tmp_path / "p.tif", rng.integers(20, 220, (4, 256, 768)).astype(np.uint8))
    frames = rng.integers(300, 3000, (20, 5, 10)).astype(np.uint16)
    series = write_raster(tmp_path / "s2.tif", frames, resolution=10.24)
    clouds = np.full((4, 5, 10), 90, np.uint8)
    clouds[::2] = 0
    mask = write_raster(tmp_path / "clouds.tif", clouds, resolution=10.24)
    dates = tmp_path / "dates.txt"
    dates.write_text("20210401\n20210701\n")
    return [Source("aerial", photo), Source("sentinel2", series, dates, mask)]


def test_all_sensors_must_be_given(bundle: Bundle, imagery: list[Source], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SENTINEL2_TS is not given.*knows no absence") as caught:
        map_area(bundle, imagery[:1], tmp_path / "out")
    assert "AERIAL_RGBI (aerial)" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_ground_that_a_sensor_does_not_cover_is_no_map(
    bundle: Bundle, imagery: list[Source], tmp_path: Path
) -> None:
    report = map_area(bundle, imagery, tmp_path / "out", MapConfig(overlap_px=0))
    assert report.exit_code == 0
    assert any("elsewhere is no map" in text for text in report.warnings)
    # Under clouds on both dates, and mapped all the same: the bundle asks for the clearest.
    classes = read_map(tmp_path / "out" / "land-cover.tif")
    assert (classes[:, :512] != 255).all()
    assert (classes[:, 512:] == 255).all()
