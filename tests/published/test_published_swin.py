"""Swin as ours and as timm's, and the parts that make ours faster."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.models.layers import restore_buffers
from bocage.models.published import (
    PublishedConfig,
    PublishedNetwork,
    build_empty,
    published_input,
)
from bocage.models.published.building import fill
from bocage.models.published.layers import CONVOLVED_CELLS, bordered, linear
from bocage.models.published.swin import SWIN_SIZES, Block, Swin, SwinSize
from bocage.models.published.windows import Windows

pytestmark = pytest.mark.unit

TINY = "swin_tiny_patch4_window7_224"
SIDE_PX = 96
"""Maps of 24, 12, 6 and 3 cells: filled up, shifted and filled up, one window, one window."""


@pytest.fixture(scope="module")
def pair() -> tuple[Swin, nn.Module]:
    """Ours and timm's with the same weights, none of them at its trivial start."""
    torch.manual_seed(0)
    ours = Swin(SWIN_SIZES[TINY], 3, SIDE_PX)
    theirs = timm.create_model(TINY, features_only=True, img_size=SIDE_PX)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


def _gradients(module: nn.Module, maps: list[Tensor]) -> dict[str, Tensor]:
    module.zero_grad()
    torch.stack([x.square().mean() for x in maps]).sum().backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def test_maps_and_gradients_are_timms(pair: tuple[Swin, nn.Module]) -> None:
    ours, theirs = pair
    image = torch.randn(2, 3, SIDE_PX, SIDE_PX)
    mine, wanted = ours(image), [x.permute(0, 3, 1, 2) for x in theirs(image)]
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.detach().std()))
    have, want = _gradients(ours, mine), _gradients(theirs, wanted)
    assert have.keys() == want.keys()
    for name, gradient in want.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(have[name], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_compiled_it_is_the_same() -> None:
    torch.manual_seed(0)
    # Maps of 10 and 5 cells in windows of 3.
    ours = Swin(SwinSize(16, (2, 1), (2, 4), 3), 3, 40).eval()
    image = torch.randn(2, 3, 40, 40)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    eager, graph = ours(image), compiled(image)
    for a, b in zip(graph, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.detach().std()))
    want, have = _gradients(ours, eager), _gradients(ours, graph)
    for name, gradient in want.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(have[name], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_bf16_is_close(pair: tuple[Swin, nn.Module]) -> None:
    ours, _ = pair
    image = torch.randn(1, 3, SIDE_PX, SIDE_PX)
    with torch.no_grad():
        exact = ours(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = ours(image)
    for a, b in zip(rough, exact, strict=True):
        assert (a - b).abs().mean() < 0.03 * b.std()


def test_timms_names_in_timms_order(pair: tuple[Swin, nn.Module]) -> None:
    ours, theirs = pair
    assert list(ours.state_dict()) == list(theirs.state_dict())


def _windows(side: int = 5, window: int = 3, shift: int = 1, heads: int = 2) -> Windows:
    return Windows(side, window, shift, heads)


@pytest.mark.parametrize(("side", "window", "shift"), [(6, 3, 1), (5, 3, 1), (5, 3, 0), (4, 4, 0)])
def test_cells_come_back_where_they_were(side: int, window: int, shift: int) -> None:
    windows = _windows(side, window, shift)
    qkv = torch.randn(2, side**2, 3 * 8)
    bias = torch.randn(3 * 8)
    parts = windows.split(qkv, bias)
    assert parts[0].shape == (2, windows.across**2 * 2 * window**2, 4)
    for part, cells in zip(parts, qkv.chunk(3, dim=2), strict=True):
        assert torch.equal(windows.join(part), cells)
    filled = torch.cat([p[0, windows.beyond] for p in parts[1:]])
    heads = windows.beyond_head
    wanted = torch.cat([p.view(2, 4)[heads] for p in bias.chunk(3)[1:]])
    assert torch.equal(filled, wanted)


def test_gradients_of_attention_are_its_derivatives() -> None:
    windows = _windows().double()
    torch.manual_seed(0)
    qkv = torch.randn(2, 25, 3 * 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3 * 4, dtype=torch.float64)
    table = torch.randn(25, 2, dtype=torch.float64, requires_grad=True)

    def attend(qkv: Tensor, table: Tensor) -> Tensor:
        return windows.join(windows.attend(*windows.split(qkv, bias), table))

    assert torch.autograd.gradcheck(attend, (qkv, table))


def test_the_biases_gradient_comes_from_cells_that_are_not_there() -> None:
    windows = _windows()
    bias = torch.randn(3 * 4, requires_grad=True)
    _, key, value = windows.split(torch.randn(2, 25, 3 * 4), bias)
    (key.sum() + 2 * value.sum()).backward()
    # Two samples; 36 - 25 cells are missing.
    want = [0.0] * 4 + [22.0] * 4 + [44.0] * 4
    assert bias.grad is not None
    assert bias.grad.tolist() == want


@pytest.mark.parametrize("cells", [CONVOLVED_CELLS, CONVOLVED_CELLS // 2])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_layers_as_convolutions(cells: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, cells // 32, 16, 12), torch.randn(20, 12)
    bias = torch.randn(20) if with_bias else None
    given = [x, weight] + ([bias] if bias is not None else [])
    for tensor in given:
        tensor.requires_grad_()
    out, want = linear(x, weight, bias), F.linear(x, weight, bias)
    assert out.is_contiguous()
    torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-5)
    have = torch.autograd.grad(out.square().sum(), given)
    wanted = torch.autograd.grad(want.square().sum(), given)
    for a, b in zip(have, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_borders_keep_their_type_under_autocast() -> None:
    x = torch.randn(1, 2, 3, 3)
    plain = bordered(x, "reflect")
    with torch.autocast("cpu", torch.bfloat16):
        half = bordered(x.bfloat16(), "reflect")
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, plain.bfloat16())


def test_training_leaves_out_a_block_now_and_then() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, 4, drop=0.5).train()
    x, branch = torch.zeros(64, 1, 1, 8), torch.ones(64, 1, 1, 8)
    kept = block._add(x, branch).flatten(1)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(block.eval()._add(x, branch), branch)


def test_tables_are_filled_in_after_building_without_memory() -> None:
    windows = _windows()
    with torch.device("meta"):
        empty = _windows()
    assert restore_buffers(empty)
    for (name, want), have in zip(windows.named_buffers(), empty.buffers(), strict=True):
        assert torch.equal(have, want), name


def test_a_patch_that_windows_cannot_be_laid_over_is_refused() -> None:
    given = published_input("AERIAL_RGBI")
    options = {"inputs": (given,), "tasks": ({"name": "x", "num_classes": 2},), "tile_px": 80}
    with pytest.raises(ValueError, match="a patch of AERIAL_RGBI is 80 px, but the windows of"):
        PublishedConfig(architecture="swin_tiny", **options)
    assert PublishedConfig(architecture="resnet34", **options).tile_px == 80


def test_filled_from_a_file_it_gives_the_same() -> None:
    config = PublishedConfig(
        inputs=(published_input("AERIAL_RGBI"),),
        tasks=({"name": "x", "num_classes": 2},),
        architecture="swin_tiny",
        tile_px=64,
    )
    torch.manual_seed(0)
    drawn = PublishedNetwork(config).eval()
    filled = build_empty(config)
    fill(filled, drawn.state_dict())
    image = {"AERIAL_RGBI": torch.randn(1, 3, 64, 64)}
    with torch.inference_mode():
        want = drawn.compute(image, {}, (64, 64))[0]["x"]
        assert torch.equal(filled.eval().compute(image, {}, (64, 64))[0]["x"], want)
