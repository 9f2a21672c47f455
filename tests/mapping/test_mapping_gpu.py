"""The engine on a GPU against the engine on a CPU; what does not need one runs here too.

Float32 differs between the two by the order of sums and, in cuDNN's convolutions, by TF32's ten
bits of mantissa: logits of spread 1 by some thousandths, a confidence by a step or two of 254.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mapping_stubs import ORIGIN, aerial, even_out, read_map, write_raster
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bocage.mapping import MapConfig, Source, blend, map_area
from bocage.mapping.backends import TorchPredictor
from bocage.mapping.ensemble import D4Predictor, EnsemblePredictor, averaged
from bocage.mapping.predict import WindowInputs, network_inputs
from bocage.mapping.reduce import TensorReducer
from bocage.mapping.window import Machine, trial
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
from bocage.sample import Series

CPU = torch.device("cpu")
SIDE, TILE, CLASSES = 600, 128, 5
SAME_CLASSES, STEPS = 0.995, 3
"""Share of pixels of the same class, and steps of 254 by which a share may differ."""
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    ],
)
LAYERS: dict[str, Any] = {"confidence": True, "entropy": True, "probabilities": ("c1", "c3")}
CONFIG: dict[str, Any] = {"overlap_px": 32, "block_px": 512, "check_values": False, **LAYERS}


def make_bundle(seed: int, sensors: tuple[str, ...]) -> Bundle:
    """A small untrained network whose logits have mean 0 and spread 1 on plausible windows."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    head = TaskHead(name="cover", num_classes=CLASSES)
    config = NetworkConfig(
        inputs=tuple(InputConfig(modality=name, resolution_m=PIXELS[name]) for name in sensors),
        tasks=(head,),
        encoder=EncoderConfig(width=8),
        temporal=TemporalConfig(width=8, heads=2, output_width=8),
    )
    network = Network(config).eval()
    classes = tuple(
        BundleClass(id=i, name=f"c{i}", name_fr=f"c{i}", color=f"#0000{i:02x}", scored=True)
        for i in range(CLASSES)
    )
    meta = BundleMeta(
        network=config,
        tasks=(BundleTask(name="cover", slug="cover", classes=classes),),
        tile_px=TILE,
    )
    even_out(network, "cover", plausible_inputs(sensors, 2))
    return Bundle(network, meta)


PIXELS = {"aerial": 0.2, "sentinel2": 6.4}
"""Metres: 128 pixels of the photograph are 4 of the series."""
NAMES = {"aerial": "AERIAL_RGBI", "sentinel2": "SENTINEL2_TS"}
DATES = np.array(["2021-03-10", "2021-06-10", "2021-09-10"], dtype="datetime64[D]")


def plausible_inputs(sensors: tuple[str, ...], batch: int) -> dict[str, Any]:
    """Arguments of `Network.forward`, on the CPU."""
    rng = np.random.default_rng(5)
    series = rng.integers(200, 4000, (3, 10, 4, 4), dtype=np.uint16)
    windows = [
        WindowInputs(
            0,
            0,
            {"AERIAL_RGBI": aerial(TILE, TILE, seed=i, high=240)},
            {},
            {"SENTINEL2_TS": Series(series, DATES)} if "sentinel2" in sensors else {},
        )
        for i in range(batch)
    ]
    return network_inputs(windows, [NAMES[name] for name in sensors], 2021, TILE)


@pytest.fixture(scope="module")
def both() -> Bundle:
    return make_bundle(3, ("aerial", "sentinel2"))


@pytest.fixture(scope="module")
def photograph_only() -> Bundle:
    return make_bundle(4, ("aerial",))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """A photograph with a hole, and a series of its western half."""
    folder = tmp_path_factory.mktemp("area")
    photo = aerial(SIDE, SIDE, high=240) + 1
    photo[:, 100:140, 200:300] = 0
    rng = np.random.default_rng(1)
    series = rng.integers(200, 4000, (30, 20, 10), dtype=np.uint16)
    (folder / "d.txt").write_text("\n".join(str(day) for day in DATES))
    return [
        Source("aerial", write_raster(folder / "a.tif", photo, nodata=0)),
        Source(
            "sentinel2",
            write_raster(folder / "s.tif", series, 6.4, origin=ORIGIN),
            folder / "d.txt",
        ),
    ]


def maps_of(
    bundles: list[Bundle], sources: list[Source], out: Path, **options: Any
) -> dict[str, np.ndarray]:
    report = map_area(bundles, sources, out, MapConfig(**{**CONFIG, **options}))
    assert report.exit_code == 0
    return {stem: read_map(Path(path)) for stem, path in report.maps.items()}


def assert_alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray], same: float) -> None:
    assert one.keys() == other.keys()
    assert {"cover", "cover_confidence", "cover_entropy", "cover_probabilities"} <= one.keys()
    assert len(np.unique(one["cover"])) >= CLASSES
    np.testing.assert_array_equal(one["coverage"], other["coverage"])
    np.testing.assert_array_equal(one["cover"] == 255, other["cover"] == 255)
    assert (one["cover"] == other["cover"]).mean() >= same
    for stem in ("cover_confidence", "cover_entropy", "cover_probabilities"):
        assert np.abs(one[stem].astype(int) - other[stem]).max() <= STEPS, stem


