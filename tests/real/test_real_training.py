"""From real files to a loss, a score and a map; `docs/real-input.md` has the long version."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bocage.config import load_config
from bocage.data import PatchIndex, export_patch
from bocage.mapping import MapConfig, Source, map_area
from bocage.models import load_bundle
from bocage.training import RunFolder, evaluate, fit

pytestmark = pytest.mark.real


def _train(preset: str, folder: Path, options: list[str]) -> tuple[RunFolder, list[float]]:
    """A finished run, and its training loss by epoch."""
    config = load_config(preset, options)
    run = RunFolder(folder)
    run.create(config.to_document(), resume=False)
    fit(
        run,
        config,
        progress=False,
    )
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return run, [row["train/loss"] for row in rows]


def test_real_flair_patches_are_learnt_and_mapped_onto_their_grid(
    real_set, real_data: Path, tmp_path: Path
) -> None:
    options = [*real_set("flair"), "network.encoder.width=16", "network.fusion.width=32"]
    options += ["training.epochs=24", "training.validate_every=24"]
    run, losses = _train("flair2", tmp_path / "run", options)
    # 13 scored classes by chance is a loss of 2.7; a handful of patches must go far below.
    assert losses[-1] < 1.3
    assert losses[-1] < 0.55 * losses[0]

    bundle = load_bundle(run.bundle)
    for image in sorted((real_data / "flair2" / "aerial" / "D004_2021").rglob("IMG_*.tif")):
        sources = [
            Source("AERIAL_RGBI", image, bands=(1, 2, 3, 4)),
            Source("AERIAL_HEIGHT", image, bands=(5,)),
        ]
        out = tmp_path / image.stem
        report = map_area(bundle, sources, out, MapConfig(window_px=256))
        assert report.failed == ()
        with rasterio.open(image) as source, rasterio.open(out / "land-cover.tif") as mapped:
            assert (mapped.crs, mapped.transform) == (source.crs, source.transform)
            assert mapped.shape == source.shape
            assert set(np.unique(mapped.read(1))) <= set(range(15))


def test_real_photographs_and_irregular_series_are_learnt_from_and_mapped(
    real_set, real_data: Path, tmp_path: Path
) -> None:
    tiny = ["network.encoder.width=4", "network.temporal.width=8", "network.temporal.heads=2"]
    run, losses = _train("treesatai", tmp_path / "run", [*real_set("treesatai"), *tiny])
    assert np.isfinite(losses).all()
    assert 0 < losses[0] < 10
    meta = load_bundle(run.bundle).meta
    assert [item.modality for item in meta.network.inputs] == [
        "AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS",
    ]  # fmt: skip
    assert meta.tile_px == 304

    index = PatchIndex.read(tmp_path / "treesatai.parquet")
    for row in range(len(index)):
        folder = tmp_path / f"patch{row}"
        made = export_patch(real_data / "treesatai_ts", "treesatai", index[row], folder)
        assert [each.modality for each in made] == [item.modality for item in meta.network.inputs]
        sources = [Source(*each) for each in made]
        report = map_area(load_bundle(run.bundle), sources, folder / "map")
        assert report.failed == ()
        assert (report.height, report.width) == (304, 304)
        with rasterio.open(folder / "map" / "land-cover.tif") as mapped:
            assert (mapped.read(1) != 255).all()
            np.testing.assert_allclose(mapped.bounds, index[row].bounds)


def test_crops_of_one_real_cube_the_score_on_the_other_and_its_map(
    real_set, real_data: Path, tmp_path: Path
) -> None:
    options = [*real_set("crop-cube"), "training.epochs=6", "network.temporal.width=32"]
    run, losses = _train("crop-cube", tmp_path / "run", options)
    assert losses[-1] < 0.8 * losses[0]
    config = load_config("crop-cube", options)
    scores = evaluate(
        run.bundle,
        config,
        split="test",
        target=tmp_path / "scores",
    )
    crops = scores["ALL_LABEL-LPIS"]
    # 2,236 labelled pixels of the other cube, in another year; always saying "maize" gives 0.56.
    assert crops.pixels == 2236
    assert crops.overall_accuracy is not None
    assert crops.overall_accuracy > 0.3

    index = PatchIndex.read(tmp_path / "crop-cube.parquet")
    bundle = load_bundle(run.bundle)
    row = next(i for i in range(len(index)) if index[i].domain == "00002806639B424A")
    made = export_patch(real_data / "crop_cubes", "crop-cube", index[row], tmp_path / "patch")
    sources = [Source(*each) for each in made]
    report = map_area(bundle, sources, tmp_path / "map")
    assert report.failed == ()
    assert report.resolution_m == 10
    with rasterio.open(tmp_path / "map" / "crops.tif") as mapped:
        assert (mapped.read(1) != 255).all()
