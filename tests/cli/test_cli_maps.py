"""`bocage map` and what follows on it, as a user types it: shares, merge, polygons, hectares."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
from rasterio.transform import from_origin

from bocage.models import (
    BundleClass,
    BundleMeta,
    BundleTask,
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    save_bundle,
)

pytestmark = pytest.mark.integration

SIDE_PX = 1100
LEFT, TOP, PIXEL_M = 700_000.0, 6_600_000.0, 0.2


def network(folder: Path, seed: int) -> Path:
    """A run's folder with a tiny network of a photograph, untrained but lively."""
    torch.manual_seed(seed)
    config = NetworkConfig(
        inputs=(InputConfig(modality="aerial"),),
        tasks=(TaskHead(name="cover", num_classes=3),),
        encoder=EncoderConfig(name="convnet", width=4),
        fusion=FusionConfig(width=4, name="concat"),
        decoder=DecoderConfig(width=4, pool_scales=(1,)),
    )
    classes = tuple(
        BundleClass(id=i, name=f"class {i}", name_fr=f"classe {i}", color=c, scored=True)
        for i, c in enumerate(("#aa0000", "#00bb00", "#0000cc"))
    )
    tasks = (BundleTask(name="cover", slug="cover", classes=classes),)
    made = Network(config)
    with torch.no_grad():
        made.decoders["cover"].classes.weight *= 100
    folder.mkdir()
    meta = BundleMeta(network=config, tasks=tasks, tile_px=128)
    save_bundle(folder / "model.safetensors", made.eval(), meta)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Fields of 40 pixels a side."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 230, (4, SIDE_PX // 40 + 1, SIDE_PX // 40 + 1), dtype=np.uint8)
    image = coarse.repeat(40, axis=1).repeat(40, axis=2)[:, :SIDE_PX, :SIDE_PX]
    path = tmp_path / "ortho.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=4, dtype="uint8", width=SIDE_PX, height=SIDE_PX,
        crs="EPSG:2154", transform=from_origin(LEFT, TOP, PIXEL_M, PIXEL_M),
        photometric="MINISBLACK",
    ) as dataset:  # fmt: skip
        dataset.write(image)
    return path


def test_from_shares_to_hectares(tmp_path: Path, photo: Path, bocage: Callable[..., Any]) -> None:
    torch.set_num_threads(1)
    run, out = network(tmp_path / "run", 0), tmp_path / "out"
    common = (run, "--aerial", photo, "-o", out, "check_values=false", "block_px=512")

    planned = bocage("map", *common, "--plan-only")
    assert planned.code == 0, planned.err
    said = " ".join((planned.out + planned.err).split())
    assert "1100 x 1100 pixels, 0.0484 km²: 9 blocks" in said
    assert "scaled from a sample" in said
    assert not out.exists()

    assert bocage("map", *common, "--shard", "1/2").code == 0
    early = bocage("map", "merge", out)
    assert early.code == 1
    assert "4 of 9 blocks have not been computed" in early.err
    last = bocage("map", *common, "--shard", "2/2")
    assert f"when all are: bocage map merge {out}" in " ".join(last.out.split())
    merged = bocage("map", "merge", out)
    assert merged.code == 0
    cover = out / "cover.tif"
    assert str(cover) in merged.out
    assert {p.name for p in out.iterdir()} == {
        "cover.qml", "cover.tif", "cover.tif.aux.xml", "cover_confidence.qml",
        "cover_confidence.tif", "report.json", "stac.json", "stac-model.json",
    }  # fmt: skip
    model = json.loads((out / "stac-model.json").read_text())
    assert model["assets"]["model"]["href"] == "../run/model.safetensors"

    with rasterio.open(cover) as dataset:
        classes = dataset.read(1)
    zones = gpd.GeoDataFrame(
        {"nom": ["west", "east"]},
        geometry=[
            shapely.box(LEFT, TOP - 220, LEFT + 110, TOP),
            shapely.box(LEFT + 110, TOP - 220, LEFT + 220, TOP),
        ],
        crs="EPSG:2154",
    )
    zones.to_file(tmp_path / "zones.gpkg")
    table = tmp_path / "hectares.csv"
    words = ("--zones", f"{tmp_path / 'zones.gpkg'}:nom", "--plane", "-o", table)
    assert bocage("map", "areas", cover, *words).code == 0
    found = pd.read_csv(table)
    west = found[(found["zone"] == "west") & (found["class_id"] == 1)].iloc[0]
    assert west["pixels"] == (classes[:, :550] == 1).sum()
    assert west["ha"] == pytest.approx(west["pixels"] * 0.04 / 1e4)

    polygons = tmp_path / "cover.gpkg"
    assert bocage("map", "polygons", cover, "-o", polygons).code == 0
    shares = bocage("map", "polygons", out / "cover_confidence.tif", "-o", tmp_path / "no.gpkg")
    assert shares.code == 1
    assert "holds shares, not class ids" in " ".join(shares.err.split())
    drawn = gpd.read_file(polygons)
    for class_id in range(3):
        area_m2 = drawn[drawn["class_id"] == class_id].area.sum()
        assert area_m2 == pytest.approx((classes == class_id).sum() * 0.04)

    other = tmp_path / "other"
    assert (
        bocage(
            "map", network(tmp_path / "run2", 1), "--aerial", photo, "-o", other,
            "check_values=false",
        ).code
        == 0
    )  # fmt: skip
    changed = bocage(
        "map", "diff", cover, other / "cover.tif", "-o", tmp_path / "change", "--plane"
    )
    assert changed.code == 0
    with rasterio.open(other / "cover.tif") as dataset:
        after = dataset.read(1)
    with rasterio.open(tmp_path / "change" / "change.tif") as dataset:
        codes = dataset.read(1)
    np.testing.assert_array_equal(codes, classes.astype(np.uint16) * 256 + after)

    parcels = tmp_path / "parcels.gpkg"
    assert bocage("map", "parcels", cover, tmp_path / "zones.gpkg", "-o", parcels).code == 0
    voted = gpd.read_file(parcels).set_index("nom")
    assert voted.loc["east", "pixels"] == 1100 * 550


