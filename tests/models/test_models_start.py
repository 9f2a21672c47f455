"""Fine-tuning: what a network takes over from another one, and what starts anew."""

from __future__ import annotations

import pytest
import torch
from model_batches import AERIAL, DEM, S2, TASKS, small_network

from bocage.errors import DataError
from bocage.models import (
    DecoderConfig,
    EncoderConfig,
    FusionConfig,
    InputConfig,
    Network,
    TaskHead,
    start_from,
)

pytestmark = pytest.mark.unit

RGB = "AERIAL_RGB"


def other_weights(network: Network) -> Network:
    """The same network with weights that no seed gives."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return network.eval()


def answer(network: Network, name: str, image: torch.Tensor) -> torch.Tensor:
    sizes = {"images": {name: image}, "present": {name: torch.ones(len(image), dtype=torch.bool)}}
    valid = {name: torch.ones(image.shape[0], *image.shape[2:], dtype=torch.bool)}
    empty: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        output = network.eval()(
            **sizes, valid=valid, series=empty, series_valid=empty, days=empty,
            dates_present=empty, output_hw=image.shape[-2:],
        )  # fmt: skip
    return output.logits["cover"]


def test_the_same_network_takes_everything() -> None:
    other, network = other_weights(small_network([AERIAL, DEM, S2])), small_network(
        [AERIAL, DEM, S2]
    )  # fmt: skip
    start = start_from(network, other)
    assert start.anew == ()
    assert start.taken == start.parameters == sum(p.numel() for p in other.parameters())
    own = network.state_dict()
    for name, tensor in other.state_dict().items():
        assert torch.equal(own[name], tensor) != name.startswith("preparation.")


def test_a_photograph_without_infrared_takes_the_channels_that_it_has() -> None:
    other = other_weights(small_network([AERIAL]))
    network = small_network([RGB])
    start = start_from(network, other)
    assert start.anew == ()
    for part in ("mean", "std"):
        given = getattr(other.preparation[AERIAL], part)
        getattr(network.preparation[RGB], part).copy_(given[:3])
    # Infrared that is everywhere as it is on average says nothing.
    torch.manual_seed(0)
    image = 255 * torch.rand(2, 4, 64, 64)
    image[:, 3] = other.preparation[AERIAL].mean[3]
    expected = answer(other, AERIAL, image)
    torch.testing.assert_close(answer(network, RGB, image[:, :3]), expected, rtol=1e-4, atol=1e-3)


def test_another_class_list_takes_all_but_the_last_layer() -> None:
    other = other_weights(small_network([AERIAL]))
    network = small_network([AERIAL], tasks=(TaskHead(name="buildings", num_classes=2),))
    start = start_from(network, other)
    assert start.anew
    assert all(name.startswith("decoders.buildings.") for name in start.anew)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert all(shapes[name][0] == 2 for name in start.anew)
    theirs = other.state_dict()
    for name, tensor in network.state_dict().items():
        if name.startswith("decoders.") and name not in start.anew:
            there = name.replace(".buildings.", f".{TASKS[0].name}.")
            assert torch.equal(tensor, theirs[there]), name


def test_of_a_sensor_that_is_new_nothing_is_invented() -> None:
    network = small_network([AERIAL, DEM])
    start = start_from(network, other_weights(small_network([AERIAL])))
    assert any(name.startswith(f"encoders.{DEM}.") for name in start.anew)
    assert not any(name.startswith(f"encoders.{AERIAL}.") for name in start.anew)


def test_other_channels_of_a_sensor_start_anew() -> None:
    heights = InputConfig(modality=DEM, channels=("dsm", "height"))
    start = start_from(small_network([AERIAL, heights]), small_network([AERIAL, DEM]))
    assert any(name.startswith(f"encoders.{DEM}.") for name in start.anew)
    turned = InputConfig(modality=AERIAL, channels=("nir", "red", "green", "blue"))
    start = start_from(small_network([turned, DEM]), small_network([AERIAL, DEM]))
    assert any(name.startswith(f"encoders.{AERIAL}.") for name in start.anew)
    assert not any(name.startswith(f"encoders.{DEM}.") for name in start.anew)


def test_where_nothing_fits_nothing_changes() -> None:
    network = small_network([S2])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wide = small_network(
        [DEM],
        encoder=EncoderConfig(width=16),
        fusion=FusionConfig(width=24),
        decoder=DecoderConfig(width=40),
        tasks=(TaskHead(name="one", num_classes=3),),
    )
    with pytest.raises(DataError, match="no weight of the network to start from fits"):
        start_from(network, wide)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
