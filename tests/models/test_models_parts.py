from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_batches import AERIAL, DEM, S2, SPOT, make_batch, small_network

from bocage.errors import ConfigError
from bocage.models import DecoderConfig, EncoderConfig, FusionConfig, TaskHead, TemporalConfig
from bocage.models.absence import hide_sensors, tilted
from bocage.models.fusion import match_stages
from bocage.models.temporal import TemporalEncoder, positional_encoding

pytestmark = pytest.mark.unit


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


def scenes(samples: int, seed: int) -> tuple[dict[str, Any], torch.Tensor]:
    """Grey ground with blue (1) and red (2) things of 0.6 to 1.6 m, and where they are."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=random))

    batch = make_batch((AERIAL,), samples, seed=seed)
    image = 60 + 60 * torch.rand(samples, 4, 64, 64, generator=random)
    labels = torch.zeros(samples, 64, 64, dtype=torch.long)
    for sample, _ in itertools.product(range(samples), range(12)):
        kind, height, width = draw(1, 3), draw(3, 9), draw(3, 9)
        top, left = draw(0, 64 - height), draw(0, 64 - width)
        place = (slice(top, top + height), slice(left, left + width))
        labels[sample][place] = kind
        image[sample, {1: 2, 2: 0}[kind]][place] += 90
    batch["images"][AERIAL] = image.clamp(0, 255).to(torch.uint8)
    return batch, labels


def test_detail_finds_things_smaller_than_an_encoders_cells() -> None:
    """The same time to learn; cells of 0.8 m and of 0.4 m, read at 0.2 m."""
    scores = {}
    for name in ("upernet", "detail"):
        network = small_network(
            (AERIAL,),
            tasks=[TaskHead(name="things", num_classes=3)],
            encoder=EncoderConfig(width=16),
            fusion=FusionConfig(width=16),
            decoder=DecoderConfig(name=name, width=16, detail_width=16),
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        for step in range(50):
            batch, labels = scenes(4, step)
            loss = F.cross_entropy(network.train()(**batch).logits["things"], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        batch, labels = scenes(12, 999)
        with torch.no_grad():
            found = network.eval()(**batch).logits["things"].argmax(1) > 0
        things = labels > 0
        scores[name] = float((found & things).sum() / (found | things).sum())
    assert scores["detail"] > scores["upernet"] + 0.1, scores


def test_detail_that_would_not_be_finer_is_refused() -> None:
    for stem_stride, detail_stride in [(1, 1), (2, 2), (1, 2)]:
        with pytest.raises(ConfigError, match="no finer than"):
            small_network(
                (AERIAL, S2),
                encoder=EncoderConfig(width=8, stem_stride=stem_stride),
                decoder=DecoderConfig(name="detail", width=8, detail_stride=detail_stride),
            )


def test_detail_comes_from_the_finest_images_alone() -> None:
    network = small_network(
        (AERIAL, DEM, SPOT, S2), decoder=DecoderConfig(name="detail", width=8, detail_width=4)
    ).eval()
    assert set(network.detail.stems) == {AERIAL, DEM}
    sizes = []
    network.detail.register_forward_hook(lambda m, given, out: sizes.append(out.shape[-2:]))
    network(**make_batch((AERIAL, DEM, SPOT, S2), hw=(50, 33)))
    assert sizes == [(25, 17)]
