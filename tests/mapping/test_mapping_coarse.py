"""Maps of larger pixels than the network's: mean probabilities of the ground that each covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import CRS, ORIGIN, Moody, Output, aerial, bundle, read_map, task, write_raster
from rasterio.transform import from_origin
from rasterio.warp import transform as move

from bocage.errors import ConfigError
from bocage.imagery import Source
from bocage.mapping import MapConfig, estimate_map, map_area
from bocage.mapping.job import prepare
from bocage.models import InputConfig, TaskHead
from bocage.models.published import PublishedConfig, published_input

pytestmark = pytest.mark.integration

RGBI, SPOT = "AERIAL_RGBI", "SPOT_RGBI"
X, Y = ORIGIN
NODATA = 255


class PixelByPixel(torch.nn.Module):
    """Logits of four classes from a pixel's four bands; the last class by far the most likely."""

    def forward(self, **inputs: Any) -> Output:
        image = inputs["images"][RGBI].float()
        assert image.shape[-2:] == inputs["output_hw"]
        return Output({"LC": image / 16 + torch.tensor([0, 0, 0, 50.0])[:, None, None]}, {})


class MoodyBeside(Moody):
    """Depends on the whole windows of the photograph and of SPOT."""

    def forward(self, **inputs: Any) -> Output:
        logits = super().forward(**inputs).logits["LC"]
        if SPOT in inputs["images"]:
            spot = inputs["images"][SPOT].float() / 1000
            logits = logits + spot.repeat_interleave(8, 2).repeat_interleave(8, 3)
        return Output({"LC": logits}, {})


