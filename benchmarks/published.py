"""A published network beside its plainly written baseline: same weights and inputs, same result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.naive_network import NaiveNetwork
from bocage.data import collate
from bocage.models.published import PublishedConfig, PublishedNetwork
from bocage.nomenclatures import Task, get_task
from bocage.sample import Batch, Sample, Series

DATES = {"SENTINEL2_TS": 48, "SENTINEL1-ASC_TS": 75, "SENTINEL1-DESC_TS": 80}
"""Dates of a series: Sentinel-2 after the cloud filter, Sentinel-1 as acquired."""
LARGEST_DIFFERENCE = 5e-4
"""Between ours and the baseline in float32, in standard deviations of the logits."""


@dataclass(frozen=True)
class Pair:
    """Both networks and what each takes."""

    ours: PublishedNetwork
    naive: NaiveNetwork
    tasks: tuple[Task, ...]
    batch: Batch
    images: Mapping[str, Tensor]
    """The batch's images normalised on the host, NCHW: the baseline's loader does that."""
    series: Mapping[str, tuple[Tensor, Tensor]]
    """Frames (B, T, C, h, w) float32 and days (B, T)."""
    one_hot: Mapping[str, Tensor]
    """Labels (B, K, H, W) float32."""

    def run_ours(self) -> dict[str, Tensor]:
        """Logits of our network."""
        logits: dict[str, Tensor] = self.ours(**self.batch.network_inputs()).logits
        return logits

    def run_naive(self) -> dict[str, Tensor]:
        """Logits of the baseline."""
        logits: dict[str, Tensor] = self.naive(self.images, self.series)
        return logits

    def difference(self) -> float:
        """Largest difference of any logit, in standard deviations; both end up in eval mode."""
        self.ours.eval()
        self.naive.eval()
        with torch.inference_mode():
            mine, theirs = self.run_ours(), self.run_naive()
        return max(
            float((mine[task] - logits).abs().max() / logits.std())
            for task, logits in theirs.items()
        )

    def check(self) -> None:
        """Nothing is timed that does not give the same."""
        found = self.difference()
        assert found <= LARGEST_DIFFERENCE, f"the networks differ by {found:.2g} std"


def pair(config: PublishedConfig, samples: int, dates: Mapping[str, int] = DATES) -> Pair:
    """Both networks with the same weights, drawn once, and a batch of random content."""
    torch.manual_seed(0)
    ours = PublishedNetwork(config)
    naive = NaiveNetwork(config)
    naive.load_state_dict(ours.state_dict())
    tasks = tuple(get_task(head.name) for head in config.tasks)
    batch = random_batch(config, tasks, samples, dates)
    images = {}
    for given in config.images:
        name = given.modality
        prepared, _ = ours.preparation[name](batch.images[name], batch.valid.get(name))
        images[name] = prepared.contiguous()
    series = {
        given.modality: (batch.series[given.modality].float(), batch.days[given.modality])
        for given in config.series
    }
    one_hot = {
        task.name: F.one_hot(batch.labels[task.name].long(), task.num_classes)
        .permute(0, 3, 1, 2)
        .float()
        .contiguous()
        for task in tasks
    }
    return Pair(ours, naive, tasks, batch, images, series, one_hot)


def random_batch(
    config: PublishedConfig, tasks: Sequence[Task], samples: int, dates: Mapping[str, int]
) -> Batch:
    """Numbers in each sensor's range; every sensor and date is there."""
    rng = np.random.default_rng(0)
    patches = []
    for number in range(samples):
        images, series = {}, {}
        for given in config.inputs:
            spec, side = given.spec, config.size_px(given)
            if not spec.series:
                values = rng.random((len(spec.bands), side, side)) * 250
                images[given.modality] = values.astype(spec.dtype)
                continue
            count = dates[given.modality]
            values = rng.random((count, len(spec.bands), 10, 10))
            if np.issubdtype(spec.dtype, np.integer):
                values *= 4000
            when = np.datetime64("2021-01-04") + np.linspace(0, 350, count).astype(int)
            series[given.modality] = Series(values.astype(spec.dtype), when)
        shape = (config.tile_px, config.tile_px)
        labels = {t.name: rng.integers(0, 15, shape).astype(np.uint8) for t in tasks}
        patches.append(Sample(f"p{number}", 2021, images=images, series=series, labels=labels))
    names = [given.modality for given in config.inputs]
    return collate(patches, names, [task.name for task in tasks])
