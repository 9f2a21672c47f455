"""One's own rasters and labels, on any grid, become patches that train."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from rasterio.transform import from_origin
from rasterio.warp import Resampling, calculate_default_transform, reproject
from typer.testing import CliRunner

from bocage.cli.app import app
from bocage.config import load_config, parse_options
from bocage.data import PatchIndex, get_layout
from bocage.data.show.examples import find_class
from bocage.data.territory.config import TerritoryConfig
from bocage.data.territory.cut import cut_territory
from bocage.errors import BocageError, ConfigError, DataError
from bocage.nomenclatures import IGNORE, get_task
from bocage.training import RunFolder, fit

pytestmark = pytest.mark.integration

LEFT, TOP, PIXEL = 700_000.0, 6_600_000.0, 0.5
CLASSES = """
name: fields
classes:
  - {id: 3, name: meadow, name_fr: pré}
  - {id: 7, name: wheat, name_fr: blé}
"""


def write(
    path: Path, array: np.ndarray, pixel: float = PIXEL, crs: str = "EPSG:2154", **options: Any
) -> Path:
    profile = {
        "driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2],
        "dtype": array.dtype, "crs": crs, "transform": from_origin(LEFT, TOP, pixel, pixel),
    }  # fmt: skip
    with rasterio.open(path, "w", **{**profile, **options}) as target:
        target.write(array)
    return path


def square(column: float, row: float, columns: float, rows: float) -> shapely.Polygon:
    """A rectangle of the photograph's pixels on the ground."""
    x, y = LEFT + column * PIXEL, TOP - row * PIXEL
    return shapely.box(x, y - rows * PIXEL, x + columns * PIXEL, y)


@pytest.fixture
def land(tmp_path: Path) -> Path:
    """A photograph of 160 x 96 pixels (5 x 3 patches of 32), a series, polygons, a class list."""
    rng = np.random.default_rng(0)
    write(tmp_path / "ortho.tif", rng.integers(20, 220, (3, 96, 160)).astype(np.uint8))
    # 80 m x 48 m in pixels of 4 m: four to a patch.
    series = rng.integers(300, 3000, (20, 12, 20)).astype(np.uint16)
    write(tmp_path / "s2.tif", series, 4.0)
    mask = np.zeros((4, 12, 20), np.uint8)
    mask[3, :, 10:] = 90
    write(tmp_path / "clouds.tif", mask, 4.0)
    (tmp_path / "dates.txt").write_text("20210401\n20210701\n")
    (tmp_path / "fields.yaml").write_text(CLASSES)
    frame = gpd.GeoDataFrame(
        {"crop": ["wheat", "Pré", "7"], "odd": ["wheat", "rye", "barley"], "code": [7, 3, 7]},
        geometry=[square(0, 0, 64, 64), square(16, 16, 16, 16), square(64, 0, 40, 20)],
        crs="EPSG:2154",
    )
    frame.to_crs("EPSG:4326").to_file(tmp_path / "fields.gpkg", layer="fields")
    return tmp_path


def request(land: Path, *words: str, **given: Any) -> TerritoryConfig:
    document = {
        "sources": {"rgb": {"path": str(land / "ortho.tif")}},
        "labels": {
            "path": str(land / "fields.gpkg"), "field": "crop", "task": str(land / "fields.yaml"),
        },
        "tile_px": 32,
    }  # fmt: skip
    return parse_options(TerritoryConfig, ["block_tiles=1", *words], {**document, **given})


def samples(out: Path, where: str, layout: str, names: tuple[str, ...] = ("AERIAL_RGB",)) -> dict:
    index = PatchIndex.read(out / where / "index.parquet")
    task = get_task(str(out / "classes.yaml"))
    read = get_layout(layout).read
    return {r.patch_id: read(out / where, r, names, [task], "refuse") for r in index}


