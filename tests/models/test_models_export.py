from __future__ import annotations

import copy

import pytest
import torch
from model_batches import AERIAL, ASC, S2, TASKS, gap, make_batch, small_network

pytestmark = pytest.mark.unit

CASES = [(AERIAL, S2, ASC), (S2,)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("names", CASES, ids=["multimodal", "series"])
def test_export(names: tuple[str, ...]) -> None:
    network = small_network(names).eval()
    batch = make_batch(names)
    program = torch.export.export(network, (), batch)
    # The exported program sees masks as data: any subset, any padding, with the same shapes.
    other = make_batch(names, seed=4)
    for name in names:
        other["present"][name][0] = False
    other["dates_present"][S2][1, 2:] = False
    for given in (batch, other):
        ours = network(**given).logits
        assert gap(ours, program.module()(**given).logits) <= 1e-5


# Dynamo looks at `.grad` of the intermediate tensors that cross a graph break.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("train", [False, True])
def test_compile(train: bool) -> None:
    names = (AERIAL, S2)
    network = small_network(names, tasks=TASKS[:1]).train(train)
    twin = copy.deepcopy(network)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", dynamic=False)
    batch = make_batch(names, hw=(32, 32))
    absent = make_batch(names, hw=(32, 32), seed=1)
    absent["present"][AERIAL][1] = False
    for given in (batch, absent):
        ours, theirs = twin(**given).logits, compiled(**given).logits
        assert gap(ours, theirs) <= 1e-5
    if train:
        theirs["cover"].sum().backward()
        ours["cover"].sum().backward()
        for one, other in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-2, rtol=1e-3)
