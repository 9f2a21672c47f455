"""Averages over networks and over flips and rotations, and the layers beside the classes."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import ByValue, Moody, Output, aerial, bundle, read_map, task, write_raster

from bocage.errors import ConfigError
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.ensemble import D4Predictor, EnsemblePredictor

RGBI = "AERIAL_RGBI"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Recorded:
    """Logits that depend on where a pixel is, and what it was asked."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.asked: list[dict] = []

    def __call__(self, inputs):
        self.asked.append(inputs)
        image = inputs["images"][RGBI].float()
        ramp = torch.arange(image.shape[-1]).float()
        return {"LC": torch.stack([image[:, 0], image[:, 0] * 0 + ramp], 1)}


@pytest.mark.unit
def test_d4_turns_every_tensor_of_the_ground_and_turns_answers_back():
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 255, (2, 4, 6, 6), generator=rng, dtype=torch.uint8)
    series = torch.rand((2, 3, 10, 2, 2), generator=rng)
    days = torch.arange(6).view(2, 3)
    inputs = {
        "images": {RGBI: image},
        "valid": {RGBI: image[:, 0] > 9},
        "series": {"S2": series},
        "series_valid": {"S2": series[:, :, 0] > 0.5},
        "days": {"S2": days},
        "dates_present": {"S2": days > 0},
        "present": {RGBI: torch.ones(2, dtype=torch.bool)},
        "output_hw": (6, 6),
    }
    network = Recorded()
    logits = D4Predictor(network)(inputs)["LC"]
    # What is read off the pixel comes back where it was; a ramp averages to a constant.
    torch.testing.assert_close(logits[:, 0], image[:, 0].float())
    torch.testing.assert_close(logits[:, 1], torch.full((2, 6, 6), 2.5))
    seen = [asked["images"][RGBI] for asked in network.asked]
    assert len({tensor.numpy().tobytes() for tensor in seen}) == 8
    for asked in network.asked:
        # All sensors are turned alike: a corner stays the same corner of the ground.
        corner = asked["images"][RGBI][0, 0, 0, 0]
        at = (image[0, 0] == corner).nonzero()[0] // 3
        torch.testing.assert_close(asked["series"]["S2"][0, 0, :, 0, 0], series[0, 0, :, *at])
        assert torch.equal(asked["valid"][RGBI], asked["images"][RGBI][:, 0] > 9)
        assert asked["days"]["S2"] is days


@pytest.mark.unit
def test_an_ensemble_is_the_mean_and_shows_each_network_its_sensors():
    class Constant:
        device = torch.device("cpu")

        def __init__(self, value):
            self.value, self.seen = value, None

        def __call__(self, inputs):
            self.seen = sorted(inputs["present"])
            return {"LC": torch.full((1, 2, 3, 3), self.value)}

    first, second = Constant(1.0), Constant(4.0)
    both = EnsemblePredictor([(first, ["A"]), (second, ["A", "B"])])
    present = {"A": torch.tensor([True]), "B": torch.tensor([True])}
    assert torch.equal(both({"present": present})["LC"], torch.full((1, 2, 3, 3), 2.5))
    assert (first.seen, second.seen) == (["A"], ["A", "B"])
    # What sees nothing of a window has no say in it.
    present = {"A": torch.tensor([False]), "B": torch.tensor([True])}
    assert torch.equal(both({"present": present})["LC"], torch.full((1, 2, 3, 3), 4.0))


@pytest.mark.integration
def test_a_map_by_d4_is_that_of_the_network_where_the_network_is_fair(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(150, 170))
    maps = {}
    for d4 in (False, True):
        out = tmp_path / str(d4)
        map_area(bundle(ByValue()), [Source("aerial", path)], out, MapConfig(d4=d4))
        maps[d4] = read_map(out / "cover.tif")
    np.testing.assert_array_equal(maps[False], maps[True])


@pytest.mark.integration
def test_a_map_by_d4_asks_eight_times_and_takes_the_mean(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(150, 170, high=255))
    asked, maps = {}, {}
    for d4 in (False, True):
        network, out = Moody(), tmp_path / str(d4)
        map_area(bundle(network), [Source("aerial", path)], out, MapConfig(d4=d4))
        asked[d4], maps[d4] = network.seen, read_map(out / "cover_confidence.tif")
    assert asked[True] == 8 * asked[False]
    assert (maps[True] != maps[False]).mean() > 0.1