def test_polygons_of_another_crs_land_on_the_photograph(land: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = cut_territory(request(land), out)
    found = samples(out, "patches", "packed")
    # Squares without a polygon are left out: wheat covers 2 x 2, its neighbour two more.
    assert set(found) == {"0-0", "0-1", "1-0", "1-1", "0-2", "0-3"}
    assert (report.patches, report.empty) == (6, 9)
    label = found["0-0"].labels["fields"]
    expected = np.ones((32, 32), np.uint8)
    expected[16:, 16:] = 0
    assert np.array_equal(label, expected)
    strip = found["0-3"].labels["fields"]
    assert (strip[:20, :8] == 1).all()
    assert (strip[20:] == IGNORE).all()
    with rasterio.open(land / "ortho.tif") as photo:
        pixels = photo.read()
    image = found["0-3"].images["AERIAL_RGB"]
    assert np.array_equal(image, pixels[:, :32, 96:128])
    index = PatchIndex.read(out / "patches" / "index.parquet")
    counts = index.class_counts(get_task(str(out / "classes.yaml")))
    assert counts.sum(axis=0).tolist() == [256, 64 * 64 - 256 + 40 * 20]


def test_what_is_read_in_place_is_what_is_packed(land: Path, tmp_path: Path) -> None:
    source = {
        "rgb": {"path": str(land / "ortho.tif")},
        "sentinel2": {
            "path": str(land / "s2.tif"), "dates": str(land / "dates.txt"),
            "mask": str(land / "clouds.tif"),
        },
    }  # fmt: skip
    out = tmp_path / "out"
    cut_territory(request(land, sources=source), out)
    names = ("AERIAL_RGB", "SENTINEL2_TS")
    placed, packed = (
        samples(out, where, layout, names)
        for where, layout in (("territory", "territory"), ("patches", "packed"))
    )
    assert placed.keys() == packed.keys()
    for patch_id, one in placed.items():
        other = packed[patch_id]
        assert np.array_equal(one.images["AERIAL_RGB"], other.images["AERIAL_RGB"])
        assert np.array_equal(one.labels["fields"], other.labels["fields"])
        a, b = one.series["SENTINEL2_TS"], other.series["SENTINEL2_TS"]
        assert a.values.shape == (2, 10, 4, 4)
        for name in ("values", "dates", "snow_cloud"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
        assert (one.crs, one.transform) == (other.crs, other.transform)
    with rasterio.open(land / "s2.tif") as file:
        frames = file.read().reshape(2, 10, 12, 20)
    assert np.array_equal(placed["0-1"].series["SENTINEL2_TS"].values, frames[..., :4, 4:8])
    assert placed["0-3"].series["SENTINEL2_TS"].snow_cloud[1, 1].min() == 90


def test_the_configuration_trains(land: Path, tmp_path: Path) -> None:
    run, out = CliRunner(), tmp_path / "out"
    command = [
        "data", "cut", "-o", str(out), "--rgb", str(land / "ortho.tif"), "--workers", "1",
        "--labels", f"{land / 'fields.gpkg'}:crop", "--task", str(land / "fields.yaml"),
        "--sentinel2", str(land / "s2.tif"), "--dates", str(land / "dates.txt"),
        "tile_px=32", "block_tiles=1", "valid=0.3", "test=0.3",
    ]  # fmt: skip
    done = run.invoke(app, command)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "6 patches" in done.stdout
    config = load_config(str(out / "run.yaml"))
    assert [(i.modality, i.pixel_m) for i in config.network.inputs] == [
        ("AERIAL_RGB", 0.5), ("SENTINEL2_TS", 4.0)
    ]  # fmt: skip
    assert config.network.output_resolution_m == 0.5
    tiny = [
        "data.num_workers=0", "network.encoder.width=4", "network.temporal.width=8",
        "network.temporal.output_width=8", "network.fusion.width=8", "network.decoder.width=8",
        "training.epochs=1", "training.accelerator=cpu", "training.select=last",
        "data.train_splits=[train, valid, test]", "data.valid_splits=[]",
    ]  # fmt: skip
    config = load_config(str(out / "run.yaml"), tiny)
    folder = RunFolder(tmp_path / "run")
    folder.create(config.to_document(), resume=False)
    fit(folder, config, progress=False)
    scored = run.invoke(app, ["evaluate", str(tmp_path / "run"), "--split", "train"])
    assert scored.exit_code == 0, (scored.output, scored.exception)
    assert "meadow" in scored.stdout
    # Mapped, the classes have the ids of the class list.
    mapped = run.invoke(
        app,
        ["map", str(tmp_path / "run"), "--rgb", str(land / "ortho.tif"), "-o", str(tmp_path / "m")],
    )
    assert mapped.exit_code == 0, (mapped.output, mapped.exception)
    with rasterio.open(tmp_path / "m" / "fields.tif") as file:
        assert set(np.unique(file.read(1)).tolist()) <= {3, 7}
        assert file.colormap(1)[7][3] == 255


def test_a_second_run_goes_on_and_another_request_is_refused(land: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = cut_territory(request(land), out)
    shard = next((out / "patches" / "shards").iterdir())
    before = shard.read_bytes()
    shard.unlink()
    again = cut_territory(request(land), out)
    assert shard.read_bytes() == before
    assert (again.patches, again.splits) == (first.patches, first.splits)
    with pytest.raises(ConfigError, match="holds another territory"):
        cut_territory(request(land, "tile_px=16"), out)


def test_another_grid_is_asked_for(land: Path, tmp_path: Path) -> None:
    with rasterio.open(land / "ortho.tif") as source:
        transform, width, height = calculate_default_transform(
            source.crs, "EPSG:4326", source.width, source.height, *source.bounds
        )
        turned = np.zeros((3, height, width), np.uint8)
        reproject(
            source.read(), turned, src_transform=source.transform, src_crs=source.crs,
            dst_transform=transform, dst_crs="EPSG:4326", resampling=Resampling.nearest,
        )  # fmt: skip
    degrees = land / "degrees.tif"
    write(degrees, turned, crs="EPSG:4326", transform=transform, nodata=0)
    source = {"rgb": {"path": str(degrees)}}
    with pytest.raises(DataError, match="a projected CRS in metres is needed"):
        cut_territory(request(land, sources=source), tmp_path / "no")
    out = tmp_path / "out"
    cut_territory(request(land, "crs=EPSG:2154", "resolution_m=1", sources=source), out)
    config = yaml.safe_load((out / "run.yaml").read_text())
    assert config["network"]["output_resolution_m"] == 1.0
    found = samples(out, "patches", "packed")
    assert {s.crs for s in found.values()} == {"EPSG:2154"}
    x, step, _, y, _, _ = next(iter(found.values())).transform
    assert (x % 1, step, y % 1) == (0, 1, 0)
    # 64 x 64 pixels of half a metre of wheat and meadow, and 40 x 20 of wheat, in square metres.
    known = sum(int((s.labels["fields"] != IGNORE).sum()) for s in found.values())
    assert known == pytest.approx((64 * 64 + 40 * 20) / 4, rel=0.05)


def test_raster_labels_background_and_empty_squares(land: Path, tmp_path: Path) -> None:
    # Labels at twice the pixel size, 0 where nothing is known; a photograph with a hole.
    label = np.zeros((1, 48, 80), np.uint8)
    label[:, :16, :32] = 3
    label[:, 16:, :] = 7
    write(land / "labels.tif", label, 1.0, nodata=0)
    with rasterio.open(land / "ortho.tif") as source:
        pixels = source.read()
    pixels[:, :, 96:] = 0
    write(land / "hole.tif", pixels, nodata=0)
    sources = {"rgb": {"path": str(land / "hole.tif")}}
    labels = {"path": str(land / "labels.tif"), "task": str(land / "fields.yaml")}
    out = tmp_path / "out"
    report = cut_territory(request(land, sources=sources, labels=labels), out)
    found = samples(out, "patches", "packed")
    assert set(found) == {f"{r}-{c}" for r in (1, 2) for c in range(3)} | {"0-0", "0-1"}
    assert report.empty == 7
    assert (found["0-0"].labels["fields"] == 0).all()
    assert (found["1-2"].labels["fields"] == 1).all()
    polygons = {
        "path": str(land / "fields.gpkg"), "field": "code", "task": str(land / "fields.yaml"),
        "background": "meadow",
    }  # fmt: skip
    whole = cut_territory(request(land, labels=polygons), tmp_path / "whole")
    assert (whole.patches, whole.empty) == (15, 0)
    far = samples(tmp_path / "whole", "patches", "packed")["2-4"]
    assert (far.labels["fields"] == 0).all()


def test_a_patch_may_reach_beyond_the_imagery(land: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cut_territory(request(land, "tile_px=48"), out, keep_unlabelled=True)
    found = samples(out, "patches", "packed")
    assert len(found) == 8
    edge = found["0-3"]
    assert edge.valid["AERIAL_RGB"].sum() == 16 * 48
    assert not edge.images["AERIAL_RGB"][:, ~edge.valid["AERIAL_RGB"]].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.field": "croop"}, r"unknown field 'croop'; did you mean 'crop'\?"),
        ({"labels.field": "odd"}, r"field 'odd' holds barley, rye, which the class list 'fields'"),
        ({"labels.background": "maize"}, "unknown class for labels.background 'maize'"),
        ({"labels.path": "gone.gpkg"}, "gone.gpkg: no such file"),
        ({"labels.layer": "feelds"}, "cannot be read as polygons"),
        ({"sources.rgb.path": "gone.tif"}, "gone.tif: no such file"),
        ({"sources.rgb.bands": [1, 2]}, r"bands \(1, 2\) of a file with 3 bands"),
        ({"crs": "EPSG:4326"}, "patches cannot lie in EPSG:4326"),
        ({"crs": "Lambert"}, "crs=Lambert: not a CRS"),
    ],
)
def test_mistakes_leave_nothing_to_train_on(
    land: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    words = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
        for key, value in changes.items()
    ]
    with pytest.raises(BocageError, match=message):
        cut_territory(request(land, *words), tmp_path / "out")
    assert not (tmp_path / "out" / "run.yaml").exists()


def test_labels_elsewhere_are_said_to_be(land: Path, tmp_path: Path) -> None:
    far = gpd.read_file(land / "fields.gpkg").to_crs("EPSG:2154")
    far.geometry = far.geometry.translate(50_000)
    far.to_file(land / "far.gpkg")
    with pytest.raises(DataError, match="no square of this territory has both"):
        cut_territory(request(land, f"labels.path={land / 'far.gpkg'}"), tmp_path / "out")


def test_command_mistakes(land: Path, tmp_path: Path) -> None:
    base = ["data", "cut", "-o", str(tmp_path / "out")]
    photo = ["--rgb", str(land / "ortho.tif")]
    for words, message in (
        ([], "no imagery is given"),
        ([*photo, "--task", "crops"], "belong to --labels"),
        ([*photo, "--labels", "a.gpkg:f"], "say with --task"),
        ([*photo, "--dates", "d.txt"], "dates or a mask are given for sentinel2"),
        ([*photo, "--sentinel2-offset", "-1000"], "a scale or offset are given for sentinel2"),
        ([*photo, "tile=3"], "unknown key 'tile'; did you mean 'tile_px'"),
    ):
        done = CliRunner().invoke(app, [*base, *words])
        assert isinstance(done.exception, ConfigError), (words, done.output)
        assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_real_orthophoto_and_polygons(real_data: Path, tmp_path: Path) -> None:
    """New Brunswick: polygons of land cover over half a metre pixels, unlabelled elsewhere."""
    folder = real_data / "new_brunswick"
    (tmp_path / "cover.yaml").write_text(
        "name: cover\nclasses:\n  - {id: 1, name: trees}\n  - {id: 2, name: water}\n"
        "  - {id: 3, name: road}\n  - {id: 4, name: building}\n"
    )
    config = TerritoryConfig(
        sources={"rgb": {"path": str(folder / "23322E759967N_clipped_1m_1of2.tif")}},
        labels={
            "path": str(folder / "BakerLake_2017_clipped.gpkg"), "field": "Quatreclasses",
            "task": str(tmp_path / "cover.yaml"), "unknown": "ignore",
        },
        tile_px=64,
    )  # fmt: skip
    report = cut_territory(config, tmp_path / "out")
    assert report.patches > 5
    index = PatchIndex.read(tmp_path / "out" / "patches" / "index.parquet")
    counts = index.class_counts(get_task(str(tmp_path / "out" / "classes.yaml"))).sum(axis=0)
    assert (counts > 0).sum() >= 2
    assert index[0].epsg == 2953


def test_a_class_list_of_ones_own_goes_along(land: Path, tmp_path: Path) -> None:
    """Packed, moved away from everything it was made of, it is described, shown and verified."""
    out = tmp_path / "out"
    cut_territory(request(land), out)
    moved = tmp_path / "moved"
    shutil.copytree(out / "patches", moved)
    shutil.rmtree(out)
    (task,) = get_layout("packed").own_tasks(moved)
    assert [c.name for c in task.nomenclature] == ["meadow", "wheat"]
    commands = {
        "describe": [moved, "--layout", "packed", "-o", tmp_path / "described"],
        "show 0-0": ["--root", moved, "--layout", "packed", "-o", tmp_path / "patch.png"],
        "show": ["--class", "wheat", "--root", moved, "--layout", "packed",
                 "--index", moved / "index.parquet", "-o", tmp_path / "wheat.png"],
        # Pixels of half a metre are no mistake: the territory has them.
        "verify": [moved, "--layout", "packed", "-o", tmp_path / "found", "--workers", 1],
    }  # fmt: skip
    for command, words in commands.items():
        done = CliRunner().invoke(app, ["data", *command.split(), *map(str, words)])
        assert done.exit_code == 0, (command, done.output, done.exception)
        if command == "describe":
            assert "fields (fields): 4,896 labelled pixels" in done.stdout
            assert re.search(r"wheat +94\.77", done.stdout)
    assert (tmp_path / "wheat.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="unknown task 'field'; did you mean 'fields'"):
        find_class("field:wheat", [task])
    assert find_class("wheat", [task])[0] is task
