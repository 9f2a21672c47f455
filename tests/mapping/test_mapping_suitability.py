"""A source in another band order or of another scale is refused before any work."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from mapping_stubs import ByValue, aerial, bundle, write_raster
from rasterio.enums import ColorInterp

from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, map_area
from bocage.models import InputConfig

pytestmark = pytest.mark.unit


def described(path: Path, *names: str) -> Path:
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return path


def refusal(tmp_path: Path, source: Source, kind: type[Exception], inputs: tuple = ()) -> str:
    network = ByValue()
    with pytest.raises(kind) as caught:
        map_area(bundle(network, inputs or ("AERIAL_RGBI",)), [source], tmp_path / "out")
    assert not network.calls
    assert not (tmp_path / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    "names", [("NIR", "Red", "Green", "Blue"), ("infra-red", "R", "G", "B"), ("PIR", "", "", "")]
)
def test_swapped_bands_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    photo = described(write_raster(tmp_path / "photo.tif", aerial(64, 64)), *names)
    text = refusal(tmp_path, Source("aerial", photo), ConfigError)
    assert "band 1 is 'nir' by the file's own account, where the network takes 'red'" in text
    whole = f"Give it as {photo}:2,3,4,1."
    assert (whole in text) == all(names)


def test_the_advice_works(tmp_path: Path) -> None:
    photo = described(
        write_raster(tmp_path / "p.tif", aerial(64, 64)), "nir", "red", "green", "blue"
    )
    source = Source("aerial", photo, bands=(2, 3, 4, 1))
    report = map_area(bundle(ByValue()), [source], tmp_path / "out")
    assert report.exit_code == 0
    with pytest.raises(ConfigError, match="band 4 is 'blue'"):
        map_area(bundle(ByValue()), [Source("aerial", photo, bands=(2, 4, 3, 1))], tmp_path / "no")


def test_colours_out_of_order_are_refused_but_a_composite_is_not(tmp_path: Path) -> None:
    paths = []
    for order in ("blue green red", "red green blue"):
        path = write_raster(tmp_path / f"{order[:3]}.tif", aerial(64, 64))
        with rasterio.open(path, "r+") as dataset:
            colours = [ColorInterp[name] for name in order.split()]
            dataset.colorinterp = [*colours, ColorInterp.undefined]
        paths.append(path)
    text = refusal(tmp_path, Source("aerial", paths[0]), ConfigError)
    assert "band 1 is 'blue'" in text
    assert map_area(bundle(ByValue()), [Source("aerial", paths[1])], tmp_path / "out").maps


def test_bands_of_a_series_are_told_apart(tmp_path: Path) -> None:
    values = np.full((20, 8, 8), 1500, np.uint16)
    series = write_raster(tmp_path / "s2.tif", values, resolution=10.24)
    usual = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    dates = tmp_path / "dates.txt"
    dates.write_text("20210401\n20210701\n")
    s2 = ("SENTINEL2_TS",)
    swapped = ("B04", "B03", "B02", *usual[3:])
    described(series, *usual, *swapped)
    text = refusal(tmp_path, Source("sentinel2", series, dates=dates), ConfigError, s2)
    assert "band 11 is 'B04' by the file's own account, where the network takes 'B02'" in text
    assert "Write it with its bands in this order." in text


def test_numbers_of_another_scale_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spot = rng.integers(20_000, 60_000, (4, 64, 64)).astype(np.uint16)
    path = write_raster(tmp_path / "spot.tif", spot, resolution=1.6)
    inputs = ("SPOT_RGBI",)
    text = refusal(tmp_path, Source("spot", path), DataError, inputs)
    assert "'red' has mean 4" in text
    assert "another product or another scale" in text
    # With statistics to match, it is what the network has learnt from.
    learnt = InputConfig(modality="SPOT_RGBI", mean=(4e4,) * 4, std=(1e4,) * 4)
    fits = bundle(ByValue("SPOT_RGBI"), (learnt,), output_m=1.6)
    assert map_area(fits, [Source("spot", path)], tmp_path / "fits").maps
    # The other way round: usual numbers for a network of another scale.
    usual = rng.integers(200, 1200, (4, 64, 64)).astype(np.uint16)
    path = write_raster(tmp_path / "usual.tif", usual, resolution=1.6)
    tight = InputConfig(modality="SPOT_RGBI", mean=(4e4,) * 4, std=(5e3,) * 4)
    assert "learnt from 4e+04 and 5000" in refusal(
        tmp_path, Source("spot", path), DataError, (tight,)
    )


def test_who_knows_better_may_say_so(tmp_path: Path) -> None:
    photo = described(write_raster(tmp_path / "photo.tif", aerial(64, 64)), "nir", "red", "", "")
    config = MapConfig(check_values=False)
    assert map_area(bundle(ByValue()), [Source("aerial", photo)], tmp_path / "out", config).maps


def test_pixels_without_data_do_not_weigh(tmp_path: Path) -> None:
    values = np.full((4, 64, 64), 65_535, np.uint16)
    values[:, :24, :24] = np.random.default_rng(0).integers(200, 900, (4, 24, 24))
    path = write_raster(tmp_path / "spot.tif", values, resolution=1.6, nodata=65_535)
    spot = bundle(ByValue("SPOT_RGBI"), ("SPOT_RGBI",), output_m=1.6)
    report = map_area(spot, [Source("spot", path)], tmp_path / "out")
    assert report.maps
