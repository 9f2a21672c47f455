"""Both reductions of logits to bytes against numpy, and against each other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bocage.mapping.outputs import TaskOutput
from bocage.mapping.reduce import Layers, Piece, TensorReducer
from bocage.mapping.reduce_compiled import CompiledReducer

CPU = torch.device("cpu")
SIDE = 24
NAMES = ("classes", "confidence", "entropy", "probabilities")


def _task(scored: tuple[int, ...], **wanted: object) -> TaskOutput:
    ids = tuple(3 * k + 1 for k in range(len(scored)))
    return TaskOutput("t", "t", 7, scored, ids, **wanted)


def _piece(rng, count: int, height: int, width: int, whole: bool, last: bool = False) -> Piece:
    shape = (SIDE, SIDE, 7) if last else (7, SIDE, SIDE)
    logits = torch.from_numpy(3 * rng.standard_normal((count, *shape), np.float32))
    windows = [{"t": one.permute(2, 0, 1) if last else one} for one in logits]
    shares = rng.random((count, height)).astype(np.float32) + 0.1
    if whole:
        shares /= shares.sum(axis=0)
    corners = [(int(r), int(c)) for r, c in rng.integers(0, SIDE - 16, (count, 2))]
    across = rng.random((count, width)).astype(np.float32) + 0.5
    if whole:  # weights are products, and add up to one where all columns weigh the same
        across[:] = 1
    return Piece(
        slice(2, 2 + height), slice(1, 1 + width), tuple(windows), tuple(corners),
        tuple(zip(shares, across, strict=True)), whole,
    )  # fmt: skip


def _reduced(reducer, task, piece, hidden):
    layers = Layers.empty(task, (SIDE, SIDE), CPU)
    broken = bool(reducer(task, piece, hidden, layers))
    return layers, broken


@pytest.mark.property
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 999), count=st.integers(1, 4), height=st.integers(0, 16),
    width=st.integers(1, 16), whole=st.booleans(), hides=st.booleans(), last=st.booleans(),
    scored=st.sampled_from([(0, 1, 2, 3, 4, 5, 6), (1, 2, 3), (0, 2, 5)]),
    wanted=st.sampled_from([{}, {"confidence": False}, {"entropy": True, "probabilities": (2, 0)}]),
)  # fmt: skip
def test_both_reductions_are_the_softmax_of_the_weighted_mean(
    seed, count, height, width, whole, hides, last, scored, wanted
):
    rng = np.random.default_rng(seed)
    task = _task(scored, **wanted)
    piece = _piece(rng, count, height, width, whole, last)
    hidden = torch.from_numpy(rng.random((SIDE, SIDE)) < 0.3) if hides else None
    mean = np.zeros((7, height, width))
    for window, (row, col), (down, across) in zip(
        piece.windows, piece.corners, piece.weights, strict=True
    ):
        logits = window["t"].numpy()[:, row : row + height, col : col + width].astype(float)
        mean += logits * (np.outer(down, across) if count > 1 else 1)
    if count > 1 and not whole:
        mean /= sum(np.outer(down, across) for down, across in piece.weights)
    mean = mean[list(scored)]
    shares = np.exp(mean - mean.max(axis=0)) if height else mean
    shares = shares / shares.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = -(shares * np.log(shares)).sum(axis=0) / np.log(len(scored))
    expected = {
        "confidence": shares.max(axis=0, initial=0),
        "entropy": nats,
        "probabilities": shares[[2, 0]],
    }
    place = (..., piece.rows, piece.cols)
    seen = np.ones((height, width), bool) if hidden is None else ~hidden.numpy()[place]
    for reducer in (CompiledReducer([task]), TensorReducer([task], CPU)):
        layers, broken = _reduced(reducer, task, piece, hidden)
        assert not broken
        classes = layers.classes.numpy()
        np.testing.assert_array_equal(
            classes[place][seen], np.array(task.class_ids)[mean.argmax(axis=0)][seen]
        )
        for name, values in expected.items():
            layer = getattr(layers, name)
            if layer is not None:
                np.testing.assert_allclose(
                    layer.numpy()[place][..., seen], values[..., seen] * 254, atol=0.501
                )
        for name in NAMES:
            layer = getattr(layers, name)
            if layer is not None:
                assert (layer.numpy()[place][..., ~seen] == 255).all()
                outside = torch.full_like(layer, 255)
                outside[place] = layer[place]
                assert torch.equal(layer, outside)  # nothing is written beside the piece


@pytest.mark.unit
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [0, 1, 6])
@pytest.mark.parametrize("count", [1, 2])
def test_numbers_that_are_not_finite_are_told_unless_hidden(value, channel, count):
    task = _task(tuple(range(7)), entropy=True)
    piece = _piece(np.random.default_rng(0), count, 6, 7, whole=True)
    row, col = piece.corners[0]
    piece.windows[0]["t"][channel, row + 2, col + 3] = value
    hidden = torch.zeros((SIDE, SIDE), dtype=torch.bool)
    for reducer in (CompiledReducer([task]), TensorReducer([task], CPU)):
        assert _reduced(reducer, task, piece, None)[1]
        hidden[4, 4] = False
        assert _reduced(reducer, task, piece, hidden)[1]
        hidden[4, 4] = True
        assert not _reduced(reducer, task, piece, hidden)[1]


@pytest.mark.unit
def test_an_impossible_class_and_equal_classes():
    """A logit of minus infinity is a class that cannot be; of equals the first is mapped."""
    task = _task((0, 1, 2), entropy=True)
    logits = torch.full((7, SIDE, SIDE), -torch.inf)
    logits[1:3] = 0.5
    one = np.ones(4, np.float32)
    piece = Piece(slice(0, 4), slice(0, 4), ({"t": logits},), ((0, 0),), ((one, one),), True)
    for reducer in (CompiledReducer([task]), TensorReducer([task], CPU)):
        layers, broken = _reduced(reducer, task, piece, None)
        assert not broken
        assert set(layers.classes[:4, :4].flatten().tolist()) == {task.class_ids[1]}
        assert set(layers.confidence[:4, :4].flatten().tolist()) == {127}
        half = round(254 * np.log(2) / np.log(3))
        assert set(layers.entropy[:4, :4].flatten().tolist()) == {half}
