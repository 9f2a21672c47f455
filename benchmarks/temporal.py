"""The temporal encoders alone: forward and training step on the CPU, 60 dates of 10 x 10 pixels.

The published networks' U-TAE against the one of `naive_temporal`, batch 4, with the widths of LC-G
and of LC-L; then that of Bocage's own network, batch 2 with 60 and 24 dates. A step is a forward
pass, the mean of the squares of all maps, and a backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.measure import Row, alternate, row
from benchmarks.naive_temporal import NaiveUTAE
from benchmarks.own_network import temporal_rows
from bocage.models.layers import to_channels_last
from bocage.models.published import Frames, published_config
from bocage.models.published.utae import UTAE

BATCH, DATES, SIDE_PX, BANDS = 4, 60, 10, 10
ROUNDS = 9
LARGEST_DIFFERENCE = 5e-4
"""Of a map in float32, in its standard deviations."""


def run() -> list[Row]:
    rows = []
    for name in ("LC-G", "LC-L"):
        rows += published_rows(name)
    return rows + temporal_rows()


def published_rows(name: str) -> list[Row]:
    """Four rows for the encoder of one configuration."""
    torch.manual_seed(0)
    config = published_config(name)
    ours = UTAE(BANDS, *config.series_widths, config.series_head)
    naive = NaiveUTAE(BANDS, *config.series_widths, config.series_head)
    naive.load_state_dict(ours.state_dict())
    to_channels_last(ours)
    series_BTCHW = torch.randn(BATCH, DATES, BANDS, SIDE_PX, SIDE_PX)
    days_BT = torch.linspace(-130, 220, DATES).round().long().repeat(BATCH, 1)
    values_NCHW = series_BTCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    frames = Frames(values_NCHW, days_BT, None, None)

    def maps(fast: bool, half: bool) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return ours(frames) if fast else naive(series_BTCHW, days_BT)

    def forward(fast: bool, half: bool) -> None:
        with torch.inference_mode():
            maps(fast, half)

    def step(fast: bool, half: bool) -> None:
        torch.stack([x.float().square().mean() for x in maps(fast, half)]).sum().backward()

    ours.eval()
    naive.eval()
    with torch.inference_mode():
        check(maps(True, False), maps(False, False))
    rows = []
    for title, work in (("forward", forward), ("step", step)):
        ours.train(work is step)
        naive.train(work is step)
        turns = [
            lambda fast=fast, half=half, work=work: work(fast, half)
            for half in (False, True)
            for fast in (True, False)
        ]
        for turn in turns:
            turn()
        fast32, slow32, fast16, slow16 = alternate(turns, ROUNDS)
        start = f"temporal encoder of {name}, {title}, "
        rows += [
            row(f"{start}float32", fast32, slow32),
            row(f"{start}bf16, baseline float32", fast16, slow32),
            row(f"{start}bf16, baseline bf16", fast16, slow16),
        ]
    return rows


def check(ours: Sequence[Tensor], naive: Sequence[Tensor]) -> None:
    """Nothing is timed that does not give the same."""
    for mine, theirs in zip(ours, naive, strict=True):
        difference = float((mine - theirs).detach().abs().max() / theirs.detach().std())
        assert difference <= LARGEST_DIFFERENCE, f"a map differs by {difference:.2g} std"