@pytest.mark.integration
def test_an_ensemble_of_two_sensors(tmp_path: Path):
    """Each network sees one sensor; where they disagree the surer one wins."""

    class Sure(ByValue):
        def forward(self, **inputs):
            assert set(inputs["present"]) == {self.name}
            return Output({"LC": 3 * super().forward(**inputs).logits["LC"]}, {})

    image = aerial(100, 100)
    height = np.random.default_rng(3).integers(0, 4, (2, 100, 100)).astype(np.float32)
    sources = [
        Source("aerial", write_raster(tmp_path / "a.tif", image)),
        Source("elevation", write_raster(tmp_path / "d.tif", height)),
    ]
    members = [bundle(ByValue()), bundle(Sure("DEM_ELEV"), ("DEM_ELEV",))]
    report = map_area(members, sources, tmp_path / "out", MapConfig(check_values=False))
    assert report.absent_inputs == ()
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), height[0])
    other = bundle(ByValue(), tasks=(task(count=3),))
    with pytest.raises(ConfigError, match=r"network 2 of the ensemble differs from the first in: "):
        map_area([members[0], other], sources, tmp_path / "x")
    with pytest.raises(ConfigError, match="network 2 of the ensemble sees none of the given"):
        map_area(members, sources[:1], tmp_path / "x")
    with pytest.raises(ConfigError, match="tile size"):
        map_area([members[0], bundle(ByValue(), tile_px=32)], sources, tmp_path / "x")


@pytest.mark.integration
def test_entropy_and_probabilities(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(200, 300, high=255))
    out = tmp_path / "out"
    config = MapConfig(entropy=True, probabilities=("all",), confidence=True)
    report = map_area(bundle(Moody()), [Source("aerial", path)], out, config)
    assert sorted(report.maps) == [
        "cover", "cover_confidence", "cover_entropy", "cover_probabilities"
    ]  # fmt: skip
    with rasterio.open(out / "cover_probabilities.tif") as dataset:
        shares = dataset.read() / 254.0
        assert dataset.descriptions == tuple(f"class {i}" for i in range(4))
        assert dataset.scales == (1 / 254,) * 4
        assert dataset.nodata == 255
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=0.01)
    classes, sure = read_map(out / "cover.tif"), read_map(out / "cover_confidence.tif")
    np.testing.assert_allclose(shares.max(axis=0) * 254, sure, atol=1)
    top = np.take_along_axis(shares, classes[None].astype(int), axis=0)[0]
    assert (top >= shares.max(axis=0) - 1 / 254).all()
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(shares > 0, shares * np.log(shares), 0)
    found = read_map(out / "cover_entropy.tif") / 254.0
    np.testing.assert_allclose(found, -parts.sum(axis=0) / np.log(4), atol=0.03)
    assert found.std() > 0.05

    some = MapConfig(probabilities=("class 2",), confidence=False)
    map_area(bundle(Moody()), [Source("aerial", path)], tmp_path / "some", some)
    np.testing.assert_allclose(
        read_map(tmp_path / "some" / "cover_probabilities.tif"), shares[2] * 254, atol=0.01
    )
    # Without shares the classes are found by another way.
    np.testing.assert_array_equal(read_map(tmp_path / "some" / "cover.tif"), classes)
    plain = MapConfig(confidence=False)
    map_area(bundle(Moody()), [Source("aerial", path)], tmp_path / "plain", plain)
    np.testing.assert_array_equal(read_map(tmp_path / "plain" / "cover.tif"), classes)
    wrong = MapConfig(probabilities=("forest",))
    with pytest.raises(ConfigError, match="class 2"):
        map_area(bundle(Moody()), [Source("aerial", path)], tmp_path / "x", wrong)


@pytest.mark.integration
def test_coverage_says_which_sensors_there_are(tmp_path: Path):
    image = aerial(300, 300)
    image[:, :100] = 99
    photo = write_raster(tmp_path / "a.tif", image, nodata=99)
    height = write_raster(tmp_path / "d.tif", np.full((2, 300, 150), 10, np.float32))
    out = tmp_path / "out"
    inputs = (RGBI, "SENTINEL2_TS", "DEM_ELEV")
    sources = [Source("aerial", photo), Source("elevation", height)]
    map_area(bundle(ByValue(), inputs), sources, out, MapConfig(check_values=False))
    found = read_map(out / "coverage.tif")
    expected = np.zeros((300, 300), np.uint8)
    expected[100:] += 1
    expected[:, :150] += 4
    np.testing.assert_array_equal(found, expected)
    with rasterio.open(out / "coverage.tif") as dataset:
        assert dataset.tags()["bit_2"] == "DEM_ELEV"
        assert dataset.nodata == 0


@pytest.mark.integration
def test_a_compiled_network_maps_the_same(tmp_path: Path, monkeypatch):
    asked: list[object] = []
    real = torch.compile

    def compile_and_count(network):
        fast = real(network)

        def run(**inputs):
            asked.append(network)
            return fast(**inputs)

        return run

    monkeypatch.setattr(torch, "compile", compile_and_count)
    path = write_raster(tmp_path / "a.tif", aerial(100, 100, high=255))
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        config = MapConfig(compile=compiled)
        report = map_area(bundle(Moody()), [Source("aerial", path)], out, config)
        # Every window went through the compiled network, or none.
        assert len(asked) == (report.windows if compiled else 0)
    np.testing.assert_array_equal(
        read_map(tmp_path / "True" / "cover.tif"), read_map(tmp_path / "False" / "cover.tif")
    )
    with pytest.raises(ValueError, match="compiles by itself"):
        MapConfig(compile=True, backend="onnxruntime")
