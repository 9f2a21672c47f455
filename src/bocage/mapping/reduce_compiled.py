"""The reduction of windows' logits to bytes for a CPU: each number is fetched once.

Torch's operations each go over all logits of a strip; here a row of pixels is averaged, compared,
turned into shares and written while it lies in the first-level cache. Compiled by numba at first
use (some seconds, then kept on disk), it lets go of Python's lock, so that threads share a block.

Legend as in `bocage.mapping.reduce`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from bocage.mapping.compiled import compiled
from bocage.mapping.outputs import CONFIDENCE_STEPS, NODATA, TaskOutput
from bocage.mapping.reduce import Layers, Piece

MOST_WINDOWS = 4
"""Windows that may meet in a pixel: those of an overlap of up to half a window."""

# exp(t) = 2^n (1 + r + r^2 p(r)), t = n ln 2 + r: range reduction and polynomial of the Cephes
# library's expf (Moshier 1992), relative error 2e-7. Written out because a call of the C library
# per number would keep the loop from being vectorised.
_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3)
_P2, _P3 = np.float32(8.3334519073e-3), np.float32(4.1665795894e-2)
_P4, _P5 = np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_LEAST = np.float32(-87.0)  # e^-87 is the smallest float32 that is no subnormal number
_LINE = 16
"""Numbers in a cache line."""
_ONE, _HALF = np.float32(1), np.float32(0.5)


class CompiledReducer:
    """The reduction in one pass, for logits in the processor's memory.

    A piece has at most `MOST_WINDOWS` windows: for every further number the loops would have to be
    compiled anew.
    """

    def __init__(self, tasks: Sequence[TaskOutput]) -> None:
        self._reduce = _reduction()
        self._scored = {task.name: np.array(task.scored, np.int64) for task in tasks}
        self._ids = {task.name: np.array(task.class_ids, np.uint8) for task in tasks}
        self._wanted = {task.name: np.array(task.probabilities, np.int64) for task in tasks}

    def __call__(
        self, task: TaskOutput, piece: Piece, hidden_HW: Tensor | None, layers: Layers
    ) -> bool:
        """As `bocage.mapping.reduce.Reducer` says."""
        tensors = [window[task.name] for window in piece.windows]
        # Networks answer with channels first or last: both are read as they lie.
        last = not tensors[0].is_contiguous()
        windows = [
            (tensor.permute(1, 2, 0) if last else tensor).contiguous().numpy() for tensor in tensors
        ]
        classes = layers.classes.numpy()[piece.rows, piece.cols]

        def plane(layer: Tensor | None) -> NDArray[np.uint8]:
            # Of what is not wanted an array is given that is not looked at.
            return classes if layer is None else layer.numpy()[..., piece.rows, piece.cols]

        wanted = self._wanted[task.name]
        broken: bool = self._reduce(
            (*windows, *windows[:1] * (MOST_WINDOWS - len(windows))),
            len(windows),
            last,
            np.array(piece.corners, np.int64),
            np.stack([down for down, _ in piece.weights]),
            np.stack([across for _, across in piece.weights]),
            piece.whole,
            self._scored[task.name],
            self._ids[task.name],
            wanted,
            hidden_HW is not None,
            classes.view(np.bool_) if hidden_HW is None else plane(hidden_HW),
            classes,
            layers.confidence is not None,
            plane(layers.confidence),
            layers.entropy is not None,
            plane(layers.entropy),
            plane(layers.probabilities) if len(wanted) else classes[None],
        )
        return broken


@functools.cache
def _reduction() -> Any:
    """`_reduce`, compiled and kept on disk for later processes, with what it calls.

    Its types are spelled out, or it would be compiled anew for every way in which arrays can lie
    in memory.
    """
    windows = types.UniTuple(types.float32[:, :, ::1], MOST_WINDOWS)  # type: ignore[no-untyped-call]  # numba's
    plane, weights = types.uint8[:, :], types.float32[:, ::1]
    signature = types.boolean(
        windows, types.int64, types.boolean, types.int64[:, ::1], weights, weights, types.boolean,
        types.int64[::1], types.uint8[::1], types.int64[::1], types.boolean, types.boolean[:, :],
        plane, types.boolean, plane, types.boolean, plane, types.uint8[:, :, :],
    )  # fmt: skip
    return compiled(_reduce, signature)


def _ask_for_line(_typing: Any, array: Any, place: Any) -> Any:
    """Fetch the cache line of `array`'s number `place`, counted as it lies in memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        known = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]  # numba's
            builder.module, known, "llvm.prefetch.p0"
        )
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        # To be read, kept near, data and no instructions.
        builder.call(ask, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


_prefetch: Any = intrinsic(_ask_for_line)  # what it asks for may lie beyond the array


@numba.njit
def _average_first(
    windows: Any, count: Any, corners: Any, y: Any, down: Any, across: Any, scored: Any, mean: Any
) -> None:
    """Weighted sum of row `y` of a piece into `mean` (K, w), from windows (C, S, S)."""
    width = mean.shape[1]
    weight = np.empty(width, np.float32)
    for i in range(count):
        logits, row, col = windows[i], corners[i, 0] + y, corners[i, 1]
        side = logits.shape[2]
        for x in range(width):
            weight[x] = down[i, y] * across[i, x]
        for k in range(len(scored)):
            # A row is too short for the processor to see a pattern, and the next one far away.
            start = (scored[k] * side + row + 1) * side + col
            for x in range(0, width, _LINE):
                _prefetch(logits, start + x)
            values, target = logits[scored[k], row, col : col + width], mean[k]
            if count == 1:
                for x in range(width):
                    target[x] = values[x]
            elif i == 0:
                for x in range(width):
                    target[x] = values[x] * weight[x]
            else:
                for x in range(width):
                    target[x] += values[x] * weight[x]


@numba.njit
def _average_last(
    windows: Any, count: Any, corners: Any, y: Any, down: Any, spread: Any, scored: Any, mean: Any
) -> None:
    """The same from windows (S, S, C): summed as they lie, then turned in the cache.

    `spread` (n, w x C) is `across` once for each channel, so that a row is one long loop.
    """
    width, (side, channels) = mean.shape[1], windows[0].shape[1:]
    size = width * channels
    total = np.empty(size, np.float32)
    for i in range(count):
        start = ((corners[i, 0] + y) * side + corners[i, 1]) * channels
        values, weight, part = windows[i].reshape(-1)[start : start + size], spread[i], down[i, y]
        if count == 1:
            total = values
        elif i == 0:
            for j in range(size):
                total[j] = values[j] * (part * weight[j])
        else:
            for j in range(size):
                total[j] += values[j] * (part * weight[j])
    for k in range(len(scored)):
        channel, target = scored[k], mean[k]
        for x in range(width):
            target[x] = total[x * channels + channel]


@numba.njit
def _share_out(down: Any, across: Any, count: Any, y: Any, mean: Any) -> None:
    """Divide a row's weighted sums by the sum of the weights."""
    total = np.zeros(mean.shape[1], np.float32)
    for i in range(count):
        for x in range(len(total)):
            total[x] += down[i, y] * across[i, x]
    for k in range(len(mean)):
        target = mean[k]
        for x in range(len(total)):
            target[x] /= total[x]


@numba.njit
def _softmax(mean: Any, top: Any, shares: Any, total: Any, spent: Any) -> None:
    """exp(logit - largest) of a row to `shares` (K, w), their sum, and sum of share x exponent."""
    width = len(top)
    power = np.empty(width, np.int32)
    scale = power.view(np.float32)
    total[:] = 0
    spent[:] = 0
    for k in range(len(shares)):
        values, target = mean[k], shares[k]
        for x in range(width):
            t = values[x] - top[x]
            t = t if t > _LEAST else _LEAST
            n = np.floor(t * _LOG2_E + _HALF)
            r = t - n * _LN2_HIGH - n * _LN2_LOW
            p = _P0 * r + _P1
            p = p * r + _P2
            p = p * r + _P3
            p = p * r + _P4
            p = p * r + _P5
            target[x] = p * r * r + r + _ONE
            power[x] = (np.int32(n) + np.int32(127)) << np.int32(23)  # 2^n as float32's bits
        for x in range(width):
            target[x] *= scale[x]
            total[x] += target[x]
            spent[x] += target[x] * max(values[x] - top[x], _LEAST)


@numba.njit
def _step(share: Any) -> Any:
    """A share from 0 to 1 as a byte."""
    return np.uint8(min(max(np.rint(share * np.float32(CONFIDENCE_STEPS)), 0), CONFIDENCE_STEPS))


def _reduce(
    windows: Any, reached: Any, last: Any, corners: Any, down: Any, across: Any, whole: Any,
    scored: Any, ids: Any, wanted: Any, hides: Any, hidden: Any, classes: Any,
    sure: Any, confidence: Any, undecided: Any, entropy: Any, probabilities: Any,
) -> bool:  # fmt: skip
    """Reduce a piece.

    Of the windows, (S, S, C) if `last`, else (C, S, S), the first `reached` are looked at; of
    `hidden`, `confidence` and `entropy` those whose word before them is true.
    """
    height, width = classes.shape
    count = len(scored)
    channels = windows[0].shape[2] if last and reached > 1 else 0
    spread = np.empty((reached, width * channels), np.float32)
    for i in range(reached):
        for x in range(width):
            spread[i, x * channels : (x + 1) * channels] = across[i, x]
    mean = np.empty((count, width), np.float32)
    shares = np.empty((count, width), np.float32)
    top = np.empty(width, np.float32)
    total = np.empty(width, np.float32)
    spent = np.empty(width, np.float32)
    best = np.empty(width, np.uint8)
    odd = np.empty(width, np.uint8)
    most_nats = np.float32(1 / math.log(max(2, count)))
    broken = False
    for y in range(height):
        if last:
            _average_last(windows, reached, corners, y, down, spread, scored, mean)
        else:
            _average_first(windows, reached, corners, y, down, across, scored, mean)
        if reached > 1 and not whole:
            _share_out(down, across, reached, y, mean)
        for x in range(width):
            top[x] = mean[0, x]
            best[x] = 0
            odd[x] = 0
        for k in range(count):
            values, place = mean[k], np.uint8(k)
            for x in range(width):
                above = values[x] > top[x]
                top[x] = values[x] if above else top[x]
                best[x] = place if above else best[x]
                odd[x] |= np.uint8(values[x] != values[x])
        for x in range(width):
            classes[y, x] = ids[best[x]]
        if sure or undecided or len(wanted):
            _softmax(mean, top, shares, total, spent)
            if sure:
                for x in range(width):
                    confidence[y, x] = _step(_ONE / total[x])
            if undecided:
                for x in range(width):
                    nats = np.log(total[x]) - spent[x] / total[x]
                    entropy[y, x] = _step(nats * most_nats)
            for p in range(len(wanted)):
                values = shares[wanted[p]]
                for x in range(width):
                    probabilities[p, y, x] = _step(values[x] / total[x])
        for x in range(width):
            if hides and hidden[y, x]:
                classes[y, x] = NODATA
                if sure:
                    confidence[y, x] = NODATA
                if undecided:
                    entropy[y, x] = NODATA
                for p in range(len(wanted)):
                    probabilities[p, y, x] = NODATA
            elif odd[x] or np.isinf(top[x]):
                broken = True
    return broken
