"""Every mistake that the issue of bad input names: the message, and the exit code."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

pytestmark = pytest.mark.integration


@pytest.fixture
def dataset(simulated: Path, tmp_path: Path) -> Path:
    """A copy of the simulated dataset that a test may damage."""
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    return root


def _first(root: Path, folder: str) -> Path:
    return sorted((root / folder).rglob("*.tif"))[0]


def _train_folder(root: Path, kind: str) -> str:
    """The folder of `kind` in the domain that the training patches come from."""
    return next(p.name for p in sorted(root.glob(f"D024047-2021_{kind}")))


def _rewrite(path: Path, **changes: object) -> None:
    """Write a raster again with another profile, or other pixels."""
    with rasterio.open(path) as source:
        profile, pixels = source.profile, source.read()
    pixels = changes.pop("pixels", pixels)
    profile.update(count=pixels.shape[0], dtype=pixels.dtype, **changes)
    path.unlink()
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)


def _train(bocage, root: Path, tiny: list[str], *options: str, inputs: str = "[AERIAL_RGBI]"):
    words = [f"data.root={root}", f"inputs={inputs}", *tiny, "training.epochs=1", *options]
    if "SENTINEL2" not in inputs:
        words = [w for w in words if "temporal" not in w and "max_dates" not in w]
    if inputs == "[SENTINEL2_TS]":
        words = [w for w in words if "network.encoder" not in w]
    return bocage("train", "demo", *words, "-o", root.parent / "run")


def test_unknown_key_names_key_and_nearest(bocage, tmp_path: Path) -> None:
    result = bocage("train", "demo", "training.epoch=3", "-o", tmp_path / "run")
    assert result.code == 2
    assert "unknown key 'training.epoch'; did you mean 'epochs'?" in result.err
    assert not (tmp_path / "run").exists()


def test_option_without_effect(bocage, tmp_path: Path) -> None:
    words = ["inputs=[AERIAL_RGBI]", "network.temporal.width=8", "-o", tmp_path / "run"]
    result = bocage("train", "demo", *words)
    assert result.code == 2
    assert "network.temporal.width has no effect" in result.err


def test_missing_configuration_file(bocage) -> None:
    result = bocage("train", "nowhere.yaml")
    assert result.code == 2
    assert "nowhere.yaml: no such file" in result.err


def test_missing_data_folder(bocage, tmp_path: Path) -> None:
    result = bocage("train", "demo", f"data.root={tmp_path / 'gone'}", "-o", tmp_path / "run")
    assert result.code in (1, 2)
    assert str(tmp_path / "gone") in result.err


def test_existing_run_folder(bocage, simulated: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    result = bocage("train", "demo", f"data.root={simulated}", "-o", tmp_path / "run")
    assert result.code == 2
    assert "already exists and is not empty" in result.err
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_truncated_geotiff(bocage, dataset: Path, tiny: list[str]) -> None:
    assert bocage("data", "index", dataset).code == 0
    for path in (dataset / _train_folder(dataset, "AERIAL_RGBI")).rglob("*.tif"):
        path.write_bytes(path.read_bytes()[:5000])
    result = _train(bocage, dataset, tiny)
    assert result.code == 1
    assert "AERIAL_RGBI" in result.err
    assert "truncated or corrupt" in result.err


def test_wrong_band_count(bocage, dataset: Path, tiny: list[str]) -> None:
    assert bocage("data", "index", dataset).code == 0
    for path in (dataset / _train_folder(dataset, "AERIAL_RGBI")).rglob("*.tif"):
        _rewrite(path, pixels=np.zeros((3, 512, 512), np.uint8))
    result = _train(bocage, dataset, tiny)
    assert result.code == 1
    assert "3 bands where AERIAL_RGBI has 4" in result.err


def test_crs_spelled_differently_is_accepted(bocage, dataset: Path, tiny: list[str]) -> None:
    local = CRS.from_wkt('LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]')
    for path in dataset.rglob("*LABEL-COSIA*.tif"):
        _rewrite(path, crs=local)
    assert _train(bocage, dataset, tiny).code == 0


def test_truly_different_crs_is_refused_naming_both(bocage, dataset: Path, tiny: list[str]) -> None:
    assert bocage("data", "index", dataset).code == 0
    for path in (dataset / _train_folder(dataset, "AERIAL_RGBI")).rglob("*.tif"):
        _rewrite(path, crs=CRS.from_epsg(32631))
    result = _train(bocage, dataset, tiny)
    assert result.code == 1
    assert "EPSG:32631" in result.err
    assert "EPSG:2154" in result.err


def test_label_outside_the_nomenclature(bocage, dataset: Path, tiny: list[str]) -> None:
    for path in (dataset / _train_folder(dataset, "AERIAL_LABEL-COSIA")).rglob("*.tif"):
        pixels = np.full((1, 512, 512), 77, np.uint8)
        pixels[0, :400] = 8
        _rewrite(path, pixels=pixels)
    refused = _train(bocage, dataset, tiny)
    assert refused.code == 1
    assert "outside the nomenclature 'cosia': [77]" in refused.err
    shutil.rmtree(dataset.parent / "run")
    ignored = _train(bocage, dataset, tiny, "data.unknown_labels=ignore")
    assert ignored.code == 0


def test_a_patch_with_no_usable_date(bocage, dataset: Path, tiny: list[str]) -> None:
    for path in dataset.rglob("*MSK-SC*.tif"):
        with rasterio.open(path) as source:
            shape = (source.count, source.height, source.width)
        _rewrite(path, pixels=np.full(shape, 100, np.uint16))
    alone = _train(bocage, dataset, tiny, inputs="[SENTINEL2_TS]")
    assert alone.code == 1
    assert "no usable input. SENTINEL2_TS: 0 of " in alone.err
    shutil.rmtree(dataset.parent / "run")
    beside = _train(bocage, dataset, tiny, inputs="[AERIAL_RGBI, SENTINEL2_TS]")
    assert beside.code == 0


def test_an_index_that_points_to_files_that_are_gone(
    bocage, dataset: Path, tiny: list[str]
) -> None:
    assert bocage("data", "index", dataset).code == 0
    shutil.rmtree(dataset / _train_folder(dataset, "AERIAL_RGBI"))
    result = _train(bocage, dataset, tiny)
    assert result.code == 1
    assert "gone. Put it back, or rebuild the index" in result.err


def test_a_batch_in_which_every_sensor_is_missing_trains_when_allowed(
    bocage, dataset: Path, tiny: list[str]
) -> None:
    for path in dataset.rglob("*MSK-SC*.tif"):
        with rasterio.open(path) as source:
            shape = (source.count, source.height, source.width)
        _rewrite(path, pixels=np.full(shape, 100, np.uint16))
    result = _train(bocage, dataset, tiny, "data.without_sensors=allow", inputs="[SENTINEL2_TS]")
    assert result.code == 0


def test_a_batch_whose_labels_are_all_ignored(bocage, dataset: Path, tiny: list[str]) -> None:
    for path in dataset.rglob("*LABEL-COSIA*.tif"):
        _rewrite(path, pixels=np.full((1, 512, 512), 255, np.uint8))
    result = _train(bocage, dataset, tiny, "tasks=[AERIAL_LABEL-COSIA]")
    assert result.code == 0
    metrics = (dataset.parent / "run" / "metrics.jsonl").read_text()
    assert '"train/loss": 0.0' in metrics
    assert "NaN" not in metrics


def test_indexing_reports_what_it_leaves_out(bocage, dataset: Path) -> None:
    path = _first(dataset, _train_folder(dataset, "AERIAL_LABEL-COSIA"))
    path.write_bytes(path.read_bytes()[:400])
    result = bocage("data", "index", dataset)
    assert result.code == 1
    assert path.name in result.err
    assert "15 patches in" in result.out


def test_unknown_patch(bocage, simulated: Path, tmp_path: Path) -> None:
    result = bocage("data", "show", "D000", "--root", simulated, "-o", tmp_path / "p.png")
    assert result.code == 2
    assert "unknown patch 'D000'" in result.err


def test_dates_without_images(bocage, tmp_path: Path) -> None:
    words = ["--aerial", "a.tif", "--dates", "d.txt", "-o", tmp_path / "out"]
    result = bocage("map", tmp_path, *words)
    assert result.code == 2
    assert "dates or a mask are given for sentinel2, but not its images" in result.err