def means_of(image: np.ndarray, scale: int) -> np.ndarray:
    """Mean probabilities of the first three classes, (3, H, W) of whole map pixels."""
    power = np.exp(image[:3].astype(float) / 16)
    shares = power / power.sum(axis=0)
    height, width = (size // scale for size in shares.shape[1:])
    shares = shares[:, : height * scale, : width * scale]
    return shares.reshape(3, height, scale, width, scale).mean(axis=(2, 4))


@pytest.mark.parametrize("scale", [2, 5])
def test_a_pixel_shows_the_mean_probabilities_of_its_ground(tmp_path: Path, scale: int) -> None:
    """Not of the class that is not scored, and not the probabilities of a mean."""
    image = aerial(203, 317, high=255)
    photo = write_raster(tmp_path / "a.tif", image)
    network = bundle(PixelByPixel(), tasks=(task(unscored=1),))
    config = MapConfig(
        resolution_m=0.2 * scale, probabilities=("all",), entropy=True, check_values=False
    )
    report = map_area(network, [Source("aerial", photo)], tmp_path / "out", config)
    means = means_of(image, scale)
    height, width = means.shape[1:]
    whole = (slice(0, height), slice(0, width))
    with rasterio.open(tmp_path / "out" / "cover.tif") as out:
        assert out.res == pytest.approx((0.2 * scale, 0.2 * scale))
        assert (out.transform.c, out.transform.f) == pytest.approx(ORIGIN)
        assert out.shape == (-(-203 // scale), -(-317 // scale))
        classes = out.read(1)
    sure = np.sort(means, axis=0)
    clear = sure[-1] - sure[-2] > 1e-5
    np.testing.assert_array_equal(classes[whole][clear], means.argmax(axis=0)[clear])
    with rasterio.open(tmp_path / "out" / "cover_probabilities.tif") as out:
        np.testing.assert_allclose(out.read()[:, *whole], means * 254, atol=0.51)
    confidence = read_map(tmp_path / "out" / "cover_confidence.tif")
    np.testing.assert_allclose(confidence[whole], means.max(axis=0) * 254, atol=0.51)
    entropy = -(means * np.log(means)).sum(axis=0) / np.log(3)
    found = read_map(tmp_path / "out" / "cover_entropy.tif")
    np.testing.assert_allclose(found[whole], entropy * 254, atol=0.6)
    assert report.resolution_m == pytest.approx(0.2 * scale)
    # At the border: what has imagery on half of its ground or more.
    for axis, (size, whole_px) in enumerate(zip((203, 317), (height, width), strict=True)):
        rest = np.take(classes, range(whole_px, classes.shape[axis]), axis=axis)
        rest = np.take(rest, range(min(height, width)), axis=1 - axis)
        assert (rest != NODATA).all() if size % scale >= scale / 2 else (rest == NODATA).all()


def test_holes_are_nodata_where_they_cover_more_than_half(tmp_path: Path) -> None:
    image = aerial(200, 200, high=250) + np.uint8(1)
    hole = np.zeros((200, 200), bool)
    hole[40:62, 80:102] = True  # ends two pixels of five behind a pixel of the map
    hole[100:123, 20:43] = True  # three of five
    image[:, hole] = 0
    photo = write_raster(tmp_path / "a.tif", image, nodata=0)
    config = MapConfig(resolution_m=1.0, check_values=False)
    map_area(bundle(PixelByPixel()), [Source("aerial", photo)], tmp_path / "out", config)
    expected = np.zeros((40, 40), bool)
    expected[8:12, 16:20] = True
    expected[20:25, 4:9] = True
    expected[24, 8] = False  # nine of 25 pixels
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif") == NODATA, expected)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """A photograph, and SPOT that ends inside it."""
    folder = tmp_path_factory.mktemp("imagery")
    photo = write_raster(folder / "a.tif", aerial(1112, 1120, high=255))
    spot = np.random.default_rng(1).integers(1, 4000, (4, 139, 90), dtype=np.uint16)
    return [Source("aerial", photo), Source("spot", write_raster(folder / "s.tif", spot, 1.6))]


LARGE = {
    "resolution_m": 0.4, "window_px": 48, "overlap_px": 16, "block_px": 512, "check_values": False
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sources: list[Source]) -> Path:
    out = tmp_path_factory.mktemp("whole")
    network = bundle(MoodyBeside(), (RGBI, SPOT))
    map_area(network, sources, out, MapConfig(**(LARGE | {"block_px": 1024})))
    return out


@pytest.mark.parametrize("layer", ["cover", "cover_confidence", "coverage"])
def test_no_cut_changes_a_pixel(
    tmp_path: Path, sources: list[Source], whole: Path, layer: str
) -> None:
    network = bundle(MoodyBeside(), (RGBI, SPOT))
    map_area(network, sources, tmp_path / "cut", MapConfig(**LARGE))
    expected = read_map(whole / f"{layer}.tif")
    assert expected.shape == (556, 560)
    assert len(np.unique(expected)) > 2 or layer == "coverage"
    np.testing.assert_array_equal(read_map(tmp_path / "cut" / f"{layer}.tif"), expected)


def test_a_part_is_the_cut_of_the_whole(tmp_path: Path, sources: list[Source], whole: Path) -> None:
    bounds = (X + 37 * 0.4, Y - 401 * 0.4, X + 400 * 0.4, Y - 93 * 0.4)
    network = bundle(MoodyBeside(), (RGBI, SPOT))
    map_area(network, sources, tmp_path / "part", MapConfig(**LARGE, bounds=bounds))
    for layer in ("cover", "cover_confidence", "coverage"):
        expected = read_map(whole / f"{layer}.tif")[93:401, 37:400]
        np.testing.assert_array_equal(read_map(tmp_path / "part" / f"{layer}.tif"), expected)


def test_in_another_crs_pixels_lie_where_the_ground_is(tmp_path: Path) -> None:
    image = np.zeros((4, 300, 300), np.uint8)
    squares = np.add.outer(np.arange(300) // 60, np.arange(300) // 60) % 3
    for k in range(3):
        image[k] = np.where(squares == k, 250, 1)
    photo = write_raster(tmp_path / "a.tif", image)
    config = MapConfig(crs="EPSG:32631", resolution_m=0.6, check_values=False)
    network = bundle(PixelByPixel(), tasks=(task(unscored=1),))
    map_area(network, [Source("aerial", photo)], tmp_path / "out", config)
    with rasterio.open(tmp_path / "out" / "cover.tif") as out:
        assert out.res == pytest.approx((0.6, 0.6))
        assert out.transform.c / 0.6 == pytest.approx(round(out.transform.c / 0.6), abs=1e-4)
        middles = [ORIGIN[0] + (30 + 60 * k) * 0.2 for k in range(5)]
        for i, x in enumerate(middles):
            xs, ys = move(CRS, out.crs, [x], [ORIGIN[1] - (30 + 60 * 2) * 0.2])
            assert next(out.sample([(xs[0], ys[0])]))[0] == (i + 2) % 3


@pytest.mark.parametrize(("asked", "nearest"), [(0.3, "0.2 or 0.4"), (0.1, "0.2 or 0.4"),
                                                (0.9, "0.8 or 1")])  # fmt: skip
def test_a_resolution_between_is_refused(tmp_path: Path, asked: float, nearest: str) -> None:
    photo = write_raster(tmp_path / "a.tif", aerial(64, 64))
    with pytest.raises(ConfigError, match=f"maps at 0.2 m, and at whole multiples.*{nearest}"):
        map_area(
            bundle(PixelByPixel()), [Source("aerial", photo)], tmp_path / "out",
            MapConfig(resolution_m=asked),
        )  # fmt: skip


def test_windows_hold_the_ground_that_the_network_has_learnt(tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "a.tif", aerial(400, 400))
    network, sources = bundle(PixelByPixel(), tile_px=64), [Source("aerial", photo)]

    def lattice(**config: Any) -> Any:
        return prepare([network], sources, MapConfig(check_values=False, **config)).plan.lattice

    assert (lattice(resolution_m=0.8).window_px, lattice(resolution_m=0.8).seen_px) == (16, 64)
    uneven = lattice(resolution_m=1.0)
    assert (uneven.window_px, uneven.seen_px) == (13, 65)
    smallest = lattice(resolution_m=12.8)
    assert (smallest.window_px, smallest.overlap_px) == (2, 1), "one has no stride that overlaps"
    with pytest.raises(ConfigError, match="at most 2048"):
        lattice(resolution_m=0.8, window_px=2049)
    job = prepare([network], sources, MapConfig(check_values=False, resolution_m=1.0))
    assert any("windows are 65 px where the network was trained on 64" in w for w in job.warnings)
    cost = estimate_map(network, sources, MapConfig(check_values=False, resolution_m=0.8))
    assert (cost.height, cost.width, cost.window_px) == (100, 100, 16)
    assert cost.km2 == pytest.approx(0.0064)


def test_a_chosen_window_is_tried_at_the_size_that_the_network_sees(tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "a.tif", aerial(800, 800))
    config = MapConfig(resolution_m=0.8, window_px="auto", check_values=False)
    seen: list[int] = []

    class Listening(PixelByPixel):
        def forward(self, **inputs: Any) -> Output:
            seen.append(inputs["images"][RGBI].shape[-1])
            return super().forward(**inputs)

    map_area(bundle(Listening()), [Source("aerial", photo)], tmp_path / "out", config)
    assert seen[0] == 64, "16 pixels of the map"
    assert all(size % 64 == 0 for size in seen)


S2 = "SENTINEL2_TS"


@pytest.fixture
def beside_sentinel(tmp_path: Path) -> tuple[Any, list[Source]]:
    photo = write_raster(tmp_path / "a.tif", aerial(512, 512))
    series = write_raster(tmp_path / "s2.tif", np.ones((20, 10, 10), np.uint16), 10.24)
    dates = tmp_path / "dates.txt"
    dates.write_text("20210501\n20210601\n")
    sources = [Source("aerial", photo), Source("sentinel2", series, dates)]
    return bundle(PixelByPixel(), (RGBI, S2), tile_px=512), sources


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (1.0, "windows are 2560 of the network's pixels wide or more.*0.8, 1.6"),
        (10.0, "no window suits.*6.4, 12.8"),
    ],
)
def test_pixels_that_seldom_meet_the_sensors_are_refused_with_those_that_do(
    beside_sentinel: tuple[Any, list[Source]], asked: float, words: str
) -> None:
    network, sources = beside_sentinel
    for window_px in (None, "auto"):
        config = MapConfig(resolution_m=asked, window_px=window_px, check_values=False)
        with pytest.raises(ConfigError, match=f"resolution_m={asked:g}: .*{words}"):
            prepare([network], sources, config)
    for suiting in (0.8, 1.6, 6.4, 12.8):
        job = prepare([network], sources, MapConfig(resolution_m=suiting, check_values=False))
        assert job.plan.lattice.seen_px == 512
    wide = MapConfig(resolution_m=1.0, window_px=512, check_values=False)
    assert prepare([network], sources, wide).plan.lattice.seen_px == 2560


def published(arch: str) -> Any:
    config = PublishedConfig(
        architecture=arch, inputs=(published_input("aerial"),),
        tasks=(TaskHead(name="LC", num_classes=4),), tile_px=512,
    )  # fmt: skip
    made = bundle(PixelByPixel(), tile_px=512)
    return made._replace(meta=made.meta.model_copy(update={"network": config}))


def test_windows_are_such_as_a_published_network_takes(tmp_path: Path) -> None:
    sources = [Source("aerial", write_raster(tmp_path / "a.tif", aerial(64, 64)))]

    def lattice(arch: str, **config: Any) -> Any:
        options = MapConfig(check_values=False, **config)
        return prepare([published(arch)], sources, options).plan.lattice

    swin, resnet = "swin_tiny-upernet", "resnet34-unet"
    assert lattice(swin, resolution_m=0.8).seen_px == 512
    assert lattice(swin, window_px="auto").seen_px == 512
    with pytest.raises(ConfigError, match=r"resolution_m=1: no window suits.*0\.8, 1\.6"):
        lattice(swin, resolution_m=1.0)
    with pytest.raises(ConfigError, match=r"takes windows of 512 px of its own.*set it to 512"):
        lattice(swin, window_px=1024)
    assert lattice(resnet, resolution_m=1.0).seen_px == 480, "whole pixels, halved five times"
    assert lattice(resnet, window_px=544).seen_px == 544
    with pytest.raises(ConfigError, match=r"multiple of 32 pixels.*Nearest: 512"):
        lattice(resnet, window_px=510)


@pytest.mark.parametrize("shift_m", [0.0, 0.1, 0.05, 0.95])
def test_the_network_sees_the_imagerys_own_pixels(tmp_path: Path, shift_m: float) -> None:
    """Wherever these lie: a chessboard stays one."""
    image = np.zeros((4, 200, 200), np.uint8)
    image[:, ::2, ::2] = image[:, 1::2, 1::2] = 200
    origin = (X + shift_m, Y - shift_m)
    photo = write_raster(tmp_path / "a.tif", image, origin=origin)
    seen: list[np.ndarray] = []

    class Listening(PixelByPixel):
        def forward(self, **inputs: Any) -> Output:
            seen.append(inputs["images"][RGBI].numpy())
            return super().forward(**inputs)

    config = MapConfig(resolution_m=1.0, check_values=False)
    map_area(bundle(Listening()), [Source("aerial", photo)], tmp_path / "out", config)
    assert all(set(np.unique(window)) == {0, 200} for window in seen)
    with rasterio.open(tmp_path / "out" / "cover.tif") as out:
        places = out.transform.c - origin[0], out.transform.f - origin[1]
        assert all(abs(p / 0.2 - round(p / 0.2)) < 1e-6 for p in places)
        assert out.bounds.left <= origin[0] + 0.1
        assert out.bounds.top >= origin[1] - 0.1
        classes = out.read(1)
    assert (classes[0] != NODATA).any()
    assert (classes[:, 0] != NODATA).any()


def test_coarse_imagery_is_told_whatever_the_maps_pixels_are(tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "a.tif", aerial(64, 64), 1.0)
    sources = [Source("aerial", photo)]
    for asked in (0.2, 1.0, 2.0):
        config = MapConfig(resolution_m=asked, check_values=False)
        warnings = prepare([bundle(PixelByPixel())], sources, config).warnings
        assert any("pixels of 1 m are resampled to 0.2 m" in text for text in warnings)
        assert not any("does not cover all" in text for text in warnings)


def test_sensors_that_share_a_pixel_of_the_map_make_it_known_together(tmp_path: Path) -> None:
    image = aerial(100, 100, high=250) + np.uint8(1)
    image[:, :, ::5] = image[:, :, 1::5] = image[:, :, 2::5] = 0  # two of five columns are known
    photo = write_raster(tmp_path / "a.tif", image, nodata=0)
    height = np.full((2, 100, 100), 5, np.float32)
    height[:, :, 2::5] = height[:, :, 3::5] = height[:, :, 4::5] = -9999  # the other two
    dem = write_raster(tmp_path / "d.tif", height, nodata=-9999)
    spec = InputConfig(modality="DEM_ELEV", resolution_m=0.2)
    network = bundle(PixelByPixel(), (RGBI, spec))
    sources = [Source("aerial", photo), Source("elevation", dem)]
    config = MapConfig(resolution_m=1.0, check_values=False)
    map_area(network, sources, tmp_path / "out", config)
    assert (read_map(tmp_path / "out" / "cover.tif") != NODATA).all()
    assert (read_map(tmp_path / "out" / "coverage.tif") == 0b11).all()


@pytest.mark.parametrize("asked", [1600.0, 1e12])
def test_pixels_beyond_any_window_are_refused_at_once(tmp_path: Path, asked: float) -> None:
    photo = write_raster(tmp_path / "a.tif", aerial(64, 64))
    with pytest.raises(ConfigError, match=r"resolution_m=.*Ask for one of .*12\.8"):
        map_area(
            bundle(PixelByPixel()), [Source("aerial", photo)], tmp_path / "out",
            MapConfig(resolution_m=asked),
        )  # fmt: skip


def test_windows_that_are_sure_of_different_classes_meet(tmp_path: Path) -> None:
    """No class is impossible where they overlap, or there would be none left."""

    class Certain(torch.nn.Module):
        def forward(self, **inputs: Any) -> Output:
            image = inputs["images"][RGBI]
            logits = torch.zeros(len(image), 4, *image.shape[-2:])
            for window, pixels in zip(logits, image, strict=True):
                window[int(pixels.sum()) % 4] = 1e4
            return Output({"LC": logits}, {})

    photo = write_raster(tmp_path / "a.tif", aerial(400, 400, high=255))
    config = MapConfig(resolution_m=0.8, check_values=False, entropy=True)
    report = map_area(bundle(Certain()), [Source("aerial", photo)], tmp_path / "out", config)
    assert report.exit_code == 0
    assert len(np.unique(read_map(tmp_path / "out" / "cover.tif"))) == 4


def test_all_networks_of_an_ensemble_have_a_say_in_windows(tmp_path: Path) -> None:
    sources = [Source("aerial", write_raster(tmp_path / "a.tif", aerial(64, 64)))]
    pair = [published("resnet34-unet"), published("swin_tiny-upernet")]
    for networks in (pair, pair[::-1]):
        with pytest.raises(ConfigError, match=r"takes windows of 512 px of its own"):
            prepare(networks, sources, MapConfig(window_px=1024, check_values=False))
        job = prepare(networks, sources, MapConfig(resolution_m=0.8, check_values=False))
        assert job.plan.lattice.seen_px == 512


def test_memory_is_told_where_blocks_cannot_be_smaller(tmp_path: Path) -> None:
    def told(side_px: int, **config: Any) -> bool:
        options = {"driver": "GTiff", "count": 4, "dtype": "uint8", "tiled": True,
                   "sparse_ok": True, "crs": CRS, "height": side_px, "width": side_px,
                   "transform": from_origin(*ORIGIN, 0.2, 0.2)}  # fmt: skip
        with rasterio.open(tmp_path / "a.tif", "w", **options):
            pass  # without a pixel
        sources = [Source("aerial", tmp_path / "a.tif")]
        network = bundle(PixelByPixel(), tile_px=512)
        job = prepare([network], sources, MapConfig(check_values=False, **config))
        return any("GB beside the network" in text for text in job.warnings)

    assert told(40_000, resolution_m=12.8)
    assert not told(40_000)
    assert not told(400, resolution_m=12.8), "six pixels of a map"
