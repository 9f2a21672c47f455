"""A network of Bocage's own and its temporal encoder beside the straightforward formulation.

The baseline computes the same function with the same weights by the straightforward formulation:
every date of the padded batch passes the convolutions, padding included; a pass over zeros finds
out the shape; each head projects every pixel of every date before it sums; maps are stored NCHW;
labels travel as one-hot floats. Both results are compared before anything is timed.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import Row, compare
from bocage.data import collate
from bocage.losses import CompositeLoss, LossConfig
from bocage.models import Network, NetworkConfig
from bocage.models.temporal import TemporalEncoder
from bocage.nomenclatures import CROPS, IGNORE, LAND_COVER
from bocage.sample import Batch, Sample, Series

INPUTS = ["AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL1-ASC_TS"]
TASKS = (LAND_COVER, CROPS)
DATES = (60, 24)
"""Dates of the two samples of a batch: irregular, as real ones are after the cloud filter."""


class NaiveTemporal(nn.Module):
    """The temporal encoder computed the long way, with the weights of the one it is given."""

    def __init__(self, encoder: TemporalEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = encoder.channels
        self.strides = encoder.strides

    def forward(
        self, frames_NCHW: Tensor, known_NHW: Tensor, days_BT: Tensor, slots: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `TemporalEncoder.forward`."""
        encoder = self.encoder
        batch, dates = days_BT.shape
        height, width = frames_NCHW.shape[-2:]
        frames_NCHW, known_NHW = frames_NCHW.contiguous(), known_NHW
        if slots is not None:
            dense = frames_NCHW.new_zeros(batch * dates, *frames_NCHW.shape[1:])
            frames_NCHW = dense.index_copy(0, slots, frames_NCHW)
            known = torch.zeros(batch * dates, height, width, dtype=torch.bool)
            known_NHW = known.index_copy(0, slots, known_NHW)
        angle = days_BT.float().flatten()[:, None] / encoder.denominator
        position_NC = torch.cat([angle.sin(), angle.cos()], dim=-1)
        with torch.no_grad():  # a pass over zeros, to learn the shape
            channels = encoder._frames(torch.zeros_like(frames_NCHW), position_NC).shape[1]
        features = encoder._frames(frames_NCHW, position_NC).permute(0, 2, 3, 1)
        value = encoder.norm(features) + position_NC[:, None, None]
        value = value.view(batch, dates, height, width, channels)
        usable = known_NHW.view(batch, dates, height, width)

        pooled = 0.0
        projections = encoder.project.weight.chunk(encoder.heads, dim=1)
        for query, projection in zip(encoder.score.weight, projections, strict=True):
            # A query of four numbers and the keys that it needs: together they are `score`.
            ask = torch.full((4,), 0.5)
            keys = value @ (ask[:, None] * query[None, :]).T
            score = (keys * ask).sum(-1).masked_fill(~usable, torch.finfo(torch.float32).min)
            weight = score.softmax(dim=1) * usable
            values = value @ projection.T
            pooled = pooled + (weight[..., None] * values).sum(dim=1)
        map_BCHW = (pooled + encoder.project.bias).permute(0, 3, 1, 2)
        known_B1HW = usable.any(1).unsqueeze(1)
        return encoder.refine(torch.where(known_B1HW, map_BCHW, 0.0)), known_B1HW


def naive_loss(logits: dict[str, Tensor], one_hot: dict[str, Tensor]) -> Tensor:
    """Cross-entropy from one-hot float labels, turned back into indices at every step."""
    total = torch.zeros(())
    for task in TASKS:
        target = one_hot[task.name].argmax(dim=1)
        target[one_hot[task.name].sum(dim=1) == 0] = IGNORE
        total = total + F.cross_entropy(logits[task.name], target, ignore_index=IGNORE)
    return total


class Case(NamedTuple):
    """Both networks, and what they are given."""

    ours: Network
    naive: Network
    batch: Batch


def build() -> Case:
    """Networks of the same weights; asserts that they give the same."""
    torch.manual_seed(0)
    config = NetworkConfig(
        inputs=[{"modality": name} for name in INPUTS],
        tasks=[{"name": task.name, "num_classes": task.num_classes} for task in TASKS],
    )
    network = Network(config)
    naive = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for name, encoder in naive.encoders.items():
        if isinstance(encoder, TemporalEncoder):
            naive.encoders[name] = NaiveTemporal(encoder)
    batch = _batch()
    # In evaluation: in training the baseline's statistics see its padding, which is its mistake.
    with torch.no_grad():
        first, second = (n.eval()(**batch.network_inputs()).logits for n in (network, naive))
    for name, logits in first.items():
        torch.testing.assert_close(second[name], logits, rtol=1e-3, atol=1e-3)
    return Case(network.train(), naive.train(), batch)


def step_rows() -> list[Row]:
    """A training step with both tasks."""
    network, naive, batch = build()
    one_hot = {
        task.name: F.one_hot(batch.labels[task.name].long(), task.num_classes)
        .permute(0, 3, 1, 2)
        .float()
        for task in TASKS
    }
    loss = CompositeLoss(TASKS, LossConfig())

    def ours() -> None:
        output = network(**batch.network_inputs())
        loss(output.logits, batch.labels)[0].backward()

    def baseline() -> None:
        output = naive(**batch.network_inputs())
        naive_loss(output.logits, one_hot).backward()

    return [compare("own network, step, aerial + S2 + S1, two tasks", ours, baseline, rounds=5)]


def temporal_rows() -> list[Row]:
    """The temporal encoder of Sentinel-2 alone: 60 and 24 dates of 10 x 10 pixels."""
    network, naive, _ = build()
    frames = torch.randn(sum(DATES), 10, 10, 10)
    known = torch.ones(sum(DATES), 10, 10, dtype=torch.bool)
    days = torch.arange(DATES[0]).expand(2, -1) * 6 - 130
    slots = torch.cat([torch.arange(DATES[0]), DATES[0] + torch.arange(DATES[1])])
    arguments = (frames.contiguous(memory_format=torch.channels_last), known, days, slots)
    fast, slow = network.encoders["SENTINEL2_TS"], naive.encoders["SENTINEL2_TS"]

    def forward(encoder: nn.Module) -> None:
        with torch.inference_mode():
            encoder(*arguments)

    def step(encoder: nn.Module) -> None:
        encoder(*arguments)[0].square().mean().backward()

    return [
        compare("own temporal encoder, forward", lambda: forward(fast), lambda: forward(slow)),
        compare("own temporal encoder, step", lambda: step(fast), lambda: step(slow)),
    ]


def _batch() -> Batch:
    rng = np.random.default_rng(0)
    samples = []
    for number, dates in enumerate(DATES):
        start = np.datetime64("2021-01-04")
        series = {
            "SENTINEL2_TS": Series(
                rng.integers(0, 6000, (dates, 10, 10, 10)).astype(np.uint16),
                start + 6 * np.arange(dates),
                np.zeros((dates, 2, 10, 10), dtype=np.uint16),
            ),
            "SENTINEL1-ASC_TS": Series(
                rng.gamma(2.0, 0.05, (dates, 2, 10, 10)).astype(np.float32),
                start + 6 * np.arange(dates),
            ),
        }
        labels = {task.name: rng.integers(0, 15, (512, 512)).astype(np.uint8) for task in TASKS}
        image = rng.integers(0, 255, (4, 512, 512)).astype(np.uint8)
        samples.append(
            Sample(f"p{number}", 2021, images={"AERIAL_RGBI": image}, series=series, labels=labels)
        )
    return collate(samples, INPUTS, [task.name for task in TASKS])