def test_an_ensemble_on_the_command_line(
    tmp_path: Path, photo: Path, bocage: Callable[..., Any]
) -> None:
    torch.set_num_threads(1)
    first, second = network(tmp_path / "a", 0), network(tmp_path / "b", 1)
    words = ("--aerial", photo, "check_values=false", "confidence=false")
    maps = {}
    for name, runs in {
        "a": (first,), "b": (second,), "ab": (first, "--with", second),
        "ba": (second, "--with", first),
    }.items():  # fmt: skip
        assert bocage("map", *runs, *words, "-o", tmp_path / "out" / name).code == 0
        with rasterio.open(tmp_path / "out" / name / "cover.tif") as dataset:
            maps[name] = dataset.read(1)
    assert (maps["ab"] == maps["ba"]).mean() > 0.999
    same = maps["a"] == maps["b"]
    assert 0.05 < same.mean() < 0.99
    assert (maps["ab"] != maps["a"]).any()
    assert (maps["ab"] != maps["b"]).any()
    assert (tmp_path / "out" / "ab" / "stac-model-2.json").is_file()


@pytest.mark.parametrize(
    ("interleave", "share", "failed"), [("pixel", 0.9, [*range(3, 9)]), ("band", 0.7, [*range(9)])]
)
def test_blocks_that_fail_are_listed(
    tmp_path: Path,
    photo: Path,
    bocage: Callable[..., Any],
    interleave: str,
    share: float,
    failed: list[int],
) -> None:
    """A file that has lost its end: the blocks fail whose windows see its last rows, or all where
    the end is a whole band."""
    torch.set_num_threads(1)
    run, out, broken = network(tmp_path / "run", 0), tmp_path / "out", tmp_path / "broken.tif"
    with rasterio.open(photo) as source:
        profile = {**source.profile, "interleave": interleave, "photometric": "MINISBLACK"}
        with rasterio.open(broken, "w", **profile) as target:
            target.write(source.read())
    content = broken.read_bytes()
    broken.write_bytes(content[: int(share * len(content))])
    words = (run, "--aerial", broken, "-o", out, "check_values=false", "block_px=512")
    result = bocage("map", *words)
    assert result.code == 1
    said = " ".join(result.err.split())
    stored = json.loads((out / "report.json").read_text())
    assert [one["index"] for one in stored["failed"]] == failed
    assert stored["exit_code"] == 1
    for index in failed[:8]:
        assert f"block {index}: {broken}" in said
    if len(failed) < 9:
        assert f"{len(failed)} blocks failed; see {out / 'report.json'} block 3" in said
        with rasterio.open(out / "cover.tif") as dataset:
            classes = dataset.read(1)
        assert (classes[512:] == 255).all()
        assert (classes[:512] != 255).all()
    else:
        assert f"error: no block of 9 could be mapped; see {out / 'report.json'} block 0" in said
        assert "and 1 more" in said
        assert not (out / "cover.tif").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "3/2"), "such as 2/8"),
        (("--engine", "spark"), "local, ray"),
        (("--address", "auto"), "Add --engine ray"),
        (("--shard", "1/2", "overwrite=true"), "exclude each other"),
    ],
)
def test_requests_that_cannot_be(
    tmp_path: Path, photo: Path, bocage: Callable[..., Any], words: tuple[str, ...], said: str
) -> None:
    run = network(tmp_path / "run", 0)
    result = bocage(
        "map", run, "--aerial", photo, "-o", tmp_path / "out", "check_values=false", *words
    )
    assert result.code == 2
    assert said in " ".join(result.err.split())