@pytest.mark.integration
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_both_reductions_make_the_same_map(
    tmp_path: Path, both: Bundle, sources, device: str, monkeypatch
):
    """The one for GPUs, through the whole engine, against the compiled one of CPUs."""
    expected = maps_of([both], sources, tmp_path / "cpu", device="cpu")
    made = []

    def plain(tasks, *_: int) -> TensorReducer:
        made.append(tasks)
        return TensorReducer(tasks, CPU)

    monkeypatch.setattr(blend, "CompiledReducer", plain)
    found = maps_of([both], sources, tmp_path / "other", device=device, batch_size=3)
    assert bool(made) == (device == "cpu")
    assert_alike(expected, found, 0.9999 if device == "cpu" else SAME_CLASSES)


@pytest.mark.integration
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_turned_and_averaged_networks(
    tmp_path: Path, both: Bundle, photograph_only: Bundle, sources, device: str
):
    """One window at a time against several: an ensemble whose members see different sensors."""
    members = [both, photograph_only]
    left, top = ORIGIN
    part: dict[str, Any] = {"bounds": (left, top - 40, left + 60, top), "overlap_px": 0, "d4": True}
    expected = maps_of(members, sources, tmp_path / "cpu", device="cpu", **part)
    found = maps_of(members, sources, tmp_path / "other", device=device, batch_size=4, **part)
    assert_alike(expected, found, 0.9999 if device == "cpu" else SAME_CLASSES)


@pytest.mark.integration
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_windows_chosen_by_memory(tmp_path: Path, both: Bundle, sources, device: str):
    """The trial leaves the network where it was, and a map is made with what it chose."""
    report = map_area(
        both,
        sources,
        tmp_path / "out",
        MapConfig(window_px="auto", device=device, check_values=False, overlap_px=32),
    )
    assert report.exit_code == 0
    assert report.window_px in (128, 256, 384, 512)
    (note,) = [w for w in report.warnings if w.startswith("window_px=auto: windows ")]
    assert f" {report.window_px} px" in note


@pytest.mark.integration
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_trial_measures_more_for_more(both: Bundle, device: str):
    """Memory of a pass grows with area and batch, by either way of counting."""
    place = torch.device(device)
    config = MapConfig(device=device)

    def peak(window_px: int, batch: int) -> int:
        with trial([both], [], {}, config, Machine(place, batch), []) as (measure, budget):
            assert budget > 0
            return measure(window_px).peak_bytes

    # No sensor is given: what is measured are maps of zeros, which are none the smaller.
    once, larger, more = peak(128, 1), peak(256, 1), peak(128, 4)
    # Libraries choose other ways for other sizes, each with its own needs.
    least, most = (3, 5) if device == "cpu" else (1.5, 8)
    assert least < larger / once < most
    assert least < more / once < most
    assert next(both.network.parameters()).device == CPU


class Counting(TorchDispatchMode):
    """Counts copies from the CPU to elsewhere, by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default and device is not None:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **kwargs)


class Elsewhere:
    """A predictor on torch's device without memory; it answers with nothing in the right shape."""

    device = torch.device("meta")

    def __init__(self) -> None:
        self.passes = 0

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        self.passes += 1
        image = inputs["images"]["AERIAL_RGBI"]
        assert image.device == self.device
        assert inputs["valid"]["AERIAL_RGBI"].device == self.device
        assert inputs["present"]["AERIAL_RGBI"].device == CPU
        return {"cover": torch.empty(len(image), CLASSES, *image.shape[-2:], device="meta")}


@pytest.mark.unit
def test_a_batch_goes_to_the_device_once():
    """However many networks answer, and from however many sides they look at it."""
    member = Elsewhere()
    names = ["AERIAL_RGBI", "SENTINEL2_TS"]
    predictor = D4Predictor(EnsemblePredictor([(member, names), (member, names)]))
    inputs = plausible_inputs(("aerial", "sentinel2"), 2)
    counting = Counting()
    with counting:
        predictor(inputs)
    assert member.passes == 16
    large = [shape for shape in counting.shapes if shape[-1] > 3]
    # A photograph, its mask, a series, its mask.
    assert sorted(map(len, large)) == [3, 4, 4, 5]


@pytest.mark.unit
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_the_mean_over_turns_turns_with_the_image(both: Bundle, device: str):
    """Symmetric answers: of a turned window the turned logits, on either device."""
    place = torch.device(device)
    predictor = averaged(lambda b: TorchPredictor(b.network, place, "float32"), [both], True)
    inputs = plausible_inputs(("aerial", "sentinel2"), 2)
    turned = {
        key: {n: t.rot90(1, (-2, -1)) for n, t in part.items()}
        if key in ("images", "valid", "series", "series_valid")
        else part
        for key, part in inputs.items()
    }
    straight, other = predictor(inputs)["cover"], predictor(turned)["cover"]
    both.network.cpu()
    assert straight.device.type == device
    tolerance = 1e-3 if device == "cpu" else 2e-2
    assert float((straight.rot90(1, (-2, -1)) - other).abs().max()) < tolerance
