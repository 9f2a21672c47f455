from __future__ import annotations

from typing import Any

import pytest
import torch
from published_cases import (
    AERIAL,
    ASC,
    COVER,
    CROPS,
    DEM,
    DESC,
    S2,
    SPOT,
    batch_for,
    built,
    padded,
    series_config,
    small,
)

from bocage.errors import DataError
from bocage.models.published import PublishedConfig, published_input
from bocage.models.published.network import idle_prefixes
from bocage.models.published.preparation import PublishedPreparation

pytestmark = pytest.mark.unit

CONFIGS = {
    "image": small(AERIAL),
    "images": small(AERIAL, DEM),
    "everything": small(AERIAL, DEM, S2, ASC, auxiliary=(AERIAL, DEM, S2, ASC)),
    "both": small(AERIAL, S2, tasks=(COVER, CROPS), auxiliary=(AERIAL, S2)),
    "convnext": small(AERIAL, S2, architecture="convnextv2_tiny"),
    "swin": small(AERIAL, S2, architecture="swin_tiny"),
    "series": series_config("LC-G"),
    "several series": series_config("LPIS-H"),
    "series, both": series_config("LC-G", both_tasks=True),
}


@pytest.mark.parametrize("which", CONFIGS)
def test_forward_and_backward(which: str) -> None:
    config = CONFIGS[which]
    network = built(config).train()
    batch = batch_for(config)
    output = network(**batch)
    sides = batch["output_hw"]
    shapes = {task: tuple(x.shape) for task, x in output.logits.items()}
    assert shapes == {t.name: (2, t.num_classes, *sides) for t in config.tasks}
    assert list(output.auxiliary) == list(config.auxiliary)
    every = [*output.logits.values()]
    every += [x for by_task in output.auxiliary.values() for x in by_task.values()]
    assert {x.shape[-2:] for x in every} == {sides}
    assert {x.dtype for x in every} == {torch.float32}
    torch.stack([x.square().mean() for x in every]).sum().backward()
    # Processes that train together wait for every gradient that is to come.
    idle = idle_prefixes(config)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != name.startswith(idle), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("which", ["everything", "several series"])
def test_neither_padding_nor_neighbours_change_a_result(which: str) -> None:
    config = CONFIGS[which]
    network = built(config)
    batch = batch_for(config)
    longer = padded(batch, extra=3)
    for name in longer["dates_present"]:
        # Samples of different length: the second one lacks a date in the middle.
        longer["dates_present"][name][1, 2] = False
        longer["series_valid"][name][1, 2] = False
    with torch.inference_mode():
        alone = network(**batch).logits[config.tasks[0].name]
        beside = network(**longer).logits[config.tasks[0].name]
    scale = alone.std()
    torch.testing.assert_close(beside[0] / scale, alone[0] / scale, rtol=0, atol=2e-4)
    assert (beside[1] - alone[1]).abs().max() > 1e-3 * scale


def test_no_auxiliary_logits_outside_training() -> None:
    config = CONFIGS["everything"]
    with torch.inference_mode():
        output = built(config)(**batch_for(config))
    assert output.auxiliary == {}


def test_series_alone_give_no_negative_logits_but_two_tasks_do() -> None:
    with torch.inference_mode():
        one = built(CONFIGS["series"])(**batch_for(CONFIGS["series"])).logits
        two = built(CONFIGS["series, both"])(**batch_for(CONFIGS["series, both"])).logits
    assert one[COVER.name].min() == 0
    assert two[CROPS.name].min() < 0


def _without(batch: dict[str, Any], name: str, row: int | None) -> dict[str, Any]:
    out = {k: dict(v) if isinstance(v, dict) else v for k, v in batch.items()}
    out["present"][name] = out["present"][name].clone()
    out["present"][name][slice(None) if row is None else row] = False
    if row is None:
        for key in ("images", "valid", "series", "series_valid", "days", "dates_present"):
            out[key].pop(name, None)
    return out


@pytest.mark.parametrize("name", [AERIAL, S2])
def test_an_absent_sensor_is_refused(name: str) -> None:
    config = CONFIGS["everything"]
    network, batch = built(config), batch_for(config)
    with pytest.raises(DataError, match=f"input {name}: absent from 1 of 2 samples"):
        network(**_without(batch, name, 1))
    with pytest.raises(DataError, match=f"input {name}: absent from 2 of 2 samples"):
        network(**_without(batch, name, None))
    del batch["present"][name]
    with pytest.raises(DataError, match=f"wanted by the network, '{name}'"):
        network(**batch)


