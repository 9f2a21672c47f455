"""`bocage models export`, and `bocage map` with another backend, from a run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from bocage.models import (
    BundleClass,
    BundleMeta,
    BundleTask,
    DecoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    NetworkConfig,
    TaskHead,
    TemporalConfig,
    save_bundle,
)

pytestmark = [
    pytest.mark.integration,
    # torch.export and its ONNX exporter warn of their own internals.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with nothing but its bundle: a tiny network of a series."""
    torch.manual_seed(0)
    config = NetworkConfig(
        inputs=(InputConfig(modality="sentinel1-asc"),),
        tasks=(TaskHead(name="cover", num_classes=3),),
        output_resolution_m=10.24,
        temporal=TemporalConfig(width=4, heads=1, output_width=4, frame_blocks=0),
        fusion=FusionConfig(width=4, name="concat"),
        decoder=DecoderConfig(width=4, pool_scales=(1,)),
    )
    classes = tuple(
        BundleClass(id=i, name=f"c{i}", name_fr=f"c{i}", color="#102030", scored=True)
        for i in range(3)
    )
    tasks = (BundleTask(name="cover", slug="cover", classes=classes),)
    folder = tmp_path_factory.mktemp("run")
    meta = BundleMeta(network=config, tasks=tasks, tile_px=16)
    network = Network(config)
    with torch.no_grad():
        # An untrained network says much the same everywhere.
        network.decoders["cover"].classes.weight *= 100
    save_bundle(folder / "model.safetensors", network, meta)
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five dates of Sentinel-1 over 20 × 20 pixels, and their list."""
    folder = tmp_path_factory.mktemp("series")
    values = np.random.default_rng(0).uniform(0.01, 0.3, (10, 20, 20)).astype(np.float32)
    with rasterio.open(
        folder / "s1.tif", "w", driver="GTiff", count=10, height=20, width=20, dtype="float32",
        crs="EPSG:2154", transform=from_origin(700000, 6600000, 10.24, 10.24),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    (folder / "dates.txt").write_text("\n".join(f"2021{month:02d}10" for month in range(3, 8)))
    return folder / "s1.tif", folder / "dates.txt"


def test_export_says_what_it_wrote(
    bocage: Callable[..., Any], run_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt2"
    result = bocage("models", "export", run_folder, "-o", file, "--format", "torch", "--size", 8)
    assert result.code == 0, result.err
    assert file.is_file()
    lines = result.out.splitlines()
    assert any(
        line.split()[:3] == ["input", "series_SENTINEL1_ASC_TS", "float32"] for line in lines
    )
    assert any("logits.cover" in line and "batch x 3 x 8 x 8" in line for line in lines)
    assert "free: batch from 1 on, dates.SENTINEL1-ASC_TS from 2 on" in lines
    assert "height and width are fixed: 8 px were asked for" in lines
    assert sum(line.startswith("largest difference ") for line in lines) == 3
    assert lines[-1] == str(file)


def test_export_refuses_an_unknown_format(
    bocage: Callable[..., Any], run_folder: Path, tmp_path: Path
) -> None:
    result = bocage("models", "export", run_folder, "-o", tmp_path / "a.onnx", "--format", "tflite")
    assert result.code == 2
    assert "unknown format 'tflite'. Valid: onnx, torch" in result.err
    missing = bocage("models", "export", tmp_path / "none.safetensors", "-o", tmp_path / "a.onnx")
    assert missing.code == 1
    assert "no such file" in missing.err


def test_map_with_openvino_from_start_to_end(
    bocage: Callable[..., Any], run_folder: Path, series: tuple[Path, Path], tmp_path: Path
) -> None:
    raster, dates = series
    words = ("--sentinel1-asc", raster, "--sentinel1-asc-dates", dates, "device=cpu")
    maps = []
    for backend in ("torch", "openvino"):
        out = tmp_path / backend
        result = bocage("map", run_folder, "-o", out, *words, "--backend", backend)
        assert result.code == 0, result.err
        report = json.loads((out / "report.json").read_text())
        assert report["backend"] == backend
        assert (report["seconds"]["start"] > 1) == (backend == "openvino")
        assert sorted(p.name for p in out.iterdir()) == [
            "cover.qml", "cover.tif", "cover.tif.aux.xml", "cover_confidence.qml",
            "cover_confidence.tif", "report.json", "stac-model.json", "stac.json",
        ]  # fmt: skip
        with rasterio.open(out / "cover_confidence.tif") as dataset:
            maps.append(dataset.read(1).astype(int))
    assert len(np.unique(maps[0])) > 2
    assert np.abs(maps[0] - maps[1]).max() <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--backend", "tensorrt"), "'backend': Input should be 'torch', 'onnxruntime' or"),
        (("--backend", "torch", "backend=openvino"), "--backend and backend=… are both given"),
        (("--backend", "onnxruntime", "precision=bf16"), "no bf16 arithmetic on CPUs"),
    ],
)
def test_a_backend_that_cannot_be_is_refused_at_once(
    words: tuple[str, ...], message: str, bocage: Callable[..., Any], tmp_path: Path
) -> None:
    result = bocage("map", tmp_path / "none.safetensors", "-o", tmp_path / "out", *words)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out").exists()
