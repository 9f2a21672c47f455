from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from model_batches import AERIAL, S2, TASKS, gap, make_batch, small_network

from bocage.errors import ConfigError, DataError
from bocage.models import (
    Bundle,
    BundleClass,
    BundleMeta,
    BundleTask,
    DecoderConfig,
    NetworkOutput,
    TemporalConfig,
)
from bocage.models.bundle import META_KEY
from bocage.models.export import EXPORT_KEY, ExportMeta, describe, export_bundle, exporter, formats
from bocage.models.export.check import Check, plausible_inputs, with_gaps
from bocage.models.export.interface import size_unit_px
from bocage.models.export.program import FlatNetwork, argument_name
from bocage.models.published import PublishedNetwork, published_config

pytestmark = [
    pytest.mark.unit,
    # torch.export and its ONNX exporter warn of their own internals.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TINY = {
    "tasks": TASKS[:1],
    "decoder": DecoderConfig(width=8, pool_scales=(1,)),
    "temporal": TemporalConfig(width=8, heads=2, output_width=8, frame_blocks=0),
}
"""Few operators: an export takes its time for each."""


def bundle_of(network: Any, tile_px: int) -> Bundle:
    tasks = tuple(
        BundleTask(
            name=head.name,
            slug=head.name.lower(),
            classes=tuple(
                BundleClass(id=i, name=f"c{i}", name_fr=f"c{i}", color="#102030", scored=True)
                for i in range(head.num_classes)
            ),
        )
        for head in network.config.tasks
    )
    meta = BundleMeta(network=network.config, tasks=tasks, tile_px=tile_px)
    return Bundle(network.eval(), meta)