def test_a_series_without_a_usable_date_is_absent() -> None:
    config = CONFIGS["series"]
    batch = batch_for(config)
    batch["series_valid"][S2][1] = False
    with pytest.raises(DataError, match="absent from 1 of 2 samples"):
        built(config)(**batch)


def test_a_size_that_the_backbone_cannot_take_is_refused() -> None:
    batch = batch_for(CONFIGS["swin"])
    batch["images"][AERIAL] = batch["images"][AERIAL][..., :32]
    batch["valid"][AERIAL] = batch["valid"][AERIAL][..., :32]
    with pytest.raises(DataError, match=r"64 x 32 px, but .* 64 x 64 px"):
        built(CONFIGS["swin"])(**batch)
    batch = batch_for(CONFIGS["image"])
    batch["images"][AERIAL] = batch["images"][AERIAL][..., :50]
    batch["valid"][AERIAL] = batch["valid"][AERIAL][..., :50]
    with pytest.raises(DataError, match="multiples of 32"):
        built(CONFIGS["image"])(**batch)


def _prepared(name: str, pixel: list[float], **options: Any) -> list[float]:
    prepare = PublishedPreparation(published_input(name, **options))
    raw = torch.tensor(pixel).view(1, -1, 1, 1)
    values: list[float] = prepare(raw)[0].flatten().tolist()
    return values


def test_channels_and_statistics_are_the_published_ones() -> None:
    # Stored: red, green, blue, near infrared. Taken: near infrared, red, green.
    infrared = _prepared(AERIAL, [105.66, 111.35 + 45.62, 0, 106.59])
    assert infrared == pytest.approx([0, 0, 1], abs=1e-5)
    rgb = _prepared(AERIAL, [105.66, 111.35, 102.18 + 44.30, 0], channels=("red", "green", "blue"))
    assert rgb == pytest.approx([0, 0, 1], abs=1e-5)
    spot = _prepared(SPOT, [433.26 + 312.76, 508.75, 0, 1137.03])
    assert spot == pytest.approx([0, 1, 0], abs=1e-5)
    # Surface and height above terrain, both with the altitude's statistics.
    assert _prepared(DEM, [311.06, 301.06]) == pytest.approx([0, (10 - 311.06) / 537.55], abs=1e-5)
    # Backscatter stays linear, reflectance raw.
    assert _prepared(DESC, [0.25, 0.01]) == pytest.approx([0.25, 0.01])
    assert _prepared(S2, [float(i) for i in range(10)]) == [float(i) for i in range(10)]


@pytest.mark.parametrize(("name", "hole"), [(DEM, float("nan")), (DEM, -9999.0), (ASC, -9999.0)])
def test_holes_become_zero(name: str, hole: float) -> None:
    values = _prepared(name, [hole, 100.0])
    assert values[0] == 0
    assert all(abs(v) < 200 for v in values)


def test_statistics_are_not_among_the_weights() -> None:
    state = built(CONFIGS["everything"]).state_dict()
    assert {name.split(".")[0] for name in state} == {
        "encoders",
        "fusion_handler",
        "main_decoders",
        "aux_decoders",
    }


@pytest.mark.parametrize("which", ["everything", "swin", "series"])
def test_bf16_is_close_to_float32(which: str) -> None:
    config = CONFIGS[which]
    network, batch = built(config), batch_for(config)
    task = config.tasks[0].name
    with torch.inference_mode():
        exact = network(**batch).logits[task]
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(**batch).logits[task]
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize("which", ["swin", "several series"])
def test_exported_program_gives_the_same(which: str) -> None:
    config = CONFIGS[which]
    network, batch = built(config), batch_for(config)
    batch["dates_present"][S2][1, 2] = False
    with torch.inference_mode():
        want = network(**batch).logits
        program = torch.export.export(network, (), batch, strict=False)
        got = program.module()(**batch).logits
    for task, logits in want.items():
        torch.testing.assert_close(got[task], logits, rtol=1e-3, atol=1e-3 * float(logits.std()))


def test_sizes_follow_from_the_ground() -> None:
    config = PublishedConfig(
        inputs=tuple(published_input(n) for n in (AERIAL, SPOT, S2)), tasks=(COVER,)
    )
    assert [config.size_px(given) for given in config.inputs] == [512, 64, 10]
