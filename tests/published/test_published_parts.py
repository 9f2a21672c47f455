from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.models.published.fusion import FusionHandler, beside
from bocage.models.published.ltae import DateEncoding, TemporalAttention
from bocage.models.published.unet import UNet
from bocage.models.published.upernet import ClassHead, UPerNet, _up_and_down
from bocage.models.published.utae import UTAE, Frames

pytestmark = pytest.mark.unit


def drawn(module: nn.Module) -> nn.Module:
    """The module in eval mode with no parameter or statistic at its trivial start."""
    torch.manual_seed(3)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor) * 0.1 + (1.0 if name.endswith("var") else 0.0))
            if name.endswith("var"):
                tensor.abs_()
    return module.eval()


def straightforward(module: TemporalAttention, x_BTPC: Tensor, days_BT: Tensor) -> Tensor:
    """The same attention as papers write it: keys and values of every date, head by head."""
    batch, dates, pixels, width = x_BTPC.shape
    x = x_BTPC.permute(0, 2, 3, 1).reshape(batch * pixels, width, dates)
    value = module.inconv(module.in_norm(x)).transpose(1, 2)
    step = torch.arange(16)
    angle = days_BT[..., None] / 1000 ** (2 * (step // 2) / 16)
    date = torch.where(step % 2 == 0, angle.sin(), angle.cos()).repeat(1, 1, 16)
    value = value + date.repeat_interleave(pixels, 0)
    key = module.attention_heads.fc1_k(value)
    heads = []
    for head in range(16):
        query = module.attention_heads.Q[head]
        score = key[..., 4 * head : 4 * head + 4] @ query / math.sqrt(4)
        heads.append((score.softmax(1)[..., None] * value[..., 16 * head : 16 * head + 16]).sum(1))
    out: Tensor = module.out_norm(module.mlp(torch.cat(heads, dim=1)))
    return out.view(batch, pixels, -1)


def test_attention_equals_the_straightforward_one() -> None:
    module = drawn(TemporalAttention(64))
    assert isinstance(module, TemporalAttention)
    x, days = torch.randn(2, 7, 5, 64), torch.randint(-130, 220, (2, 7))
    summary, weights = module(x, days, None)
    torch.testing.assert_close(summary, straightforward(module, x, days), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 5, 16))


def test_attention_under_a_mask_is_that_of_the_dates_there_are() -> None:
    module = drawn(TemporalAttention(32))
    x, days = torch.randn(2, 6, 3, 32), torch.randint(-130, 220, (2, 6))
    present = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    summary, weights = module(x, days, present)
    alone, _ = module(x[1:, present[1]], days[1:, present[1]], None)
    torch.testing.assert_close(summary[1:], alone, rtol=1e-4, atol=1e-5)
    assert not weights[1, ~present[1]].any()


def test_date_encoding_is_odd_and_even() -> None:
    encode = DateEncoding(16)
    days = torch.tensor([[0, 100, -100]])
    values = encode(days)
    assert values.shape == (1, 3, 16)
    torch.testing.assert_close(values[0, 0], torch.tensor([0.0, 1.0] * 8))
    torch.testing.assert_close(values[0, 1, 0::2], -values[0, 2, 0::2])
    torch.testing.assert_close(values[0, 1, 1::2], values[0, 2, 1::2])


def test_utae_gives_maps_deepest_first_and_logits_without_negatives() -> None:
    utae = UTAE(10, (16, 16, 32, 32), (16, 16, 16, 32), (32, 19)).eval()
    frames = Frames(torch.randn(6, 10, 5, 4), torch.arange(6).view(2, 3), None, None)
    maps = utae(frames)
    assert [tuple(x.shape) for x in maps] == [(2, width, 5, 4) for width in (32, 16, 16, 16)]
    assert utae.widths == (32, 16, 16, 16)
    logits = utae.logits(maps)
    assert logits.shape == (2, 19, 5, 4)
    assert logits.min() == 0


def test_packed_frames_find_their_places() -> None:
    present = torch.tensor([[True, False], [True, True]])
    slots = present.flatten().nonzero().squeeze(1)
    frames = Frames(torch.empty(0), torch.zeros(2, 2), present, slots)
    x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 1, 1)
    assert frames.grid(x)[..., 0, 0].tolist() == [[0.0, 0.0], [1.0, 2.0]]


def test_up_and_down_again_equals_the_two_resizings() -> None:
    x = torch.randn(2, 3, 8, 4)
    up = F.interpolate(x, scale_factor=2.0, mode="bilinear")
    down = F.interpolate(up, size=(8, 4), mode="bilinear")
    torch.testing.assert_close(_up_and_down(x), down)


def test_upernet_takes_levels_with_and_without_half_size() -> None:
    image_hw = (64, 96)
    widths = (6, 8, 12, 16, 24)
    sizes = [(64 // s, 96 // s) for s in (2, 4, 8, 16, 32)]
    levels = [torch.randn(2, w, *size) for w, size in zip(widths, sizes, strict=True)]
    assert UPerNet(widths).eval()(levels, image_hw).shape == (2, 64, 16, 24)
    without = UPerNet((0, *widths[1:])).eval()
    features = without([None, *levels[1:]], image_hw)
    assert features.shape == (2, 64, 16, 24)
    assert ClassHead(5)(features).shape == (2, 5, 64, 96)
    names = {name.split(".")[1] for name in without.state_dict() if name.startswith("fpn_stages")}
    assert names == {"0", "1", "2", "4"}


def test_unet_takes_levels_with_and_without_half_size() -> None:
    widths = (6, 8, 12, 16, 24)
    sides = zip(widths, (2, 4, 8, 16, 32), strict=True)
    levels = [torch.randn(1, width, 64 // side, 32 // side) for width, side in sides]
    assert UNet(widths).eval()(levels, (64, 32)).shape == (1, 16, 64, 32)
    assert UNet((0, *widths[1:])).eval()([None, *levels[1:]], (64, 32)).shape == (1, 16, 64, 32)


def test_fusion_joins_the_deepest_temporal_map_to_the_finest_level() -> None:
    levels = [None, *(torch.zeros(1, 2, 16 // 2**i, 16 // 2**i) for i in range(4))]
    maps = [torch.full((1, 1, 10, 10), float(i)) for i in range(4)]
    fusion = FusionHandler([3] * 4, [2] * 4)
    for conv in fusion.conv_f:
        assert isinstance(conv, nn.Conv2d)
        nn.init.ones_(conv.weight)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    with torch.no_grad():
        fused = fusion([levels, beside(maps, levels)])
    assert fused[0] is None
    assert [(x.shape[-1], float(x.mean())) for x in fused if x is not None] == [
        (16, 0.0),
        (8, 1.0),
        (4, 2.0),
        (2, 3.0),
    ]


def test_fusion_has_no_use_for_the_image_itself() -> None:
    levels = [torch.zeros(1, 2, 32 // 2**i, 32 // 2**i) for i in range(5)]
    maps = [torch.full((1, 1, 10, 10), float(i)) for i in range(6)]
    fused = FusionHandler([3] * 6, [3, 2, 2, 2, 2, 2])([levels, beside(maps, levels)])
    assert [x.shape[1] for x in fused if x is not None] == [2] * 5
    assert [float(x.mean()) for x in beside(maps, levels) if x is not None] == [1, 2, 3, 4, 5]