def lively(network: Any) -> Any:
    """Batch statistics as after training, without which a published network says nothing."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path, Any]:
    """A network of an image and a series as ONNX, of one size."""
    bundle = bundle_of(small_network((AERIAL, S2), **TINY), 256)
    path = tmp_path_factory.mktemp("export") / "several.onnx"
    return bundle, path, export_bundle(bundle, path, size_px=256)


def run_onnx(path: Path, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: tensor.numpy() for name, tensor in inputs.items()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


def test_onnx_takes_any_batch_any_dates_and_any_subset_of_sensors(several) -> None:
    bundle, path, report = several
    interface = describe(bundle.meta, 256)
    numbers = {"batch": 4, "dates.SENTINEL2_TS": 5}
    whole = plausible_inputs(interface, numbers, seed=8)
    gaps = with_gaps(interface, whole)
    assert not any(gaps[f"present.{name}"][-1] for name in (AERIAL, S2))
    eager = FlatNetwork(bundle.network, interface)
    for inputs in (whole, gaps):
        with torch.inference_mode():
            ours = eager.compute(inputs)
        assert gap(ours, run_onnx(path, inputs)) <= 1e-6
    assert gap(eager.compute(whole), eager.compute(gaps)) > 0.01
    assert report.largest == max(check.largest for check in report.checks)
    assert {check.what.split(" ")[0] for check in report.checks} == {"1", "2", "3"}


def test_an_onnx_file_tells_all_about_itself(several) -> None:
    bundle, path, report = several
    model = onnx.load(path)
    onnx.checker.check_model(model)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    assert BundleMeta.model_validate_json(texts[META_KEY]) == bundle.meta
    meta = ExportMeta.model_validate_json(texts[EXPORT_KEY])
    assert meta == report.meta
    assert meta.fixed_size == "256 px were asked for"
    assert meta.free == {"batch": 1, "dates.SENTINEL2_TS": 1}
    assert meta.inputs["images.AERIAL_RGBI"].model_dump() == {
        "dtype": "uint8", "shape": ("batch", 4, 256, 256),
    }  # fmt: skip
    assert meta.inputs["series.SENTINEL2_TS"].model_dump() == {
        "dtype": "uint16", "shape": ("batch", "dates.SENTINEL2_TS", 10, 5, 5),
    }  # fmt: skip
    assert meta.outputs["logits.cover"].shape == ("batch", 5, 256, 256)
    assert [value.name for value in model.graph.input] == list(meta.inputs)
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
    for name, port in meta.inputs.items():
        kind = onnx.helper.tensor_dtype_to_np_dtype(kinds[name])
        assert str(kind) == port.dtype


def test_free_height_and_width(tmp_path: Path) -> None:
    bundle = bundle_of(small_network((AERIAL,), **TINY), 256)
    path = tmp_path / "free.onnx"
    report = export_bundle(bundle, path)
    assert report.meta.fixed_size == ""
    assert report.meta.free == {"batch": 1, "rows": 7, "cols": 7}
    assert report.meta.outputs["logits.cover"].shape == ("batch", 5, "32*rows", "32*cols")
    assert [check.what for check in report.checks] == [
        "2 x 256 x 288 px", "1 x 224 x 224 px", "3 x 288 x 256 px",
    ]  # fmt: skip
    interface = describe(bundle.meta, unit_px=32)
    inputs = plausible_inputs(interface, {"batch": 1, "rows": 20, "cols": 11})
    with torch.inference_mode():
        ours = FlatNetwork(bundle.network, interface).compute(inputs)
    assert ours["logits.cover"].shape == (1, 5, 640, 352)
    assert gap(ours, run_onnx(path, inputs)) <= 1e-6


def test_a_program_of_torch_from_series_alone(tmp_path: Path) -> None:
    bundle = bundle_of(small_network((S2,), output_resolution_m=10.24, **TINY), 10)
    path = tmp_path / "series.pt2"
    report = export_bundle(bundle, path, "torch")
    assert report.meta.free == {"batch": 1, "dates.SENTINEL2_TS": 2, "rows": 7, "cols": 7}
    texts = {META_KEY: "", EXPORT_KEY: ""}
    program = torch.export.load(path, extra_files=texts)
    assert BundleMeta.model_validate_json(texts[META_KEY]) == bundle.meta
    assert ExportMeta.model_validate_json(texts[EXPORT_KEY]) == report.meta
    interface = describe(bundle.meta, unit_px=1)
    numbers = {"batch": 2, "dates.SENTINEL2_TS": 9, "rows": 12, "cols": 8}
    inputs = with_gaps(interface, plausible_inputs(interface, numbers))
    arguments = {argument_name(name): tensor for name, tensor in reversed(inputs.items())}
    with torch.inference_mode():
        ours = FlatNetwork(bundle.network, interface).compute(inputs)
        theirs = program.module()(**arguments)
    assert gap(ours, theirs) <= 1e-6


@pytest.mark.parametrize(
    ("name", "architecture", "required", "size_px"),
    [("LC-A", "resnet34-unet", AERIAL, 64), ("LC-G", "resnet34", S2, 128)],
)
def test_published_networks(
    name: str, architecture: str, required: str, size_px: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(lively(PublishedNetwork(published_config(name, architecture))), 512)
    report = export_bundle(bundle, tmp_path / "published.pt2", "torch", size_px)
    assert report.meta.required == (required,)
    assert not any(port.startswith("present") for port in report.meta.inputs)
    assert {axis for axis in report.meta.free if axis.startswith("dates")} == (
        {"dates.SENTINEL2_TS"} if required == S2 else set()
    )
    assert all(check.spread > 0.01 for check in report.checks)


def test_units_of_free_sizes() -> None:
    """Whole pixels for every sensor, and no padding for any image."""
    alone = bundle_of(small_network((AERIAL,), **TINY), 256).meta
    both = bundle_of(small_network((AERIAL, S2), **TINY), 256).meta
    spot = bundle_of(small_network(("SPOT_RGBI",), output_resolution_m=0.2, **TINY), 256).meta
    assert [size_unit_px(meta) for meta in (alone, both, spot)] == [32, 256, 256]
    assert size_unit_px(alone, [48]) == 96
    # As many cells of the coarsest map as decoders pool to.
    least = [describe(m, unit_px=u).least_units for m, u in ((alone, 32), (both, 256), (spot, 256))]
    assert least == [7, 1, 7]


class Plain(torch.nn.Module):
    """One convolution behind a network's signature; says something else to one who only traces."""

    def __init__(self, drift: float) -> None:
        super().__init__()
        self.classes = torch.nn.Conv2d(4, 5, 1)
        self.drift = drift

    def forward(self, images: dict[str, torch.Tensor], **_: Any) -> NetworkOutput:
        logits = self.classes(images[AERIAL].float() / 255)
        if torch.compiler.is_exporting():
            logits = logits + self.drift
        return NetworkOutput({"cover": logits}, {}, {})


