"""Blocks on a Ray cluster: an actor per GPU, or per core where there is none.

All machines see the sources and the output folder under the same paths. An actor that is lost is
replaced; the blocks that it was at are given out again, alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bocage.cluster import ray_cluster
from bocage.errors import DataError
from bocage.mapping.handout import MAX_DEATHS, Handout
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
    count = min(assignment.config.workers or max(1, int(available)), len(todo))
    # An actor that is lost is replaced here and not by Ray, which fails all calls while it restarts
    # one: that one would get block after block.
    resources = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": 1}
    actor_class = ray.remote(**resources, max_restarts=0)(_Actor)
    shared = ray.put(assignment)
    opening: dict[Any, Any] = {}
    idle: deque[Any] = deque()
    running: dict[Any, tuple[Any, list[Block]]] = {}

    def start() -> None:
        actor = actor_class.remote()
        opening[actor.open.remote(shared, device.type)] = actor

    for _ in range(count):
        start()
    handout, unopened = Handout(todo), 0
    while len(handout) or running:
        while idle and len(handout):
            # Small parts at the end, so that no actor has four blocks while the others wait.
            part = max(1, min(_TOGETHER, len(handout) // (2 * count)))
            blocks = handout.fresh(part)
            if not blocks:
                doubtful = handout.doubtful()
                assert doubtful is not None
                blocks = [doubtful]
            actor = idle.popleft()
            running[actor.map.remote([b.index for b in blocks])] = (actor, blocks)
        (ready,), _ = ray.wait([*running, *opening], num_returns=1)
        opened = opening.pop(ready, None)
        actor, blocks = running.pop(ready, (opened, []))
        try:
            found = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            # As it was raised there: a `DataError` of a folder that cannot be written, a defect.
            raise (error.cause or error) from None
        except ray.exceptions.RayActorError as error:
            unopened += opened is not None
            if unopened > MAX_DEATHS * count:
                raise DataError(
                    f"actors are lost before they map anything ({str(error)[:500]}). Is there "
                    "enough memory for one per core? Set workers=… lower."
                ) from error
            reason = f"{MAX_DEATHS} actors were lost here. The last: {str(error)[:800]}"
            yield from handout.lost(blocks, reason)
            start()
            continue
        idle.append(actor)
        if opened is None:
            reasons, spent = found
            for stage, value in spent.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
            for block, why in zip(blocks, reasons, strict=True):
                yield Outcome(block, why)


class _Actor:
    """A worker that is alive between calls: the network is sent and opened once."""

    def open(self, assignment: Assignment, device: str) -> None:
        """Make it ready; not in `__init__`, whose errors would not arrive as what they are."""
        self._blocks = {block.index: block for block in assignment.job.plan.blocks}
        self._worker = Worker(assignment, torch.device(device))

    def map(self, indices: Sequence[int]) -> tuple[list[str | None], dict[str, float]]:
        """Reasons of failure of the blocks, in their order, and the seconds spent by stage."""
        before = dict(self._worker.clock.seconds)
        outcomes = self._worker.run(self._blocks[i] for i in indices)
        found = {outcome.block.index: outcome.reason for outcome in outcomes}
        now = self._worker.clock.seconds
        return [found[i] for i in indices], {stage: now[stage] - before[stage] for stage in now}
