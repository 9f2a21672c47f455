"""`map_area` from end to end on small networks whose right answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import (
    CRS,
    ORIGIN,
    ByValue,
    Moody,
    Output,
    aerial,
    bundle,
    read_map,
    task,
    write_raster,
)
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.outputs import CONFIDENCE_STEPS

RGBI = "AERIAL_RGBI"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.integration
@pytest.mark.parametrize("shape", [(512, 512), (301, 777), (64, 64), (40, 17), (1, 1)])
@pytest.mark.parametrize("overlap", [0, 16, None])
def test_every_pixel_is_mapped_exactly(tmp_path: Path, shape, overlap):
    """A network that reads the class off the pixel: the map is the picture, up to the border."""
    image = aerial(*shape)
    path = write_raster(tmp_path / "a.tif", image)
    report = map_area(
        bundle(ByValue()),
        [Source("aerial", path)],
        tmp_path / "out",
        MapConfig(overlap_px=overlap, block_px=512, batch_size=3),
    )
    np.testing.assert_array_equal(read_map(tmp_path / "out" / "cover.tif"), image[0])
    sure = read_map(tmp_path / "out" / "cover_confidence.tif")
    expected = CONFIDENCE_STEPS / (1 + 3 * np.exp(-8.0))
    assert np.abs(sure - expected).max() < 1
    assert report.exit_code == 0
    assert report.km2 == pytest.approx(shape[0] * shape[1] * 0.04 / 1e6)


@pytest.mark.integration
def test_map_stands_on_the_reference_grid_as_a_valid_cog(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(600, 1100))
    tasks = (task("LC", "cover", 4),)
    out = tmp_path / "out"
    report = map_area(bundle(ByValue(), tasks=tasks), [Source("aerial", path)], out)
    assert sorted(p.name for p in out.iterdir()) == [
        "cover.qml",
        "cover.tif",
        "cover.tif.aux.xml",
        "cover_confidence.qml",
        "cover_confidence.tif",
        "report.json",
        "stac.json",
    ]
    for name in ("cover.tif", "cover_confidence.tif"):
        valid, errors, warnings = cog_validate(out / name)
        assert valid, (name, errors)
        assert not warnings
        with rasterio.open(path) as source, rasterio.open(out / name) as made:
            assert made.crs == source.crs
            assert made.transform == source.transform
            assert made.shape == source.shape
            assert made.dtypes == ("uint8",)
            assert made.nodata == 255
            assert made.overviews(1) == [2, 4] or made.overviews(1) == [2]
            assert made.tags()["task"] == "LC"
    with rasterio.open(out / "cover.tif") as made:
        assert made.colorinterp == (ColorInterp.palette,)
        table = made.colormap(1)
        for one in tasks[0].classes:
            rgb = tuple(int(one.color[i : i + 2], 16) for i in (1, 3, 5))
            assert table[one.id] == (*rgb, 255)
        assert made.tags(1)["class_2"] == "class 2"
        # Overviews of a class map hold classes that are there, not their mean.
        small = made.read(1, out_shape=(300, 550))
        assert set(np.unique(small)) <= {0, 1, 2, 3}
    assert "<Category>class 3</Category>" in (out / "cover.tif.aux.xml").read_text()
    with rasterio.open(out / "cover_confidence.tif") as made:
        assert made.scales == (1 / CONFIDENCE_STEPS,)
        assert made.offsets == (0,)
    stored = json.loads((out / "report.json").read_text())
    assert stored["windows"] == report.windows > 0
    assert stored["seconds"]["network"] > 0
    assert stored["crs"] == CRS


@pytest.mark.integration
def test_result_does_not_depend_on_the_cut(tmp_path: Path):
    """The network depends on the window as a whole and on the place in it; blocks must not."""
    path = write_raster(tmp_path / "a.tif", aerial(1100, 1300, high=255))
    config = {"window_px": 128, "overlap_px": 48}
    made = []
    for block_px, batch in ((512, 3), (1024, 8), (2048, 8)):
        out = tmp_path / f"out{block_px}"
        map_area(
            bundle(Moody()),
            [Source("aerial", path)],
            out,
            MapConfig(block_px=block_px, batch_size=batch, **config),
        )
        made.append([read_map(out / f"cover{s}.tif") for s in ("", "_confidence")])
    for other in made[1:]:
        np.testing.assert_array_equal(made[0][0], other[0])
        np.testing.assert_array_equal(made[0][1], other[1])
    assert len(np.unique(made[0][0])) == 4
    assert len(np.unique(made[0][1])) > 50


@pytest.mark.integration
def test_blending_leaves_no_seam(tmp_path: Path):
    """Logits that jump by 2 at every window border come out with steps of a few hundredths."""

    class Tilted(torch.nn.Module):
        def forward(self, **inputs):
            batch, (height, width) = len(inputs["images"][RGBI]), inputs["output_hw"]
            ramp = torch.linspace(-1, 1, width).expand(batch, height, width)
            return Output({"LC": torch.stack([ramp, -ramp], 1)}, {})

    path = write_raster(tmp_path / "a.tif", aerial(64, 900))
    steps = {}
    for overlap in (0, 64):
        out = tmp_path / f"out{overlap}"
        map_area(
            bundle(Tilted(), tasks=(task(count=2),)),
            [Source("aerial", path)],
            out,
            MapConfig(window_px=256, overlap_px=overlap),
        )
        with rasterio.open(out / "cover_confidence.tif") as made:
            p = made.read(1)[30] * made.scales[0]
        with rasterio.open(out / "cover.tif") as made:
            first = np.where(made.read(1)[30] == 0, p, 1 - p)
        steps[overlap] = np.abs(np.diff(first)).max()
    assert steps[0] > 0.7
    assert steps[64] < steps[0] / 10


@pytest.mark.integration
def test_nodata_is_where_every_sensor_has_none(tmp_path: Path):
    image = aerial(300, 300)
    image[:, :100] = 99
    dem = np.full((2, 300, 300), 10, np.float32)
    dem[:, :, :150] = -9999
    photo = write_raster(tmp_path / "a.tif", image, nodata=99)
    height = write_raster(tmp_path / "d.tif", dem)
    network = ByValue()
    out = tmp_path / "out"
    map_area(
        bundle(network, (RGBI, "DEM_ELEV")),
        [Source("aerial", photo), Source("elevation", height)],
        out,
    )
    expected = np.where(image[0] == 99, 0, image[0])
    expected[:100, :150] = 255
    found = read_map(out / "cover.tif")
    # Uniform logits outside the photograph: whatever class, but a class.
    np.testing.assert_array_equal(found == 255, expected == 255)
    np.testing.assert_array_equal(found[100:], expected[100:])
    np.testing.assert_array_equal(read_map(out / "cover_confidence.tif") == 255, expected == 255)
    for call in network.calls:
        for i, has in enumerate(call["present"][RGBI].tolist()):
            assert has == (RGBI in call["images"] and bool(call["valid"][RGBI][i].any()))
            if RGBI in call["images"]:
                hidden = ~call["valid"][RGBI][i]
                assert not call["images"][RGBI][i][:, hidden].any()


@pytest.mark.integration
def test_area_without_any_data_is_nodata_and_costs_no_network(tmp_path: Path):
    image = aerial(64, 1024)
    image[:, :, :700] = 99
    photo = write_raster(tmp_path / "a.tif", image, nodata=99)
    network = ByValue()
    report = map_area(
        bundle(network),
        [Source("aerial", photo)],
        tmp_path / "out",
        MapConfig(block_px=512, overlap_px=16),
    )
    found = read_map(tmp_path / "out" / "cover.tif")
    assert (found[:, :700] == 255).all()
    np.testing.assert_array_equal(found[:, 700:], image[0, :, 700:])
    assert report.windows < 0.5 * 2 * 1024 / 48 * 2


@pytest.mark.integration
def test_unscored_classes_are_never_mapped(tmp_path: Path):
    image = aerial(64, 64)
    path = write_raster(tmp_path / "a.tif", image)
    out = tmp_path / "out"
    map_area(bundle(ByValue(), tasks=(task(unscored=2),)), [Source("aerial", path)], out)
    found = read_map(out / "cover.tif")
    assert set(np.unique(found)) == {0, 1}
    np.testing.assert_array_equal(found[image[0] < 2], image[0][image[0] < 2])


@pytest.mark.integration
def test_class_ids_need_not_count_from_zero(tmp_path: Path):
    image = aerial(64, 64)
    path = write_raster(tmp_path / "a.tif", image)
    one = task()
    scored = (True, False, True, True)
    odd = one.model_copy(
        update={
            "classes": tuple(
                c.model_copy(update={"id": 10 * c.id + 1, "scored": s})
                for c, s in zip(one.classes, scored, strict=True)
            )
        }
    )
    out = tmp_path / "out"
    map_area(bundle(ByValue(), tasks=(odd,)), [Source("aerial", path)], out)
    found = read_map(out / "cover.tif")
    keep = image[0] != 1
    np.testing.assert_array_equal(found[keep], image[0][keep] * 10 + 1)
    assert 11 not in found


@pytest.mark.integration
def test_two_tasks_and_absent_inputs(tmp_path: Path):
    class Both(ByValue):
        def forward(self, **inputs):
            logits = super().forward(**inputs).logits["LC"]
            return Output({"LC": logits, "CROPS": logits.flip(1)}, {})

    image = aerial(70, 70)
    path = write_raster(tmp_path / "a.tif", image)
    out = tmp_path / "out"
    network = Both()
    report = map_area(
        bundle(network, (RGBI, "SENTINEL2_TS", "DEM_ELEV"), tasks=(task(), task("CROPS", "crops"))),
        [Source("aerial", path)],
        out,
        MapConfig(confidence=False, coverage=False),
    )
    assert sorted(report.maps) == ["cover", "crops"]
    np.testing.assert_array_equal(read_map(out / "crops.tif"), 3 - image[0])
    assert report.absent_inputs == ("SENTINEL2_TS", "DEM_ELEV")
    assert any("SENTINEL2_TS" in w and "absent" in w for w in report.warnings)
    assert not network.calls[0]["present"]["SENTINEL2_TS"].any()
    assert "SENTINEL2_TS" not in network.calls[0]["series"]


class Killed(BaseException):
    """As sudden as a signal: nothing in the engine may catch it."""


@pytest.mark.integration
def test_killed_run_goes_on_and_gives_the_same_bytes(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(1100, 1100, high=255))
    sources = [Source("aerial", path)]
    config = MapConfig(window_px=128, overlap_px=32, block_px=512)
    whole = tmp_path / "whole"
    map_area(bundle(Moody()), sources, whole, config)

    out = tmp_path / "out"
    network = Moody()
    network.fail_after, network.error = 150, Killed()
    with pytest.raises(Killed):
        map_area(bundle(network), sources, out, config)
    assert not (out / "cover.tif").exists()
    assert not (out / "report.json").exists()
    complete = sorted(p.name for p in (out / "blocks").glob("0*.json"))
    assert 0 < len(complete) < 9
    # What a kill in the middle of a write leaves behind.
    (out / ".cover.0123abcd.tif").write_bytes(b"half")
    (out / "blocks" / ".000004_cover.0123abcd.tif").write_bytes(b"half")

    network.fail_after = None
    network.seen = 0
    steps = []
    # Batch size and device may change between the two; they do not decide the result.
    report = map_area(
        bundle(network),
        sources,
        out,
        config.model_copy(update={"batch_size": 5}),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert report.blocks_resumed == len(complete)
    assert steps[0] == (len(complete), 9)
    assert steps[-1] == (9, 9)
    assert network.seen < report.windows
    for name in ("cover.tif", "cover_confidence.tif"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())


@pytest.mark.integration
def test_unfinished_run_of_something_else_is_not_continued(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", aerial(600, 600, high=255))
    sources = [Source("aerial", path)]
    out = tmp_path / "out"
    network = Moody()
    network.fail_after, network.error = 0, Killed()
    config = MapConfig(overlap_px=16, block_px=512)
    with pytest.raises(Killed):
        map_area(bundle(network), sources, out, config)
    other = config.model_copy(update={"overlap_px": 32})
    with pytest.raises(ConfigError, match=r"differs in: overlap_px\..*overwrite=true"):
        map_area(bundle(Moody()), sources, out, other)
    heavier = Moody()
    heavier.weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ConfigError, match="differs in: weights"):
        map_area(bundle(heavier), sources, out, config)
    report = map_area(bundle(Moody()), sources, out, other.model_copy(update={"overwrite": True}))
    assert report.blocks_resumed == 0
    with pytest.raises(ConfigError, match="holds a finished map"):
        map_area(bundle(Moody()), sources, out, other)
    map_area(bundle(Moody()), sources, out, config.model_copy(update={"overwrite": True}))


@pytest.mark.integration
def test_failed_block_is_a_hole_reported_and_made_good_later(tmp_path: Path):
    image = aerial(600, 1500)
    image[:, 550:600, 1200:1300] = 7
    path = write_raster(tmp_path / "a.tif", image)

    class Allergic(ByValue):
        healthy = False
        attempts = 0

        def forward(self, **inputs):
            if not self.healthy and (inputs["images"][RGBI] == 7).any():
                Allergic.attempts += 1
                raise RuntimeError("device on fire")
            return super().forward(**inputs)

    network = Allergic()
    out = tmp_path / "out"
    config = MapConfig(block_px=512, overlap_px=0)
    report = map_area(bundle(network), [Source("aerial", path)], out, config)
    assert report.exit_code == 1
    assert [f.index for f in report.failed] == [5]
    assert report.failed[0].rows == (512, 600)
    assert report.failed[0].cols == (1024, 1500)
    assert "device on fire" in report.failed[0].reason
    assert Allergic.attempts == 2
    found = read_map(out / "cover.tif")
    assert (found[512:, 1024:] == 255).all()
    np.testing.assert_array_equal(found[:512], image[0, :512])
    assert json.loads((out / "report.json").read_text())["failed"][0]["index"] == 5

    network.healthy = True
    again = map_area(bundle(network), [Source("aerial", path)], out, config)
    assert again.exit_code == 0
    assert again.blocks_resumed == 5
    healthy = np.where(image[0] == 7, 0, image[0])
    np.testing.assert_array_equal(read_map(out / "cover.tif"), healthy)
    assert not (out / "blocks").exists()


@pytest.mark.integration
def test_when_no_block_succeeds_there_is_no_map(tmp_path: Path):
    class NotANumber(ByValue):
        def forward(self, **inputs):
            logits = super().forward(**inputs).logits["LC"]
            return Output({"LC": logits * float("nan")}, {})

    path = write_raster(tmp_path / "a.tif", aerial(64, 64))
    out = tmp_path / "out"
    said = r"no block of 1 could be mapped; see .*report.json\nblock 0: .*not finite for LC"
    with pytest.raises(DataError, match=said):
        map_area(bundle(NotANumber()), [Source("aerial", path)], out)
    assert not (out / "cover.tif").exists()
    stored = json.loads((out / "report.json").read_text())
    assert (stored["maps"], stored["exit_code"]) == ({}, 1)
    (failed,) = stored["failed"]
    assert (failed["index"], failed["rows"], failed["cols"]) == (0, [0, 64], [0, 64])
    assert "not finite for LC" in failed["reason"]
    # The folder is no finished map: the same command goes on in it.
    report = map_area(bundle(ByValue()), [Source("aerial", path)], out)
    assert (report.exit_code, report.windows > 0) == (0, True)


@pytest.mark.integration
def test_source_that_breaks_in_the_middle_fails_only_its_blocks(tmp_path: Path):
    image = aerial(1024, 512, high=255)
    path = write_raster(tmp_path / "a.tif", image, tiled=True, blockxsize=256, blockysize=256)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.8)])
    out = tmp_path / "out"
    report = map_area(
        bundle(Moody()),
        [Source("aerial", path)],
        out,
        MapConfig(block_px=512, overlap_px=16),
    )
    assert [f.index for f in report.failed] == [1]
    assert "a.tif" in report.failed[0].reason
    assert (read_map(out / "cover.tif")[:512] != 255).all()


@pytest.mark.integration
@pytest.mark.parametrize("output_m", [0.2, 10.24])
def test_series_alone(tmp_path: Path, output_m):
    """A series is the reference when it is the finest; its pixels decide the map."""
    values = np.random.default_rng(0).integers(1, 4, (5, 10, 30, 40)).astype(np.uint16)
    (tmp_path / "d.txt").write_text("\n".join(f"2021{m:02d}01" for m in range(3, 8)))
    path = write_raster(tmp_path / "s.tif", values.reshape(-1, 30, 40), 10.24)

    class First(torch.nn.Module):
        def forward(self, **inputs):
            first = inputs["series"]["SENTINEL2_TS"][:, 0, 0].long()
            logits = torch.nn.functional.one_hot(first, 4).permute(0, 3, 1, 2) * 5.0
            return Output({"LC": logits}, {})

    source = Source("sentinel2", path, tmp_path / "d.txt")
    out = tmp_path / "out"
    made = bundle(First(), ("SENTINEL2_TS",), output_m=output_m, tile_px=10)
    if output_m == 0.2:
        with pytest.raises(DataError, match=r"10.24 m x 10.24 m.*maps at 0.2 m.*gdalwarp"):
            map_area(made, [source], out)
        return
    report = map_area(made, [source], out)
    np.testing.assert_array_equal(read_map(out / "cover.tif"), values[0, 0])
    assert report.year == 2021
    assert any("no snow and cloud mask" in w for w in report.warnings)


@pytest.mark.integration
def test_finest_sensor_sets_the_size_whatever_the_order(tmp_path: Path):
    image = aerial(130, 90)
    photo = write_raster(tmp_path / "a.tif", image)
    spot = np.full((4, 50, 50), 300, np.uint16)
    coarse = write_raster(tmp_path / "s.tif", spot, 1.6, origin=(ORIGIN[0] - 16, ORIGIN[1] + 16))
    out = tmp_path / "out"
    map_area(
        bundle(ByValue(), ("SPOT_RGBI", RGBI)),
        [Source("spot", coarse), Source("aerial", photo)],
        out,
    )
    np.testing.assert_array_equal(read_map(out / "cover.tif"), image[0])


@pytest.mark.integration
@pytest.mark.parametrize("end", ["raster", "frame", "coast", "frame beside elevation"])
def test_border_is_hardly_worse_than_the_interior(tmp_path: Path, end: str):
    """A network that averages noise away over its surroundings: within 16 pixels of the border it
    errs at most 1.5 times as often as inside, whether the raster ends there or its data do, and
    where another sensor goes on. With black around them it errs far more."""

    class Averaging(torch.nn.Module):
        def forward(self, **inputs):
            image = inputs["images"][RGBI][:, :1] * inputs["valid"][RGBI][:, None]
            return Output({"LC": scores(image.float())}, {})

    def scores(image_B1HW):
        mean = torch.nn.functional.avg_pool2d(image_B1HW, 25, 1, 12)[:, 0]
        return torch.stack([-((mean - level) ** 2) for level in (60.0, 120.0, 180.0)], dim=1)

    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(1, 1, 14, 14))).float()
    field = torch.nn.functional.interpolate(coarse, size=(900, 900), mode="bicubic")[0, 0].numpy()
    truth = np.digitize(field, (-0.4, 0.4)).astype(np.uint8)
    noisy = 60.0 * (truth + 1) + rng.normal(scale=60, size=truth.shape)
    image = np.clip(noisy, 1, 255).astype(np.uint8)[None].repeat(4, axis=0)
    there = np.ones_like(truth, bool)
    if end == "coast":
        y, x = np.indices(truth.shape) - 450
        there = np.hypot(y, x) < 400 + 20 * np.sin(40 * np.arctan2(y, x))
    margin = 40 if end.startswith("frame") else 0
    truth, there, *bands = (np.pad(layer, margin) for layer in (truth, there, *image))
    image = np.where(there, bands, 0).astype(np.uint8)
    sources = [Source("aerial", write_raster(tmp_path / "a.tif", image, nodata=0))]
    names = (RGBI,)
    if end == "frame beside elevation":
        dem = np.full((2, *truth.shape), 5, np.float32)
        sources.append(Source("elevation", write_raster(tmp_path / "d.tif", dem)))
        names = (RGBI, "DEM_ELEV")
    config = MapConfig(window_px=256, check_values=False)
    made = bundle(Averaging(), names, tasks=(task(count=3),))
    map_area(made, sources, tmp_path / "o", config)
    inner = np.pad(there, 1)
    for _ in range(16):
        inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    inner = inner[1:-1, 1:-1]
    near = there & ~inner

    def ratio(found):
        wrong = found != truth
        return wrong[near].mean() / wrong[inner].mean()

    black = scores(torch.from_numpy(image[None, :1]).float())[0].argmax(dim=0).numpy()
    assert ratio(black) > 2
    found = read_map(tmp_path / "o" / "cover.tif")
    assert ratio(found) < 1.5
    if len(names) == 1:
        np.testing.assert_array_equal(found == 255, ~there)
