from __future__ import annotations

import copy
import socket

import pytest
import torch
from model_batches import (
    AERIAL,
    ASC,
    DEM,
    DESC,
    EVERYTHING,
    PAN,
    S2,
    SPOT,
    TASKS,
    gap,
    make_batch,
    sample_of,
    small_config,
    small_network,
    with_auxiliary,
    without,
)

from bocage.errors import DataError
from bocage.models import EncoderConfig, InputConfig, Network, NetworkConfig
from bocage.models.network import pyramid_strides

pytestmark = pytest.mark.unit

INPUT_SETS = {
    "aerial": (AERIAL,),
    "aerial+dem": (AERIAL, DEM),
    "spot": (SPOT,),
    "sentinel2": (S2,),
    "sentinel1": (ASC, DESC),
    "aerial+sentinel2": (AERIAL, S2),
    "everything": EVERYTHING,
}


def check_finite(network: Network, batch: dict, hw: tuple[int, int]) -> dict[str, torch.Tensor]:
    samples = len(next(iter(batch["present"].values())))
    logits = network(**batch).logits
    for task in TASKS:
        assert logits[task.name].shape == (samples, task.num_classes, *hw)
        assert logits[task.name].dtype == torch.float32
        assert logits[task.name].isfinite().all()
    return logits


