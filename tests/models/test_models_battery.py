"""One battery that every encoder family, every fusion and every decoder passes.

Forward, backward, odd sizes, any subset of inputs, batch of one, neighbours, `torch.compile`,
`torch.export`, a bundle, bfloat16.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_zoo import FAMILIES, awake
from model_batches import (
    AERIAL,
    DEM,
    S2,
    TASKS,
    describe,
    gap,
    make_batch,
    sample_of,
    small_network,
    without,
)
from torch.export import Dim

from bocage.models import (
    DECODERS,
    FUSIONS,
    DecoderConfig,
    FusionConfig,
    Network,
    bundle,
    load_bundle,
    save_bundle,
)

pytestmark = pytest.mark.unit

CORE_TOLERANCE = 1e-5
"""Of logits of order one, float32."""


@dataclass(frozen=True)
class Case:
    """A network by what is special about it."""

    options: dict[str, Any]
    sensors: tuple[str, ...]


CASES = {
    f"encoder-{family}": Case({"encoder": config}, (AERIAL, DEM))
    for family, config in FAMILIES.items()
} | {
    f"{fusion}-{decoder}": Case(
        {
            "fusion": FusionConfig(name=fusion, width=8),
            "decoder": DecoderConfig(name=decoder, width=8, detail_width=4),
        },
        (AERIAL, DEM, S2),
    )
    for fusion, decoder in itertools.product(FUSIONS, DECODERS)
}

NO_GRADIENT = {
    # What stands for absence has nothing to say in a batch without any, yet takes part.
    "absence": "every case",
}
"""Parts of names of parameters whose gradient may be zero, and where."""


@functools.cache
def built(name: str, sensors: tuple[str, ...]) -> Network:
    """The network of a case; tests leave its weights as they are."""
    return awake(small_network(sensors, **CASES[name].options))


def batch_of(sensors: tuple[str, ...], **options: Any) -> dict[str, Any]:
    return make_batch(sensors, **{"hw": (64, 64), **options})


every_case = pytest.mark.parametrize("name", CASES)
every_family = pytest.mark.parametrize("family", FAMILIES)
# Tracing takes the time of all else together: every part is traced once, with one image and one
# series.
TRACED = (AERIAL, S2)
traced_pair = pytest.mark.parametrize(
    "name", [f"{fusion}-{decoder}" for fusion, decoder in zip(FUSIONS, DECODERS, strict=True)]
)


@every_case
def test_every_parameter_learns(name: str) -> None:
    network = built(name, CASES[name].sensors).train()
    try:
        output = network(**batch_of(CASES[name].sensors))
        sum(values.square().mean() for values in output.logits.values()).backward()
        for parameter_name, parameter in network.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            if not any(part in parameter_name for part in NO_GRADIENT):
                assert parameter.grad.any(), parameter_name
    finally:
        network.zero_grad()


@every_case
@pytest.mark.parametrize("hw", [(50, 33), (1, 1)])
def test_odd_sizes_any_subset_and_a_batch_of_one(name: str, hw: tuple[int, int]) -> None:
    sensors = CASES[name].sensors
    network = built(name, sensors).eval()
    batch = batch_of(sensors, samples=1, hw=hw)
    answers = []
    for count in range(len(sensors) + 1):
        for absent in itertools.combinations(sensors, count):
            given = without(batch, {sensor: [0] for sensor in absent})
            with torch.no_grad():
                logits = network(**given).logits
            for task in TASKS:
                assert logits[task.name].shape == (1, task.num_classes, *hw)
                assert logits[task.name].isfinite().all()
            answers.append(logits)
    for one, other in itertools.combinations(answers, 2):
        assert gap(one, other) > 1e-6


@every_case
def test_neighbours_in_the_batch_change_nothing(name: str) -> None:
    sensors = CASES[name].sensors
    network = built(name, sensors).eval()
    batch = without(batch_of(sensors, samples=3), {sensors[0]: [1], sensors[1]: [2]})
    with torch.no_grad():
        together = network(**batch).logits
        for row in range(3):
            alone = network(**sample_of(batch, row)).logits
            assert gap(alone, {t: v[row : row + 1] for t, v in together.items()}) < CORE_TOLERANCE


@every_case
def test_bfloat16(name: str) -> None:
    network = built(name, CASES[name].sensors)
    batch = batch_of(CASES[name].sensors)
    with torch.no_grad():
        exact = network.eval()(**batch).logits
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(**batch).logits
    for task, values in rounded.items():
        assert values.dtype == torch.float32
        # bfloat16 keeps eight bits: some hundredths of the spread after a few dozen layers.
        assert (values - exact[task]).abs().mean() < 0.05 * exact[task].std()
    try:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.train()(**batch).logits
        sum(values.square().mean() for values in logits.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    finally:
        network.zero_grad()


@every_case
def test_a_bundle_gives_back_the_same_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that are in no file come back; nothing is initialised only to be replaced."""
    network = built(name, CASES[name].sensors).eval()
    path = tmp_path / "model.safetensors"
    save_bundle(path, network, describe(network))
    devices = []
    build = bundle.build_network

    def watched(*arguments: Any, **options: Any) -> Any:
        made = build(*arguments, **options)
        devices.append({parameter.device.type for parameter in made.parameters()})
        return made

    monkeypatch.setattr(bundle, "build_network", watched)
    loaded = load_bundle(path).network
    assert devices == [{"meta"}]
    batch = batch_of(CASES[name].sensors, hw=(70, 50))
    with torch.no_grad():
        # Some kernels round differently for weights that lie elsewhere in memory.
        assert gap(network(**batch).logits, loaded(**batch).logits) < 1e-6
    theirs = {**dict(loaded.named_buffers()), **dict(loaded.named_parameters())}
    for own_name, own in (*network.named_buffers(), *network.named_parameters()):
        assert torch.equal(own, theirs[own_name]), own_name