def plain_bundle(drift: float = 0.0) -> Bundle:
    meta = bundle_of(small_network((AERIAL,), **TINY), 64).meta
    torch.manual_seed(0)
    return Bundle(Plain(drift).eval(), meta)  # type: ignore[arg-type]


def test_a_difference_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "out" / "drifting.pt2"
    with pytest.raises(DataError, match=r"differs from the network by 0\.01 at 2 x 8 x 8 px"):
        export_bundle(plain_bundle(0.01), path, "torch", size_px=8)
    assert list(path.parent.iterdir()) == []


def test_a_difference_that_is_no_number_fails() -> None:
    assert Check("", 1e-4, 1.0).passed
    assert not Check("", 2e-3, 1.0).passed
    assert not Check("", float("nan"), 1.0).passed


def test_an_earlier_file_survives_a_failure(tmp_path: Path, monkeypatch) -> None:
    bundle = plain_bundle()
    path = tmp_path / "kept.pt2"
    path.write_bytes(b"earlier")

    def broken(*_: object) -> None:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(exporter, "trace", broken)
    with pytest.raises(DataError, match=r"cannot be exported as torch \(RuntimeError: no such op"):
        export_bundle(bundle, path, "torch")
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.pt2"]


def test_refusals_before_any_work(tmp_path: Path, monkeypatch) -> None:
    bundle = plain_bundle()
    with pytest.raises(ConfigError, match="unknown format 'onx'; did you mean 'onnx'"):
        export_bundle(bundle, tmp_path / "a.onnx", "onx")
    with pytest.raises(ConfigError, match=r"a file of format onnx ends in \.onnx"):
        export_bundle(bundle, tmp_path / "a.pt2", "onnx")
    find = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnxscript" else find(name, *rest),
    )
    with pytest.raises(ConfigError, match=r"onnxscript is not installed.*'bocage\[onnx\]'"):
        export_bundle(bundle, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    bundle = plain_bundle()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be written"):
        export_bundle(bundle, tmp_path / "file" / "a.pt2", "torch")


def test_weights_too_large_for_one_file_stand_beside_it(tmp_path: Path, monkeypatch) -> None:
    whole = torch.onnx.ONNXProgram.save
    monkeypatch.setattr(
        torch.onnx.ONNXProgram, "save", lambda self, path: whole(self, path, external_data=True)
    )
    bundle, path = plain_bundle(), tmp_path / "large.onnx"
    export_bundle(bundle, path, size_px=8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data"]
    interface = describe(bundle.meta, 8)
    inputs = plausible_inputs(interface, {"batch": 5})
    with torch.inference_mode():
        ours = FlatNetwork(bundle.network, interface).compute(inputs)
    assert gap(ours, run_onnx(path, inputs)) <= 1e-6


# Dynamo looks at `.grad` of the intermediate tensors that cross a graph break.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("train", [False, True])
def test_compile(train: bool) -> None:
    names = (AERIAL, S2)
    network = small_network(names, tasks=TASKS[:1]).train(train)
    twin = copy.deepcopy(network)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", dynamic=False)
    batch = make_batch(names, hw=(32, 32))
    absent = make_batch(names, hw=(32, 32), seed=1)
    absent["present"][AERIAL][1] = False
    for given in (batch, absent):
        ours, theirs = twin(**given).logits, compiled(**given).logits
        assert gap(ours, theirs) <= 1e-5
    if train:
        theirs["cover"].sum().backward()
        ours["cover"].sum().backward()
        for one, other in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-2, rtol=1e-3)
