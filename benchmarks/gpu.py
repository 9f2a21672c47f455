"""LC-A and LC-L on a GPU: samples per second, peak memory, share of the card's bf16 matrix rate.

Two rows for training and for inference, in float32, bf16 and compiled bf16. Of speed, `baseline` is
what the card would reach if it did nothing but multiply matrices as fast as it does a large one in
bf16, and `ratio` the share of that. Of memory, `baseline` is all that the card has.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Row, amounts, seconds
from benchmarks.published import DATES, random_batch
from bocage.errors import ConfigError
from bocage.losses import CompositeLoss, LossConfig
from bocage.models.published import PublishedConfig, PublishedNetwork, published_config
from bocage.nomenclatures import get_task

BATCH = 8
ROUNDS = 10
MATRIX = 8192
PRECISIONS = ("float32", "bf16", "bf16 compiled")


def run() -> list[Row]:
    if not torch.cuda.is_available():
        raise ConfigError("benchmark gpu: this machine has no GPU that PyTorch can use")
    device = torch.device("cuda")
    rate = matrix_rate(device)
    rows = []
    for name in ("LC-A", "LC-L"):
        for precision in PRECISIONS:
            rows += measure(published_config(name), precision, device, rate, BATCH)
    return rows


def matrix_rate(device: torch.device, size: int = MATRIX) -> float:
    """Multiplications and additions per second of a large bf16 matrix product."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    best = min(_timed(lambda: a @ a, device) for _ in range(ROUNDS))
    return 2 * size**3 / best


def measure(
    config: PublishedConfig,
    precision: str,
    device: torch.device,
    rate: float,
    samples: int,
    rounds: int = ROUNDS,
) -> list[Row]:
    """Inference, and training with forward pass, loss, backward pass and AdamW."""
    torch.manual_seed(0)
    tasks = [get_task(head.name) for head in config.tasks]
    batch = random_batch(config, tasks, samples, DATES).to(device)
    network = PublishedNetwork(config).to(device)
    loss = CompositeLoss(tasks, LossConfig()).to(device)
    optimizer = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), fused=True)
    called: nn.Module = torch.compile(network) if "compiled" in precision else network
    half = "bf16" in precision

    def infer(module: nn.Module = called) -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            module(**batch.network_inputs())

    def train(module: nn.Module = called) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            output = module(**batch.network_inputs())
        loss(output.logits, batch.labels)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    rows = []
    for title, work in (("inference", infer), ("training", train)):
        network.train(work is train)
        with FlopCounterMode(display=False) as counter:
            work(network)
        for _ in range(3):
            work()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        speeds = [samples / _timed(work, device) for _ in range(rounds)]
        bound = rate / (counter.get_total_flops() / samples)
        name = f"{config.name}, {title}, {precision}, batch {samples}"
        shares = [speed / bound for speed in speeds]
        speed = statistics.median(speeds)
        rows.append(Row(name, speed, bound, speed / bound, "samples/s", (min(shares), max(shares))))
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) / 2**30
            total = torch.cuda.get_device_properties(device).total_memory / 2**30
            rows.append(amounts(f"{name}: peak memory", peak, total, "GiB"))
    return rows


def _timed(work: Callable[[], object], device: torch.device) -> float:
    def whole() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return seconds(whole)
