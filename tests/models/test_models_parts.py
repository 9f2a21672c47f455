from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_batches import AERIAL, DEM, S2, make_batch, small_network
from safetensors.torch import save_file

from bocage.errors import ConfigError, DataError
from bocage.models import EncoderConfig, TemporalConfig
from bocage.models.absence import hide_sensors, tilted
from bocage.models.encoders import build_encoder
from bocage.models.fusion import match_stages
from bocage.models.temporal import TemporalEncoder, positional_encoding

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(width=8),
        EncoderConfig(width=8, stem_stride=1, depth=2),
        EncoderConfig(name="resnet10t"),
        EncoderConfig(name="convnext_atto", drop_path=0.1),
        EncoderConfig(name="swin_tiny_patch4_window7_224", drop_path=0.1),
    ],
    ids=lambda c: f"{c.name}-{c.stem_stride}",
)
def test_encoders_take_any_size_and_channel_count(config: EncoderConfig, channels: int) -> None:
    encoder = build_encoder(config, channels).eval()
    finest = config.stem_stride
    assert encoder.strides == tuple(finest * 2**i for i in range(4))
    for height, width in [(70, 33), (5, 64)]:
        maps = encoder(torch.randn(1, channels, height, width))
        for values, count, stride in zip(maps, encoder.channels, encoder.strides, strict=True):
            assert values.shape == (1, count, -(-height // stride), -(-width // stride))


def test_encoder_without_a_pyramid_is_refused() -> None:
    with pytest.raises(ConfigError, match="one scale only"):
        build_encoder(EncoderConfig(name="vit_tiny_patch16_224"), 4)
    with pytest.raises(ConfigError, match="no pretrained weights"):
        build_encoder(EncoderConfig(weights="pretrained"), 4)


@pytest.mark.parametrize("name", ["convnet", "resnet10t"])
def test_encoder_weights_from_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    torch.manual_seed(3)
    if name == "convnet":
        source = build_encoder(EncoderConfig(name=name), 4).backbone
        save_file(source.state_dict(), file)
    else:
        source = timm.create_model(name, in_chans=3)
        save_file(source.state_dict(), file)
    loaded = build_encoder(EncoderConfig(name=name, weights=str(file)), 4).backbone
    if name == "convnet":
        for one, other in zip(source.parameters(), loaded.parameters(), strict=True):
            assert torch.equal(one, other)
    else:
        # Red, green and blue as they were, each scaled by 3/4; infrared starts as red.
        first = source.state_dict()["conv1.0.weight"] * 3 / 4
        torch.testing.assert_close(loaded.state_dict()["conv1.0.weight"][:, :3], first)
        torch.testing.assert_close(loaded.state_dict()["conv1.0.weight"][:, 3], first[:, 0])
    other = "convnet" if name == "resnet10t" else "resnet10t"
    for encoder, path in ((other, file), (name, tmp_path / "none.safetensors")):
        with pytest.raises(DataError, match="cannot be used for encoder"):
            build_encoder(EncoderConfig(name=encoder, weights=str(path)), 4)


def test_encoders_of_single_sensors() -> None:
    network = small_network(
        (AERIAL, DEM, S2), encoders={DEM: EncoderConfig(width=4), AERIAL: EncoderConfig(width=12)}
    )
    assert network.encoders[DEM].channels == (4, 8, 16, 24)
    assert network.encoders[AERIAL].channels == (12, 24, 48, 72)
    network(**make_batch((AERIAL, DEM, S2)))


def test_temporal_attention_equals_its_straightforward_formulation() -> None:
    """Stacked heads with queries, keys, and values projected at every date."""
    torch.manual_seed(0)
    config = TemporalConfig(width=16, heads=4, output_width=12, frame_blocks=1)
    encoder = TemporalEncoder(config, 3).eval()
    batch, dates, height, width = 2, 5, 3, 4
    frames = torch.randn(batch, dates, 3, height, width)
    days = torch.tensor([[-40, 3, 90, 120, 0], [-100, -50, 10, 11, 200]])
    present = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
    slots = present.flatten().nonzero().squeeze(1)
    known = torch.ones(len(slots), height, width, dtype=torch.bool)
    ours, seen = encoder(frames.flatten(0, 1)[slots], known, days, slots)
    assert seen.all()

    position = positional_encoding(days, encoder.denominator)
    value = encoder._frames(frames.flatten(0, 1), position.flatten(0, 1))
    value = encoder.norm(value.permute(0, 2, 3, 1)).view(batch, dates, height, width, -1)
    value = value + position[:, :, None, None]
    per_head = encoder.project.weight.view(12, 4, 16)
    total = encoder.project.bias.clone()
    for head in range(4):
        # With an identity key projection the folded row is the query itself.
        query, keys = encoder.score.weight[head], value
        logits = (keys * query).sum(-1).masked_fill(~present[:, :, None, None], float("-inf"))
        projected = value @ per_head[:, head].T
        total = total + (logits.softmax(1).unsqueeze(-1) * projected).sum(1)
    expected = encoder.refine(total.permute(0, 3, 1, 2))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_temporal_convolutions_run_once_and_on_used_frames_only() -> None:
    network = small_network((S2,))
    seen = []
    network.encoders[S2].stem.register_forward_hook(lambda m, given, out: seen.append(len(out)))
    batch = make_batch((S2,), samples=3, dates=6)
    batch["dates_present"][S2][0, 2:] = False
    batch["dates_present"][S2][2] = False
    network(**batch)
    assert seen == [2 + 6]


def test_positional_encoding_tells_days_apart() -> None:
    denominator = TemporalEncoder(TemporalConfig(width=16), 2).denominator
    codes = positional_encoding(torch.arange(-200, 400), denominator)
    distance = torch.cdist(codes, codes) + 10 * torch.eye(len(codes))
    assert distance.min() > 0.5


def test_stages_meet_in_order() -> None:
    assert match_stages(4, 4) == (0, 1, 2, 3)
    assert match_stages(1, 4) == (0, 0, 0, 0)
    for stages in range(1, 6):
        for levels in range(stages, 7):
            matched = match_stages(stages, levels)
            assert set(matched) == set(range(stages))
            assert list(matched) == sorted(matched)


@pytest.mark.parametrize(
    "chances",
    [(0.3, 0.3, 0.3), (0.01, 0.0, 0.0), (0.6, 0.3), (0.0, 0.5, 0.9), (0.5, 0.2, 0.7, 0.1)],
)
def test_sensors_are_hidden_at_their_probability_and_never_all(chances: tuple[float, ...]) -> None:
    torch.manual_seed(1)
    present = torch.ones(40_000, len(chances), dtype=torch.bool)
    kept = hide_sensors(present, chances)
    assert kept.any(1).all()
    assert present.all()
    share = 1 - kept.float().mean(0)
    # Four standard errors of 40,000 draws are at most 0.01.
    torch.testing.assert_close(share, torch.tensor(chances), atol=0.01, rtol=0)


def test_hiding_respects_absence_and_the_seed() -> None:
    present = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    torch.manual_seed(5)
    first = [hide_sensors(present, (0.5, 0.5, 0.4)) for _ in range(50)]
    torch.manual_seed(5)
    again = [hide_sensors(present, (0.5, 0.5, 0.4)) for _ in range(50)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(not (kept & ~present).any() for kept in first)
    assert all(kept.any(1).tolist() == [True, True, False] for kept in first)
    assert len({str(kept) for kept in first}) == 3


@pytest.mark.property
@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 0.95), min_size=2, max_size=6))
def test_tilted_probabilities_give_the_wanted_ones(chances: list[float]) -> None:
    assume(sum(chances) <= 0.9 * (len(chances) - 1))
    tilt = tilted(tuple(chances))
    everything = torch.tensor(tilt, dtype=torch.float64).prod().item()
    for i, wanted in enumerate(chances):
        others = torch.tensor(tilt[:i] + tilt[i + 1 :], dtype=torch.float64).prod().item()
        got = tilt[i] * (1 - others) / (1 - everything)
        assert got == pytest.approx(wanted, abs=2e-3)


def test_sensor_dropout_acts_in_training_only() -> None:
    network = small_network((AERIAL, S2), sensor_dropout={AERIAL: 0.5, S2: 0.4})
    seen: list[tuple[bool, bool]] = []
    network.fusion.register_forward_hook(
        lambda m, given, out: seen.append((given[0][AERIAL] is None, given[0][S2] is None))
    )
    batch = make_batch((AERIAL, S2), samples=1, hw=(8, 8))
    torch.manual_seed(0)
    for _ in range(60):
        network(**batch)
    assert {(True, False), (False, True), (False, False)} == set(seen)
    seen.clear()
    network.eval()
    for _ in range(10):
        network(**batch)
    assert set(seen) == {(False, False)}


def test_downsampling_averages() -> None:
    from bocage.models.layers import resize

    x = torch.rand(1, 2, 6, 8)
    torch.testing.assert_close(resize(x, (3, 4)), F.avg_pool2d(x, 2))
    assert resize(x, (6, 8)) is x
