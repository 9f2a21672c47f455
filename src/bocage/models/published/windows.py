"""Windows of cells, and attention within them: the part of Swin that is not layers.

Where a map is no multiple of the window, the last windows have places for cells that do not exist.
They are keys and values like any other: those of a cell that is all zero, hence the layer's biases.

Shapes: B samples, L cells of a square map, C channels, K heads, D = C / K, W windows, N cells of a
window, S = W K N places.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -100.0
"""What is added to the score of cells that stand side by side only because of the shift."""


class Windows(nn.Module):
    """Where a map's cells go, head by head, when it is shifted and cut into windows.

    Tables, none of which is in a checkpoint: `place` (S,) is the row among the map's L K (cell,
    head) that stands at a place, `origin` (L K,) its inverse; `beyond` are the places without a
    cell, `beyond_head` their heads. `relative` (N N,) numbers the distances between two cells.
    `mask` (3, N, N) float32 is for windows at the lower border, at the right one, in the corner.
    """

    place: Tensor
    origin: Tensor
    beyond: Tensor
    beyond_head: Tensor
    relative: Tensor
    mask: Tensor

    def __init__(self, side: int, window: int, shift: int, heads: int):
        super().__init__()
        self.side, self.window, self.shift, self.heads = side, window, shift, heads
        self.across = math.ceil(side / window)
        missing = ((self.across * window) ** 2 - side**2) * heads
        for name, shape in (
            ("place", (side**2 * heads + missing,)),
            ("origin", (side**2 * heads,)),
            ("beyond", (missing,)),
            ("beyond_head", (missing,)),
            ("relative", (window**4,)),
        ):
            self.register_buffer(name, torch.empty(shape, dtype=torch.int64), persistent=False)
        self.register_buffer("mask", torch.empty(3, window**2, window**2), persistent=False)
        self.init_non_persistent_buffers()

    def init_non_persistent_buffers(self) -> None:
        """Fill in the tables; called again where the module was built without memory."""
        if self.place.is_meta:
            return
        side, window, across = self.side, self.window, self.across
        cell = torch.arange(side**2).view(side, side).roll((-self.shift, -self.shift), (0, 1))
        missing = across * window - side
        cell = F.pad(cell, (0, missing, 0, missing), value=-1)
        cell_W1N = (
            cell.view(across, window, across, window).transpose(1, 2).reshape(-1, 1, window**2)
        )
        head_K1 = torch.arange(self.heads).view(-1, 1)
        place = torch.where(cell_W1N < 0, -1, cell_W1N * self.heads + head_K1).flatten()
        beyond = (place < 0).nonzero().squeeze(1)
        self.beyond.copy_(beyond)
        self.beyond_head.copy_(beyond // window**2 % self.heads)
        self.origin.copy_(place.argsort()[len(beyond) :])
        self.place.copy_(place.clamp(min=0))

        row, column = torch.arange(window**2) // window, torch.arange(window**2) % window
        apart = [x[:, None] - x + window - 1 for x in (row, column)]
        self.relative.copy_((apart[0] * (2 * window - 1) + apart[1]).flatten())
        wrapped = (x >= window - self.shift for x in (row, column))
        lower, right = (x[:, None] != x for x in wrapped)
        self.mask.copy_(torch.stack([lower, right, lower | right]) * MASKED)

    def split(self, qkv_BLC: Tensor, bias_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, S, D) of cells (B, L, 3 C); `bias_C` is their layer's."""
        parts = _Split.apply(
            qkv_BLC, bias_C, self.place, self.origin, self.beyond, self.beyond_head, self.heads
        )
        return cast("tuple[Tensor, Tensor, Tensor]", parts)

    def join(self, x_BSD: Tensor) -> Tensor:
        """Places (B, S, D) back to the map's cells (B, L, C)."""
        rows_BRD = cast("Tensor", _Join.apply(x_BSD, self.place, self.origin, self.beyond))
        return rows_BRD.reshape(x_BSD.shape[0], self.side**2, -1)

    def attend(
        self, query_BSD: Tensor, key_BSD: Tensor, value_BSD: Tensor, table: Tensor
    ) -> Tensor:
        """What each place finds in its window (B, S, D); `table` (distances, K) biases scores."""
        cells = self.window**2
        bias_KNN = table.T.index_select(1, self.relative).view(self.heads, cells, cells)
        shape = (-1, self.heads, cells, query_BSD.shape[-1])
        query, key, value = (x.reshape(shape) for x in (query_BSD, key_BSD, value_BSD))
        mask = self.mask if self.shift else None
        if query_BSD.device.type == "cpu" and not torch.compiler.is_compiling():
            found = _Attention.apply(query, key, value, bias_KNN, mask, self.across)
        else:
            bias = bias_KNN.unsqueeze(0)
            if mask is not None:
                bias = _add_masks(bias.repeat(self.across**2, 1, 1, 1), mask, self.across)
                bias = bias.repeat(query_BSD.shape[0], 1, 1, 1)
            found = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
        return cast("Tensor", found).view(query_BSD.shape)


