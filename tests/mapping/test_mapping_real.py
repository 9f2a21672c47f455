"""Real files as input to a map: true patches and seventy malformed rasters."""

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import ByValue, Output, bundle, read_map

from bocage.errors import BocageError
from bocage.mapping import MapConfig, Source, map_area
from bocage.modalities import get_modality
from bocage.models import InputConfig
from bocage.rasters import same_crs

pytestmark = pytest.mark.real


def test_true_patch_is_mapped_onto_its_own_grid(tmp_path: Path, real_data: Path):
    """Red, green, blue, infrared and height from the five bands of one FLAIR #2 file."""
    patch = min((real_data / "flair2" / "aerial").rglob("IMG_*.tif"))
    network = ByValue()
    sources = [
        Source("aerial", patch, bands=(1, 2, 3, 4)),
        Source("height", patch, bands=(5,)),
    ]
    out = tmp_path / "out"
    report = map_area(bundle(network, ("AERIAL_RGBI", "AERIAL_HEIGHT"), tile_px=512), sources, out)
    with rasterio.open(patch) as source, rasterio.open(out / "cover.tif") as made:
        assert made.transform == source.transform
        assert made.shape == source.shape
        assert same_crs(made.crs, source.crs)
        red, height = source.read(1), source.read(5)
    seen = next(c for c in network.calls)["images"]["AERIAL_HEIGHT"]
    assert set(np.unique(seen.numpy())) <= set(np.unique(height))
    # The stub maps values 0 to 3 and is undecided elsewhere.
    found = read_map(out / "cover.tif")
    np.testing.assert_array_equal(found[red < 4], red[red < 4])
    assert report.failed == ()


class Undecided(torch.nn.Module):
    def forward(self, **inputs):
        batch = len(next(iter(inputs["present"].values())))
        return Output({"LC": torch.zeros(batch, 4, *inputs["output_hw"])}, {})


@pytest.mark.parametrize("sensor", ["historical", "elevation"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_odd_file_is_mapped_or_refused_soon(tmp_path: Path, real_data: Path, sensor):
    """A network made for the file's own pixel size, so that as many as possible get through."""
    name = get_modality(sensor).name
    count = len(get_modality(sensor).bands)
    mapped, refused = [], []
    for number, path in enumerate(sorted((real_data / "odd").iterdir())):
        try:
            with warnings.catch_warnings(), rasterio.open(path) as dataset:
                size, bands = abs(dataset.transform.a) or 1.0, dataset.count
        except rasterio.errors.RasterioError:
            size, bands = 1.0, 1
        spec = InputConfig(modality=name, resolution_m=size)
        made = bundle(Undecided(), (spec,), output_m=size, tile_px=256)
        source = Source(sensor, path, bands=tuple(1 + i % bands for i in range(count)))
        began = time.monotonic()
        try:
            map_area(made, [source], tmp_path / str(number), MapConfig(block_px=512))
            mapped.append(path.name)
        except BocageError as error:
            refused.append(str(error))
        assert time.monotonic() - began < 20, path.name
    assert len(mapped) >= 5
    assert len(refused) >= 40
    files = {path.name for path in (real_data / "odd").iterdir()}
    unnamed = [text for text in refused if not any(name in text for name in files)]
    assert not unnamed, "an error that does not say which file"
    assert any("gdal__huge4GB.tif" in text for text in refused)
    assert "rasterio__cogeo.tif" in mapped
