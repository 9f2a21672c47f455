"""Blocks on a Ray cluster: an actor per GPU, or per core where there is none.

All machines see the sources and the output folder under the same paths. An actor that is lost is
started anew by Ray; the blocks that it was at are given out again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bocage.cluster import ray_cluster
from bocage.mapping.handout import MAX_DEATHS
from bocage.mapping.plan import Block
from bocage.mapping.worker import Assignment, Outcome, Worker

_TOGETHER = 4
"""Blocks that an actor is given at once, so that it can read the next while it computes."""


def map_on_ray(
    assignment: Assignment,
    todo: Sequence[Block],
    device: torch.device,
    address: str | None,
    seconds: dict[str, float],
) -> Iterator[Outcome]:
    """Map the blocks on the cluster at `address`, None: one started on this machine."""
    with ray_cluster(address) as ray:
        yield from _map(ray, assignment, todo, device, seconds)


def _map(
    ray: Any,
    assignment: Assignment,
    todo: Sequence[Block],
    device: torch.device,
    seconds: dict[str, float],
) -> Iterator[Outcome]:
    on_gpu = device.type == "cuda"
    available = ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1)
    count = assignment.config.workers or max(1, int(available))
    remote = ray.remote(num_gpus=1, num_cpus=0) if on_gpu else ray.remote(num_cpus=1)
    shared = ray.put(assignment)
    actor_class = remote(_Actor)
    count = min(count, len(todo))
    actors = deque(
        actor_class.options(max_restarts=-1).remote(shared, device.type) for _ in range(count)
    )
    queue, deaths = deque(todo), Counter[int]()
    # Small parts at the end, so that no actor is left with four blocks while the others wait.
    part = max(1, min(_TOGETHER, len(todo) // (2 * count)))
    running: dict[Any, tuple[Any, list[Block]]] = {}
    while queue or running:
        while queue and actors:
            blocks = [queue.popleft() for _ in range(min(part, len(queue)))]
            actor = actors.popleft()
            running[actor.map.remote([b.index for b in blocks])] = (actor, blocks)
        ready, _ = ray.wait(list(running), num_returns=1)
        actor, blocks = running.pop(ready[0])
        actors.append(actor)
        try:
            reasons, spent = ray.get(ready[0])
        except ray.exceptions.RayActorError as error:
            yield from _recover(blocks, queue, deaths, str(error))
            continue
        for stage, value in spent.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        for block, reason in zip(blocks, reasons, strict=True):
            yield Outcome(block, reason)


def _recover(
    blocks: Sequence[Block], queue: deque[Block], deaths: Counter[int], why: str
) -> Iterator[Outcome]:
    for block in blocks:
        deaths[block.index] += 1
        if deaths[block.index] < MAX_DEATHS:
            queue.append(block)
        else:
            yield Outcome(block, f"{MAX_DEATHS} actors were lost here. The last: {why[:800]}")


class _Actor:
    """A worker that is alive between calls: the network is sent and opened once."""

    def __init__(self, assignment: Assignment, device: str) -> None:
        self._blocks = {block.index: block for block in assignment.job.plan.blocks}
        self._worker = Worker(assignment, torch.device(device))

    def map(self, indices: Sequence[int]) -> tuple[list[str | None], dict[str, float]]:
        """Reasons of failure of the blocks, in their order, and the seconds spent by stage."""
        before = dict(self._worker.clock.seconds)
        found = {
            o.block.index: o.reason for o in self._worker.run(self._blocks[i] for i in indices)
        }
        now = self._worker.clock.seconds
        return [found[i] for i in indices], {stage: now[stage] - before[stage] for stage in now}