@every_family
def test_encoders_compile_as_one_graph(family: str) -> None:
    encoder = built(f"encoder-{family}", (AERIAL, DEM)).eval().encoders[AERIAL]
    image = torch.randn(2, 4, 50, 33)
    torch.compiler.reset()
    compiled = torch.compile(encoder, backend="eager", dynamic=False, fullgraph=True)
    with torch.no_grad():
        for one, other in zip(encoder(image), compiled(image), strict=True):
            torch.testing.assert_close(one, other)


@every_family
def test_encoders_export_with_a_free_batch(family: str) -> None:
    encoder = built(f"encoder-{family}", (AERIAL, DEM)).eval().encoders[AERIAL]
    samples = Dim("samples", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(
            encoder, (torch.randn(2, 4, 50, 33),), dynamic_shapes=({0: samples},)
        ).module()
        for count in (1, 3):
            image = torch.randn(count, 4, 50, 33)
            for one, other in zip(encoder(image), program(image), strict=True):
                torch.testing.assert_close(one, other, atol=CORE_TOLERANCE, rtol=1e-4)


@traced_pair
def test_networks_compile_as_one_graph(name: str) -> None:
    network = built(name, TRACED).eval()
    batch = batch_of(TRACED, hw=(50, 33))
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", dynamic=False, fullgraph=True)
    with torch.no_grad():
        assert gap(network(**batch).logits, compiled(**batch).logits) < CORE_TOLERANCE


@traced_pair
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_networks_export_with_a_free_batch(name: str) -> None:
    """Sensors and dates that are not there are masks, so one program serves every subset."""
    network = built(name, TRACED).eval()
    batch = batch_of(TRACED, hw=(50, 33))
    samples = Dim("samples", min=1, max=64)
    shapes: dict[str, Any] = {
        part: {sensor: {0: samples} for sensor in values}
        for part, values in batch.items()
        if part != "output_hw"
    }
    shapes["output_hw"] = (None, None)
    with torch.no_grad():
        program = torch.export.export(network, (), batch, dynamic_shapes=shapes).module()
        other = batch_of(TRACED, samples=3, hw=(50, 33), seed=4)
        other["present"][AERIAL][1] = False
        other["dates_present"][S2][2, 2:] = False
        for given in (other, batch_of(TRACED, samples=1, hw=(50, 33))):
            assert gap(network(**given).logits, program(**given).logits) < CORE_TOLERANCE