def _add_masks(score_WKNN: Tensor, mask_3NN: Tensor, across: int) -> Tensor:
    """Scores of all samples' windows with the masks of those at the lower and right border."""
    lower, right, corner = mask_3NN.to(score_WKNN.dtype)
    grid = score_WKNN.view(-1, across, across, *score_WKNN.shape[1:])
    grid[:, -1, :-1] += lower
    grid[:, :-1, -1] += right
    grid[:, -1, -1] += corner
    return score_WKNN


class _Split(torch.autograd.Function):
    """Rows to three sets of places. A rearrangement's gradient is the opposite rearrangement;
    PyTorch's own, of a selection in general, adds row by row to zeros."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv_BLC: Tensor,
        bias_C: Tensor,
        place: Tensor,
        origin: Tensor,
        beyond: Tensor,
        beyond_head: Tensor,
        heads: int,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(origin, beyond, beyond_head)
        ctx.heads = heads
        rows = qkv_BLC.reshape(qkv_BLC.shape[0], -1, qkv_BLC.shape[-1] // (3 * heads))
        first = place + place // heads * (2 * heads)
        parts = [rows.index_select(1, first + part * heads) for part in range(3)]
        if len(beyond):
            bias = bias_C.to(rows.dtype).view(3, heads, -1)
            # What a query without a cell finds is never looked at.
            for part in (1, 2):
                filling = bias[part].index_select(0, beyond_head)
                parts[part].index_copy_(1, beyond, filling.expand(rows.shape[0], -1, -1))
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *grad_BSD: Tensor) -> tuple[Tensor | None, ...]:
        origin, beyond, beyond_head = ctx.saved_tensors
        shape = (grad_BSD[0].shape[0], len(origin) // ctx.heads, -1)
        cells = [grad.index_select(1, origin).view(shape) for grad in grad_BSD]
        bias = grad_BSD[0].new_zeros(3, ctx.heads, grad_BSD[0].shape[-1], dtype=torch.float32)
        for part in (1, 2):
            outside = grad_BSD[part].index_select(1, beyond).sum(0, dtype=torch.float32)
            bias[part].index_add_(0, beyond_head, outside)
        return torch.cat(cells, dim=2), bias.flatten(), *[None] * 5


class _Join(torch.autograd.Function):
    """Places to rows."""

    @staticmethod
    def forward(ctx: Any, x_BSD: Tensor, place: Tensor, origin: Tensor, beyond: Tensor) -> Tensor:
        ctx.save_for_backward(place, beyond)
        return x_BSD.index_select(1, origin)

    @staticmethod
    def backward(ctx: Any, grad_BRD: Tensor) -> tuple[Tensor | None, ...]:
        place, beyond = ctx.saved_tensors
        return grad_BRD.index_select(1, place).index_fill_(1, beyond, 0.0), None, None, None


class _Attention(torch.autograd.Function):
    """Attention with a learnt bias on a CPU, where PyTorch's fused one has no gradient for it.

    Scores become weights in their own memory, and their gradients likewise: of all that is done
    here, writing 144 x 144 numbers per head and window takes longest.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_WKND: Tensor,
        key_WKND: Tensor,
        value_WKND: Tensor,
        bias_KNN: Tensor,
        mask: Tensor | None,
        across: int,
    ) -> Tensor:
        query, key, value = (x.flatten(0, 1) for x in (query_WKND, key_WKND, value_WKND))
        ctx.factor = query.shape[-1] ** -0.5
        score = _scaled(query, key.mT, ctx.factor)
        score_WKNN = score.view(*query_WKND.shape[:3], -1)
        score_WKNN += bias_KNN.to(score.dtype)
        if mask is not None:
            _add_masks(score_WKNN, mask, across)
        weight = torch.ops.aten._softmax.out(score, -1, False, out=score)
        ctx.save_for_backward(query, key, value, weight)
        ctx.bias_dtype = bias_KNN.dtype
        return torch.bmm(weight, value).view(value_WKND.shape)

    @staticmethod
    def backward(ctx: Any, grad_WKND: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weight = ctx.saved_tensors
        shape = grad_WKND.shape
        grad = grad_WKND.reshape(value.shape)
        grad_value = torch.bmm(weight.mT, grad)
        score = torch.bmm(grad, value.mT)
        score = torch.ops.aten._softmax_backward_data.out(
            score, weight, -1, weight.dtype, grad_input=score
        )
        grad_bias = score.view(*shape[:3], -1).sum(0).to(ctx.bias_dtype)
        grad_query = _scaled(score, key, ctx.factor)
        grad_key = _scaled(score.mT, query, ctx.factor)
        parts = (x.view(shape) for x in (grad_query, grad_key, grad_value))
        return *parts, grad_bias, None, None


def _scaled(a_BMN: Tensor, b_BNP: Tensor, factor: float) -> Tensor:
    """Matrix products times `factor`, which costs nothing extra."""
    return torch.baddbmm(a_BMN.new_empty(()), a_BMN, b_BNP, beta=0, alpha=factor)