@pytest.mark.parametrize("names", INPUT_SETS.values(), ids=INPUT_SETS.keys())
def test_forward_and_backward(names: tuple[str, ...]) -> None:
    network = small_network(names)
    logits = check_finite(network, make_batch(names), (64, 64))
    sum(values.square().mean() for values in logits.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("names", "hw", "series_hw", "samples"),
    [
        ((AERIAL, S2, ASC), (304, 304), (6, 6), 1),
        ((AERIAL, DEM), (250, 317), (1, 1), 2),
        ((AERIAL, SPOT, PAN), (33, 65), (1, 1), 1),
        ((AERIAL, S2), (1, 1), (1, 1), 1),
        ((S2, DESC), (100, 37), (2, 1), 1),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_odd_sizes_and_batch_of_one(
    names: tuple[str, ...],
    hw: tuple[int, int],
    series_hw: tuple[int, int],
    samples: int,
    train: bool,
) -> None:
    batch = make_batch(names, samples, hw, series_hw=series_hw)
    check_finite(small_network(names).train(train), batch, hw)


def test_series_alone_at_their_own_resolution() -> None:
    inputs = [InputConfig(modality=S2, resolution_m=10), InputConfig(modality=ASC, resolution_m=20)]
    network = small_network(inputs, output_resolution_m=10)
    assert network.level_strides_m == (10,)
    batch = make_batch([S2], hw=(64, 64), series_hw=(64, 64), resolution_m=10)
    coarse = make_batch([ASC], hw=(64, 64), series_hw=(32, 32), resolution_m=10)
    merged = {k: v | coarse[k] if isinstance(v, dict) else v for k, v in batch.items()}
    check_finite(network, merged, (64, 64))


def test_levels_follow_the_finest_map_and_a_missing_reference_changes_nothing() -> None:
    assert pyramid_strides([(10.24,), (0.8, 1.6, 3.2, 6.4)]) == (0.8, 1.6, 3.2, 6.4)
    assert pyramid_strides([(10.0,), (40.0, 80.0, 160.0)]) == (10.0, 20.0, 40.0)
    network = small_network((AERIAL, S2)).eval()
    batch = make_batch((AERIAL, S2), hw=(512, 512), series_hw=(10, 10))
    sizes = []
    network.fusion.register_forward_hook(
        lambda module, given, pyramid: sizes.append([x.shape[-2:] for x in pyramid])
    )
    network(**batch)
    network(**without(batch, {AERIAL: [0, 1]}))
    assert sizes[0] == sizes[1] == [(128, 128), (64, 64), (32, 32), (16, 16)]
    # 102.4 m / 10.24 m is 10.000000000000002 in floating point, and ten cells all the same.
    assert small_network((S2,))._level_size((512, 512), 10.24) == (10, 10)


def test_a_step_without_a_sensor_leaves_no_parameter_out() -> None:
    names = (AERIAL, DEM, S2, ASC)
    network = small_network(names)
    batch = make_batch(names)
    for bits in range(2 ** len(names)):
        absent = {name: [0, 1] for i, name in enumerate(names) if not bits >> i & 1}
        check_finite(network, without(batch, absent), (64, 64))["cover"].sum().backward()
        idle = [n for n, p in network.named_parameters() if p.grad is None and "crops" not in n]
        assert idle == []
        network.zero_grad()


def test_mixed_batch_equals_its_samples_one_by_one() -> None:
    names = (AERIAL, DEM, S2, ASC)
    network = small_network(names).eval()
    batch = without(make_batch(names, samples=4), {AERIAL: [1], DEM: [1, 2], S2: [3], ASC: [0, 3]})
    # Sample 2 has fewer dates than its neighbours: the rest is padding, of whatever content.
    batch["dates_present"][S2][2, 1:] = False
    batch["series"][S2][2, 1:] = 1234
    batch["days"][S2][2, 1:] = 77
    together = network(**batch).logits
    for row in range(4):
        alone = network(**sample_of(batch, row)).logits
        assert gap(alone, {t: v[row : row + 1] for t, v in together.items()}) <= 1e-5


def test_batch_norm_never_sees_absent_samples() -> None:
    network = small_network((AERIAL, S2), encoder=EncoderConfig(name="resnet10t"))
    twin = copy.deepcopy(network)
    batch = make_batch((AERIAL, S2), samples=3)
    network.train()(**without(batch, {AERIAL: [2]}))
    rows = {
        k: {n: t[:2] for n, t in v.items()} if isinstance(v, dict) else v for k, v in batch.items()
    }
    twin.train()(**rows)
    own = (network.encoders[AERIAL].named_buffers(), twin.encoders[AERIAL].buffers())
    for (name, one), other in zip(*own, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_series_without_a_date_is_absent() -> None:
    network = small_network((AERIAL, S2)).eval()
    batch = make_batch((AERIAL, S2), dates=0)
    empty = check_finite(network, batch, (64, 64))
    assert gap(empty, network(**without(batch, {S2: [0, 1]})).logits) == 0
    padded = make_batch((AERIAL, S2), dates=3)
    padded["images"] = batch["images"]
    padded["dates_present"][S2][:] = False
    assert gap(empty, network(**padded).logits) == 0
    holes = make_batch((AERIAL, S2), dates=3)
    holes["images"] = batch["images"]
    holes["series_valid"][S2][:] = False
    assert gap(empty, network(**holes).logits) == 0


@pytest.mark.parametrize("train", [True, False])
def test_series_only_network_without_any_date(train: bool) -> None:
    network = small_network((S2, ASC)).train(train)
    logits = check_finite(network, make_batch((S2, ASC), dates=0), (64, 64))
    if train:
        sum(v.sum() for v in logits.values()).backward()
        assert all(p.grad is not None for p in network.parameters())


def test_pixel_without_any_date_is_treated_as_absent() -> None:
    names = (AERIAL, S2)
    network = small_network(names).eval()
    maps = []
    network.fusion.register_forward_hook(lambda m, given, out: maps.append(given[0][S2]))
    batch = make_batch(names)
    batch["series_valid"][S2][0, :, 1, 1] = False
    network(**batch)
    assert not maps[0].known[0, 0, 1, 1]
    assert int(maps[0].known.sum()) == 2 * 9 - 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -9999.0, -3.4e38, -32767.0])
def test_holes_in_elevation_stay_where_they_are(value: float) -> None:
    network = small_network((AERIAL, DEM)).eval()
    batch = make_batch((AERIAL, DEM), samples=1, hw=(512, 512))
    whole = network(**batch).logits["cover"]
    batch["images"][DEM][0, 0, 4:7, 4:7] = value
    holed = check_finite(network, batch, (512, 512))["cover"]
    changed = (whole - holed).abs().amax(1)[0]
    assert changed[:64, :64].max() > 1e-4
    # Beyond the reach of the convolutions only the pooled context carries the change, diluted.
    assert changed[448:, 448:].max() < 0.1 * changed[:64, :64].max()
    marked = make_batch((AERIAL, DEM), samples=1, hw=(512, 512))
    marked["valid"][DEM][0, 4:7, 4:7] = False
    assert network(**marked).logits["cover"].isfinite().all()


def test_values_under_an_invalid_mask_do_not_matter() -> None:
    network = small_network((AERIAL, S2)).eval()
    batch = make_batch((AERIAL, S2))
    batch["valid"][AERIAL][0, :9, :9] = False
    batch["series_valid"][S2][1, 2, 0, 0] = False
    before = network(**batch).logits
    batch["images"][AERIAL][0, :, :9, :9] = 255
    batch["series"][S2][1, 2, :, 0, 0] = 65535
    assert gap(before, network(**batch).logits) == 0


def test_series_only_logits_can_be_negative() -> None:
    logits = small_network((S2, ASC)).eval()(**make_batch((S2, ASC))).logits
    for values in logits.values():
        assert 0.1 < (values < 0).float().mean() < 0.9
        assert (values == 0).float().mean() == 0


def test_order_of_dates_does_not_matter_but_dates_do() -> None:
    network = small_network((S2,)).eval()
    batch = make_batch((S2,), dates=5)
    turned = copy.deepcopy(batch)
    for part in ("series", "series_valid", "days", "dates_present"):
        turned[part][S2] = turned[part][S2].flip(1)
    assert gap(network(**batch).logits, network(**turned).logits) < 1e-5
    turned["days"][S2] = batch["days"][S2]
    assert gap(network(**batch).logits, network(**turned).logits) > 1e-4


def test_full_training_step_leaves_no_parameter_out() -> None:
    network = with_auxiliary(EVERYTHING)
    output = network(**make_batch(EVERYTHING))
    loss = sum(v.square().mean() for v in output.logits.values())
    for sensor in EVERYTHING:
        assert output.auxiliary_present[sensor].all()
        loss = loss + sum(v.square().mean() for v in output.auxiliary[sensor].values())
    loss.backward()
    # What stands for absence has nothing to say in a batch without any, yet takes part.
    expected_idle = [n for n, _ in network.named_parameters() if ".absence" in n]
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(idle) <= set(expected_idle)
    assert all(p.grad is not None for p in network.parameters())


def test_auxiliary_outputs_only_in_training_and_only_where_present() -> None:
    network = with_auxiliary((AERIAL, DEM, S2))
    batch = without(make_batch((AERIAL, DEM, S2), hw=(128, 128)), {DEM: [0, 1], S2: [0]})
    output = network(**batch)
    assert set(output.auxiliary) == {AERIAL, S2}
    assert output.auxiliary[S2]["crops"].shape == (2, 7, 32, 32)
    assert output.auxiliary_present[S2].tolist() == [False, True]
    assert output.auxiliary_present[AERIAL].tolist() == [True, True]
    assert network.eval()(**batch).auxiliary == {}
    assert small_network((AERIAL,))(**make_batch((AERIAL,))).auxiliary == {}


def test_building_needs_no_network_and_changes_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    config = small_config((AERIAL, S2), encoder=EncoderConfig(name="resnet10t"))
    before = config.model_dump_json()
    network = Network(config)
    network.train()(**make_batch((AERIAL, S2)))
    assert network.config.model_dump_json() == before
    assert NetworkConfig.model_validate_json(before) == config


def test_inputs_are_left_as_they_are() -> None:
    names = (AERIAL, DEM, S2)
    batch = make_batch(names)
    before = copy.deepcopy(batch)
    small_network(names)(**batch)
    for part, tensors in batch.items():
        if isinstance(tensors, dict):
            for name, tensor in tensors.items():
                assert torch.equal(tensor, before[part][name])


def test_statistics_and_denominators_are_in_the_state() -> None:
    state = small_network((AERIAL, S2)).state_dict()
    assert {f"encoders.{S2}.denominator", f"preparation.{AERIAL}.mean"} <= state.keys()


def test_unfit_batches_are_refused() -> None:
    network = small_network((AERIAL, S2)).eval()
    batch = make_batch((AERIAL, S2))
    silent = {**batch, "present": {AERIAL: batch["present"][AERIAL]}}
    with pytest.raises(DataError, match="SENTINEL2_TS"):
        network(**silent)
    with pytest.raises(DataError, match="AERIAL_RGBI: said to be present"):
        network(**{**batch, "images": {}})
    batch["images"][AERIAL] = batch["images"][AERIAL][:, :3]
    with pytest.raises(DataError, match=r"AERIAL_RGBI: 3 bands, expected 4 \(red, green"):
        network(**batch)
