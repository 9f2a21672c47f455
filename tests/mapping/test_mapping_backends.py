"""ONNX Runtime and OpenVINO against torch, on a simulated territory without one of the sensors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from mapping_stubs import even_out, read_map
from pydantic import ValidationError

import bocage.models.export as exporting
from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.backends import choose_backend, flat_inputs, open_predictor
from bocage.models import (
    Bundle,
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
    TemporalConfig,
)
from bocage.models.export import describe, formats
from bocage.models.export.check import plausible_inputs, with_gaps
from bocage.models.published import published_config
from bocage.simulate import simulate_area

pytestmark = [
    pytest.mark.integration,
    # torch.export and its ONNX exporter warn of their own internals.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

WINDOW = 256
SENSORS = ("aerial", "spot", "sentinel2")
OTHERS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def area(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Photograph and Sentinel-2 of a simulated territory; nobody gives SPOT."""
    folder = tmp_path_factory.mktemp("area")
    simulate_area(folder, size_m=102.4, seed=7)
    return [
        Source("aerial", folder / "aerial.tif"),
        Source(
            "sentinel2",
            folder / "sentinel2.tif",
            folder / "sentinel2_dates.txt",
            folder / "sentinel2_mask.tif",
        ),
    ]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """An untrained network whose logits have mean 0 and spread 1, as if it had learnt something."""
    torch.manual_seed(3)
    head = TaskHead(name="cover", num_classes=5)
    config = NetworkConfig(
        inputs=tuple(InputConfig(modality=name) for name in SENSORS),
        tasks=(head,),
        encoder=EncoderConfig(width=8),
        temporal=TemporalConfig(width=8, heads=2, output_width=8, frame_blocks=0),
        fusion=FusionConfig(width=8),
        decoder=DecoderConfig(width=8, pool_scales=(1,)),
    )
    network = Network(config).eval()
    classes = tuple(
        BundleClass(id=i, name=f"c{i}", name_fr=f"c{i}", color=f"#0000{i:02x}", scored=True)
        for i in range(head.num_classes)
    )
    tasks = (BundleTask(name="cover", slug="cover", classes=classes),)
    bundle = Bundle(network, BundleMeta(network=config, tasks=tasks, tile_px=WINDOW))
    even_out(network, "cover", batch(bundle, 2))
    return bundle


def batch(bundle: Bundle, samples: int) -> dict[str, Any]:
    """Plausible arguments of `Network.forward`, everything there."""
    interface = describe(bundle.meta, WINDOW)
    numbers = {"batch": samples, "dates.SENTINEL2_TS": 4}
    return nested(plausible_inputs(interface, numbers), WINDOW)


def nested(flat: dict[str, torch.Tensor], side: int) -> dict[str, Any]:
    parts = ("images", "valid", "series", "series_valid", "days", "dates_present", "present")
    arguments: dict[str, Any] = {part: {} for part in parts}
    for name, tensor in flat.items():
        part, _, sensor = name.partition(".")
        arguments[part][sensor] = tensor
    return {**arguments, "output_hw": (side, side)}


