"""The engine with a real, small, untrained network and every kind of sensor."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import ORIGIN, aerial, read_map, write_raster

from bocage.mapping import MapConfig, Source, map_area
from bocage.models import (
    Bundle,
    BundleClass,
    BundleMeta,
    BundleTask,
    EncoderConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    TemporalConfig,
)

SIDE = 560


class Lively(torch.nn.Module):
    """An untrained network says much the same everywhere; this spreads what it says."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.spread: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, **inputs):
        output = self.network(**inputs)
        for name, logits in output.logits.items():
            if name not in self.spread:
                middle = logits.mean(dim=(0, 2, 3), keepdim=True)
                self.spread[name] = middle, logits.std(dim=(0, 2, 3), keepdim=True)
        spread = {
            name: (logits - self.spread[name][0]) / self.spread[name][1]
            for name, logits in output.logits.items()
        }
        return output._replace(logits=spread)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    sensors = ("aerial", "elevation", "sentinel2", "sentinel1-asc")
    config = NetworkConfig(
        inputs=tuple(InputConfig(modality=name) for name in sensors),
        tasks=(TaskHead(name="LC", num_classes=5), TaskHead(name="CROPS", num_classes=3)),
        encoder=EncoderConfig(width=8),
        temporal=TemporalConfig(width=8, heads=2, output_width=8),
    )
    tasks = tuple(
        BundleTask(
            name=head.name,
            slug=head.name.lower(),
            classes=tuple(
                BundleClass(
                    id=i, name=f"c{i}", name_fr=f"c{i}", color=f"#0000{i:02x}", scored=i != 4
                )
                for i in range(head.num_classes)
            ),
        )
        for head in config.tasks
    )
    return Bundle(
        Lively(Network(config).eval()), BundleMeta(network=config, tasks=tasks, tile_px=256)
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Source]:
    """560 px of photograph with a hole; heights on another grid; two series, one on two thirds."""
    folder = tmp_path_factory.mktemp("area")
    rng = np.random.default_rng(1)
    photo = aerial(SIDE, SIDE, high=240) + 1
    photo[:, 100:140, 200:300] = 0
    dem = rng.normal(300, 5, (2, 130, 130)).astype(np.float32)
    optical = rng.integers(200, 4000, (6, 10, 12, 12), dtype=np.uint16)
    mask = np.zeros((6, 2, 12, 12), np.uint16)
    mask[2, 1, :6] = 90
    mask[4, 1, 6:] = 90
    radar = rng.uniform(0.01, 0.3, (5, 2, 12, 8)).astype(np.float32)
    for name, count in (("s2", 6), ("s1", 5)):
        (folder / f"{name}.txt").write_text("\n".join(f"2021{m + 3:02d}10" for m in range(count)))
    near = (ORIGIN[0] - 3.3, ORIGIN[1] + 2.7)
    return [
        Source("aerial", write_raster(folder / "a.tif", photo, nodata=0)),
        Source("elevation", write_raster(folder / "d.tif", dem, 1.0, origin=near)),
        Source(
            "sentinel2",
            write_raster(folder / "s2.tif", optical.reshape(60, 12, 12), 10.24),
            folder / "s2.txt",
            write_raster(folder / "m.tif", mask.reshape(12, 12, 12), 10.24),
        ),
        Source(
            "sentinel1-asc",
            write_raster(folder / "s1.tif", radar.reshape(10, 12, 8), 10.24),
            folder / "s1.txt",
        ),
    ]


@pytest.mark.integration
def test_all_sensors_both_tasks_and_two_cuts_agree(tmp_path: Path, bundle, sources):
    """One block against four, one window at a time against five: the arithmetic of the network
    may round differently with the batch, nothing else may differ."""
    made = []
    for block_px, batch in ((1024, 5), (512, 1)):
        out = tmp_path / str(block_px)
        report = map_area(bundle, sources, out, MapConfig(block_px=block_px, batch_size=batch))
        assert report.exit_code == 0
        assert report.window_px == 512
        assert report.year == 2021
        made.append({name: read_map(Path(path)) for name, path in report.maps.items()})
    assert set(made[0]) == {
        "lc", "lc_confidence", "crops", "crops_confidence", "coverage"
    }  # fmt: skip
    assert 4 not in made[0]["lc"], "an unscored class"
    assert 255 not in made[0]["lc"], "the hole of the photograph is seen by the other sensors"
    assert len(np.unique(made[0]["lc"])) == 4
    assert len(np.unique(made[0]["lc_confidence"])) > 50
    for name in ("lc", "crops"):
        assert (made[0][name] != made[1][name]).mean() < 1e-4
        sure, other = (m[f"{name}_confidence"].astype(int) for m in made)
        assert np.abs(sure - other).max() <= 1


@pytest.mark.integration
def test_a_window_sees_what_a_patch_sees(tmp_path: Path, bundle, sources):
    """Without overlap the map of a tile is the network's answer to that patch."""
    report = map_area(bundle, sources[:1], tmp_path / "out", MapConfig(window_px=256, overlap_px=0))
    assert report.absent_inputs == ("DEM_ELEV", "SENTINEL2_TS", "SENTINEL1-ASC_TS")
    with rasterio.open(sources[0].path) as dataset:
        whole = torch.from_numpy(dataset.read())
    image = whole[None, :, 256:512, :256]
    present = {i.modality: torch.tensor([False]) for i in bundle.meta.network.inputs}
    present["AERIAL_RGBI"] = torch.tensor([True])
    with torch.inference_mode():
        logits = bundle.network(
            images={"AERIAL_RGBI": image}, valid={}, series={}, series_valid={}, days={},
            dates_present={}, present=present, output_hw=(256, 256),
        ).logits["LC"]  # fmt: skip
    expected = logits[0, :4].argmax(dim=0).numpy()
    assert len(np.unique(expected)) > 1
    found = read_map(tmp_path / "out" / "lc.tif")
    assert (found[256:512, :256] != expected).mean() < 1e-4
    np.testing.assert_array_equal(found == 255, (whole == 0).all(dim=0).numpy())


@pytest.mark.integration
def test_bf16_gives_nearly_the_same_map(tmp_path: Path, bundle, sources):
    maps = []
    for precision in ("float32", "bf16"):
        out = tmp_path / precision
        map_area(
            bundle,
            sources[:1],
            out,
            MapConfig(window_px=512, overlap_px=0, precision=precision),
        )
        maps.append(read_map(out / "lc.tif"))
    assert len(np.unique(maps[0])) > 2
    # Nothing was trained, so many pixels are a toss-up; where it is sure, it must stay so.
    confidence = read_map(tmp_path / "float32" / "lc_confidence.tif")
    sure = confidence >= np.median(confidence)
    assert (maps[0] == maps[1])[sure].mean() > 0.95