@pytest.fixture(scope="module")
def network_file(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    exporting.export_bundle(bundle, path, size_px=WINDOW)
    return path


@pytest.fixture
def exports(network_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Exports that a run asks for; it gets the one file that the module has made."""
    made: list[Path] = []

    def copy(_: Bundle, path: Path, file_format: str, size_px: int) -> None:
        assert (file_format, size_px) == ("onnx", WINDOW)
        made.append(path)
        shutil.copyfile(network_file, path)

    monkeypatch.setattr(exporting, "export_bundle", copy)
    yield made
    assert all(not path.exists() for path in made), "an export outlives its run"


def config(backend: str, **options: Any) -> MapConfig:
    return MapConfig(backend=backend, window_px=WINDOW, overlap_px=0, device="cpu", **options)


@pytest.mark.parametrize("backend", OTHERS)
def test_logits_are_those_of_torch(backend: str, bundle: Bundle, network_file: Path) -> None:
    """With everything, with gaps and absent sensors in some windows, and with a sensor in none."""
    device = torch.device("cpu")
    ours = open_predictor(bundle, config("torch"), device, WINDOW, network_file)
    theirs = open_predictor(bundle, config(backend), device, WINDOW, network_file)
    whole = batch(bundle, 3)
    interface = describe(bundle.meta, WINDOW)
    gaps = nested(with_gaps(interface, flat_inputs(interface, whole)), WINDOW)
    none = {k: dict(v) if isinstance(v, dict) else v for k, v in whole.items()}
    for part in ("series", "series_valid", "days", "dates_present"):
        del none[part]["SENTINEL2_TS"]
    none["present"]["SENTINEL2_TS"] = torch.zeros(3, dtype=torch.bool)
    for inputs in (whole, gaps, none):
        one, other = ours(inputs)["cover"], theirs(inputs)["cover"]
        assert other.dtype == torch.float32
        assert float(one.std()) > 0.5
        assert float((one - other).abs().max()) < 1e-4


@pytest.mark.parametrize("backend", OTHERS)
def test_maps_are_those_of_torch(
    backend: str, bundle: Bundle, area: list[Source], exports: list[Path], tmp_path: Path
) -> None:
    maps = {}
    for name in ("torch", backend):
        report = map_area(bundle, area, tmp_path / name, config(name))
        assert report.exit_code == 0
        assert report.absent_inputs == ("SPOT_RGBI",)
        assert report.backend == name
        maps[name] = {stem: read_map(Path(path)) for stem, path in report.maps.items()}
    assert report.versions[backend]
    assert len(exports) == 1
    ours, theirs = maps["torch"], maps[backend]
    assert len(np.unique(ours["cover"])) == 5
    assert (ours["cover"] == theirs["cover"]).mean() > 0.9999
    steps = ours["cover_confidence"].astype(int) - theirs["cover_confidence"]
    assert np.abs(steps).max() <= 1


def test_bf16_of_openvino_gives_nearly_the_same_map(
    bundle: Bundle, area: list[Source], exports: list[Path], tmp_path: Path
) -> None:
    sure = map_area(bundle, area, tmp_path / "torch", config("torch"))
    fast = map_area(bundle, area, tmp_path / "fast", config("openvino", precision="bf16"))
    assert (fast.backend, fast.precision) == ("openvino", "bf16")
    one, other = (read_map(Path(report.maps["cover"])) for report in (sure, fast))
    confidence = read_map(Path(sure.maps["cover_confidence"]))
    clear = confidence >= np.median(confidence)
    assert (one == other)[clear].mean() > 0.97


def test_a_resumed_run_exports_nothing_and_gives_the_same_bytes(
    bundle: Bundle, area: list[Source], exports: list[Path], tmp_path: Path
) -> None:
    def stop(done: int, total: int | None) -> None:
        if done == 1:
            raise KeyboardInterrupt

    plan = config("onnxruntime", block_px=512)
    # Twice the photograph, side by side, makes two blocks.
    wide = tmp_path / "wide.vrt"
    _side_by_side(Path(area[0].path), wide)
    sources = [Source("aerial", wide), area[1]]
    map_area(bundle, sources, tmp_path / "whole", plan)
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        map_area(bundle, sources, out, plan, progress=stop)
    assert len(exports) == 2
    assert exports[1].is_file()
    # What a kill in the middle of an export leaves.
    (exports[1].parent / ".network.abcd").mkdir()
    (exports[1].parent / ".network.abcd" / "network.onnx").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"differs in: backend"):
        map_area(bundle, sources, out, config("openvino", block_px=512))
    report = map_area(bundle, sources, out, plan)
    # The second block was under way when the first was reported, and may have been kept.
    assert report.blocks == 2
    assert report.blocks_resumed in (1, 2)
    assert len(exports) == 2
    for path in report.maps.values():
        assert Path(path).read_bytes() == (tmp_path / "whole" / Path(path).name).read_bytes()


def _side_by_side(raster: Path, target: Path) -> None:
    """A virtual raster twice as wide, the same image in both halves."""
    with rasterio.open(raster) as dataset:
        side, count, wkt = dataset.width, dataset.count, dataset.crs.to_wkt()
        origin = ", ".join(map(repr, dataset.transform.to_gdal()))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}">'
        + "".join(
            f"<SimpleSource><SourceFilename>{raster}</SourceFilename><SourceBand>{band}"
            f'</SourceBand><SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
            f'<DstRect xOff="{left}" yOff="0" xSize="{side}" ySize="{side}"/></SimpleSource>'
            for left in (0, side)
        )
        + "</VRTRasterBand>"
        for band in range(1, count + 1)
    )
    target.write_text(
        f'<VRTDataset rasterXSize="{2 * side}" rasterYSize="{side}"><SRS>{wkt}</SRS>'
        f"<GeoTransform>{origin}</GeoTransform>{bands}</VRTDataset>"
    )


def test_a_sensor_that_a_published_network_needs_is_asked_for() -> None:
    network = published_config("LC-B", "swin_tiny")
    meta = BundleMeta(
        network=network,
        tasks=(
            BundleTask(
                name=network.tasks[0].name,
                slug="cover",
                classes=tuple(
                    BundleClass(id=i, name="c", name_fr="c", color="#000000", scored=True)
                    for i in range(network.tasks[0].num_classes)
                ),
            ),
        ),
        tile_px=512,
    )
    interface = describe(meta)
    inputs = {
        "present": {name: torch.tensor([True, name == "AERIAL_RGBI"]) for name in interface.sensors}
    }
    with pytest.raises(DataError, match=r"absent from 1 of 2 windows.*does not work without it"):
        flat_inputs(interface, inputs)


def test_what_a_backend_cannot_do_is_refused() -> None:
    with pytest.raises(ValidationError, match="no bf16 arithmetic on CPUs"):
        config("onnxruntime", precision="bf16")
    with pytest.raises(ValidationError, match="runs on CPUs, not on device=cuda"):
        MapConfig(backend="openvino", device="cuda")
    with pytest.raises(ValidationError, match="'torch', 'onnxruntime' or 'openvino'"):
        MapConfig(backend="tensorrt")  # type: ignore[arg-type]


@pytest.mark.parametrize(("backend", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_a_missing_package_names_the_extra(
    backend: str, extra: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == backend else find(name, *rest),
    )
    message = rf"{backend} is not installed\. Run: pip install 'bocage\[{extra}\]'"
    with pytest.raises(ConfigError, match=message):
        map_area(bundle, [], tmp_path / "out", config(backend))
    assert not (tmp_path / "out").exists()
    assert choose_backend(config("torch")) == torch.device("cpu")
